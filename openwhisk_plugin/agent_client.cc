#include "openwhisk_plugin/agent_client.h"

#include <chrono>

#include "common/utf8.h"

namespace f3::openwhisk {

std::unique_ptr<LocalAgent::Stub> ConnectAgent(const std::string& socket) {
  return LocalAgent::NewStub(
      grpc::CreateChannel("unix:" + socket, grpc::InsecureChannelCredentials()));
}

void PrepareCall(grpc::ClientContext* context, int64_t timeout_micros) {
  context->set_deadline(std::chrono::system_clock::now() +
                        std::chrono::microseconds(timeout_micros));
}

grpc::Status ToGrpc(const Status& status) {
  auto with = [&status](grpc::StatusCode code) {
    return grpc::Status(code, ValidUtf8(status.message()));
  };
  switch (status.code()) {
    case Code::kOk:
      return grpc::Status::OK;
    case Code::kInvalidArgument:
    case Code::kBadConfig:
    case Code::kNameTooLong:
      return with(grpc::StatusCode::INVALID_ARGUMENT);
    case Code::kNotPermitted:
    case Code::kAccessDenied:
      return with(grpc::StatusCode::PERMISSION_DENIED);
    case Code::kNotFound:
      return with(grpc::StatusCode::NOT_FOUND);
    case Code::kExists:
      return with(grpc::StatusCode::ALREADY_EXISTS);
    case Code::kAgain:
    case Code::kNoMemory:
    case Code::kNoSpace:
      return with(grpc::StatusCode::RESOURCE_EXHAUSTED);
    case Code::kNotSupported:
    case Code::kNotDirectory:
    case Code::kReadOnly:
    case Code::kBusy:
      return with(grpc::StatusCode::FAILED_PRECONDITION);
    case Code::kUnavailable:
    case Code::kGrace:
      return with(grpc::StatusCode::UNAVAILABLE);
    case Code::kTimeout:
      return with(grpc::StatusCode::DEADLINE_EXCEEDED);
    default:
      return with(grpc::StatusCode::INTERNAL);
  }
}

Code CodeOf(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::OK:
      return Code::kOk;
    case grpc::StatusCode::INVALID_ARGUMENT:
      return Code::kInvalidArgument;
    case grpc::StatusCode::PERMISSION_DENIED:
      return Code::kNotPermitted;
    case grpc::StatusCode::NOT_FOUND:
      return Code::kNotFound;
    case grpc::StatusCode::ALREADY_EXISTS:
      return Code::kExists;
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return Code::kAgain;
    case grpc::StatusCode::FAILED_PRECONDITION:
      return Code::kNotSupported;
    case grpc::StatusCode::UNAVAILABLE:
      return Code::kUnavailable;
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return Code::kTimeout;
    default:
      return Code::kInternal;
  }
}

Status FromGrpc(const grpc::Status& status, const std::string& socket) {
  const Code code = CodeOf(status.error_code());
  const std::string& message = status.error_message();
  switch (code) {
    case Code::kOk:
      return Status();
    case Code::kUnavailable:
    case Code::kTimeout:
    case Code::kInternal:
      return Status(code, "the agent at " + socket + ": " + message);
    default:
      return Status(code, message);
  }
}

}  // namespace f3::openwhisk
