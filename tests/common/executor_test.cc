#include "common/executor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

namespace f3 {
namespace {

// Lets work wait until the test says so.
class Gate {
 public:
  void Open() {
    MutexLock lock(mutex_);
    open_ = true;
    changed_.SignalAll();
  }
  void Pass() {
    MutexLock lock(mutex_);
    ++waiting_;
    changed_.SignalAll();
    while (!open_) changed_.Wait(mutex_);
  }
  void AwaitWaiting(int count) {
    MutexLock lock(mutex_);
    while (waiting_ < count) changed_.Wait(mutex_);
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool open_ F3_GUARDED_BY(mutex_) = false;
  int waiting_ F3_GUARDED_BY(mutex_) = 0;
};

TEST(Executor, RunsEverythingOnItsOwnThreads) {
  std::atomic<int> ran{0};
  {
    Executor executor("test", 3, 10);
    for (int i = 0; i < 1000; ++i) EXPECT_TRUE(executor.Submit([&] { ++ran; }));
  }
  EXPECT_EQ(ran, 1000);
}

TEST(Executor, AsManyAtOnceAsThreads) {
  Gate gate;  // outlives those who pass it
  Executor executor("test", 3, 10);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(executor.TrySubmit([&] { gate.Pass(); }));
  gate.AwaitWaiting(3);
  gate.Open();
}

TEST(Executor, OneThreadKeepsTheOrder) {
  std::vector<int> order;
  {
    Executor executor("test", 1, 100);
    for (int i = 0; i < 50; ++i) EXPECT_TRUE(executor.Submit([&order, i] { order.push_back(i); }));
  }
  ASSERT_EQ(order.size(), 50u);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST(Executor, QueueIsBounded) {
  Gate gate;  // outlives those who pass it
  Executor executor("test", 1, 2);
  EXPECT_TRUE(executor.TrySubmit([&] { gate.Pass(); }));
  gate.AwaitWaiting(1);
  EXPECT_TRUE(executor.TrySubmit([] {}));
  EXPECT_TRUE(executor.TrySubmit([] {}));
  EXPECT_FALSE(executor.TrySubmit([] { FAIL() << "was refused"; }));
  gate.Open();
}

TEST(Executor, SubmitWaitsForRoomAndShutdownEndsTheWait) {
  Gate gate;  // outlives those who pass it
  Executor executor("test", 1, 1);
  std::atomic<int> ran{0};
  EXPECT_TRUE(executor.TrySubmit([&] { gate.Pass(); }));
  gate.AwaitWaiting(1);
  EXPECT_TRUE(executor.TrySubmit([&] { ++ran; }));
  std::thread waiter([&] {
    // Waits behind the full queue until there is room or the executor ends.
    if (executor.Submit([&] { ++ran; })) ++ran;
  });
  gate.Open();
  waiter.join();
  executor.Shutdown();
  EXPECT_EQ(ran, 3);
  EXPECT_FALSE(executor.TrySubmit([] {}));
  EXPECT_FALSE(executor.Submit([] {}));
  executor.Shutdown();  // again does nothing
}

TEST(Executor, ShutdownRunsWhatIsQueued) {
  std::atomic<int> ran{0};
  Gate gate;  // outlives those who pass it
  Executor executor("test", 1, 10);
  EXPECT_TRUE(executor.TrySubmit([&] { gate.Pass(); }));
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(executor.TrySubmit([&] { ++ran; }));
  std::thread ender([&] { executor.Shutdown(); });
  gate.Open();
  ender.join();
  EXPECT_EQ(ran, 5);
}

}  // namespace
}  // namespace f3
