// Clock: the only source of time, so that expiry and deadlines can be tested without waiting.
// Implementations are thread-safe.
#ifndef F3_COMMON_CLOCK_H_
#define F3_COMMON_CLOCK_H_

#include <atomic>
#include <cstdint>

namespace f3 {

class Clock {
 public:
  virtual ~Clock() = default;
  // Nanoseconds since 1970 (UTC). May jump; for time stamps of files only.
  virtual int64_t WallNanos() const = 0;
  // Microseconds that only grow; for deadlines.
  virtual int64_t MonotonicMicros() const = 0;

  // The system's clocks. Never destroyed.
  static Clock* Real();
};

// A clock that stands still until it is told to advance.
class ManualClock : public Clock {
 public:
  int64_t WallNanos() const override { return 1'700'000'000'000'000'000 + micros_ * 1000; }
  int64_t MonotonicMicros() const override { return micros_; }
  void AdvanceMicros(int64_t micros) { micros_ += micros; }

 private:
  std::atomic<int64_t> micros_{1'000'000};
};

}  // namespace f3

#endif  // F3_COMMON_CLOCK_H_
