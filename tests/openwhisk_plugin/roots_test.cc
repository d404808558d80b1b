#include "openwhisk_plugin/roots.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <thread>
#include <vector>

#include "common/clock.h"
#include "common/mutex.h"
#include "tests/common/status_matchers.h"
#include "tests/common/temp_dir.h"

namespace f3::openwhisk {
namespace {

TEST(RootSpecTest, SaysWhereAndHow) {
  MountHint mount;
  Hints hints;
  hints.classes = {{"*.tmp", meta::CLASS_EPHEMERAL}};
  hints.outputs = {"out/*"};
  hints.follow = true;
  hints.ttl_s = 9;
  RootSpec spec = MakeRootSpec(mount, hints, "guest", "a", "w1");
  EXPECT_EQ(spec.subtree, "openwhisk/guest");
  EXPECT_EQ(spec.ttl_s, 9u);
  EXPECT_TRUE(spec.follow);
  ASSERT_EQ(spec.class_rules.size(), 2u);
  EXPECT_EQ(spec.class_rules[0], std::make_pair(std::string("out/*"), meta::CLASS_DURABLE));
  EXPECT_EQ(spec.class_rules[1].first, "*.tmp");
  mount.lifetime = Lifetime::kWorkflow;
  EXPECT_EQ(MakeRootSpec(mount, hints, "guest", "a", "w1").subtree,
            "openwhisk/guest/.workflows/w1");
}

TEST(RootSpecTest, HintsOfNewFilesMakeNoDifferenceWhereNoneIsMade) {
  MountHint mount;
  mount.read_only = true;
  Hints hints;
  hints.classes = {{"*", meta::CLASS_EPHEMERAL}};
  hints.ttl_s = 9;
  EXPECT_EQ(MakeRootSpec(mount, hints, "n", "a", ""), MakeRootSpec(mount, Hints(), "n", "a", ""));
  hints.follow = true;
  EXPECT_NE(MakeRootSpec(mount, hints, "n", "a", ""), MakeRootSpec(mount, Hints(), "n", "a", ""));
}

TEST(RootKeyTest, DiffersWithEveryField) {
  RootSpec base{"v", "s", false, {{"a", meta::CLASS_DURABLE}}, false, 1, "n", "x"};
  std::vector<RootSpec> others(11, base);
  others[0].volume = "w";
  others[1].subtree = "t";
  others[2].read_only = true;
  others[3].class_rules[0].first = "b";
  others[4].class_rules[0].second = meta::CLASS_EPHEMERAL;
  others[5].class_rules.emplace_back("a", meta::CLASS_DURABLE);
  others[6].follow = true;
  others[7].ttl_s = 11;
  others[8].volume = "vs";
  others[8].subtree = "";
  others[9].name_space = "m";
  others[10].action = "";
  std::set<std::string> keys = {RootKey(base)};
  for (const RootSpec& other : others) {
    EXPECT_EQ(RootKey(other).size(), 32u);
    EXPECT_TRUE(keys.insert(RootKey(other)).second);
  }
  EXPECT_EQ(RootKey(base), RootKey(RootSpec(base)));
}

TEST(RootKeyTest, TheOrderOfRulesCounts) {
  RootSpec a{"v",   "s", false, {{"a", meta::CLASS_DURABLE}, {"*", meta::CLASS_EPHEMERAL}},
             false, 0,   "",    ""};
  RootSpec b = a;
  std::swap(b.class_rules[0], b.class_rules[1]);
  EXPECT_NE(RootKey(a), RootKey(b));
}

class RootsTest : public ::testing::Test {
 protected:
  RootsTest() : roots_(MakeOptions()) { EXPECT_OK(roots_.Start()); }

