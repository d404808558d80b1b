// Timers: runs functions when their time has come, on one thread of its own.
//
// Thread-safe. Functions must not block. With `own_thread` false nothing runs by itself and a test
// calls RunDue after it has advanced its clock. Bounded: beyond kMaxTimers the function due
// soonest runs early, on the caller's thread.
#ifndef F3_COMMON_TIMERS_H_
#define F3_COMMON_TIMERS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <thread>

#include "common/clock.h"
#include "common/mutex.h"

namespace f3 {

class Timers {
 public:
  static constexpr size_t kMaxTimers = 1u << 20;

  Timers(Clock* clock, bool own_thread);
  ~Timers();
  Timers(const Timers&) = delete;
  Timers& operator=(const Timers&) = delete;

  // After Shutdown the function is dropped.
  void At(int64_t due_micros, std::function<void()> run);
  void After(int64_t micros, std::function<void()> run);
  // Runs what is due; returns how many ran.
  size_t RunDue();
  // Drops what is left and joins the thread.
  void Shutdown();

 private:
  void Loop();

  Clock* const clock_;
  Mutex mutex_;
  CondVar changed_;
  bool stopping_ F3_GUARDED_BY(mutex_) = false;
  std::multimap<int64_t, std::function<void()>> due_ F3_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace f3

#endif  // F3_COMMON_TIMERS_H_
