// SandboxWatch: one thread that waits for the ends of containers, and does what is due now and
// then. Thread-safe. Both functions run on its thread, one at a time and with no lock held; they
// may call back.
#ifndef F3_OPENWHISK_PLUGIN_SANDBOX_WATCH_H_
#define F3_OPENWHISK_PLUGIN_SANDBOX_WATCH_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "common/mutex.h"
#include "common/status.h"
#include "common/unique_fd.h"

namespace f3::openwhisk {

class SandboxWatch {
 public:
  // `ended` is told a container's name once; `tick` runs after Start and then every `tick_micros`.
  SandboxWatch(std::function<void(const std::string&)> ended, std::function<void()> tick,
               int64_t tick_micros)
      : ended_(std::move(ended)), tick_(std::move(tick)), tick_micros_(tick_micros) {}
  ~SandboxWatch() { Stop(); }

  Status Start();
  // Returns when neither function runs any more.
  void Stop();
  // Watches the process that `pidfd` stands for (it is duplicated), in place of an earlier one.
  Status Add(const std::string& container, int pidfd);
  void Remove(const std::string& container);

 private:
  void Run();
  void Wake();

  const std::function<void(const std::string&)> ended_;
  const std::function<void()> tick_;
  const int64_t tick_micros_;
  UniqueFd wake_;
  Mutex mutex_;
  bool stopping_ F3_GUARDED_BY(mutex_) = false;
  std::map<std::string, std::shared_ptr<UniqueFd>> watched_ F3_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_SANDBOX_WATCH_H_
