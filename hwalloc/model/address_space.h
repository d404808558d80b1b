// AddressSpace: which memory the software allocator got from the kernel, and which pages of it have
// been touched. Not thread-safe.
#ifndef F3_HWALLOC_MODEL_ADDRESS_SPACE_H_
#define F3_HWALLOC_MODEL_ADDRESS_SPACE_H_

#include <cstdint>
#include <map>
#include <set>

namespace f3::hwmodel {

class AddressSpace {
 public:
  // Memory mapped now. What was there before is gone. `by_allocator`: these pages are watched.
  void Map(uint64_t address, uint64_t bytes, bool by_allocator);
  // The number of touched pages that go with it. Partly covered pages stay.
  uint64_t Unmap(uint64_t address, uint64_t bytes);
  // As Unmap, but the memory can be touched again.
  uint64_t Discard(uint64_t address, uint64_t bytes);
  // Moves touched pages along, as mremap does; those beyond `to_bytes` go: their number.
  uint64_t Move(uint64_t from, uint64_t from_bytes, uint64_t to, uint64_t to_bytes);

  // True when `address` is in a watched page that has not been touched before.
  bool Touch(uint64_t address);

  uint64_t touched_pages() const { return touched_.size(); }

 private:
  bool Watched(uint64_t address) const;
  void Cut(uint64_t begin, uint64_t end);
  uint64_t ForgetPages(uint64_t address, uint64_t bytes);

  std::map<uint64_t, uint64_t> regions_;  // begin → end; disjoint
  std::set<uint64_t> touched_;            // page numbers
};

}  // namespace f3::hwmodel

#endif  // F3_HWALLOC_MODEL_ADDRESS_SPACE_H_
