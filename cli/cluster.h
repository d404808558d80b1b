// ClusterLayout: what a cluster made by `f3 up` consists of: paths below one directory, names and
// addresses. A value; not thread-safe. Saved as DIR/run/cluster.toml, which later commands, the
// supervisor and people read.
//
//   DIR/n1 …            mounts             DIR/run      sockets, logs, pids, configuration, secret
//   DIR/meta            metadata store     DIR/state/n1 disk tier; …/memory: tmpfs of the memory
//   tier DIR/durable         durable store      DIR/state/n1/memory.saved: its content while it is
//   down
#ifndef F3_CLI_CLUSTER_H_
#define F3_CLI_CLUSTER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "common/status.h"

namespace f3::cli {

struct ClusterNode {
  std::string name;     // "n1"
  std::string address;  // IPv4 of its data server
  std::string netns;    // name of its network namespace; empty: the caller's
  std::string link;     // veth on the bridge's side; empty without a namespace
};

struct ClusterLayout {
  std::string dir;
  std::string id;        // six hexadecimal digits, from dir
  std::string bridge;    // empty without namespaces
  std::string metadata;  // HOST:PORT
  bool passthrough = true;
  uint64_t memory_bytes = 0;  // of each node
  uint64_t disk_bytes = 0;    // of each node; 0: what the file system has
  int64_t delay_micros = 0;
  std::vector<std::string> openwhisk_allow;  // "NAMESPACE=VOLUME", for every agent
  std::vector<ClusterNode> nodes;

  std::string run(const std::string& file) const { return dir + "/run/" + file; }
  std::string mount(const ClusterNode& node) const { return dir + "/" + node.name; }
  std::string state(const ClusterNode& node) const { return dir + "/state/" + node.name; }
  std::string memory(const ClusterNode& node) const { return state(node) + "/memory"; }
  // Of the agent's local API, and of its sandboxes.
  std::string agent_socket(const ClusterNode& node) const { return run(node.name + "-agent.sock"); }
  std::string sandboxes(const ClusterNode& node) const { return state(node) + "/sandboxes"; }
  const ClusterNode* Find(const std::string& name) const;

  std::string ToToml() const;
  static Result<ClusterLayout> FromToml(const std::string& text, const std::string& origin);
  // NotFound when there is no cluster at `dir`: says how to make one.
  static Result<ClusterLayout> Load(const std::string& dir);
  Status Save() const;
  // DIR/run/meta.toml and DIR/run/nK.toml, which the daemons are started with.
  Status WriteDaemonConfigs() const;
};

// Names of a new cluster at `dir` of `nodes` nodes, addresses still open.
ClusterLayout PlanCluster(const std::string& dir, int nodes, bool namespaces);
// Six hexadecimal digits that depend on `text`.
std::string ShortHash(const std::string& text);

// The directory that a command works on: `flag`, else $F3_DIR, else /var/lib/f3; absolute, links
// resolved as far as the path exists.
std::string ClusterDir(const std::string& flag);

inline constexpr int kMetadataPort = 7600;
inline constexpr int kMaxNodes = 32;

}  // namespace f3::cli

#endif  // F3_CLI_CLUSTER_H_
