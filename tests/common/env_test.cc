// The same contract for the real file system and for the one that tests crash.
#include "common/env.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "common/clock.h"
#include "tests/common/fault_env.h"
#include "tests/common/status_matchers.h"
#include "tests/common/temp_dir.h"

namespace f3 {
namespace {

std::span<const std::byte> Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

std::string ReadAll(Env& env, const std::string& path) {
  auto size = env.FileSize(path);
  if (!size.ok()) return size.status().ToString();
  std::string text(static_cast<size_t>(*size), '\0');
  auto n = env.ReadFile(path, 0, std::as_writable_bytes(std::span(text)));
  return n.ok() && *n == text.size() ? text : "short";
}

class EnvTest : public ::testing::TestWithParam<bool> {
 protected:
  Env& env() { return GetParam() ? *Env::Real() : static_cast<Env&>(fault_env_); }
  std::string Root() {
    EXPECT_OK(env().MakeDirs(dir_.path()));
    return dir_.path();
  }
  TempDir dir_;
  FaultEnv fault_env_;
};

INSTANTIATE_TEST_SUITE_P(, EnvTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Real" : "Fault"; });

TEST_P(EnvTest, WritesAFileOnce) {
  const std::string path = Root() + "/file";
  const std::string text = "hello";
  ASSERT_OK(env().WriteNewFile(path, Bytes(text)));
  EXPECT_CODE(env().WriteNewFile(path, Bytes("other")), kExists);
  EXPECT_EQ(ReadAll(env(), path), "hello");
  std::string part(10, '\0');
  auto n = env().ReadFile(path, 3, std::as_writable_bytes(std::span(part)));
  ASSERT_OK(n);
  EXPECT_EQ(part.substr(0, *n), "lo");
  EXPECT_EQ(*env().ReadFile(path, 100, std::as_writable_bytes(std::span(part))), 0u);
}

TEST_P(EnvTest, MissingThingsAreNotFound) {
  const std::string path = Root() + "/missing";
  std::byte byte;
  EXPECT_CODE(env().ReadFile(path, 0, {&byte, 1}), kNotFound);
  EXPECT_CODE(env().FileSize(path), kNotFound);
  EXPECT_CODE(env().RemoveFile(path), kNotFound);
  EXPECT_CODE(env().RemoveDir(path), kNotFound);
  EXPECT_CODE(env().ListDir(path), kNotFound);
  EXPECT_CODE(env().SyncDir(path), kNotFound);
  EXPECT_CODE(env().Rename(path, path + "2"), kNotFound);
  EXPECT_CODE(env().WriteNewFile(path + "/file", Bytes("x")), kNotFound);
}

TEST_P(EnvTest, RenameReplacesAndRenameNewDoesNot) {
  const std::string root = Root();
  ASSERT_OK(env().WriteNewFile(root + "/a", Bytes("a")));
  ASSERT_OK(env().WriteNewFile(root + "/b", Bytes("b")));
  EXPECT_CODE(env().RenameNew(root + "/a", root + "/b"), kExists);
  EXPECT_EQ(ReadAll(env(), root + "/b"), "b");
  ASSERT_OK(env().RenameNew(root + "/a", root + "/c"));
  EXPECT_EQ(ReadAll(env(), root + "/c"), "a");
  ASSERT_OK(env().Rename(root + "/c", root + "/b"));
  EXPECT_EQ(ReadAll(env(), root + "/b"), "a");
  EXPECT_CODE(env().FileSize(root + "/c"), kNotFound);
}

TEST_P(EnvTest, Directories) {
  const std::string root = Root();
  ASSERT_OK(env().MakeDirs(root + "/x/y/z"));
  ASSERT_OK(env().MakeDirs(root + "/x/y/z"));
  ASSERT_OK(env().WriteNewFile(root + "/x/file", Bytes("f")));
  auto names = env().ListDir(root + "/x");
  ASSERT_OK(names);
  std::sort(names->begin(), names->end());
  EXPECT_EQ(*names, (std::vector<std::string>{"file", "y"}));
  EXPECT_CODE(env().RemoveDir(root + "/x/y"), kNotEmpty);
  ASSERT_OK(env().RemoveDir(root + "/x/y/z"));
  ASSERT_OK(env().RemoveDir(root + "/x/y"));
  ASSERT_OK(env().RemoveFile(root + "/x/file"));
  EXPECT_OK(env().SyncDir(root + "/x"));
  EXPECT_TRUE(env().ListDir(root + "/x")->empty());
}

TEST(FaultEnv, NamesThatWereNotSyncedGoWithThePower) {
  FaultEnv env;
  ASSERT_OK(env.MakeDirs("/d"));
  ASSERT_OK(env.SyncDir("/"));
  ASSERT_OK(env.WriteNewFile("/d/synced", Bytes("1")));
  ASSERT_OK(env.SyncDir("/d"));
  ASSERT_OK(env.WriteNewFile("/d/not", Bytes("2")));
  ASSERT_OK(env.RemoveFile("/d/synced"));
  env.Crash(0);
  EXPECT_EQ(ReadAll(env, "/d/synced"), "1");
  EXPECT_CODE(env.FileSize("/d/not"), kNotFound);
}

TEST(FaultEnv, PowerCutStopsEverythingAtItsSyncPoint) {
  FaultEnv env;
  ASSERT_OK(env.MakeDirs("/d"));
  env.CutPowerAtSync(2);
  ASSERT_OK(env.SyncDir("/"));
  EXPECT_CODE(env.WriteNewFile("/d/file", Bytes("12345678")), kIo);
  EXPECT_TRUE(env.dead());
  EXPECT_CODE(env.SyncDir("/d"), kIo);
  EXPECT_CODE(env.FileSize("/d/file"), kIo);
  env.Crash(1);
  EXPECT_EQ(ReadAll(env, "/d/file"), "1234");
  EXPECT_OK(env.SyncDir("/d"));
}

TEST(FaultEnv, FailsTheChosenCallAndFills) {
  FaultEnv env;
  env.FailCall(2, Status::Busy("chosen"));
  EXPECT_OK(env.MakeDirs("/d"));
  EXPECT_CODE(env.WriteNewFile("/d/a", Bytes("1")), kBusy);
  EXPECT_OK(env.WriteNewFile("/d/a", Bytes("1")));
  env.SetCapacity(3);
  EXPECT_CODE(env.WriteNewFile("/d/b", Bytes("123")), kNoSpace);
  EXPECT_OK(env.WriteNewFile("/d/b", Bytes("12")));
}

TEST(Clock, ManualClockMovesOnlyWhenTold) {
  ManualClock clock;
  const int64_t micros = clock.MonotonicMicros(), nanos = clock.WallNanos();
  EXPECT_EQ(clock.MonotonicMicros(), micros);
  clock.AdvanceMicros(5);
  EXPECT_EQ(clock.MonotonicMicros(), micros + 5);
  EXPECT_EQ(clock.WallNanos(), nanos + 5000);
  const int64_t first = Clock::Real()->MonotonicMicros();
  EXPECT_GE(Clock::Real()->MonotonicMicros(), first);
  EXPECT_GT(Clock::Real()->WallNanos(), 1'600'000'000'000'000'000);
}

}  // namespace
}  // namespace f3
