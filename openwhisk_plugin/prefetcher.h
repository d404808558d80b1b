// Prefetcher: reads inputs through a root on this node before the function does, so that their
// bytes are pulled while it still starts. Thread-safe. Best effort: beyond its bounds, and when it
// is stopped, files are left for the function's own reads.
#ifndef F3_OPENWHISK_PLUGIN_PREFETCHER_H_
#define F3_OPENWHISK_PLUGIN_PREFETCHER_H_

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "common/executor.h"

namespace f3::openwhisk {

class Prefetcher {
 public:
  Prefetcher() : executor_("f3-prefetch", kThreads, kMaxQueued) {}
  ~Prefetcher() { Stop(); }

  // `find` runs on one of its threads and returns the files to read, relative to `dir`, which no
  // link leads out of; `done` runs afterwards, also when the work is dropped.
  void Submit(std::string dir, std::function<std::vector<std::string>()> find,
              std::function<void()> done);
  // Returns when nothing is read any more.
  void Stop();

 private:
  static constexpr int kThreads = 2;
  static constexpr size_t kMaxQueued = 256;

  void ReadAll(int dir, const std::string& path);

  std::atomic<bool> stopping_{false};
  Executor executor_;
};

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_PREFETCHER_H_
