// AgentClient: calls a node agent's local API (agent.proto) over its Unix socket. Thread-safe.
//
// Every call has a deadline. Calls that an activation needs wait for an agent that is being
// restarted until then. Errors keep the agent's message: InvalidArgument, NotPermitted, NotFound,
// Exists, Again (exhausted), NotSupported (failed precondition), Unavailable, Timeout, Internal.
#ifndef F3_OPENWHISK_PLUGIN_GATEWAY_AGENT_CLIENT_H_
#define F3_OPENWHISK_PLUGIN_GATEWAY_AGENT_CLIENT_H_

#include <memory>
#include <string>

#include "common/status.h"
#include "openwhisk_plugin/agent.grpc.pb.h"

namespace f3::openwhisk {

class AgentClient {
 public:
  // Does not connect yet. `node` is for messages.
  AgentClient(std::string node, const std::string& socket);

  const std::string& node() const { return node_; }

  Status Attach(const AttachRequest& request);
  Status Update(const UpdateRequest& request);
  Status Detach(const std::string& container);
  Status EndWorkflow(const std::string& name_space, const std::string& workflow);
  Status Check(const CheckRequest& request);
  // Within 2 s and without waiting for an agent that is away: it stands between a call and its
  // node.
  Result<LocateReply> Locate(const LocateRequest& request);
  Result<ListReply> List();

 private:
  const std::string node_;
  const std::unique_ptr<LocalAgent::Stub> stub_;
};

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_GATEWAY_AGENT_CLIENT_H_
