#include "hwalloc/model/cache.h"

#include <algorithm>
#include <bit>
#include <cassert>

namespace f3::hwmodel {
namespace {

constexpr uint64_t kDirty = 1;

uint32_t Lines(const CacheShape& shape) { return shape.bytes >> kLineShift; }

// Pages lie scattered in physical memory, as on a machine that has run for a while: otherwise what
// begins at multiples of 64 KiB would compete for few sets of the larger caches. One-to-one on the
// 52 bits of a page number.
uint64_t PhysicalLine(uint64_t address) {
  constexpr uint64_t kPageBits = (uint64_t{1} << (64 - kPageShift)) - 1;
  constexpr uint32_t kLineBits = kPageShift - kLineShift;
  uint64_t page = (address >> kPageShift) * 0x9e3779b97f4a7c15u & kPageBits;  // odd: invertible
  page ^= page >> 26;
  return page << kLineBits | ((address >> kLineShift) & ((1u << kLineBits) - 1));
}

// A page number as the TLB sees it: its set is chosen by a hash of the number, as in today's cores,
// so that pages at distances of a power of two do not meet in few sets. One-to-one.
uint64_t TlbEntry(uint64_t page) { return page ^ page >> 7 ^ page >> 14; }

}  // namespace

Cache::Cache(uint32_t entries, uint32_t ways)
    : associativity_(ways), set_mask_(entries / ways - 1), ways_(entries, kEmpty) {
  assert(entries % ways == 0 && std::has_single_bit(entries / ways));
}

bool Cache::Touch(uint64_t line, bool store) {
  uint64_t* set = Set(line);
  for (uint32_t i = 0; i < associativity_; ++i) {
    if (set[i] >> 1 != line || set[i] == kEmpty) continue;
    uint64_t entry = set[i] | (store ? kDirty : 0);
    std::copy_backward(set, set + i, set + i + 1);
    set[0] = entry;
    return true;
  }
  return false;
}

std::optional<Cache::Victim> Cache::Insert(uint64_t line, bool dirty) {
  uint64_t* set = Set(line);
  uint64_t last = set[associativity_ - 1];
  std::copy_backward(set, set + associativity_ - 1, set + associativity_);
  set[0] = line << 1 | (dirty ? kDirty : 0);
  if (last == kEmpty) return std::nullopt;
  return Victim{last >> 1, (last & kDirty) != 0};
}

void Cache::Remove(uint64_t line) {
  uint64_t* set = Set(line);
  for (uint32_t i = 0; i < associativity_; ++i) {
    if (set[i] >> 1 != line || set[i] == kEmpty) continue;
    std::copy(set + i + 1, set + associativity_, set + i);
    set[associativity_ - 1] = kEmpty;
    return;
  }
}

void Cache::Clear() { std::fill(ways_.begin(), ways_.end(), kEmpty); }

MemorySystem::MemorySystem()
    : level1_(Lines(kLevel1), kLevel1.ways),
      level2_(Lines(kLevel2), kLevel2.ways),
      level3_(Lines(kLevel3), kLevel3.ways),
      tlb_(kTlbEntries, kTlbWays) {}

void MemorySystem::InsertLevel3(uint64_t line, bool dirty) {
  auto victim = level3_.Insert(line, dirty);
  if (victim && victim->dirty) ++counts_.written_lines;
}

void MemorySystem::WriteToLevel3(uint64_t line) {
  if (!level3_.Touch(line, true)) InsertLevel3(line, true);
}

void MemorySystem::InsertLevel2(uint64_t line, bool dirty) {
  auto victim = level2_.Insert(line, dirty);
  if (victim && victim->dirty) WriteToLevel3(victim->line);
}

void MemorySystem::WriteToLevel2(uint64_t line) {
  if (!level2_.Touch(line, true)) InsertLevel2(line, true);
}

void MemorySystem::InsertLevel1(uint64_t line, bool dirty) {
  auto victim = level1_.Insert(line, dirty);
  if (victim && victim->dirty) WriteToLevel2(victim->line);
}

uint32_t MemorySystem::Access(uint64_t address, bool store) {
  uint64_t line = PhysicalLine(address);
  ++counts_.accesses;
  if (level1_.Touch(line, store)) return 0;
  ++counts_.level1_misses;
  uint32_t latency = kLevel2.latency_cycles;
  if (!level2_.Touch(line, false)) {
    ++counts_.level2_misses;
    latency = kLevel3.latency_cycles;
    if (!level3_.Touch(line, false)) {
      ++counts_.level3_misses;
      ++counts_.read_lines;
      latency += kMemoryLatencyCycles;
      InsertLevel3(line, false);
    }
    InsertLevel2(line, false);
  }
  InsertLevel1(line, store);
  return latency;
}

void MemorySystem::ZeroFill(uint64_t address) {
  uint64_t line = PhysicalLine(address);
  ++counts_.accesses;
  ++counts_.zero_filled_lines;
  if (!level1_.Touch(line, true)) InsertLevel1(line, true);
}

void MemorySystem::ClearPage(uint64_t address) {
  uint64_t begin = address >> kPageShift << kPageShift;
  for (uint64_t at = begin; at < begin + (1u << kPageShift); at += 1u << kLineShift) {
    if (kClearingReadsMemory) {
      Access(at, true);
    } else {
      ZeroFill(at);
    }
  }
}

bool MemorySystem::Walk(uint64_t address) {
  uint64_t entry = TlbEntry(address >> kPageShift);
  if (tlb_.Touch(entry, false)) return false;
  tlb_.Insert(entry, false);
  ++counts_.page_walks;
  return true;
}

void MemorySystem::FlushTlb(uint64_t address, uint64_t bytes) {
  uint64_t first = address >> kPageShift;
  uint64_t last = (address + bytes) >> kPageShift;
  if (last - first >= kTlbEntries) {
    tlb_.Clear();
    return;
  }
  for (uint64_t page = first; page <= last; ++page) tlb_.Remove(TlbEntry(page));
}

double MemorySystem::Stall(uint32_t latency, bool store) {
  if (latency <= kHiddenCycles) return 0;
  return (latency - kHiddenCycles) / kParallelMisses * (store ? kStoreStallShare : 1.0);
}

}  // namespace f3::hwmodel
