// Publisher: turns the bytes of a staging object into durable blocks.
//
// Thread-safe; one publish of one object at a time (the caller serialises).
#ifndef F3_STORAGE_NODES_PUBLISHER_H_
#define F3_STORAGE_NODES_PUBLISHER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "common/ids.h"
#include "common/status.h"
#include "storage_nodes/durable_store.h"
#include "storage_nodes/fetcher.h"
#include "storage_nodes/object_store.h"

namespace f3::storage {

struct PublishRequest {
  std::shared_ptr<Object> object;
  uint64_t size = 0;
  Generation generation = 0;          // fresh, from the metadata server
  std::vector<DurableBlock> current;  // rows as published, by index
  // Blocks that may have changed. Not set: unknown (writes bypassed the daemon), so every block is
  // read and compared with `current` by checksum.
  std::optional<std::set<uint64_t>> dirty;
};

struct PublishResult {
  std::vector<DurableBlock> changed;  // rows to commit; blocks that are all hole have none
  std::vector<uint64_t> dropped;      // rows of `current` that became holes
  uint64_t written_bytes = 0;
};

// Puts the changed blocks and makes them durable. On failure nothing that was put is referenced
// (garbage collection removes it), and the object is unchanged, so it can be tried again.
Result<PublishResult> PublishObject(DurableStore* store, hwalloc::BufferArena* buffers,
                                    const PublishRequest& request);

// Removes blocks that no row and no intent names. The callbacks describe what the metadata server
// knows; a block whose generation is newer than `horizon` is never touched.
struct LiveBlocks {
  std::function<Result<bool>(const BlockName&)> is_live;
  Generation horizon = 0;
};
struct GcResult {
  uint64_t removed_blocks = 0, removed_bytes = 0, kept_blocks = 0;
};
Result<GcResult> CollectGarbage(DurableStore* store, const LiveBlocks& live);

}  // namespace f3::storage

#endif  // F3_STORAGE_NODES_PUBLISHER_H_
