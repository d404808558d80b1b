// The hardware page allocator.
#include "hwalloc/model/page_pool.h"

#include <gtest/gtest.h>

namespace f3::hwmodel {
namespace {

constexpr uint64_t kPage = 4096;

TEST(PagePool, APageIsTakenOnce) {
  PagePool pool;
  EXPECT_EQ(pool.Back(0x10000), kPoolTakeCycles);
  EXPECT_EQ(pool.Back(0x10fff), 0u);
  EXPECT_EQ(pool.Back(0x11000), kPoolTakeCycles);
  EXPECT_EQ(pool.backed_pages(), 2u);
  EXPECT_EQ(pool.taken_pages(), 2u);
}

TEST(PagePool, IsRefilledWhenHalfIsGone) {
  PagePool pool;
  uint64_t cycles = 0;
  uint32_t taken = kPoolPages / 2 + 1;
  for (uint32_t i = 0; i < taken; ++i) cycles += pool.Back(i * kPage);
  EXPECT_EQ(pool.refills(), 1u);
  EXPECT_EQ(cycles, taken * kPoolTakeCycles + kRefillCycles + taken * kRefillPageCycles);
  EXPECT_EQ(pool.Back(taken * kPage), kPoolTakeCycles);
}

TEST(PagePool, AReleasedArenaGivesItsPagesBackToThePool) {
  PagePool pool;
  pool.Back(hwalloc::kUnitBytes);
  pool.Back(hwalloc::kUnitBytes + 5 * kPage);
  pool.Back(2 * hwalloc::kUnitBytes);
  EXPECT_EQ(pool.Release(hwalloc::kUnitBytes), 2 * kPoolReturnCycles);
  EXPECT_EQ(pool.backed_pages(), 1u);
  EXPECT_EQ(pool.peak_pages(), 3u);
  EXPECT_EQ(pool.Back(hwalloc::kUnitBytes), kPoolTakeCycles);
  EXPECT_DOUBLE_EQ(pool.ExitCycles(), 2.0 * kPoolReturnCycles);
}

TEST(PagePool, PagesInUseAgainAndAgainNeedNoRefill) {
  PagePool pool;
  for (int round = 0; round < 100; ++round) {
    for (uint64_t i = 0; i < 8; ++i) pool.Back(i * kPage);
    pool.Release(0);
  }
  EXPECT_EQ(pool.taken_pages(), 800u);
  EXPECT_EQ(pool.refills(), 0u);
}

}  // namespace
}  // namespace f3::hwmodel
