#include "openwhisk_plugin/gateway/throttle.h"

namespace f3::openwhisk {

Status Throttle::Enter(const std::string& name_space) {
  int64_t minute = clock_->MonotonicMicros() / 60'000'000;
  MutexLock lock(mutex_);
  Use& use = uses_[name_space];
  if (use.minute != minute) {
    use.minute = minute;
    use.in_minute = 0;
  }
  if (use.in_minute >= limits_.per_minute) {
    return Status::Again("too many requests in the last minute (allowed: " +
                         std::to_string(limits_.per_minute) + ")");
  }
  if (use.concurrent >= limits_.concurrent) {
    return Status::Again("too many concurrent requests in flight (allowed: " +
                         std::to_string(limits_.concurrent) + ")");
  }
  ++use.in_minute;
  ++use.concurrent;
  return Status();
}

void Throttle::Leave(const std::string& name_space) {
  MutexLock lock(mutex_);
  Use& use = uses_[name_space];
  if (use.concurrent > 0) --use.concurrent;
}

}  // namespace f3::openwhisk
