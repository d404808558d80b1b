// How the agent's local API is reached, and how errors travel through it. Thread-safe.
#ifndef F3_OPENWHISK_PLUGIN_AGENT_CLIENT_H_
#define F3_OPENWHISK_PLUGIN_AGENT_CLIENT_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <memory>
#include <string>

#include "common/status.h"
#include "openwhisk_plugin/agent.grpc.pb.h"

namespace f3::openwhisk {

// The API at a Unix socket; connects with the first call.
std::unique_ptr<LocalAgent::Stub> ConnectAgent(const std::string& socket);
// Sets the deadline that calls to an agent have.
void PrepareCall(grpc::ClientContext* context, int64_t timeout_micros = 30'000'000);

// A status as one of those that agent.proto lists, and back: InvalidArgument, NotPermitted,
// NotFound, Exists, Again (RESOURCE_EXHAUSTED), NotSupported (FAILED_PRECONDITION), Unavailable,
// Timeout, Internal. `socket` is named when nobody answers there.
grpc::Status ToGrpc(const Status& status);
Code CodeOf(grpc::StatusCode code);
Status FromGrpc(const grpc::Status& status, const std::string& socket);

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_AGENT_CLIENT_H_
