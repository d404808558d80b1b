// std::mutex and condition variable with clang's thread-safety annotations.
//
// Thin on purpose: thread sanitizer understands std::mutex, and does not understand the locks of
// libraries built without it. State guarded by a Mutex is marked F3_GUARDED_BY; a method that
// must be called with it held is marked F3_REQUIRES.
#ifndef F3_COMMON_MUTEX_H_
#define F3_COMMON_MUTEX_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#if defined(__clang__)
#define F3_THREAD_ATTRIBUTE(x) __attribute__((x))
#else
#define F3_THREAD_ATTRIBUTE(x)
#endif
#define F3_CAPABILITY(x) F3_THREAD_ATTRIBUTE(capability(x))
#define F3_SCOPED_CAPABILITY F3_THREAD_ATTRIBUTE(scoped_lockable)
#define F3_GUARDED_BY(x) F3_THREAD_ATTRIBUTE(guarded_by(x))
#define F3_PT_GUARDED_BY(x) F3_THREAD_ATTRIBUTE(pt_guarded_by(x))
#define F3_REQUIRES(...) F3_THREAD_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define F3_ACQUIRE(...) F3_THREAD_ATTRIBUTE(acquire_capability(__VA_ARGS__))
#define F3_RELEASE(...) F3_THREAD_ATTRIBUTE(release_capability(__VA_ARGS__))
#define F3_EXCLUDES(...) F3_THREAD_ATTRIBUTE(locks_excluded(__VA_ARGS__))
#define F3_NO_THREAD_SAFETY_ANALYSIS F3_THREAD_ATTRIBUTE(no_thread_safety_analysis)

namespace f3 {

class F3_CAPABILITY("mutex") Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;
  void Lock() F3_ACQUIRE() { mutex_.lock(); }
  void Unlock() F3_RELEASE() { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

class F3_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) F3_ACQUIRE(mutex) : mutex_(mutex) { mutex_.Lock(); }
  ~MutexLock() F3_RELEASE() { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// Waits may wake spuriously: call them in a loop that checks the condition.
class CondVar {
 public:
  // REQUIRES: mutex is held; it is held again on return.
  void Wait(Mutex& mutex) F3_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    cond_.wait(lock);
    lock.release();
  }
  // False when `micros` passed without a signal.
  bool WaitFor(Mutex& mutex, int64_t micros) F3_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    bool signalled =
        cond_.wait_for(lock, std::chrono::microseconds(micros)) == std::cv_status::no_timeout;
    lock.release();
    return signalled;
  }
  void Signal() { cond_.notify_one(); }
  void SignalAll() { cond_.notify_all(); }

 private:
  std::condition_variable cond_;
};

}  // namespace f3

#endif  // F3_COMMON_MUTEX_H_
