// seq and rand: data of an ephemeral file at its home, against the tier's own directory.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <random>

#include "bench/bench.h"
#include "common/unique_fd.h"

namespace f3::bench {
namespace {

constexpr size_t kBlock = 1 << 20;
constexpr size_t kPage = 4096;

double MegaBytes(uint64_t bytes, double seconds) {
  return static_cast<double>(bytes) / 1e6 / seconds;
}

// Touches every page of a read-only mapping by adding it up.
Status ReadMapped(const std::string& path, uint64_t bytes) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return Status::FromErrno(errno, "open " + path);
  void* map = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (map == MAP_FAILED) return Status::FromErrno(errno, "map " + path);
  const auto* words = static_cast<const uint64_t*>(map);
  uint64_t sum = 0;
  for (uint64_t i = 0; i < bytes / sizeof(uint64_t); ++i) sum += words[i];
  ::munmap(map, bytes);
  return sum == 0 ? Status::Corruption(path + " reads as zeros") : Status();
}

Status Random(const std::string& path, uint64_t bytes, int operations, bool write) {
  UniqueFd fd(::open(path.c_str(), (write ? O_RDWR : O_RDONLY) | O_CLOEXEC));
  if (!fd.valid()) return Status::FromErrno(errno, "open " + path);
  std::vector<char> buffer(kPage, 'r');
  std::mt19937_64 random(1);
  for (int i = 0; i < operations; ++i) {
    off_t at = static_cast<off_t>(random() % (bytes / kPage) * kPage);
    ssize_t n = write ? ::pwrite(fd.get(), buffer.data(), kPage, at)
                      : ::pread(fd.get(), buffer.data(), kPage, at);
    if (n != static_cast<ssize_t>(kPage)) return Status::FromErrno(errno, "access " + path);
  }
  if (::close(fd.Release()) != 0) return Status::FromErrno(errno, "close " + path);
  return Status();
}

}  // namespace

Result<Report> RunSeq(const Options& options) {
  uint64_t bytes = options.bytes == 0 ? 256ull << 20 : options.bytes;
  int runs = options.runs == 0 ? 7 : options.runs;
  F3_ASSIGN_OR_RETURN(WorkDirs dirs, WorkDirs::Make(options.layout));
  std::string against = "the tier's directory";
  Measurement write{"1 MiB sequential write", "MB/s", against, {}, {}, false, 0.60};
  Measurement read{"1 MiB sequential read", "MB/s", against, {}, {}, false, 0.90};
  Measurement mapped{"read-only mmap", "MB/s", against, {}, {}, false, 0.95};
  for (int run = 0; run <= runs; ++run) {
    for (bool mine : {true, false}) {
      options.say("run " + std::to_string(run) + " of " + std::to_string(runs));
      std::string path = mine ? dirs.In(0, "seq") : dirs.Native("seq");
      F3_ASSIGN_OR_RETURN(double writing,
                          Time([&] { return WriteSequential(path, bytes, kBlock); }));
      F3_ASSIGN_OR_RETURN(double reading,
                          Time([&] { return ReadSequential(path, bytes, kBlock); }));
      F3_ASSIGN_OR_RETURN(double mapping, Time([&] { return ReadMapped(path, bytes); }));
      ::unlink(path.c_str());
      if (run == 0) continue;  // warms both up
      (mine ? write.f3 : write.other).push_back(MegaBytes(bytes, writing));
      (mine ? read.f3 : read.other).push_back(MegaBytes(bytes, reading));
      (mine ? mapped.f3 : mapped.other).push_back(MegaBytes(bytes, mapping));
    }
  }
  return Report{"seq", {write, read, mapped}, {{"bytes", bytes}, {"runs", runs}}};
}

Result<Report> RunRand(const Options& options) {
  uint64_t bytes = options.bytes == 0 ? 256ull << 20 : options.bytes;
  int runs = options.runs == 0 ? 7 : options.runs;
  constexpr int kOperations = 20'000;
  F3_ASSIGN_OR_RETURN(WorkDirs dirs, WorkDirs::Make(options.layout));
  std::string against = "the tier's directory";
  Measurement read{"4 KiB random read", "ops/s", against, {}, {}, false, 0.75};
  Measurement write{"4 KiB random write", "ops/s", against, {}, {}, false, 0.60};
  for (bool mine : {true, false}) {
    std::string path = mine ? dirs.In(0, "rand") : dirs.Native("rand");
    F3_RETURN_IF_ERROR(WriteSequential(path, bytes, kBlock));
  }
  for (int run = 0; run <= runs; ++run) {
    for (bool mine : {true, false}) {
      options.say("run " + std::to_string(run) + " of " + std::to_string(runs));
      std::string path = mine ? dirs.In(0, "rand") : dirs.Native("rand");
      for (bool writing : {false, true}) {
        F3_ASSIGN_OR_RETURN(double seconds,
                            Time([&] { return Random(path, bytes, kOperations, writing); }));
        if (run == 0) continue;
        Measurement& measurement = writing ? write : read;
        (mine ? measurement.f3 : measurement.other).push_back(kOperations / seconds);
      }
    }
  }
  return Report{
      "rand", {read, write}, {{"bytes", bytes}, {"runs", runs}, {"operations", kOperations}}};
}

}  // namespace f3::bench
