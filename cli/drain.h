// Drain: gives every ephemeral file whose only bytes are on one node a copy on another, so that the
// node can be stopped and forgotten without loss. Used by one thread.
#ifndef F3_CLI_DRAIN_H_
#define F3_CLI_DRAIN_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/status.h"
#include "metadata/client.h"

namespace f3::cli {

// A mount of another node, through which files are pulled to it.
struct DrainTarget {
  std::string volume;
  std::string mount;
};

struct DrainResult {
  uint64_t files = 0;              // ephemeral, with this node as home
  uint64_t moved = 0;              // got a copy elsewhere
  uint64_t bytes = 0;              // of those
  std::vector<std::string> stuck;  // "VOLUME/PATH: reason"
};

// Walks all volumes as the metadata server has them. `say` is told of each file. Fails only when
// the metadata server does; files that cannot be moved are in the result.
Result<DrainResult> DrainNode(meta::MetaClient* client, const std::string& node,
                              const std::vector<DrainTarget>& targets,
                              const std::function<void(const std::string&)>& say);

}  // namespace f3::cli

#endif  // F3_CLI_DRAIN_H_
