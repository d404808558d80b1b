#include "cli/control.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

namespace f3::cli {
namespace {

using nlohmann::json;

constexpr int64_t kPatience = 20'000'000;

std::string SocketPath() { return testing::TempDir() + "f3_control_test.sock"; }

TEST(ControlTest, AsksAndAnswers) {
  auto listener = ControlListener::Listen(SocketPath());
  ASSERT_TRUE(listener.ok()) << listener.status().ToString();
  ControlThread server(std::move(listener).value(), [](const json& request) -> Result<json> {
    if (request["op"] == "echo") return json{{"you_said", request["text"]}};
    return Status::NotFound("no such thing");
  });
  auto reply =
      AskControl(SocketPath(), {{"op", "echo"}, {"text", std::string(100000, 'x')}}, kPatience);
  ASSERT_TRUE(reply.ok()) << reply.status().ToString();
  EXPECT_EQ((*reply)["you_said"].get<std::string>().size(), 100000u);

  reply = AskControl(SocketPath(), {{"op", "other"}}, kPatience);
  EXPECT_TRUE(reply.status().Is(Code::kNotFound));
  EXPECT_EQ(reply.status().message(), "no such thing");

  EXPECT_TRUE(AskControl(SocketPath(), {{"no", "op"}}, kPatience).status().Is(Code::kBadMessage));
  EXPECT_TRUE(ControlListener::Listen(SocketPath()).status().Is(Code::kBusy));
}

TEST(ControlTest, AFieldOfTheWrongTypeIsAnErrorAndDoesNotEndTheServer) {
  auto handler = [](const json& request) -> Result<json> {
    return json{{"name", request.value("name", "")}};
  };
  auto ask = [&](const char* text) { return ReadControlReply(AnswerControl(text, handler)); };
  EXPECT_EQ(ask(R"({"op": "x", "name": "n"})")->at("name"), "n");
  EXPECT_TRUE(ask(R"({"op": "x", "name": 5})").status().Is(Code::kInvalidArgument));
  EXPECT_TRUE(ask(R"({"op": 5})").status().Is(Code::kBadMessage));
  EXPECT_TRUE(ask("[[[[").status().Is(Code::kBadMessage));
}

TEST(ControlTest, AnErrorThatIsOddlyNumberedStaysAnError) {
  for (const char* reply : {R"({"error": "e", "code": "text"})", R"({"error": "e", "code": 0})",
                            R"({"error": "e", "code": 1e300})", R"({"error": "e"})"}) {
    EXPECT_TRUE(ReadControlReply(reply).status().Is(Code::kInternal)) << reply;
  }
  EXPECT_TRUE(ReadControlReply("5").status().Is(Code::kBadMessage));
}

TEST(ControlTest, ARequestThatIsNotTextIsRefused) {
  EXPECT_TRUE(AskControl("/nonexistent.sock", {{"op", "backup"}, {"file", "/\xff"}}, kPatience)
                  .status()
                  .Is(Code::kInvalidArgument));
}

TEST(ControlTest, NobodyListens) {
  Status status = AskControl("/nonexistent.sock", {{"op", "status"}}, kPatience).status();
  EXPECT_TRUE(status.Is(Code::kUnavailable));
  EXPECT_NE(status.message().find("/nonexistent.sock"), std::string::npos);
}

TEST(ControlTest, AServerThatNeverAnswersMeetsTheDeadline) {
  std::string path = SocketPath() + ".silent";
  auto listener = ControlListener::Listen(path);
  ASSERT_TRUE(listener.ok());
  EXPECT_TRUE(AskControl(path, {{"op", "status"}}, 30'000).status().Is(Code::kTimeout));
  listener->Close();
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
}

TEST(ControlTest, ASocketFileLeftByADeadDaemonIsReplaced) {
  std::string path = SocketPath() + ".stale";
  {
    auto abandoned = ControlListener::Listen(path);
    ASSERT_TRUE(abandoned.ok());
  }
  EXPECT_EQ(::access(path.c_str(), F_OK), 0);
  auto listener = ControlListener::Listen(path);
  EXPECT_TRUE(listener.ok()) << listener.status().ToString();
  listener->Close();
}

TEST(ControlTest, APathThatIsTooLongIsRefused) {
  EXPECT_TRUE(ControlListener::Listen("/" + std::string(200, 'x')).status().Is(Code::kNameTooLong));
}

}  // namespace
}  // namespace f3::cli
