// What a node agent answers on its control socket.
#ifndef F3_CLI_AGENT_CONTROL_H_
#define F3_CLI_AGENT_CONTROL_H_

#include <nlohmann/json.hpp>
#include <string>

#include "common/status.h"
#include "fs_client/node_agent.h"

namespace f3::cli {

// Operations: "status" (mounts, usage, memory, connection), "verify" ("repair": true removes
// corrupted copies), "stat" ("ino", "incarnation": the object here), "xdt_open" ("path",
// "namespace", "action", "mode", "limit_bytes": the XDT socket of a sandbox) and "xdt_close"
// ("path"). InvalidArgument for others; a field of the wrong type throws json::exception (see
// ControlHandler). Thread-safe.
Result<nlohmann::json> AnswerAgentControl(fs::NodeAgent* agent, const std::string& metadata_server,
                                          const nlohmann::json& request);

nlohmann::json UsageJson(const meta::NodeUsage& usage);

}  // namespace f3::cli

#endif  // F3_CLI_AGENT_CONTROL_H_
