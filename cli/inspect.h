// What status, stat, locate and fsck ask: the state of a cluster's daemons, and of a path by the
// metadata server alone, so that a sick mount or a dead agent does not matter. Used by one thread;
// every question has a deadline.
#ifndef F3_CLI_INSPECT_H_
#define F3_CLI_INSPECT_H_

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/cluster.h"
#include "cli/target.h"
#include "common/status.h"
#include "metadata/client.h"

namespace f3::cli {

// Everything `f3 status --json` prints. Never fails: what does not answer is shown so.
nlohmann::json ClusterStatus(const ClusterLayout& layout);
// The nodes as the metadata server knows them.
Result<nlohmann::json> ServerStatus(const Target& target);

// A path's place in the namespace.
struct Subject {
  PathLocation location;
  std::unique_ptr<meta::MetaClient> client;
  std::string volume;
  std::string inside;  // path in the volume
  meta::Attr attr;
};
// Finds the volume from the agent's configuration (or the agent), connects and resolves.
Result<Subject> ResolvePath(const std::string& path, const Target& target);

std::string_view Name(meta::FileClass file_class);
std::string_view Name(meta::FileState state);
std::string_view Name(meta::Tier tier);
std::string FileType(uint32_t mode);

}  // namespace f3::cli

#endif  // F3_CLI_INSPECT_H_
