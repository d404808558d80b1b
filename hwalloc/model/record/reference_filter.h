// ReferenceFilter: leaves out references that cannot change what a cache holds.
//
// It remembers, for each of 64 sets, the line referenced last and which 16-byte granules of it were
// loaded and stored, by the program and by its allocator apart. A reference to a granule that is
// remembered so is left out: its line is the most recently used of its set in every cache with LRU
// replacement, 64-byte lines and 64 sets or more, and as dirty as it was, so neither hits, misses
// nor write-backs change. (The idea is Puzak's trace stripping, 1985.) Granules rather than lines
// are kept so that the objects that share a line can be moved apart by the model.
//
// Not thread-safe: one per thread.
#ifndef F3_HWALLOC_MODEL_RECORD_REFERENCE_FILTER_H_
#define F3_HWALLOC_MODEL_RECORD_REFERENCE_FILTER_H_

#include <cstdint>

#include "hwalloc/model/record/record_format.h"

namespace f3::hwmodel {

class ReferenceFilter {
 public:
  // True when a reference to this granule (address >> kGranuleShift) must be recorded.
  bool Passes(uint64_t granule, bool store, bool in_call) {
    Set& set = sets_[(granule >> kLineGranulesShift) % kSets];
    if (set.line != granule >> kLineGranulesShift) set = {granule >> kLineGranulesShift, {}};
    uint8_t bit = static_cast<uint8_t>(1u << (granule % (1u << kLineGranulesShift)));
    uint8_t& loaded = set.seen[in_call ? 2 : 0];
    uint8_t& stored = set.seen[in_call ? 3 : 1];
    bool known = ((store ? stored : loaded) & bit) != 0;
    loaded |= bit;
    if (store) stored |= bit;
    return !known;
  }

  // Makes the next reference to each granule of a new object pass: it is another object than the
  // one that was there before.
  void Forget(uint64_t address, uint64_t bytes) {
    if (bytes == 0) return;
    uint64_t line = address >> kLineShift;
    uint64_t last = (address + bytes - 1) >> kLineShift;
    for (uint64_t i = 0; i < kSets && line + i <= last; ++i) {
      Set& set = sets_[(line + i) % kSets];
      if (set.line == line + i) set = {line + i, {}};
    }
  }

 private:
  static constexpr uint64_t kSets = 64;
  static constexpr int kLineShift = 6;
  static constexpr int kLineGranulesShift = kLineShift - kGranuleShift;
  struct Set {
    uint64_t line = UINT64_MAX;
    uint8_t seen[4] = {};  // loaded, stored by the program; loaded, stored by its allocator
  };
  Set sets_[kSets];
};

}  // namespace f3::hwmodel

#endif  // F3_HWALLOC_MODEL_RECORD_REFERENCE_FILTER_H_
