#include "fs_client/class_rules.h"

#include <gtest/gtest.h>

namespace f3::fs {
namespace {

constexpr Ino kRoot = 7;
using meta::CLASS_DURABLE;
using meta::CLASS_EPHEMERAL;
using meta::CLASS_UNSET;

MountOptions With(std::vector<std::pair<std::string, meta::FileClass>> rules) {
  MountOptions mount;
  mount.class_rules = std::move(rules);
  return mount;
}

TEST(ClassRulesTest, TheFirstGlobThatFitsTheNameDecides) {
  const MountOptions mount = With({{"keep.tmp", CLASS_DURABLE}, {"*.tmp", CLASS_EPHEMERAL}});
  ClassRules rules(mount, kRoot);
  EXPECT_EQ(rules.Of(kRoot, "a.tmp"), CLASS_EPHEMERAL);
  EXPECT_EQ(rules.Of(99, "a.tmp"), CLASS_EPHEMERAL);
  EXPECT_EQ(rules.Of(kRoot, "keep.tmp"), CLASS_DURABLE);
  EXPECT_EQ(rules.Of(kRoot, "a.txt"), CLASS_UNSET);
}

TEST(ClassRulesTest, WithoutAFitTheMountsClassIsTaken) {
  MountOptions mount = With({{"*.tmp", CLASS_DURABLE}});
  mount.file_class = CLASS_EPHEMERAL;
  EXPECT_EQ(ClassRules(mount, kRoot).Of(kRoot, "a"), CLASS_EPHEMERAL);
}

TEST(ClassRulesTest, AGlobWithASlashIsMatchedFromTheRoot) {
  const MountOptions mount = With({{"out/*", CLASS_DURABLE}, {"*", CLASS_EPHEMERAL}});
  ClassRules rules(mount, kRoot);
  rules.Placed(10, kRoot, "out");
  rules.Placed(11, 10, "deep");
  rules.Placed(12, 11, "out");
  EXPECT_EQ(rules.Of(10, "a"), CLASS_DURABLE);
  EXPECT_EQ(rules.Of(11, "a"), CLASS_EPHEMERAL) << "a star does not cross a slash";
  EXPECT_EQ(rules.Of(12, "a"), CLASS_EPHEMERAL);
  EXPECT_EQ(rules.Of(kRoot, "out"), CLASS_EPHEMERAL);
}

TEST(ClassRulesTest, DirectoriesMove) {
  const MountOptions mount = With({{"out/*", CLASS_DURABLE}, {"*", CLASS_EPHEMERAL}});
  ClassRules rules(mount, kRoot);
  rules.Placed(10, kRoot, "out");
  rules.Placed(11, kRoot, "in");
  // An exchange of the two.
  rules.Moved(kRoot, "in", kRoot, "out");
  rules.Placed(10, kRoot, "in");
  EXPECT_EQ(rules.Of(11, "a"), CLASS_DURABLE);
  EXPECT_EQ(rules.Of(10, "a"), CLASS_EPHEMERAL);
}

TEST(ClassRulesTest, AnUnknownWayFitsNoGlobWithASlash) {
  const MountOptions mount = With({{"*/*", CLASS_DURABLE}, {"*", CLASS_EPHEMERAL}});
  ClassRules rules(mount, kRoot);
  EXPECT_EQ(rules.Of(10, "a"), CLASS_EPHEMERAL);
  rules.Placed(10, kRoot, "d");
  EXPECT_EQ(rules.Of(10, "a"), CLASS_DURABLE);
  rules.Forgotten(10);
  EXPECT_EQ(rules.Of(10, "a"), CLASS_EPHEMERAL);
}

TEST(ClassRulesTest, ARingEnds) {
  const MountOptions mount = With({{"*/*", CLASS_DURABLE}, {"*", CLASS_EPHEMERAL}});
  ClassRules rules(mount, kRoot);
  rules.Placed(10, 11, "a");
  rules.Placed(11, 10, "b");
  EXPECT_EQ(rules.Of(10, "f"), CLASS_EPHEMERAL);
}

}  // namespace
}  // namespace f3::fs
