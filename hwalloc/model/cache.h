// Cache: one set-associative cache with LRU replacement; also used as a TLB. MemorySystem: three
// levels of them above DRAM, and a TLB. Not thread-safe; each owns its state.
#ifndef F3_HWALLOC_MODEL_CACHE_H_
#define F3_HWALLOC_MODEL_CACHE_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "hwalloc/model/parameters.h"

namespace f3::hwmodel {

class Cache {
 public:
  // REQUIRES: entries is a multiple of ways, and entries / ways a power of two.
  Cache(uint32_t entries, uint32_t ways);

  // True when `line` is there; it becomes the most recently used of its set, and dirty if `store`.
  bool Touch(uint64_t line, bool store);
  struct Victim {
    uint64_t line = 0;
    bool dirty = false;
  };
  // Puts in a line that is not there. The line that made room, if one had to.
  std::optional<Victim> Insert(uint64_t line, bool dirty);
  // Takes `line` out if it is there, written back or not.
  void Remove(uint64_t line);
  void Clear();

 private:
  uint64_t* Set(uint64_t line) { return &ways_[(line & set_mask_) * associativity_]; }

  const uint32_t associativity_;
  const uint64_t set_mask_;
  // Sets one after the other, each with the most recently used first. An entry: line * 2 + dirty;
  // kEmpty when there is none.
  static constexpr uint64_t kEmpty = UINT64_MAX;
  std::vector<uint64_t> ways_;
};

// Traffic between the last level and DRAM, in lines; and what happened above.
struct MemoryCounts {
  uint64_t accesses = 0;
  uint64_t level1_misses = 0;
  uint64_t level2_misses = 0;
  uint64_t level3_misses = 0;
  uint64_t read_lines = 0;
  uint64_t written_lines = 0;
  uint64_t zero_filled_lines = 0;  // made in the first level instead of being read
  uint64_t page_walks = 0;

  uint64_t traffic_lines() const { return read_lines + written_lines; }
};

class MemorySystem {
 public:
  MemorySystem();

  // One access to the line that holds `address`. The cycles until its data is there, above those of
  // a hit in the first level.
  uint32_t Access(uint64_t address, bool store);
  // A store to a line whose old contents nobody needs: made in the first level, not read.
  void ZeroFill(uint64_t address);
  // The kernel clears the page of `address`, in the program's caches.
  void ClearPage(uint64_t address);
  // True when the address's page has to be walked for; it then is in the TLB.
  bool Walk(uint64_t address);
  // After pages of [address, address + bytes) have lost their memory.
  void FlushTlb(uint64_t address, uint64_t bytes);

  // Of an access that took `latency` cycles, those that the core stands still.
  static double Stall(uint32_t latency, bool store);

  const MemoryCounts& counts() const { return counts_; }

 private:
  void WriteToLevel2(uint64_t line);
  void WriteToLevel3(uint64_t line);
  void InsertLevel1(uint64_t line, bool dirty);
  void InsertLevel2(uint64_t line, bool dirty);
  void InsertLevel3(uint64_t line, bool dirty);

  Cache level1_, level2_, level3_, tlb_;
  MemoryCounts counts_;
};

}  // namespace f3::hwmodel

#endif  // F3_HWALLOC_MODEL_CACHE_H_
