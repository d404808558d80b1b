// Mounts in another mount namespace: a process with a root directory of its own stands for a
// container. Needs root.
#include "openwhisk_plugin/mount_into.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "common/mount_table.h"
#include "openwhisk_plugin/sandbox_dir.h"
#include "tests/common/status_matchers.h"
#include "tests/common/temp_dir.h"

namespace f3::openwhisk {
namespace {

namespace fs = std::filesystem;

class MountIntoTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "mounting needs root";
    fs::create_directories(root());
    fs::create_directories(host());
    std::ofstream(host() + "/seen") << "x";
  }
  void TearDown() override { End(); }

  std::string root() { return dir_ / "root"; }  // of the container
  std::string host() { return dir_ / "c1/run"; }
  std::string outside() { return dir_ / "outside"; }

  // A child with a mount namespace and a root directory of its own, which waits to be killed.
  void Begin(bool with_proc = false) {
    int ready[2];
    ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
    const std::string root_dir = root(), proc_dir = root() + "/proc";
    if (with_proc) fs::create_directories(proc_dir);
    child_ = ::fork();
    ASSERT_GE(child_, 0);
    if (child_ == 0) {
      const char* root_path = root_dir.c_str();
      const bool done =
          ::unshare(CLONE_NEWNS) == 0 &&
          ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
          ::mount(root_path, root_path, nullptr, MS_BIND, nullptr) == 0 &&
          (!with_proc || ::mount("proc", proc_dir.c_str(), "proc", 0, nullptr) == 0) &&
          ::chdir(root_path) == 0 && ::syscall(SYS_pivot_root, ".", ".") == 0 &&
          ::umount2(".", MNT_DETACH) == 0;
      const char answer = done ? 'y' : 'n';
      if (::write(ready[1], &answer, 1) != 1) ::_exit(1);
      for (;;) ::pause();
    }
    ::close(ready[1]);
    char answer = 0;
    ASSERT_EQ(::read(ready[0], &answer, 1), 1);
    ::close(ready[0]);
    ASSERT_EQ(answer, 'y');
  }
  void End() {
    if (child_ <= 0) return;
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
    child_ = 0;
  }

  Status Put(const std::string& path) {
    auto process = OpenContainer(child_);
    if (!process.ok()) return process.status();
    auto tree = CloneReadOnly(host());
    if (!tree.ok()) return tree.status();
    std::vector<Placement> placements;
    placements.push_back({path, std::move(tree).value(), ""});
    return MountInto(*process, "c1", std::move(placements));
  }
  Status Take(const std::string& path) {
    auto process = OpenContainer(child_);
    if (!process.ok()) return process.status();
    std::vector<Placement> placements;
    placements.push_back({path, UniqueFd(), ""});
    return MountInto(*process, "c1", std::move(placements));
  }
  // Mount points in the container, but for its root.
  std::vector<std::string> Points() {
    std::vector<std::string> points;
    for (const MountEntry& mount : ListMountsOf(child_)) {
      if (mount.dir != "/" && mount.dir != "/proc") points.push_back(mount.dir);
    }
    return points;
  }
  std::string Inside(const std::string& path) {
    return "/proc/" + std::to_string(child_) + "/root" + path;
  }
  using Paths = std::vector<std::string>;

  TempDir dir_;
  pid_t child_ = 0;
};

