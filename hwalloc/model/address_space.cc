#include "hwalloc/model/address_space.h"

#include <iterator>
#include <vector>

#include "hwalloc/model/parameters.h"

namespace f3::hwmodel {

// Takes [begin, end) out of the regions.
void AddressSpace::Cut(uint64_t begin, uint64_t end) {
  auto at = regions_.lower_bound(begin);
  if (at != regions_.begin() && std::prev(at)->second > begin) --at;
  while (at != regions_.end() && at->first < end) {
    auto [first, last] = *at;
    at = regions_.erase(at);
    if (first < begin) regions_[first] = begin;
    if (last > end) regions_[end] = last;
  }
}

uint64_t AddressSpace::ForgetPages(uint64_t address, uint64_t bytes) {
  uint64_t page_bytes = uint64_t{1} << kPageShift;
  auto from = touched_.lower_bound((address >> kPageShift) + (address % page_bytes != 0 ? 1 : 0));
  auto to = touched_.lower_bound((address + bytes) >> kPageShift);
  if (from == touched_.end() || (to != touched_.end() && *from >= *to)) return 0;
  auto pages = static_cast<uint64_t>(std::distance(from, to));
  touched_.erase(from, to);
  return pages;
}

void AddressSpace::Map(uint64_t address, uint64_t bytes, bool by_allocator) {
  if (bytes == 0) return;
  Cut(address, address + bytes);
  ForgetPages(address, bytes);
  if (by_allocator) regions_[address] = address + bytes;
}

uint64_t AddressSpace::Unmap(uint64_t address, uint64_t bytes) {
  if (bytes == 0) return 0;
  Cut(address, address + bytes);
  return ForgetPages(address, bytes);
}

uint64_t AddressSpace::Discard(uint64_t address, uint64_t bytes) {
  return bytes == 0 ? 0 : ForgetPages(address, bytes);
}

uint64_t AddressSpace::Move(uint64_t from, uint64_t from_bytes, uint64_t to, uint64_t to_bytes) {
  bool watched = Watched(from);
  auto begin = touched_.lower_bound(from >> kPageShift);
  auto end = touched_.lower_bound((from + from_bytes) >> kPageShift);
  std::vector<uint64_t> pages;
  uint64_t dropped = 0;
  if (begin != touched_.end() && (end == touched_.end() || *begin < *end)) {
    for (auto at = begin; at != end; ++at) {
      uint64_t offset = *at - (from >> kPageShift);
      if (offset < to_bytes >> kPageShift) {
        pages.push_back((to >> kPageShift) + offset);
      } else {
        ++dropped;
      }
    }
  }
  Unmap(from, from_bytes);
  Map(to, to_bytes, watched);
  if (watched) touched_.insert(pages.begin(), pages.end());
  return dropped;
}

bool AddressSpace::Watched(uint64_t address) const {
  auto after = regions_.upper_bound(address);
  return after != regions_.begin() && std::prev(after)->second > address;
}

bool AddressSpace::Touch(uint64_t address) {
  return Watched(address) && touched_.insert(address >> kPageShift).second;
}

}  // namespace f3::hwmodel
