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
  void Give(char* base, uint32_t units, int64_t now = 0) { pool_.Give(&base, 1, units, now); }
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
  char* base = TakeAndUse(8);
  EXPECT_EQ(ResidentPages(base, 8 * kUnitBytes), 128u);
  Give(base, 8);
  EXPECT_EQ(ResidentPages(base, 8 * kUnitBytes), 128u);
  EXPECT_EQ(pool_.Trim(), 8u);
  EXPECT_EQ(ResidentPages(base, 8 * kUnitBytes), 0u);
  PagePool::Run run = pool_.Take(8);
  EXPECT_EQ(run.base, base);
  EXPECT_TRUE(run.clean);
  EXPECT_TRUE(IsZero(base, 8 * kUnitBytes));
}

TEST_F(PagePoolTest, WhatIsNotNeededDecays) {
  std::vector<char*> bases;
  for (int i = 0; i < 64; ++i) bases.push_back(TakeAndUse(1));
  char* kept = TakeAndUse(1);
  int64_t now = 1000;
  pool_.Give(bases.data(), bases.size(), 1, now);
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

TEST_F(PagePoolTest, WithinAPeriodNothingIsGivenBack) {
  for (int i = 0; i < 50; ++i) Give(TakeAndUse(32), 32, 1000 + i);
  EXPECT_EQ(pool_.usage().returned_units, 0u);
}

TEST_F(PagePoolTest, ReadyUnitsThatAreOfNoUseDoNotAddToThePeak) {
  std::vector<char*> bases;
  for (uint32_t i = 0; i < 200; ++i) bases.push_back(TakeAndUse(1));
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
