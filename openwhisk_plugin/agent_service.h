// AgentService: the local API (agent.proto) on a Unix socket, mode 0600. Thread-safe after Start.
// At most kMaxInFlight requests at one time; more are refused with RESOURCE_EXHAUSTED.
#ifndef F3_OPENWHISK_PLUGIN_AGENT_SERVICE_H_
#define F3_OPENWHISK_PLUGIN_AGENT_SERVICE_H_

#include <memory>
#include <string>
#include <vector>

#include "common/cluster_key.h"
#include "common/status.h"
#include "fs_client/node_agent.h"

namespace f3::openwhisk {

class AgentService {
 public:
  struct Options {
    std::string socket;  // made, and replaced when nobody listens there
    std::string dir;     // of the sandboxes
    std::string metadata_server;
    std::string tls_ca_file;
    std::vector<std::string> allow;  // volumes: "NAMESPACE=VOLUME"
    uint64_t xdt_limit_bytes = 0;    // of one sandbox
    fs::NodeAgent* agent = nullptr;  // outlives this
  };
  static constexpr int kMaxInFlight = 32;

  // Attaches what an earlier agent had attached, and serves. Busy: another process listens there.
  static Result<std::unique_ptr<AgentService>> Start(const Options& options, const ClusterKey& key);
  virtual ~AgentService() = default;
  // Ends the requests under way, takes F3 out of the containers, removes the socket. Before the
  // agent's own Stop.
  virtual void Stop() = 0;
};

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_AGENT_SERVICE_H_
