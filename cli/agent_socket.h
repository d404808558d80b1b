// Where the agents of `f3 up` have the socket of their local API and the directory of their
// sandboxes.
#ifndef F3_CLI_AGENT_SOCKET_H_
#define F3_CLI_AGENT_SOCKET_H_

#include <string>

#include "cli/cluster.h"

namespace f3::cli {

inline std::string AgentSocketOf(const ClusterLayout& layout, const ClusterNode& node) {
  return layout.run(node.name + "-agent.sock");
}

inline std::string SandboxesOf(const ClusterLayout& layout, const ClusterNode& node) {
  return layout.state(node) + "/sandboxes";
}

}  // namespace f3::cli

#endif  // F3_CLI_AGENT_SOCKET_H_
