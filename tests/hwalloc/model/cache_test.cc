// Caches and memory: which references hit, what is evicted, what reaches DRAM.
#include "hwalloc/model/cache.h"

#include <gtest/gtest.h>

namespace f3::hwmodel {
namespace {

constexpr uint64_t kLine = 1 << kLineShift;
constexpr uint64_t kPage = 1 << kPageShift;
constexpr uint32_t kFromMemory = kLevel3.latency_cycles + kMemoryLatencyCycles;

TEST(Cache, EvictsTheLeastRecentlyUsedOfItsSet) {
  Cache cache(8, 2);  // 4 sets
  EXPECT_FALSE(cache.Touch(0, false));
  EXPECT_FALSE(cache.Insert(0, false));
  EXPECT_FALSE(cache.Insert(4, false));  // the same set
  EXPECT_TRUE(cache.Touch(0, false));    // now 4 is the older
  auto victim = cache.Insert(8, false);
  ASSERT_TRUE(victim);
  EXPECT_EQ(victim->line, 4u);
  EXPECT_FALSE(victim->dirty);
  EXPECT_TRUE(cache.Touch(0, false));
  EXPECT_FALSE(cache.Touch(4, false));
}

TEST(Cache, OtherSetsAreNotDisturbed) {
  Cache cache(8, 2);
  for (uint64_t line = 0; line < 8; ++line) EXPECT_FALSE(cache.Insert(line, false));
  for (uint64_t line = 0; line < 8; ++line) EXPECT_TRUE(cache.Touch(line, false)) << line;
}

TEST(Cache, AVictimIsDirtyWhenItWasStoredTo) {
  Cache cache(1, 1);
  EXPECT_FALSE(cache.Insert(1, false));
  EXPECT_TRUE(cache.Touch(1, true));
  EXPECT_TRUE(cache.Touch(1, false));  // a later load does not clean it
  EXPECT_TRUE(cache.Insert(2, true)->dirty);
  EXPECT_TRUE(cache.Insert(3, false)->dirty);
  EXPECT_FALSE(cache.Insert(4, false)->dirty);
}

TEST(Cache, WhatIsRemovedMakesRoom) {
  Cache cache(2, 2);
  EXPECT_FALSE(cache.Insert(1, true));
  EXPECT_FALSE(cache.Insert(2, true));
  cache.Remove(1);
  cache.Remove(7);  // never there
  EXPECT_FALSE(cache.Touch(1, false));
  EXPECT_FALSE(cache.Insert(3, false));  // nobody had to go
  EXPECT_TRUE(cache.Touch(2, false));
}

TEST(MemorySystem, TheFirstAccessReadsMemoryTheSecondHits) {
  MemorySystem memory;
  EXPECT_EQ(memory.Access(0x1000, false), kFromMemory);
  EXPECT_EQ(memory.Access(0x1000, false), 0u);
  EXPECT_EQ(memory.Access(0x1000 + kLine - 1, true), 0u);
  EXPECT_EQ(memory.Access(0x1000 + kLine, false), kFromMemory);
  EXPECT_EQ(memory.counts().accesses, 4u);
  EXPECT_EQ(memory.counts().level1_misses, 2u);
  EXPECT_EQ(memory.counts().read_lines, 2u);
  EXPECT_EQ(memory.counts().written_lines, 0u);
}

// Lines at distances of a page share a set of the first level, whatever their physical pages are.
TEST(MemorySystem, WhatLeavesTheFirstLevelIsFoundInTheSecond) {
  MemorySystem memory;
  for (uint64_t i = 0; i <= kLevel1.ways; ++i) {
    EXPECT_EQ(memory.Access(i * kPage, false), kFromMemory);
  }
  EXPECT_EQ(memory.Access(kPage, false), 0u);  // still there
  EXPECT_EQ(memory.Access(0, false), kLevel2.latency_cycles);
  EXPECT_EQ(memory.counts().level2_misses, kLevel1.ways + 1);
}

TEST(MemorySystem, DirtyLinesAreWrittenBackOnce) {
  MemorySystem memory;
  // Twice what all levels hold together.
  uint64_t bytes = 2 * (kLevel1.bytes + kLevel2.bytes + kLevel3.bytes);
  for (uint64_t at = 0; at < bytes; at += kLine) memory.Access(at, true);
  uint64_t lines = bytes / kLine;
  uint64_t held = (kLevel1.bytes + kLevel2.bytes + kLevel3.bytes) / kLine;
  EXPECT_EQ(memory.counts().read_lines, lines);
  EXPECT_LE(memory.counts().written_lines, lines);
  EXPECT_GE(memory.counts().written_lines, lines - held);
  // Loads of other memory push the rest out: in the end each was written exactly once.
  for (uint64_t at = bytes; at < 4 * bytes; at += kLine) memory.Access(at, false);
  EXPECT_EQ(memory.counts().written_lines, lines);
}

TEST(MemorySystem, CleanLinesAreNeverWritten) {
  MemorySystem memory;
  for (uint64_t at = 0; at < 4 * kLevel3.bytes; at += kLine) memory.Access(at, false);
  EXPECT_EQ(memory.counts().written_lines, 0u);
}

TEST(MemorySystem, AZeroFilledLineIsNotReadButWritten) {
  MemorySystem memory;
  memory.ZeroFill(0);
  EXPECT_EQ(memory.counts().read_lines, 0u);
  EXPECT_EQ(memory.counts().zero_filled_lines, 1u);
  EXPECT_EQ(memory.Access(0, false), 0u);
  for (uint64_t at = kPage; at < 4 * kLevel3.bytes; at += kLine) memory.Access(at, false);
  EXPECT_EQ(memory.counts().written_lines, 1u);
  EXPECT_EQ(memory.Access(0, false), kFromMemory);
}

TEST(MemorySystem, AClearedPageIsInTheCacheWithoutBeingRead) {
  MemorySystem memory;
  memory.ClearPage(3 * kPage + 100);
  EXPECT_EQ(memory.counts().read_lines, kClearingReadsMemory ? kPage / kLine : 0);
  for (uint64_t at = 3 * kPage; at < 4 * kPage; at += kLine) EXPECT_EQ(memory.Access(at, true), 0u);
  EXPECT_EQ(memory.Access(4 * kPage, false), kFromMemory);
}

TEST(MemorySystem, APageIsWalkedForUntilItsTranslationIsForgotten) {
  MemorySystem memory;
  EXPECT_TRUE(memory.Walk(5 * kPage));
  EXPECT_FALSE(memory.Walk(5 * kPage + 4095));
  EXPECT_TRUE(memory.Walk(6 * kPage));
  memory.FlushTlb(5 * kPage, 1);
  EXPECT_TRUE(memory.Walk(5 * kPage));
  memory.FlushTlb(0, uint64_t{1} << 40);  // more pages than entries
  EXPECT_TRUE(memory.Walk(5 * kPage));
  EXPECT_TRUE(memory.Walk(6 * kPage));
  EXPECT_EQ(memory.counts().page_walks, 5u);
}

TEST(MemorySystem, TheTlbHoldsItsEntriesAndNoMore) {
  MemorySystem memory;
  for (uint64_t page = 0; page < kTlbEntries; ++page) EXPECT_TRUE(memory.Walk(page * kPage));
  for (uint64_t page = 0; page < kTlbEntries; ++page) EXPECT_FALSE(memory.Walk(page * kPage));
  EXPECT_TRUE(memory.Walk(kTlbEntries * kPage));
  bool forgotten = false;
  for (uint64_t page = 0; page < kTlbEntries; ++page) forgotten |= memory.Walk(page * kPage);
  EXPECT_TRUE(forgotten);
}

TEST(MemorySystem, ShortLatenciesAreHiddenAndStoresStallLess) {
  EXPECT_EQ(MemorySystem::Stall(kHiddenCycles, false), 0);
  EXPECT_DOUBLE_EQ(MemorySystem::Stall(kHiddenCycles + 10, false), 10 / kParallelMisses);
  EXPECT_DOUBLE_EQ(MemorySystem::Stall(kHiddenCycles + 10, true),
                   10 / kParallelMisses * kStoreStallShare);
}

}  // namespace
}  // namespace f3::hwmodel
