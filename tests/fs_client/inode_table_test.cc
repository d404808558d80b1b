#include "fs_client/inode_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

namespace f3::fs {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr Ino kRoot = (1ull << 40) + 1;
constexpr Ino kFile = (1ull << 40) + 2;

TEST(InodeTableTest, TheRootIsNodeOneAndNeverForgotten) {
  InodeTable table(kRoot);
  EXPECT_EQ(table.Remember(kRoot), InodeTable::kRootNode);
  EXPECT_EQ(table.ToIno(InodeTable::kRootNode), kRoot);
  EXPECT_FALSE(table.Forget(InodeTable::kRootNode, 1));
  table.MakeAlias(InodeTable::kRootNode);
  EXPECT_EQ(table.Remember(kRoot), InodeTable::kRootNode);
  EXPECT_TRUE(table.Known(kRoot));
  EXPECT_THAT(table.NodesOf(kRoot), ElementsAre(InodeTable::kRootNode));
  EXPECT_THAT(table.All(), ElementsAre(InodeTable::kRootNode));
}

TEST(InodeTableTest, ANodeIsTheInodeNumber) {
  InodeTable table(kRoot);
  EXPECT_EQ(table.Remember(kFile), kFile);
  EXPECT_EQ(table.ToIno(kFile), kFile);
  // Also of what nobody remembers, for file handles.
  EXPECT_EQ(table.ToIno(kFile + 1), kFile + 1);
}

TEST(InodeTableTest, LastsAsLongAsLookupsAreOut) {
  InodeTable table(kRoot);
  EXPECT_FALSE(table.Known(kFile));
  table.Remember(kFile);
  table.Remember(kFile);
  table.Remember(kFile);
  EXPECT_FALSE(table.Forget(kFile, 2));
  EXPECT_TRUE(table.Known(kFile));
  EXPECT_TRUE(table.Forget(kFile, 1));
  EXPECT_FALSE(table.Known(kFile));
  EXPECT_THAT(table.NodesOf(kFile), IsEmpty());
  EXPECT_FALSE(table.Forget(kFile, 1));
}

TEST(InodeTableTest, GivingBackMoreThanThereWasEndsTheNode) {
  InodeTable table(kRoot);
  table.Remember(kFile);
  EXPECT_TRUE(table.Forget(kFile, UINT64_MAX));
  EXPECT_FALSE(table.Known(kFile));
}

TEST(InodeTableTest, AnAliasIsAnotherNodeOfTheSameInode) {
  InodeTable table(kRoot);
  table.Remember(kFile);
  table.MakeAlias(kFile);
  const uint64_t alias = table.Remember(kFile);
  EXPECT_NE(alias, kFile);
  EXPECT_NE(alias, InodeTable::kRootNode);
  EXPECT_EQ(table.ToIno(alias), kFile);
  EXPECT_THAT(table.NodesOf(kFile), UnorderedElementsAre(kFile, alias));
  EXPECT_THAT(table.All(), UnorderedElementsAre(InodeTable::kRootNode, kFile, alias));

  EXPECT_FALSE(table.Forget(kFile, 1));
  EXPECT_THAT(table.NodesOf(kFile), ElementsAre(alias));
  EXPECT_TRUE(table.Forget(alias, 1));
  EXPECT_FALSE(table.Known(kFile));
}

TEST(InodeTableTest, TwoThatAskForAnAliasOfOneNodeGetOne) {
  InodeTable table(kRoot);
  table.Remember(kFile);
  table.MakeAlias(kFile);
  const uint64_t alias = table.Remember(kFile);
  table.MakeAlias(kFile);
  EXPECT_EQ(table.Remember(kFile), alias);
  table.MakeAlias(alias);
  EXPECT_NE(table.Remember(kFile), alias);
}

TEST(InodeTableTest, AliasesComeRoundToTheInodeNumber) {
  InodeTable table(kRoot);
  uint64_t node = table.Remember(kFile);
  std::vector<uint64_t> seen;
  do {
    EXPECT_THAT(seen, testing::Not(testing::Contains(node)));
    EXPECT_EQ(table.ToIno(node), kFile);
    seen.push_back(node);
    table.MakeAlias(node);
    node = table.Remember(kFile);
  } while (node != kFile);
  EXPECT_EQ(seen.size(), 15u);
  EXPECT_THAT(table.NodesOf(kFile), testing::UnorderedElementsAreArray(seen));
}

TEST(InodeTableTest, AnInodeThatWasForgottenBeginsWithItsNumberAgain) {
  InodeTable table(kRoot);
  table.Remember(kFile);
  table.MakeAlias(kFile);
  table.Forget(kFile, 1);
  EXPECT_EQ(table.Remember(kFile), kFile);
}

TEST(InodeTableTest, ANoticeIsDueOnlyWhereTheKernelKeepsAttributes) {
  for (Ino ino : {kRoot, kFile}) {
    InodeTable table(kRoot);
    table.Remember(ino);
    EXPECT_EQ(table.AttrKept(ino), 0u);
    table.KeepAttr(ino);
    const uint64_t kept = table.AttrKept(ino);
    EXPECT_NE(kept, 0u);
    EXPECT_EQ(table.AttrKept(ino), kept);  // the first notice may not have been sent yet
    table.AttrDropped(ino, kept);
    EXPECT_EQ(table.AttrKept(ino), 0u);
  }
}

TEST(InodeTableTest, WhatIsKeptAfterAnInvalidationOutlivesItsNotice) {
  for (Ino ino : {kRoot, kFile}) {
    InodeTable table(kRoot);
    table.Remember(ino);
    table.KeepAttr(ino);
    const uint64_t kept = table.AttrKept(ino);
    table.KeepAttr(ino);
    table.AttrDropped(ino, kept);
    EXPECT_NE(table.AttrKept(ino), 0u);
  }
}

TEST(InodeTableTest, OneInodesNoticeTakesNothingOfAnothers) {
  InodeTable table(kRoot);
  for (Ino ino = kFile; ino < kFile + 50'000; ++ino) {
    table.Remember(ino);
    table.KeepAttr(ino);
  }
  table.AttrDropped(kFile, table.AttrKept(kFile));
  for (Ino ino = kFile + 1; ino < kFile + 50'000; ++ino) ASSERT_NE(table.AttrKept(ino), 0u);
  EXPECT_EQ(table.AttrKept(kFile), 0u);
}

TEST(InodeTableTest, WhatTheKernelHasForgottenIsNotKept) {
  InodeTable table(kRoot);
  table.KeepAttr(kFile);
  EXPECT_EQ(table.AttrKept(kFile), 0u);
  table.Remember(kFile);
  table.KeepAttr(kFile);
  table.Forget(kFile, 1);
  EXPECT_EQ(table.AttrKept(kFile), 0u);
}

TEST(InodeTableTest, CountsAreExactWithSeveralThreads) {
  constexpr int kRounds = 10'000;
  InodeTable table(kRoot);
  table.Remember(kFile);
  auto work = [&table] {
    for (int i = 0; i < kRounds; ++i) {
      EXPECT_FALSE(table.Forget(table.Remember(kFile), 1));
    }
  };
  std::thread other(work);
  work();
  other.join();
  EXPECT_TRUE(table.Forget(kFile, 1));
}

}  // namespace
}  // namespace f3::fs
