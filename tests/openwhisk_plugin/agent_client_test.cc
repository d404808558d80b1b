#include "openwhisk_plugin/agent_client.h"

#include <gtest/gtest.h>

#include "tests/common/status_matchers.h"

namespace f3::openwhisk {
namespace {

TEST(AgentStatusTest, WhatTheApiNamesArrivesAsItLeft) {
  for (Code code :
       {Code::kInvalidArgument, Code::kNotPermitted, Code::kNotFound, Code::kExists, Code::kAgain,
        Code::kNotSupported, Code::kUnavailable, Code::kTimeout, Code::kInternal}) {
    const Status arrived = FromGrpc(ToGrpc(Status(code, "why")), "/s");
    EXPECT_EQ(arrived.code(), code);
    EXPECT_NE(arrived.message().find("why"), std::string::npos);
  }
  EXPECT_OK(FromGrpc(ToGrpc(Status()), "/s"));
}

TEST(AgentStatusTest, OthersBecomeTheNearest) {
  EXPECT_EQ(ToGrpc(Status::BadConfig("x")).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ToGrpc(Status::NoSpace("x")).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ToGrpc(Status::NotDirectory("x")).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ToGrpc(Status::Checksum("x")).error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(ToGrpc(Status::Io("\xff")).error_message(), "?");
}

TEST(AgentClientTest, AnAgentThatIsNotThereIsNamed) {
  auto stub = ConnectAgent("/nonexistent/agent.sock");
  grpc::ClientContext context;
  PrepareCall(&context, 5'000'000);
  ListReply reply;
  const Status status =
      FromGrpc(stub->List(&context, ListRequest(), &reply), "/nonexistent/agent.sock");
  EXPECT_CODE(status, kUnavailable);
  EXPECT_NE(status.message().find("/nonexistent/agent.sock"), std::string::npos);
}

}  // namespace
}  // namespace f3::openwhisk
