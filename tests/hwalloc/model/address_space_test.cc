// Which pages of the allocator's memory have been touched.
#include "hwalloc/model/address_space.h"

#include <gtest/gtest.h>

namespace f3::hwmodel {
namespace {

constexpr uint64_t kPage = 4096;

TEST(AddressSpace, APageIsTouchedOnceAndOnlyWhereTheAllocatorMapped) {
  AddressSpace space;
  space.Map(10 * kPage, 4 * kPage, true);
  space.Map(20 * kPage, 4 * kPage, false);
  EXPECT_TRUE(space.Touch(10 * kPage));
  EXPECT_FALSE(space.Touch(10 * kPage + 4095));
  EXPECT_TRUE(space.Touch(13 * kPage));
  EXPECT_FALSE(space.Touch(14 * kPage));
  EXPECT_FALSE(space.Touch(9 * kPage));
  EXPECT_FALSE(space.Touch(20 * kPage));
  EXPECT_EQ(space.touched_pages(), 2u);
}

TEST(AddressSpace, UnmappingTheMiddleLeavesTheEnds) {
  AddressSpace space;
  space.Map(0x10000, 8 * kPage, true);
  for (uint64_t i = 0; i < 8; ++i) EXPECT_TRUE(space.Touch(0x10000 + i * kPage));
  EXPECT_EQ(space.Unmap(0x10000 + 2 * kPage, 3 * kPage), 3u);
  EXPECT_EQ(space.touched_pages(), 5u);
  EXPECT_FALSE(space.Touch(0x10000 + 3 * kPage));  // not mapped
  EXPECT_FALSE(space.Touch(0x10000 + 6 * kPage));  // touched before
  EXPECT_EQ(space.Unmap(0, 0x100000), 5u);
  EXPECT_EQ(space.touched_pages(), 0u);
}

TEST(AddressSpace, DiscardedPagesCanBeTouchedAgain) {
  AddressSpace space;
  space.Map(0, 4 * kPage, true);
  EXPECT_TRUE(space.Touch(kPage));
  EXPECT_EQ(space.Discard(0, 4 * kPage), 1u);
  EXPECT_TRUE(space.Touch(kPage));
}

TEST(AddressSpace, PartlyCoveredPagesStay) {
  AddressSpace space;
  space.Map(0, 3 * kPage, true);
  for (uint64_t i = 0; i < 3; ++i) EXPECT_TRUE(space.Touch(i * kPage));
  EXPECT_EQ(space.Discard(100, 2 * kPage), 1u);  // only the page between
  EXPECT_TRUE(space.Touch(kPage));
  EXPECT_FALSE(space.Touch(0));
}

TEST(AddressSpace, MappingOverTouchedMemoryMakesItFresh) {
  AddressSpace space;
  space.Map(0, 2 * kPage, true);
  EXPECT_TRUE(space.Touch(0));
  space.Map(0, 2 * kPage, true);
  EXPECT_TRUE(space.Touch(0));
  space.Map(0, kPage, false);
  EXPECT_FALSE(space.Touch(0));
  EXPECT_TRUE(space.Touch(kPage));
}

TEST(AddressSpace, MovedPagesTakeTheirContentsAlong) {
  AddressSpace space;
  space.Map(0x100000, 4 * kPage, true);
  EXPECT_TRUE(space.Touch(0x100000));
  EXPECT_TRUE(space.Touch(0x100000 + 3 * kPage));
  EXPECT_EQ(space.Move(0x100000, 4 * kPage, 0x900000, 2 * kPage), 1u);  // the last page goes
  EXPECT_FALSE(space.Touch(0x100000));
  EXPECT_FALSE(space.Touch(0x900000));
  EXPECT_TRUE(space.Touch(0x900000 + kPage));
  EXPECT_EQ(space.touched_pages(), 2u);
}

TEST(AddressSpace, GrowingInPlaceKeepsWhatWasTouched) {
  AddressSpace space;
  space.Map(0x100000, kPage, true);
  EXPECT_TRUE(space.Touch(0x100000));
  EXPECT_EQ(space.Move(0x100000, kPage, 0x100000, 3 * kPage), 0u);
  EXPECT_FALSE(space.Touch(0x100000));
  EXPECT_TRUE(space.Touch(0x100000 + 2 * kPage));
}

TEST(AddressSpace, EmptyRangesAndTheEndOfMemoryDoNothing) {
  AddressSpace space;
  space.Map(0, 0, true);
  EXPECT_EQ(space.Unmap(0, 0), 0u);
  EXPECT_EQ(space.Unmap(UINT64_MAX - 4095, 4095), 0u);
  EXPECT_FALSE(space.Touch(UINT64_MAX));
}

}  // namespace
}  // namespace f3::hwmodel
