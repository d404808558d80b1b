// What `f3 fsck` checks without asking the agents: the metadata in itself, and its block rows
// against the durable store. Used by one thread; files may be written meanwhile.
#ifndef F3_CLI_CONSISTENCY_H_
#define F3_CLI_CONSISTENCY_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/status.h"
#include "metadata/client.h"
#include "storage_nodes/durable_store.h"

namespace f3::cli {

struct Findings {
  std::vector<std::string> problems;  // each a sentence
  std::vector<std::string> repaired;
  uint64_t inodes = 0, blocks = 0, block_bytes = 0, objects = 0, nodes_checked = 0;
};

// `tick` is called as the work goes on.
Status CheckMetadata(meta::MetaClient* client, Findings* findings,
                     const std::function<void()>& tick);
// Finds rows whose block is missing or corrupt, and blocks that nothing names, which `repair`
// removes.
Status CheckBlocks(meta::MetaClient* client, storage::DurableStore* store, bool repair,
                   Findings* findings, const std::function<void()>& tick);

}  // namespace f3::cli

#endif  // F3_CLI_CONSISTENCY_H_
