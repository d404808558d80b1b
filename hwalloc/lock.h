// Lock: a mutex for code that malloc is made of.
//
// f3::Mutex wraps std::mutex, which needs libstdc++ at run time; the allocator depends on libc
// only. Constant-initialised, so it works before any constructor has run. Thread-safe.
#ifndef F3_HWALLOC_LOCK_H_
#define F3_HWALLOC_LOCK_H_

#include <pthread.h>
#include <time.h>

#include "common/mutex.h"  // the annotations

namespace f3::hwalloc {

class F3_CAPABILITY("mutex") Lock {
 public:
  constexpr Lock() = default;
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  void Acquire() F3_ACQUIRE() { ::pthread_mutex_lock(&mutex_); }
  void Release() F3_RELEASE() { ::pthread_mutex_unlock(&mutex_); }
  // Whether it can be taken within a tenth of a second. It cannot when this thread is in a signal
  // handler and was interrupted while it held the lock.
  bool IsFreeSoon() F3_NO_THREAD_SAFETY_ANALYSIS {
    timespec until{};
    ::clock_gettime(CLOCK_REALTIME, &until);
    constexpr long kWaitNs = 100'000'000, kSecondNs = 1'000'000'000;
    until.tv_sec += (until.tv_nsec + kWaitNs) / kSecondNs;
    until.tv_nsec = (until.tv_nsec + kWaitNs) % kSecondNs;
    if (::pthread_mutex_timedlock(&mutex_, &until) != 0) return false;
    Release();
    return true;
  }

 private:
  friend class Signal;
  pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
};

class F3_SCOPED_CAPABILITY LockHolder {
 public:
  explicit LockHolder(Lock& lock) F3_ACQUIRE(lock) : lock_(lock) { lock_.Acquire(); }
  ~LockHolder() F3_RELEASE() { lock_.Release(); }
  LockHolder(const LockHolder&) = delete;
  LockHolder& operator=(const LockHolder&) = delete;

 private:
  Lock& lock_;
};

// Wakes one thread that waits. Waits may end without a signal: check in a loop.
class Signal {
 public:
  constexpr Signal() = default;
  void Wait(Lock& lock) F3_REQUIRES(lock) { ::pthread_cond_wait(&cond_, &lock.mutex_); }
  void Raise() { ::pthread_cond_signal(&cond_); }

 private:
  pthread_cond_t cond_ = PTHREAD_COND_INITIALIZER;
};

}  // namespace f3::hwalloc

#endif  // F3_HWALLOC_LOCK_H_
