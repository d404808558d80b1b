#include "openwhisk_plugin/gateway/agent_client.h"

#include <grpcpp/grpcpp.h>

#include <utility>

#include "openwhisk_plugin/agent_client.h"

namespace f3::openwhisk {
namespace {

constexpr int64_t kCallMicros = 10'000'000;
constexpr int64_t kLocateMicros = 2'000'000;
constexpr int kReconnectMillis = 500;

std::shared_ptr<grpc::Channel> Connect(const std::string& socket) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectMillis);
  // A pool of its own: connections of two clients in one process fail and recover apart.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel("unix:" + socket, grpc::InsecureChannelCredentials(), arguments);
}

Status Told(const grpc::Status& status, const std::string& node) {
  const Code code = CodeOf(status.error_code());
  if (code == Code::kOk) return Status();
  // What the user got wrong is told in the agent's words alone.
  const bool of_the_user = code == Code::kInvalidArgument || code == Code::kNotPermitted;
  return Status(code, of_the_user ? status.error_message()
                                  : "the agent of " + node + ": " + status.error_message());
}

}  // namespace

AgentClient::AgentClient(std::string node, const std::string& socket)
    : node_(std::move(node)), stub_(LocalAgent::NewStub(Connect(socket))) {}

Status AgentClient::Attach(const AttachRequest& request) {
  grpc::ClientContext context;
  PrepareCall(&context, kCallMicros);
  context.set_wait_for_ready(true);
  AttachReply reply;
  return Told(stub_->Attach(&context, request, &reply), node_);
}

Status AgentClient::Update(const UpdateRequest& request) {
  grpc::ClientContext context;
  PrepareCall(&context, kCallMicros);
  context.set_wait_for_ready(true);
  UpdateReply reply;
  return Told(stub_->Update(&context, request, &reply), node_);
}

Status AgentClient::Detach(const std::string& container) {
  grpc::ClientContext context;
  // An agent that is away finds out by itself which containers have ended.
  PrepareCall(&context, kCallMicros);
  DetachRequest request;
  request.set_container(container);
  DetachReply reply;
  return Told(stub_->Detach(&context, request, &reply), node_);
}

Status AgentClient::EndWorkflow(const std::string& name_space, const std::string& workflow) {
  grpc::ClientContext context;
  PrepareCall(&context, kCallMicros);
  EndWorkflowRequest request;
  request.set_namespace_(name_space);
  request.set_workflow(workflow);
  EndWorkflowReply reply;
  return Told(stub_->EndWorkflow(&context, request, &reply), node_);
}

Status AgentClient::Check(const CheckRequest& request) {
  grpc::ClientContext context;
  PrepareCall(&context, kLocateMicros);
  CheckReply reply;
  return Told(stub_->Check(&context, request, &reply), node_);
}

Result<LocateReply> AgentClient::Locate(const LocateRequest& request) {
  grpc::ClientContext context;
  PrepareCall(&context, kLocateMicros);
  LocateReply reply;
  F3_RETURN_IF_ERROR(Told(stub_->Locate(&context, request, &reply), node_));
  return reply;
}

Result<ListReply> AgentClient::List() {
  grpc::ClientContext context;
  PrepareCall(&context, kLocateMicros);
  ListRequest request;
  ListReply reply;
  F3_RETURN_IF_ERROR(Told(stub_->List(&context, request, &reply), node_));
  return reply;
}

}  // namespace f3::openwhisk
