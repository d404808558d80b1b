#include "hwalloc/page_pool.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <memory>
#include <set>
#include <thread>
#include <vector>

namespace f3::hwalloc {
namespace {

bool IsOurs(const void* p) { return UnitOf(p) != nullptr; }

// Pages of the range that are in memory.
size_t ResidentPages(char* base, size_t bytes) {
  std::vector<unsigned char> pages(bytes / 4096);
  EXPECT_EQ(::mincore(base, bytes, pages.data()), 0);
  size_t sum = 0;
  for (unsigned char page : pages) sum += page & 1;
  return sum;
}

bool IsZero(const char* base, size_t bytes) {
  return base[0] == 0 && std::memcmp(base, base + 1, bytes - 1) == 0;
}

class PagePoolTest : public ::testing::Test {
 protected:
  void Give(char* base, uint32_t units, int64_t now = 0) { pool_.Give(base, units, now); }
  char* TakeAndUse(uint32_t units) {
    char* base = pool_.Take(units).base;
    std::memset(base, 1, size_t{units} * kUnitBytes);
    return base;
  }
  PagePool pool_;
};

TEST_F(PagePoolTest, FreshUnitsAreAlignedCleanAndOurs) {
  PagePool::Run run = pool_.Take(1);
  ASSERT_NE(run.base, nullptr);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(run.base) % kUnitBytes, 0u);
  EXPECT_TRUE(run.clean);
  EXPECT_TRUE(IsZero(run.base, kUnitBytes));
  EXPECT_TRUE(IsOurs(run.base + 1));
  int local = 0;
  EXPECT_FALSE(IsOurs(&local));
  EXPECT_FALSE(IsOurs(nullptr));
  EXPECT_FALSE(IsOurs(reinterpret_cast<void*>(~uintptr_t{0})));
}

TEST_F(PagePoolTest, WhatHasPagesIsHandedOutFirst) {
  char* first = TakeAndUse(1);
  char* second = TakeAndUse(1);
  Give(second, 1);
  EXPECT_EQ(pool_.usage().ready_units, 1u);
  PagePool::Run run = pool_.Take(1);
  EXPECT_EQ(run.base, second);
  EXPECT_FALSE(run.clean);
  Give(first, 1);
  EXPECT_EQ(pool_.Take(1).base, first);
}

TEST_F(PagePoolTest, RunsOfAllLengthsDoNotOverlap) {
  std::set<char*> units;
  for (uint32_t length = 1; length <= kMaxRunUnits; length += 5) {
    PagePool::Run run = pool_.Take(length);
    ASSERT_NE(run.base, nullptr);
    for (uint32_t i = 0; i < length; ++i) {
      EXPECT_TRUE(units.insert(run.base + size_t{i} * kUnitBytes).second);
    }
  }
  EXPECT_EQ(pool_.usage().used_units, units.size());
}

TEST_F(PagePoolTest, ARunFindsTheGapItFitsIn) {
  char* a = pool_.Take(100).base;
  char* b = pool_.Take(70).base;
  char* c = pool_.Take(100).base;
  Give(b, 70);
  EXPECT_EQ(pool_.Take(70).base, b);
  Give(a, 100);
  Give(c, 100);
}

TEST_F(PagePoolTest, ExtendTakesWhatLiesBehind) {
  bool clean = false;
  char* base = pool_.Take(2).base;
  EXPECT_TRUE(pool_.Extend(base, 2, 3, &clean));
  EXPECT_TRUE(clean);
  EXPECT_EQ(pool_.usage().used_units, 5u);
  char* next = pool_.Take(1).base;
  EXPECT_EQ(next, base + 5 * kUnitBytes);
  EXPECT_FALSE(pool_.Extend(base, 5, 1, &clean));
  // Nor behind the end of the region.
  EXPECT_FALSE(pool_.Extend(next, 1, kRegionUnits, &clean));
}

TEST_F(PagePoolTest, TrimGivesPagesBackAndTheyReadAsZero) {
  char* base = TakeAndUse(2);
  Give(base, 2);
  EXPECT_EQ(ResidentPages(base, 2 * kUnitBytes), 32u);
  EXPECT_EQ(pool_.Trim(), 2u);
  EXPECT_EQ(ResidentPages(base, 2 * kUnitBytes), 0u);
  PagePool::Run run = pool_.Take(2);
  EXPECT_EQ(run.base, base);
  EXPECT_TRUE(run.clean);
  EXPECT_TRUE(IsZero(base, 2 * kUnitBytes));
}

TEST_F(PagePoolTest, MuchThatIsFreedGoesBackAtOnce) {
  char* base = TakeAndUse(40);
  EXPECT_EQ(ResidentPages(base, 40 * kUnitBytes), 640u);
  Give(base, 40);
  EXPECT_EQ(pool_.usage().ready_units, kReadyUnits);
  EXPECT_EQ(ResidentPages(base, 40 * kUnitBytes), kReadyUnits * 16);
  EXPECT_EQ(ResidentPages(base, kReadyUnits * kUnitBytes), kReadyUnits * 16);
}

TEST_F(PagePoolTest, ASixteenthOfWhatIsUsedStaysReady) {
  for (int i = 0; i < 4; ++i) pool_.Take(256);
  Give(TakeAndUse(60), 60);
  EXPECT_EQ(pool_.usage().ready_units, 60u);
  Give(TakeAndUse(100), 100);
  EXPECT_EQ(pool_.usage().ready_units, 64u);
}

TEST_F(PagePoolTest, SoMuchGoesBackAtOnceInAPeriodAndNoMore) {
  for (int i = 0; i < 50; ++i) Give(TakeAndUse(32), 32, 1000 + i);
  EXPECT_EQ(pool_.usage().returned_units, kAtOnceUnits);
  EXPECT_EQ(pool_.usage().ready_units, 32u);
  Give(TakeAndUse(40), 40, 1000 + kDecayMillis);
  EXPECT_EQ(pool_.usage().ready_units, kReadyUnits);
}

TEST_F(PagePoolTest, ArenasLeaveToLargeBlocksWhatTheseGaveBack) {
  char* arena = TakeAndUse(1);
  char* run = TakeAndUse(3);
  TakeAndUse(kRunUnits * 16);  // so much that all this is little
  Give(run, 3);
  EXPECT_EQ(pool_.TakeReady().base, nullptr);
  pool_.GiveArenas(&arena, 1, 0);
  EXPECT_EQ(pool_.TakeReady().base, arena);
  EXPECT_EQ(pool_.TakeReady().base, nullptr);
  EXPECT_EQ(pool_.Take(3).base, run);
  // There may be too much of it.
  char* long_run = TakeAndUse(kRunUnits + 1);
  TakeAndUse(kRunUnits * 16);
  Give(long_run, kRunUnits + 1);
  EXPECT_EQ(pool_.TakeReady().base, long_run);
  EXPECT_EQ(pool_.TakeReady().base, nullptr);
}

TEST_F(PagePoolTest, TakeCleanLeavesWhatIsReady) {
  char* ready = TakeAndUse(1);
  Give(ready, 1);
  PagePool::Run run = pool_.TakeClean();
  ASSERT_NE(run.base, nullptr);
  EXPECT_NE(run.base, ready);
  EXPECT_TRUE(run.clean);
  EXPECT_EQ(pool_.usage().ready_units, 1u);
  // No region is made for its sake.
  PagePool empty;
  EXPECT_EQ(empty.TakeClean().base, nullptr);
}

TEST_F(PagePoolTest, WhatIsNotNeededDecays) {
  std::vector<char*> bases;
  for (int i = 0; i < 4; ++i) pool_.Take(256);  // so much that 64 are few
  for (int i = 0; i < 64; ++i) bases.push_back(TakeAndUse(1));
  char* kept = TakeAndUse(1);
  int64_t now = 1000;
  pool_.GiveArenas(bases.data(), bases.size(), now);
  EXPECT_EQ(pool_.usage().ready_units, 64u);
  uint64_t before = 64;
  // One unit goes out and comes back now and then; the rest shrinks.
  for (int i = 0; i < 20; ++i) {
    now += kDecayMillis;
    char* base = pool_.Take(1).base;
    Give(base, 1, now);
    uint64_t ready = pool_.usage().ready_units;
    EXPECT_LE(ready, before);
    before = ready;
  }
  EXPECT_LE(before, 1u);
  EXPECT_GE(pool_.usage().returned_units, 63u);
  EXPECT_EQ(kept[0], 1);
}

TEST_F(PagePoolTest, ReadyUnitsThatAreOfNoUseDoNotAddToThePeak) {
  while (pool_.usage().returned_units < kAtOnceUnits) Give(TakeAndUse(64), 64);
  uint64_t peak = pool_.usage().peak_units;
  std::vector<char*> bases;
  for (uint32_t i = 0; i < 200; ++i) bases.push_back(TakeAndUse(1));
  ASSERT_LT(peak, 200u);
  // Every second unit is free: no run of two is.
  for (size_t i = 0; i < bases.size(); i += 2) Give(bases[i], 1);
  EXPECT_EQ(pool_.usage().ready_units, 100u);
  for (int i = 0; i < 50; ++i) TakeAndUse(2);
  PagePool::Usage usage = pool_.usage();
  EXPECT_EQ(usage.used_units, 200u);
  EXPECT_EQ(usage.peak_units, 200u);
  EXPECT_LE(usage.ready_units, kSlackUnits);
}

TEST_F(PagePoolTest, PreparedUnitsHavePagesAlready) {
  char* first = pool_.Take(1).base;
  pool_.Prepare(4);
  PagePool::Usage usage = pool_.usage();
  EXPECT_EQ(usage.ready_units, 4u);
  EXPECT_EQ(usage.used_units, 1u);
  EXPECT_EQ(usage.peak_units, 1u);
  PagePool::Run run = pool_.Take(4);
  EXPECT_EQ(run.base, first + kUnitBytes);
  EXPECT_FALSE(run.clean);
  EXPECT_EQ(ResidentPages(run.base, 4 * kUnitBytes), 64u);
}

TEST_F(PagePoolTest, AThreadKeepsTheReserveFull) {
  Give(pool_.Take(1).base, 1);
  std::thread refill([this] {
    while (pool_.WaitForDemand(8)) pool_.Prepare(8);
  });
  std::vector<char*> bases;
  for (int i = 0; i < 300; ++i) bases.push_back(TakeAndUse(1));
  pool_.Stop();
  refill.join();
  EXPECT_EQ(std::set<char*>(bases.begin(), bases.end()).size(), bases.size());
  EXPECT_EQ(pool_.usage().used_units, 300u);
  EXPECT_LE(pool_.usage().ready_units, 8u);
}

TEST_F(PagePoolTest, ManyThreadsGetUnitsOfTheirOwn) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (uint32_t i = 0; i < 500; ++i) {
        uint32_t units = 1 + i % 4;
        char* base = pool_.Take(units).base;
        base[0] = static_cast<char>(t);
        base[units * kUnitBytes - 1] = static_cast<char>(i);
        ASSERT_EQ(base[0], static_cast<char>(t));
        ASSERT_EQ(base[units * kUnitBytes - 1], static_cast<char>(i));
        Give(base, units, i);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(pool_.usage().used_units, 0u);
}

TEST(Blocks, AreMappedRemappedAndUnmapped) {
  constexpr size_t kBytes = size_t{40} << 20;
  char* base = MapBlock(kBytes);
  ASSERT_NE(base, nullptr);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(base) % kRegionBytes, 0u);
  base[0] = 1;
  base[kBytes - 1] = 2;
  EXPECT_TRUE(IsOurs(base + kBytes - 1));
  char* moved = RemapBlock(base, kBytes, 2 * kBytes);
  ASSERT_NE(moved, nullptr);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(moved) % kRegionBytes, 0u);
  EXPECT_EQ(moved[0], 1);
  EXPECT_EQ(moved[kBytes - 1], 2);
  EXPECT_TRUE(IsOurs(moved + 2 * kBytes - 1));
  UnmapBlock(moved, 2 * kBytes);
  EXPECT_FALSE(IsOurs(moved + 1));
}

}  // namespace
}  // namespace f3::hwalloc
