// Measures, on this machine and in real time, what the kernel takes to give a process a page and to
// take it back: the source of three figures of parameters.h. Prints medians in nanoseconds, and
// what they are in cycles of the modelled core. Not part of the default build; run it on a quiet
// machine.
#include <sys/mman.h>
#include <sys/prctl.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <vector>

#include "hwalloc/model/parameters.h"

namespace {

constexpr size_t kPageBytes = size_t{1} << f3::hwmodel::kPageShift;
constexpr size_t kPages = 4096;
constexpr int kRuns = 31;

double Nanoseconds(const std::function<void()>& work) {
  auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - begin).count();
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

char* Map(size_t bytes) {
  void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return at == MAP_FAILED ? nullptr : static_cast<char*>(at);
}

void Print(const char* what, double nanoseconds) {
  std::printf("%-40s %7.0f ns %7.0f cycles\n", what, nanoseconds,
              nanoseconds * f3::hwmodel::kGigahertz);
}

}  // namespace

int main() {
  prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);  // pages of 4 KiB only, as allocators' heaps mostly have
  std::vector<double> faults, frees, calls;
  for (int run = 0; run < kRuns; ++run) {
    char* at = Map(kPages * kPageBytes);
    if (at == nullptr) return 1;
    faults.push_back(Nanoseconds([&] {
      for (size_t i = 0; i < kPages; ++i) static_cast<volatile char*>(at)[i * kPageBytes] = 1;
    }));
    frees.push_back(Nanoseconds([&] { munmap(at, kPages * kPageBytes); }));
    calls.push_back(Nanoseconds([&] {
      for (size_t i = 0; i < kPages; ++i) munmap(Map(kPageBytes), kPageBytes);
    }));
  }
  Print("first touch of a page", Median(faults) / kPages);
  Print("giving a touched page back", Median(frees) / kPages);
  Print("mmap or munmap of an untouched page", Median(calls) / kPages / 2);
  return 0;
}
