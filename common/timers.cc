#include "common/timers.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

namespace f3 {
namespace {

// The clock may be a test's; look at it at least this often.
constexpr int64_t kMaxSleepMicros = 1'000'000;

}  // namespace

Timers::Timers(Clock* clock, bool own_thread) : clock_(clock) {
  if (own_thread) thread_ = std::thread([this] { Loop(); });
}

Timers::~Timers() { Shutdown(); }

void Timers::At(int64_t due_micros, std::function<void()> run) {
  std::function<void()> early;
  {
    MutexLock lock(mutex_);
    if (stopping_) return;
    const bool soonest = due_.empty() || due_micros < due_.begin()->first;
    due_.emplace(due_micros, std::move(run));
    if (due_.size() > kMaxTimers) {
      early = std::move(due_.begin()->second);
      due_.erase(due_.begin());
    }
    if (soonest) changed_.Signal();
  }
  if (early) early();
}

void Timers::After(int64_t micros, std::function<void()> run) {
  At(clock_->MonotonicMicros() + micros, std::move(run));
}

size_t Timers::RunDue() {
  size_t ran = 0;
  for (;;) {
    std::function<void()> run;
    {
      MutexLock lock(mutex_);
      if (stopping_ || due_.empty() || due_.begin()->first > clock_->MonotonicMicros()) return ran;
      run = std::move(due_.begin()->second);
      due_.erase(due_.begin());
    }
    run();
    ++ran;
  }
}

void Timers::Shutdown() {
  std::multimap<int64_t, std::function<void()>> dropped;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    dropped.swap(due_);
    changed_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
}

void Timers::Loop() {
  pthread_setname_np(pthread_self(), "f3-timer");
  for (;;) {
    RunDue();
    MutexLock lock(mutex_);
    if (stopping_) return;
    int64_t sleep = kMaxSleepMicros;
    if (!due_.empty()) {
      sleep = std::clamp<int64_t>(due_.begin()->first - clock_->MonotonicMicros(), 0, sleep);
    }
    if (sleep > 0) changed_.WaitFor(mutex_, sleep);
  }
}

}  // namespace f3
