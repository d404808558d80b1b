#include "fs_client/fresh_attrs.h"

#include <gtest/gtest.h>
#include <linux/fuse.h>

namespace f3::fs {
namespace {

constexpr Ino kDirectory = 7, kFile = 9;

meta::Attr AttrOf(Ino ino, uint64_t size = 0) {
  meta::Attr attr;
  attr.set_ino(ino);
  attr.set_size(size);
  return attr;
}

TEST(FreshAttrsTest, AFileIsKnownWhileItIsOnlyWritten) {
  FreshAttrs fresh;
  fresh.AddMade(AttrOf(kFile, 3));
  for (uint32_t opcode : {FUSE_GETATTR, FUSE_GETXATTR, FUSE_WRITE, FUSE_LOOKUP}) {
    fresh.Asked(opcode, kFile);
    ASSERT_TRUE(fresh.Find(kFile)) << opcode;
  }
  EXPECT_EQ(fresh.Find(kFile)->size(), 3u);
  EXPECT_TRUE(fresh.Made(kFile));
  fresh.Asked(FUSE_FLUSH, kFile);
  EXPECT_FALSE(fresh.Find(kFile));
  EXPECT_FALSE(fresh.Made(kFile));
}

TEST(FreshAttrsTest, ADirectoryIsKnownUntilItChangesAgain) {
  FreshAttrs fresh;
  fresh.Asked(FUSE_CREATE, kDirectory);
  fresh.AddChanged(AttrOf(kDirectory, 1), fresh.Now());
  EXPECT_EQ(fresh.Find(kDirectory)->size(), 1u);
  EXPECT_FALSE(fresh.Made(kDirectory)) << "it may have capabilities";
  fresh.Asked(FUSE_LOOKUP, kDirectory);
  EXPECT_TRUE(fresh.Find(kDirectory));
  for (uint32_t opcode : {FUSE_CREATE, FUSE_MKDIR, FUSE_UNLINK, FUSE_RMDIR, FUSE_RENAME2,
                          FUSE_SETATTR, FUSE_SETXATTR, FUSE_FORGET}) {
    fresh.AddChanged(AttrOf(kDirectory), fresh.Now());
    ASSERT_TRUE(fresh.Find(kDirectory));
    fresh.Asked(opcode, kDirectory);
    ASSERT_FALSE(fresh.Find(kDirectory)) << opcode;
  }
}

// The caller of the first request was killed, so that the kernel sent a second one before the
// first one's reply had come.
TEST(FreshAttrsTest, AReplyThatOthersHaveOvertakenIsNotKept) {
  FreshAttrs fresh;
  const uint64_t first = fresh.Now();
  fresh.Asked(FUSE_SETATTR, kDirectory);
  fresh.AddChanged(AttrOf(kDirectory), first);
  EXPECT_FALSE(fresh.Find(kDirectory));

  const uint64_t second = fresh.Now();
  fresh.Clear();
  fresh.AddChanged(AttrOf(kDirectory), second);
  EXPECT_FALSE(fresh.Find(kDirectory));

  // What happens to others is no matter.
  const uint64_t third = fresh.Now();
  fresh.Drop(kFile);
  fresh.AddChanged(AttrOf(kDirectory), third);
  EXPECT_TRUE(fresh.Find(kDirectory));
}

TEST(FreshAttrsTest, ARemovalMayChangeAnyFile) {
  FreshAttrs fresh;
  for (uint32_t opcode : {FUSE_UNLINK, FUSE_RMDIR, FUSE_RENAME, FUSE_RENAME2, FUSE_LINK}) {
    fresh.AddMade(AttrOf(kFile));
    fresh.Asked(opcode, kDirectory);
    EXPECT_FALSE(fresh.Find(kFile)) << opcode;
  }
}

TEST(FreshAttrsTest, TheirNumberIsBounded) {
  FreshAttrs fresh;
  for (Ino ino = 1; ino <= 10'000; ++ino) fresh.AddMade(AttrOf(ino));
  size_t known = 0;
  for (Ino ino = 1; ino <= 10'000; ++ino) known += fresh.Find(ino).has_value() ? 1 : 0;
  EXPECT_LE(known, 4096u);
  EXPECT_TRUE(fresh.Find(10'000));
}

}  // namespace
}  // namespace f3::fs
