#include "cli/process.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace f3::cli {
namespace {

constexpr int64_t kPatience = 20'000'000;

TEST(RunCommandTest, CapturesOutputAndExitCode) {
  auto result = RunCommand({"sh", "-c", "echo out; echo err >&2; exit 3"}, kPatience);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->exit_code, 3);
  EXPECT_EQ(result->out, "out\n");
  EXPECT_EQ(result->err, "err\n");
}

TEST(RunCommandTest, AProgramThatIsMissingIsNamedWithItsPackage) {
  setenv("PATH", "/nonexistent", 1);
  auto result = RunCommand({"ip", "link"}, kPatience);
  setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
  ASSERT_TRUE(result.status().Is(Code::kNotFound));
  EXPECT_NE(result.status().message().find("iproute2"), std::string::npos);
}

TEST(RunCommandTest, IsKilledAtTheDeadline) {
  auto result = RunCommand({"sleep", "1000"}, 50'000);
  EXPECT_TRUE(result.status().Is(Code::kTimeout));
  // Output closed, process still there: held to the same deadline.
  result = RunCommand({"sh", "-c", "exec >&- 2>&-; exec sleep 1000"}, 50'000);
  EXPECT_TRUE(result.status().Is(Code::kTimeout));
}

TEST(RunCommandTest, AFailureQuotesTheCommandAndItsError) {
  Status status = RunOrFail({"sh", "-c", "echo broken >&2; exit 1"});
  EXPECT_TRUE(status.Is(Code::kIo));
  EXPECT_NE(status.message().find("broken"), std::string::npos);
}

TEST(SpawnTest, WritesPidAndLogBeforeTheProgramRuns) {
  std::string dir = testing::TempDir() + "f3_process_test";
  std::filesystem::create_directories(dir);
  SpawnOptions options;
  options.argv = {"sh", "-c", "cat " + dir + "/pid"};
  options.pid_file = dir + "/pid";
  options.log_file = dir + "/log";
  auto pid = Spawn(options);
  ASSERT_TRUE(pid.ok());
  int status = 0;
  ASSERT_EQ(::waitpid(*pid, &status, 0), *pid);
  EXPECT_EQ(status, 0);
  std::ifstream log(dir + "/log");
  pid_t logged = 0;
  log >> logged;
  EXPECT_EQ(logged, *pid);
  std::filesystem::remove_all(dir);
}

TEST(SpawnTest, AMissingNamespaceIsNamed) {
  SpawnOptions options;
  options.argv = {"true"};
  options.netns = "f3-no-such-namespace";
  EXPECT_NE(Spawn(options).status().message().find("f3-no-such-namespace"), std::string::npos);
}

TEST(DaemonTest, IsFoundByItsCommandLineAndStopped) {
  std::string dir = testing::TempDir() + "f3_daemon_test";
  std::filesystem::create_directories(dir);
  // A program named f3, with a daemon's arguments, that waits.
  std::filesystem::remove(dir + "/f3");
  std::filesystem::create_symlink("/bin/sh", dir + "/f3");
  // It waits without a child: one between its fork and its exec would be a second daemon to find.
  std::filesystem::remove(dir + "/wait");
  ASSERT_EQ(::mkfifo((dir + "/wait").c_str(), 0600), 0);
  std::ofstream(dir + "/node") << "read line <>wait\n";
  std::string before = std::filesystem::current_path();
  std::filesystem::current_path(dir);
  SpawnOptions options;
  options.argv = {dir + "/f3", "node", "--config", dir + "/n1.toml"};
  auto pid = Spawn(options);
  std::filesystem::current_path(before);
  ASSERT_TRUE(pid.ok());
  std::vector<Daemon> found;
  for (int i = 0; i < 1000 && found.empty(); ++i) {
    found = FindDaemons(dir);
    ::usleep(1000);
  }
  if (found.size() != 1u) ::kill(*pid, SIGKILL);  // Nothing stays behind a failed test.
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].name, "n1");
  EXPECT_EQ(found[0].pid, *pid);
  EXPECT_TRUE(FindDaemons(dir + "/other").empty());
  EXPECT_FALSE(WaitForEnd(found[0].pidfd, 1000));
  EXPECT_TRUE(StopProcess(found[0], kPatience));
  EXPECT_TRUE(SignalProcess(found[0].pidfd, SIGTERM).ok());
  ASSERT_EQ(::waitpid(*pid, nullptr, 0), *pid);
  EXPECT_TRUE(FindDaemons(dir).empty());
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace f3::cli
