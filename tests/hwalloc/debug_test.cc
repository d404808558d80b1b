// The debug level, which is switched on for a whole process: this binary is one.
#include "hwalloc/debug.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "hwalloc/allocator.h"
#include "hwalloc/process.h"

namespace f3::hwalloc {
namespace {

class DebugTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    early_ = Allocate(100);
    early_large_ = Allocate(100'000);
    StartDebug();
  }
  static void* early_;
  static void* early_large_;
};
void* DebugTest::early_ = nullptr;
void* DebugTest::early_large_ = nullptr;

TEST_F(DebugTest, ExactlyWhatWasAskedForIsUsable) {
  for (size_t bytes = 0; bytes < 100'000; bytes += bytes < 1200 ? 1 : 1777) {
    auto* p = static_cast<unsigned char*>(Allocate(bytes));
    ASSERT_NE(p, nullptr);
    EXPECT_EQ(UsableSize(p), bytes);
    std::memset(p, 1, bytes);
    p = static_cast<unsigned char*>(Reallocate(p, bytes + 50));
    EXPECT_EQ(UsableSize(p), bytes + 50);
    Free(p);
  }
}

TEST_F(DebugTest, ZeroedAndAlignedBlocksAreSo) {
  for (int i = 0; i < 10'000; ++i) {
    auto* p = static_cast<unsigned char*>(AllocateZeroed(3, 50));
    for (int j = 0; j < 150; ++j) ASSERT_EQ(p[j], 0);
    std::memset(p, 1, 150);
    Free(p);
    void* aligned = AllocateAligned(1024, 10);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(aligned) % 1024, 0u);
    Free(aligned);
  }
}

TEST_F(DebugTest, ThreadsMayFreeEachOthersBlocks) {
  std::vector<void*> blocks(10'000);
  std::thread([&] {
    for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = Allocate(i % 700);
  }).join();
  for (void* p : blocks) Free(p);
}

// As a child of redis that saves in the background does when it is told to stop.
TEST_F(DebugTest, ASignalHandlerThatInterruptsTheAllocatorMayEndTheProcess) {
  for (int round = 0; round < 30; ++round) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::setenv("HWALLOC_STATS", "/dev/null", 1);
      ::alarm(30);  // ends one that hangs
      ::signal(SIGVTALRM, [](int) {
        Report();
        ::_exit(0);
      });
      const itimerval soon = {{0, 0}, {0, 1000 + round * 50}};
      ::setitimer(ITIMER_VIRTUAL, &soon, nullptr);
      for (size_t i = 0;; ++i) Free(Allocate(i % 100'000));
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status)) << "it hung, or died from signal " << WTERMSIG(status);
  }
}

using DebugDeathTest = DebugTest;

TEST_F(DebugDeathTest, OneByteTooFar) {
  for (size_t bytes : {size_t{7}, size_t{16}, size_t{100}, size_t{1000}, size_t{100'000}}) {
    auto* p = static_cast<unsigned char*>(Allocate(bytes));
    EXPECT_DEATH(
        {
          p[bytes] = 0;
          Free(p);
        },
        "bytes behind the block were written")
        << bytes;
    Free(p);
  }
}

TEST_F(DebugDeathTest, DoubleFree) {
  for (size_t bytes : {size_t{10}, size_t{1000}, size_t{100'000}}) {
    void* p = Allocate(bytes);
    Free(p);
    EXPECT_DEATH(Free(p), "double free");
    EXPECT_DEATH(Reallocate(p, 5), "use after free");
  }
}

TEST_F(DebugDeathTest, WrittenAfterFree) {
  auto* p = static_cast<unsigned char*>(Allocate(64));
  Free(p);
  EXPECT_DEATH(
      {
        p[10] = 1;
        for (int i = 0; i < 10'000; ++i) Free(Allocate(64));
      },
      "written after free");
}

TEST_F(DebugDeathTest, AddressInsideAnObject) {
  auto* p = static_cast<unsigned char*>(Allocate(64));
  EXPECT_DEATH(Free(p + 8), "inside an object");
  Free(p);
}

// Last: what was allocated before the level was on can still be freed.
TEST_F(DebugTest, ZzzEarlierBlocksAreFreedAsBefore) {
  EXPECT_GE(UsableSize(early_), 100u);
  early_ = Reallocate(early_, 200);
  Free(early_);
  Free(early_large_);
}

}  // namespace
}  // namespace f3::hwalloc
