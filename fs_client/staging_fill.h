// StagingFill: the blocks of a durable file that its staging object does not have yet.
//
// A staging object that begins from published content starts as a sparse file of the right size;
// blocks are brought from the durable store when something needs them, each once, verified.
// Whoever writes, punches or truncates ensures the blocks that it touches first, so that a block
// never arrives over newer bytes. Thread-safe; callbacks run without locks held.
#ifndef F3_FS_CLIENT_STAGING_FILL_H_
#define F3_FS_CLIENT_STAGING_FILL_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "common/executor.h"
#include "common/mutex.h"
#include "common/status.h"
#include "hwalloc/buffer_arena.h"
#include "storage_nodes/durable_store.h"
#include "storage_nodes/fetcher.h"
#include "storage_nodes/object_store.h"

namespace f3::fs {

class StagingFill : public std::enable_shared_from_this<StagingFill> {
 public:
  using Done = std::function<void(Status)>;
  struct Parts {
    storage::DurableStore* durable = nullptr;
    hwalloc::BufferArena* buffers = nullptr;
    Executor* executor = nullptr;
  };

  // `rows`: the published blocks; `size`: of the published content, to which `object` was extended.
  StagingFill(const Parts& parts, std::shared_ptr<storage::Object> object, uint64_t size,
              const std::vector<storage::DurableBlock>& rows);

  bool complete() const;
  // The blocks that [offset, offset + length) touches are in the object when `done` says OK.
  void Ensure(uint64_t offset, uint64_t length, Done done);
  // Makes the object `size` bytes long; blocks past it are not wanted any more. `truncate` does it,
  // when nothing is on its way any more.
  void Truncate(uint64_t size, std::function<Status()> truncate, Done done);

 private:
  void Load(const storage::DurableBlock& row);
  Status LoadNow(const storage::DurableBlock& row);
  void Loaded(uint64_t index, const Status& status);

  const Parts parts_;
  const std::shared_ptr<storage::Object> object_;
  mutable Mutex mutex_;
  uint64_t size_ F3_GUARDED_BY(mutex_);
  std::map<uint64_t, storage::DurableBlock> absent_ F3_GUARDED_BY(mutex_);
  std::map<uint64_t, std::vector<Done>> loading_ F3_GUARDED_BY(mutex_);
};

}  // namespace f3::fs

#endif  // F3_FS_CLIENT_STAGING_FILL_H_