  Roots::Options MakeOptions() {
    Roots::Options options;
    options.dir = dir_ / "roots";
    options.clock = &clock_;
    options.make_subtree = [this](const RootSpec&) { return subtree_; };
    options.mount = [this](const fs::MountOptions& mount) {
      MutexLock lock(mutex_);
      if (!mounted_.insert(mount.dir).second) return Status::Busy("mounted twice");
      ++mounts_;
      return Status();
    };
    options.unmount = [this](const std::string& dir) {
      MutexLock lock(mutex_);
      return mounted_.erase(dir) == 1 ? Status() : Status::NotFound("not mounted");
    };
    return options;
  }
  static RootSpec Spec(int i) {
    return {"v", "s" + std::to_string(i), false, {}, false, 0, "", ""};
  }
  size_t mounted() {
    MutexLock lock(mutex_);
    return mounted_.size();
  }
  int mounts() {
    MutexLock lock(mutex_);
    return mounts_;
  }

  TempDir dir_;
  ManualClock clock_;
  Status subtree_;
  Mutex mutex_;
  std::set<std::string> mounted_ F3_GUARDED_BY(mutex_);
  int mounts_ F3_GUARDED_BY(mutex_) = 0;
  Roots roots_;
};

TEST_F(RootsTest, OneMountForAllThatWantTheSame) {
  auto a = roots_.Acquire(Spec(1)), b = roots_.Acquire(Spec(1)), c = roots_.Acquire(Spec(2));
  ASSERT_OK(a);
  ASSERT_OK(b);
  ASSERT_OK(c);
  EXPECT_EQ(*a, *b);
  EXPECT_NE(*a, *c);
  EXPECT_EQ(mounts(), 2);
}

TEST_F(RootsTest, AnUnusedRootStaysForAWhile) {
  auto key = roots_.Acquire(Spec(1));
  ASSERT_OK(key);
  roots_.Release(*key);
  roots_.Sweep();
  EXPECT_EQ(mounted(), 1u);
  ASSERT_OK(roots_.Acquire(Spec(1)));
  EXPECT_EQ(mounts(), 1);
  clock_.AdvanceMicros(2 * Roots::kKeepMicros);
  roots_.Sweep();
  EXPECT_EQ(mounted(), 1u) << "it is used";
  roots_.Release(*key);
  clock_.AdvanceMicros(Roots::kKeepMicros);
  roots_.Sweep();
  EXPECT_EQ(mounted(), 0u);
  EXPECT_FALSE(std::filesystem::exists(roots_.DirOf(*key)));
}

TEST_F(RootsTest, FewUnusedOnesStay) {
  for (int i = 0; i < 20; ++i) {
    auto key = roots_.Acquire(Spec(i));
    ASSERT_OK(key);
    clock_.AdvanceMicros(1);
    roots_.Release(*key);
  }
  roots_.Sweep();
  EXPECT_EQ(mounted(), Roots::kKeepCount);
  ASSERT_OK(roots_.Acquire(Spec(19)));
  EXPECT_EQ(mounts(), 20) << "the most recent ones stay";
}

TEST_F(RootsTest, TheEndOfAWorkflowWaitsForNothing) {
  auto unused = roots_.Acquire(Spec(1)), used = roots_.Acquire(Spec(2));
  ASSERT_OK(unused);
  ASSERT_OK(used);
  roots_.Release(*unused);
  roots_.Drop("s1");
  roots_.Drop("s2");
  EXPECT_EQ(mounted(), 1u);
}

TEST_F(RootsTest, AFailureLeavesNothing) {
  subtree_ = Status::NotFound("there is no volume");
  EXPECT_CODE(roots_.Acquire(Spec(1)), kNotFound);
  subtree_ = Status();
  ASSERT_OK(roots_.Acquire(Spec(1)));
  roots_.Clear();
  EXPECT_EQ(mounted(), 0u);
  EXPECT_TRUE(std::filesystem::is_empty(dir_ / "roots"));
}

TEST_F(RootsTest, ThreadsShareMounts) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 200; ++i) {
        auto key = roots_.Acquire(Spec((t + i) % 3));
        EXPECT_OK(key);
        if (key.ok()) roots_.Release(*key);
        if (i % 10 == 0) roots_.Drop("s" + std::to_string(i % 3));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  roots_.Clear();
  EXPECT_EQ(mounted(), 0u);
}

}  // namespace
}  // namespace f3::openwhisk
