#include "openwhisk_plugin/gateway/agent_client.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <utility>

namespace f3::openwhisk {
namespace {

constexpr int64_t kCallMillis = 10'000;
constexpr int64_t kLocateMillis = 2'000;
constexpr int kReconnectMillis = 500;

std::shared_ptr<grpc::Channel> Connect(const std::string& socket) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectMillis);
  // A pool of its own: connections of two clients in one process fail and recover apart.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel("unix:" + socket, grpc::InsecureChannelCredentials(), arguments);
}

void SetDeadline(grpc::ClientContext* context, int64_t millis, bool wait_for_ready) {
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(millis));
  context->set_wait_for_ready(wait_for_ready);
}

Status FromGrpc(const grpc::Status& status, const std::string& node) {
  if (status.ok()) return Status();
  Code code = Code::kInternal;
  switch (status.error_code()) {
    case grpc::StatusCode::INVALID_ARGUMENT:
      code = Code::kInvalidArgument;
      break;
    case grpc::StatusCode::PERMISSION_DENIED:
      code = Code::kAccessDenied;
      break;
    case grpc::StatusCode::NOT_FOUND:
      code = Code::kNotFound;
      break;
    case grpc::StatusCode::ALREADY_EXISTS:
      code = Code::kExists;
      break;
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      code = Code::kAgain;
      break;
    case grpc::StatusCode::FAILED_PRECONDITION:
      code = Code::kNotSupported;
      break;
    case grpc::StatusCode::UNAVAILABLE:
      code = Code::kUnavailable;
      break;
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      code = Code::kTimeout;
      break;
    default:
      break;
  }
  // What the user got wrong is told in the agent's words alone.
  bool of_the_user = code == Code::kInvalidArgument || code == Code::kAccessDenied;
  return Status(code, of_the_user ? status.error_message()
                                  : "the agent of " + node + ": " + status.error_message());
}

}  // namespace

AgentClient::AgentClient(std::string node, const std::string& socket)
    : node_(std::move(node)), stub_(LocalAgent::NewStub(Connect(socket))) {}

Status AgentClient::Attach(const AttachRequest& request) {
  grpc::ClientContext context;
  SetDeadline(&context, kCallMillis, true);
  AttachReply reply;
  return FromGrpc(stub_->Attach(&context, request, &reply), node_);
}

Status AgentClient::Update(const UpdateRequest& request) {
  grpc::ClientContext context;
  SetDeadline(&context, kCallMillis, true);
  UpdateReply reply;
  return FromGrpc(stub_->Update(&context, request, &reply), node_);
}

Status AgentClient::Detach(const std::string& container) {
  grpc::ClientContext context;
  // An agent that is away finds out by itself which containers have ended.
  SetDeadline(&context, kCallMillis, false);
  DetachRequest request;
  request.set_container(container);
  DetachReply reply;
  return FromGrpc(stub_->Detach(&context, request, &reply), node_);
}

Status AgentClient::EndWorkflow(const std::string& name_space, const std::string& workflow) {
  grpc::ClientContext context;
  SetDeadline(&context, kCallMillis, false);
  EndWorkflowRequest request;
  request.set_namespace_(name_space);
  request.set_workflow(workflow);
  EndWorkflowReply reply;
  return FromGrpc(stub_->EndWorkflow(&context, request, &reply), node_);
}

Status AgentClient::Check(const CheckRequest& request) {
  grpc::ClientContext context;
  SetDeadline(&context, kLocateMillis, false);
  CheckReply reply;
  return FromGrpc(stub_->Check(&context, request, &reply), node_);
}

Result<LocateReply> AgentClient::Locate(const LocateRequest& request) {
  grpc::ClientContext context;
  SetDeadline(&context, kLocateMillis, false);
  LocateReply reply;
  F3_RETURN_IF_ERROR(FromGrpc(stub_->Locate(&context, request, &reply), node_));
  return reply;
}

Result<ListReply> AgentClient::List() {
  grpc::ClientContext context;
  SetDeadline(&context, kLocateMillis, false);
  ListRequest request;
  ListReply reply;
  F3_RETURN_IF_ERROR(FromGrpc(stub_->List(&context, request, &reply), node_));
  return reply;
}

}  // namespace f3::openwhisk
