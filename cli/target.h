// Which cluster a command is about, and connections to it: the metadata server (without a session)
// and the agents' control sockets. Used by one thread.
#ifndef F3_CLI_TARGET_H_
#define F3_CLI_TARGET_H_

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/cluster.h"
#include "common/status.h"
#include "metadata/client.h"

namespace CLI {
class App;
}

namespace f3::cli {

// --dir for clusters of `f3 up`; --server, --secret, --tls-ca for others.
struct Target {
  std::string dir;
  std::string server;
  std::string secret;
  std::string tls_ca;

  void AddFlags(CLI::App* command);
  // The layout of --dir; NotFound when --server is given or there is no such cluster.
  Result<ClusterLayout> Layout() const;
  Result<std::unique_ptr<meta::MetaClient>> Connect() const;
};

// Where a path is: in which mount, which agent serves it, and the path inside the mount.
struct PathLocation {
  std::string path;  // absolute
  std::string mount;
  std::string control;  // the agent's control socket
  std::string inside;   // relative to the mount; empty: its root
};
// NotFound when the path is in no F3 mount. Does not touch the mounted file system.
Result<PathLocation> LocatePath(const std::string& path);

// /run/f3/HASH: what belongs to one mount of `f3 mount` or `f3 node`.
std::string MountRunDir(const std::string& mount_point);

}  // namespace f3::cli

#endif  // F3_CLI_TARGET_H_
