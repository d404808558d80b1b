// Throttle: how much one namespace may ask for at once and per minute. Thread-safe.
#ifndef F3_OPENWHISK_PLUGIN_GATEWAY_THROTTLE_H_
#define F3_OPENWHISK_PLUGIN_GATEWAY_THROTTLE_H_

#include <cstdint>
#include <map>
#include <string>

#include "common/clock.h"
#include "common/mutex.h"
#include "common/status.h"

namespace f3::openwhisk {

struct ThrottleLimits {
  uint64_t per_minute = 6'000;  // invocations; steps of a sequence do not count
  uint64_t concurrent = 200;    // of those, that are not over
};

class Throttle {
 public:
  Throttle(const ThrottleLimits& limits, Clock* clock) : limits_(limits), clock_(clock) {}

  // Again, which says which limit; else Leave must follow.
  Status Enter(const std::string& name_space);
  void Leave(const std::string& name_space);
  const ThrottleLimits& limits() const { return limits_; }

 private:
  struct Use {
    int64_t minute = 0;
    uint64_t in_minute = 0;
    uint64_t concurrent = 0;
  };
  const ThrottleLimits limits_;
  Clock* const clock_;
  Mutex mutex_;
  std::map<std::string, Use> uses_ F3_GUARDED_BY(mutex_);  // bounded by the keys file
};

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_GATEWAY_THROTTLE_H_