TEST_F(MountIntoTest, MakesDirectoriesAndMounts) {
  Begin();
  ASSERT_OK(Put("/a/b/c"));
  EXPECT_EQ(Points(), Paths{"/a/b/c"});
  EXPECT_TRUE(fs::exists(Inside("/a/b/c/seen")));
  EXPECT_TRUE(fs::is_empty(root() + "/a/b/c")) << "on the host it is an empty directory";
  EXPECT_EQ(::open(Inside("/a/b/c/new").c_str(), O_CREAT | O_WRONLY, 0600), -1);
  EXPECT_EQ(errno, EROFS);
  struct stat info;
  ASSERT_EQ(::stat((root() + "/a").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0755u);
}

TEST_F(MountIntoTest, TheRunDirectoryIsPutOnceAndTakenAway) {
  Begin();
  for (int i = 0; i < 3; ++i) ASSERT_OK(Put(kRunPath));
  EXPECT_EQ(Points(), Paths{kRunPath});
  // One that was removed and made again is another.
  fs::remove_all(host());
  fs::create_directories(host());
  std::ofstream(host() + "/newer") << "x";
  ASSERT_OK(Put(kRunPath));
  EXPECT_EQ(Points(), Paths{kRunPath});
  EXPECT_TRUE(fs::exists(Inside("/run/f3/newer")));
  for (int i = 0; i < 2; ++i) ASSERT_OK(Take(kRunPath));
  EXPECT_EQ(Points(), Paths{});
  EXPECT_OK(Take("/never/was/there"));
}

TEST_F(MountIntoTest, WhatIsNotOursStays) {
  Begin();
  ASSERT_OK(Put("/other"));
  ASSERT_OK(Take("/other"));
  EXPECT_EQ(Points(), Paths{"/other"}) << "only F3 mounts and the run directory are ours";
}

TEST_F(MountIntoTest, LinksOnTheWayStayInTheContainer) {
  fs::create_directories(outside());
  fs::create_directories(root() + outside());
  fs::create_directories(root() + "/real");
  fs::create_directory_symlink("/real", root() + "/link");
  fs::create_directory_symlink("../../../../../../../.." + outside(), root() + "/up");
  Begin();
  ASSERT_OK(Put("/link/x"));
  EXPECT_EQ(Points(), Paths{"/real/x"});
  ASSERT_OK(Put("/up/x"));
  EXPECT_EQ(Points(), (Paths{"/real/x", outside() + "/x"}));
  EXPECT_TRUE(fs::is_empty(outside())) << "it is a directory of that name in the container";
}

TEST_F(MountIntoTest, ALinkIsNoPlace) {
  fs::create_directories(root() + "/real");
  fs::create_directory_symlink("/", root() + "/to-root");
  fs::create_directory_symlink("real", root() + "/to-real");
  fs::create_directory_symlink("nowhere", root() + "/dangling");
  std::ofstream(root() + "/file") << "x";
  Begin();
  for (const char* path :
       {"/to-root", "/to-real", "/dangling", "/dangling/x", "/file", "/file/x"}) {
    Status status = Put(path);
    EXPECT_CODE(status, kNotSupported) << path;
    EXPECT_NE(status.message().find(path), std::string::npos);
  }
  EXPECT_EQ(Points(), Paths{});
}

TEST_F(MountIntoTest, KernelFileSystemsAndTheRootAreNoPlaces) {
  fs::create_directory_symlink("/proc", root() + "/p");
  fs::create_directory_symlink("/proc/1/root", root() + "/magic");
  Begin(/*with_proc=*/true);
  for (const char* path : {"/", "/proc", "/p/sys", "/p/self/task", "/magic/x"}) {
    EXPECT_CODE(Put(path), kNotSupported) << path;
  }
  EXPECT_EQ(Points(), Paths{});
}

TEST_F(MountIntoTest, APathThatIsTooLongIsAnError) {
  Begin();
  std::string path;
  for (int i = 0; i < 30; ++i) path += "/" + std::string(200, 'a');
  EXPECT_CODE(Put(path), kNotSupported);
  EXPECT_CODE(Put("/" + std::string(300, 'b')), kNotSupported);
}

TEST_F(MountIntoTest, AContainerThatEndsIsNotFound) {
  Begin();
  auto process = OpenContainer(child_);
  ASSERT_OK(process);
  EXPECT_TRUE(IsAlive(*process));
  EXPECT_TRUE(IsAlive(process->pid, process->started));
  End();
  EXPECT_FALSE(IsAlive(*process));
  EXPECT_FALSE(IsAlive(process->pid, process->started));
  std::vector<Placement> placements;
  placements.push_back({"/x", CloneReadOnly(host()).value(), ""});
  EXPECT_CODE(MountInto(*process, "c1", std::move(placements)), kNotFound);
}

TEST_F(MountIntoTest, AStoppedContainerTakesMounts) {
  Begin();
  ASSERT_EQ(::kill(child_, SIGSTOP), 0);
  ASSERT_OK(Put("/x"));
  EXPECT_EQ(Points(), Paths{"/x"});
}

TEST_F(MountIntoTest, SeveralAtOnceAreDoneInOrderUpToTheFirstFailure) {
  std::ofstream(root() + "/file") << "x";
  Begin();
  auto process = OpenContainer(child_);
  ASSERT_OK(process);
  std::vector<Placement> placements;
  for (const char* path : {"/1", "/file", "/3"}) {
    placements.push_back({path, CloneReadOnly(host()).value(), ""});
  }
  Status status = MountInto(*process, "c1", std::move(placements));
  EXPECT_CODE(status, kNotSupported);
  EXPECT_NE(status.message().find("/file"), std::string::npos);
  EXPECT_EQ(Points(), Paths{"/1"});
}

}  // namespace
}  // namespace f3::openwhisk
