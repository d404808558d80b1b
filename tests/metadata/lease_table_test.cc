#include "metadata/lease_table.h"

#include <gtest/gtest.h>

namespace f3::meta {
namespace {

constexpr Ino kFile = 5;

LeaseTable::Items Change(Ino ino) {
  Invalidate::Item item;
  item.set_ino(ino);
  item.set_attr(true);
  return {item};
}

class LeaseTableTest : public ::testing::Test {
 protected:
  // Whom a change by `caller` has to ask.
  LeaseTable::Notices Asked(LeaseTable::Holder caller) {
    const LeaseTable::Items items = Change(kFile);
    auto notices = leases_.Begin(caller, items);
    leases_.End(items, 0);
    return notices;
  }

  LeaseTable leases_;
};

TEST_F(LeaseTableTest, OtherSessionsAreAskedOnceHoweverManyMountsTheyHave) {
  ASSERT_TRUE(leases_.Grant({1, 1}, kFile, 0));
  ASSERT_TRUE(leases_.Grant({1, 2}, kFile, 0));
  auto asked = Asked({2, 1});
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_EQ(asked[1].items_size(), 1);
  EXPECT_EQ(asked[1].except_mount(), 0u);
}

TEST_F(LeaseTableTest, AnotherMountOfTheCallersSessionIsAsked) {
  ASSERT_TRUE(leases_.Grant({1, 1}, kFile, 0));
  EXPECT_TRUE(Asked({1, 1}).empty());
  ASSERT_TRUE(leases_.Grant({1, 2}, kFile, 0));
  auto asked = Asked({1, 1});
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_EQ(asked[1].except_mount(), 1u);
}

TEST_F(LeaseTableTest, ASessionsOwnRequestsAskNoneOfItsMounts) {
  ASSERT_TRUE(leases_.Grant({1, 1}, kFile, 0));
  ASSERT_TRUE(leases_.Grant({1, 0}, kFile, 0));
  EXPECT_TRUE(Asked({1, 0}).empty());
  EXPECT_TRUE(Asked({1, 1}).empty());
}

TEST_F(LeaseTableTest, TheLastMountsLeaseTakesTheSessionsOwnWithIt) {
  ASSERT_TRUE(leases_.Grant({1, 0}, kFile, 0));
  ASSERT_TRUE(leases_.Grant({1, 1}, kFile, 0));
  ASSERT_TRUE(leases_.Grant({1, 2}, kFile, 0));
  leases_.Forget({1, 1}, kFile);
  EXPECT_EQ(Asked({2, 0}).size(), 1u);
  leases_.Forget({1, 2}, kFile);
  EXPECT_TRUE(Asked({2, 0}).empty());
  EXPECT_EQ(leases_.size(), 0u);
}

TEST_F(LeaseTableTest, NothingIsGrantedWhileItChangesOrFromBefore) {
  const LeaseTable::Items items = Change(kFile);
  leases_.Begin({1, 1}, items);
  EXPECT_FALSE(leases_.Grant({2, 1}, kFile, 100));
  leases_.End(items, 7);
  EXPECT_FALSE(leases_.Grant({2, 1}, kFile, 6));
  EXPECT_TRUE(leases_.Grant({2, 1}, kFile, 7));
}

TEST_F(LeaseTableTest, WithTheSessionGoEveryMountsLeases) {
  ASSERT_TRUE(leases_.Grant({1, 1}, kFile, 0));
  ASSERT_TRUE(leases_.Grant({1, 2}, kFile + 1, 0));
  leases_.ForgetAll(1);
  EXPECT_EQ(leases_.size(), 0u);
  EXPECT_TRUE(Asked({2, 0}).empty());
}

}  // namespace
}  // namespace f3::meta
