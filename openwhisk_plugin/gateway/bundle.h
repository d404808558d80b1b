// The OCI configuration of an action's sandbox: what it may see and do. Pure functions.
//
// As OpenWhisk's invoker asks docker for it: docker's default capabilities without NET_RAW and
// NET_ADMIN, 1,024 processes and descriptors, memory without swap on top. Its own pid, mount, ipc,
// uts, network (loopback only) and cgroup namespaces.
#ifndef F3_OPENWHISK_PLUGIN_GATEWAY_BUNDLE_H_
#define F3_OPENWHISK_PLUGIN_GATEWAY_BUNDLE_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/status.h"
#include "openwhisk_plugin/gateway/container.h"

namespace f3::openwhisk {

// The port that runtimes listen on.
inline constexpr int kActionPort = 8080;

// The command that serves actions of a kind ("python:3", "nodejs:18", "python:default"). In the
// root file system of scripts/make_rootfs.sh. InvalidArgument names the kinds that there are.
Result<std::vector<std::string>> CommandOfKind(const std::string& kind);

// config.json, with the root file system at `root` (absolute). InvalidArgument: the kind, or the
// memory, which is at least 16 MiB.
Result<nlohmann::json> OciConfig(const ContainerOptions& options, const std::string& root);

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_GATEWAY_BUNDLE_H_
