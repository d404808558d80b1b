#include "cli/mounts.h"

#include <gtest/gtest.h>

namespace f3::cli {
namespace {

TEST(MountInfoTest, Parses) {
  auto mounts = ParseMountInfo(
      "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
      "80 22 0:45 / /x/a\\040b rw,nosuid shared:3 master:1 - fuse.f3 f3:default rw,user_id=0\n"
      "81 22 0:46 / /x/t rw - tmpfs f3-memory rw,size=65536k\n"
      "broken line\n");
  ASSERT_EQ(mounts.size(), 3u);
  EXPECT_EQ(mounts[0].dir, "/");
  EXPECT_EQ(mounts[0].type, "ext4");
  EXPECT_EQ(mounts[1].dir, "/x/a b");
  EXPECT_EQ(mounts[1].source, "f3:default");
  EXPECT_EQ(mounts[1].device, "0:45");
  EXPECT_TRUE(IsF3(mounts[1]));
  EXPECT_FALSE(IsF3(mounts[2]));
}

TEST(MountInfoTest, TheRootIsMountedAndANonsensePathIsNot) {
  EXPECT_EQ(MountAt("/proc").type, "proc");
  EXPECT_EQ(MountAt("/nonexistent/dir").dir, "");
  EXPECT_EQ(F3MountOf("/proc/self").dir, "");
}

TEST(DetachTest, LeavesOtherKindsOfMountsAlone) {
  EXPECT_TRUE(Detach("/proc", "fuse").ok());
  EXPECT_TRUE(Detach("/proc", "tmpfs").ok());
  EXPECT_EQ(MountAt("/proc").type, "proc");
}

}  // namespace
}  // namespace f3::cli
