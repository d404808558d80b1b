#include "hwalloc/model/characterise.h"

#include <algorithm>

namespace f3::hwmodel {
namespace {

template <size_t N>
size_t Group(const std::array<uint64_t, N>& bounds, uint64_t value) {
  return static_cast<size_t>(std::lower_bound(bounds.begin(), bounds.end(), value) -
                             bounds.begin());
}

double Share(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

double Characterisation::Counts::DieWithin(uint64_t allocations) const {
  uint64_t died = 0;
  for (size_t i = 0; i < kLifetimeGroups.size() && kLifetimeGroups[i] <= allocations; ++i) {
    died += by_lifetime[i];
  }
  return Share(died, small_allocations);
}

double Characterisation::Counts::LiveToExit() const {
  return Share(live_to_exit, small_allocations);
}

double Characterisation::Counts::SmallShare() const {
  return Share(small_allocations, allocations);
}

void Characterisation::Reference(uint32_t, uint64_t, bool, bool) { ++counts_.references; }

void Characterisation::EnterCall(const Call& call, uint64_t instructions) {
  counts_.instructions += instructions;
  counts_.threads = std::max(counts_.threads, call.thread + 1);
}

void Characterisation::ExitCall(const Call& call, uint64_t instructions, uint64_t pointer) {
  if (call.op == Op::kNothing) return;
  counts_.instructions += instructions;
  if (call.op == Op::kFree) {
    ++counts_.frees;
    Died(call.old);
    return;
  }
  bool failed = pointer == 0 && call.bytes != 0;
  if (failed) return;
  if (call.op == Op::kRealloc) Died(call.old);
  if (pointer != 0) Born(pointer, call.bytes);
}

void Characterisation::Born(uint64_t pointer, uint64_t bytes) {
  ++counts_.allocations;
  counts_.bytes += bytes;
  ++counts_.by_size[Group(kSizeGroups, bytes)];
  if (bytes > kMaxObjectBytes) return;
  ++counts_.small_allocations;
  uint32_t class_index = hwalloc::ClassOf(bytes);
  small_[pointer] = {class_index, ++allocations_[class_index]};
}

void Characterisation::Died(uint64_t pointer) {
  auto found = small_.find(pointer);
  if (found == small_.end()) return;
  uint64_t age = allocations_[found->second.class_index] - found->second.born;
  ++counts_.by_lifetime[Group(kLifetimeGroups, age)];
  small_.erase(found);
}

void Characterisation::End(uint64_t instructions) {
  counts_.instructions += instructions;
  counts_.live_to_exit = small_.size();
}

}  // namespace f3::hwmodel
