// Syncer: the thread that makes commits durable. Everyone who waits while one device sync runs is
// carried by the next; without waiters it syncs once per interval, so that little is replayed after
// a crash of the host. Thread-safe; callbacks run on its thread and must not block.
#ifndef F3_METADATA_SYNCER_H_
#define F3_METADATA_SYNCER_H_

#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "common/mutex.h"
#include "common/status.h"
#include "metadata/kv_store.h"

namespace f3::meta {

class Syncer {
 public:
  Syncer(KvStore* store, int64_t interval_micros);
  ~Syncer() { Stop(); }
  // `done` once every commit so far is durable, or with what the store said.
  void AfterSync(std::function<void(Status)> done);
  // Runs what waits, then joins. Idempotent.
  void Stop();

 private:
  void Run();

  KvStore* const store_;
  const int64_t interval_micros_;
  Mutex mutex_;
  CondVar work_;
  std::vector<std::function<void(Status)>> waiting_ F3_GUARDED_BY(mutex_);
  bool stopping_ F3_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace f3::meta

#endif  // F3_METADATA_SYNCER_H_
