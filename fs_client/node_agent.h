// NodeAgent: everything that `f3 node` runs: tiers, data server, transfer engine, session with the
// metadata server, and the mounts. Thread-safe after Start.
#ifndef F3_FS_CLIENT_NODE_AGENT_H_
#define F3_FS_CLIENT_NODE_AGENT_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/cluster_key.h"
#include "common/status.h"
#include "metadata/metadata.pb.h"
#include "storage_nodes/ledger.h"
#include "storage_nodes/object_store.h"
#include "xdt/broker.h"

namespace f3::fs {

struct MountOptions {
  std::string volume = "default";
  std::string subtree;  // path within the volume; empty: its root
  std::string dir;      // mount point
  bool read_only = false;
  bool allow_other = true;
  bool dev = false, suid = false;
  bool passthrough = true;  // when the kernel has it; false forces the ordinary path
  // Hints, for files that no xattr decides. The first rule whose glob fits decides before
  // `file_class`: a glob without '/' is matched with the name, one with '/' with the path from the
  // mount's root (fnmatch with FNM_PATHNAME).
  std::vector<std::pair<std::string, meta::FileClass>> class_rules;
  meta::FileClass file_class = meta::CLASS_UNSET;
  meta::Tier tier = meta::TIER_UNSET;
  bool follow = false;
  uint64_t ttl_s = 0;
  // Whose references open as files below `.f3/ref`, and how much of their values may be held here
  // at one time (0: half of the pool); no namespace: AgentOptions::xdt_namespace, any action.
  xdt::Scope scope;
  uint64_t xdt_limit_bytes = 0;
};

struct AgentOptions {
  std::string name;             // of the node
  std::string metadata_server;  // HOST:PORT
  std::string tls_ca_file;
  std::string state_dir;       // disk tier and catalogue
  std::string memory_dir;      // tmpfs of its own for the memory tier; empty: none
  std::string durable_dir;     // the durable store
  std::string bind_address;    // IP for the transfer engine
  std::string control_socket;  // served by whoever runs the agent; told to the server
  std::string fabric_provider = "tcp;ofi_rxm";
  uint64_t buffer_bytes = 64ull << 20;  // registered buffers
  uint64_t memory_bytes = 0;  // grant of the memory tier (for messages; tmpfs enforces it)
  uint64_t disk_bytes = 0;    // 0: what the file system has, less 5 %
  int64_t injected_delay_micros = 0;
  // XDT: buffers of functions. The socket is that of the node's own namespace; empty: none.
  std::string xdt_socket;
  std::string xdt_namespace = "default";
  uint64_t xdt_memory_bytes = 512ull << 20;  // all buffers together
  bool xdt_spill = false;                    // to the disk tier's file system, when they fill that
  std::vector<MountOptions> mounts;
};

class NodeAgent {
 public:
  // Returns when every mount is usable. Errors name the thing (mount point in use, no /dev/fuse,
  // unreachable metadata server, wrong secret, …) and the next step.
  static Result<std::unique_ptr<NodeAgent>> Start(const AgentOptions& options,
                                                  const ClusterKey& key);
  virtual ~NodeAgent() = default;
  // Adds a mount to a running agent; removes one (the file system is unmounted).
  virtual Status Mount(const MountOptions& options) = 0;
  virtual Status Unmount(const std::string& dir) = 0;
  // What is mounted now.
  virtual std::vector<MountOptions> Mounts() = 0;
  // Whether the kernel serves local files directly on the mount at `dir`.
  virtual bool Passthrough(const std::string& dir) = 0;
  // Requests of the kernel so far, by name, over all mounts that are there now.
  virtual std::map<std::string, uint64_t> Requests() = 0;
  virtual meta::NodeUsage Usage() = 0;
  virtual bool connected() = 0;
  // Who may hold how much memory, and does.
  virtual std::vector<storage::MemoryLedger::Line> Memory() = 0;
  // The object here, if this node has it (ObjectMissing).
  virtual Result<storage::ObjectInfo> FindObject(const ObjectKey& key) = 0;
  // Reads every sealed object and compares checksums; returns what is wrong. Corrupted copies are
  // removed when `repair`.
  virtual Result<std::vector<std::string>> Verify(bool repair) = 0;
  // The socket of one sandbox: what connects there is this namespace and action (xdt/broker.h).
  virtual Status OpenXdtSocket(const std::string& path, const xdt::Scope& scope, mode_t mode,
                               uint64_t limit_bytes) = 0;
  virtual Status CloseXdtSocket(const std::string& path) = 0;
  virtual xdt::Broker::Counters XdtCounters() = 0;
  // Returns when the last of AgentOptions::mounts was unmounted from outside, or Stop was called.
  virtual void Wait() = 0;
  // Unmounts, publishes, spills the memory tier's homes to disk, ends the session.
  virtual Status Stop() = 0;
};

}  // namespace f3::fs

#endif  // F3_FS_CLIENT_NODE_AGENT_H_
