// The parts of a sandbox's driver that need no sandbox: responses, log lines, the configuration.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <string>

#include "openwhisk_plugin/gateway/activation_logs.h"
#include "openwhisk_plugin/gateway/bundle.h"
#include "openwhisk_plugin/gateway/http_response.h"
#include "tests/common/status_matchers.h"

namespace f3::openwhisk {
namespace {

constexpr uint64_t kMaxBody = 1000;

HttpResponse Parsed(const std::string& text) {
  HttpResponse response(kMaxBody);
  EXPECT_OK(response.Add(text));
  return response;
}

TEST(HttpResponse, LengthGiven) {
  HttpResponse response = Parsed("HTTP/1.1 502 Bad Gateway\r\ncontent-length:  4 \r\n\r\nab\r\n");
  EXPECT_TRUE(response.complete());
  EXPECT_EQ(response.status(), 502);
  EXPECT_EQ(response.body(), "ab\r\n");
  EXPECT_TRUE(response.keep_alive());
}

TEST(HttpResponse, Chunked) {
  HttpResponse response = Parsed(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
      "3;ext=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n");
  EXPECT_TRUE(response.complete());
  EXPECT_EQ(response.body(), "abc0123456789");
}

TEST(HttpResponse, UpToTheEnd) {
  HttpResponse response = Parsed("HTTP/1.1 200 OK\r\n\r\nabc");
  EXPECT_FALSE(response.complete());
  EXPECT_OK(response.End());
  EXPECT_EQ(response.body(), "abc");
  EXPECT_FALSE(response.keep_alive());
}

TEST(HttpResponse, ContinueComesFirst) {
  HttpResponse response =
      Parsed("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
  EXPECT_TRUE(response.complete());
  EXPECT_EQ(response.status(), 200);
}

TEST(HttpResponse, CloseAndOldVersionsEndTheConnection) {
  EXPECT_FALSE(
      Parsed("HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n").keep_alive());
  EXPECT_FALSE(Parsed("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").keep_alive());
}

TEST(HttpResponse, WhatIsRefused) {
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  for (const std::string& text :
       {std::string("GET / HTTP/1.1\r\n\r\n"), std::string("HTTP/1.1 abc\r\n\r\n"),
        std::string("\r\n"), ok + "no colon\r\n\r\n", ok + "Content-Length: -1\r\n\r\n",
        ok + "Content-Length: 1001\r\n\r\n", ok + "Content-Length: 99999999999999999999\r\n\r\n",
        ok + "Transfer-Encoding: gzip\r\n\r\n", ok + "Content-Length: 1\r\n\r\nab",
        ok + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        ok + "Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        ok + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        ok + "\r\n" + std::string(1001, 'x'), ok + std::string(100'000, 'x')}) {
    HttpResponse response(kMaxBody);
    EXPECT_CODE(response.Add(text), kBadMessage) << text.substr(0, 80);
  }
}

TEST(HttpResponse, CutOff) {
  for (const char* text :
       {"", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"}) {
    HttpResponse response(kMaxBody);
    EXPECT_OK(response.Add(text));
    EXPECT_CODE(response.End(), kBadMessage) << text;
  }
}

RC_GTEST_PROP(HttpResponse, TakesItsBytesInAnyPieces, (const std::string& content)) {
  const bool chunked = *rc::gen::arbitrary<bool>();
  const std::string body = content.substr(0, kMaxBody / 2);
  std::string text = "HTTP/1.1 200 OK\r\n";
  if (chunked) {
    text += "Transfer-Encoding: chunked\r\n\r\n";
    if (!body.empty()) {
      char size[20];
      snprintf(size, sizeof size, "%zx\r\n", body.size());
      text += size + body + "\r\n";
    }
    text += "0\r\n\r\n";
  } else {
    text += "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  HttpResponse response(kMaxBody);
  for (size_t at = 0; at < text.size();) {
    RC_ASSERT(!response.complete());
    const size_t piece = *rc::gen::inRange<size_t>(1, 40);
    RC_ASSERT(response.Add(std::string_view(text).substr(at, piece)).ok());
    at += piece;
  }
  RC_ASSERT(response.complete());
  RC_ASSERT(response.body() == body);
}

RC_GTEST_PROP(HttpResponse, AnyBytesAreReadOrRefused, (const std::string& bytes)) {
  HttpResponse response(kMaxBody);
  const std::string head = *rc::gen::element<std::string>(
      "", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
  if (response.Add(head + bytes).ok()) response.End().PermitUnchecked();
  RC_ASSERT(response.body().size() <= kMaxBody);
}

// 2023-11-14T22:13:20Z.
constexpr int64_t kWall = 1'700'000'000'000'000'123;
constexpr const char kSentinel[] = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n";

TEST(ActivationLogs, LinesHaveTimeAndStream) {
  ActivationLogs logs(1000);
  logs.Add(LogStream::kStdout, "one\ntw", kWall);
  logs.Add(LogStream::kStderr, "bad\n", kWall);
  logs.Add(LogStream::kStdout, std::string("o\n") + kSentinel, kWall);
  EXPECT_FALSE(logs.complete());
  logs.Add(LogStream::kStderr, kSentinel, kWall);
  EXPECT_TRUE(logs.complete());
  EXPECT_EQ(logs.Take(kWall),
            "2023-11-14T22:13:20.000000123Z stdout: one\n"
            "2023-11-14T22:13:20.000000123Z stderr: bad\n"
            "2023-11-14T22:13:20.000000123Z stdout: two\n");
  EXPECT_FALSE(logs.complete());
  EXPECT_EQ(logs.Take(kWall), "");
}

TEST(ActivationLogs, WhatHasNoNewlineIsALineToo) {
  ActivationLogs logs(1000);
  logs.Add(LogStream::kStdout, std::string("half") + kSentinel, kWall);
  EXPECT_TRUE(logs.ended(LogStream::kStdout));
  logs.Add(LogStream::kStderr, "cut off", kWall);
  const std::string lines = logs.Take(kWall);
  EXPECT_NE(lines.find("stdout: half\n"), std::string::npos) << lines;
  EXPECT_NE(lines.find("stderr: cut off\n"), std::string::npos) << lines;
}

TEST(ActivationLogs, WhatFollowsTheSentinelIsTheNextActivations) {
  ActivationLogs logs(1000);
  logs.Add(LogStream::kStdout, std::string(kSentinel) + "la", kWall);
  logs.Add(LogStream::kStderr, kSentinel, kWall);
  EXPECT_EQ(logs.Take(kWall), "");
  logs.Add(LogStream::kStdout, "te\n", kWall);
  EXPECT_NE(logs.Take(kWall).find("stdout: late\n"), std::string::npos);
}

TEST(ActivationLogs, TooMuchIsCutWithALineThatSaysSo) {
  ActivationLogs logs(10);
  logs.Add(LogStream::kStdout, "12345\n67890\nmore\nmore\n", kWall);
  const std::string lines = logs.Take(kWall);
  EXPECT_NE(lines.find("67890"), std::string::npos);
  EXPECT_EQ(lines.find("more"), std::string::npos);
  EXPECT_NE(lines.find("exceeds the limit of 10 bytes"), std::string::npos);
  logs.Add(LogStream::kStdout, "again\n", kWall);
  EXPECT_NE(logs.Take(kWall).find("again"), std::string::npos);
}

TEST(ActivationLogs, EndlessLinesAreCutAndTheirSentinelIsFound) {
  // Whatever the length, the sentinel may lie across the place where a line is cut.
  for (size_t bytes = (16 << 10) - 60; bytes < (16 << 10) + 60; ++bytes) {
    ActivationLogs logs(1 << 20);
    logs.Add(LogStream::kStdout, std::string(bytes, 'x') + kSentinel, kWall);
    ASSERT_TRUE(logs.ended(LogStream::kStdout)) << bytes;
    const std::string lines = logs.Take(kWall);
    ASSERT_EQ(std::count(lines.begin(), lines.end(), 'x'), static_cast<long>(bytes));
  }
}

TEST(ActivationLogs, BytesThatAreNoText) {
  ActivationLogs logs(1000);
  logs.Add(LogStream::kStdout, "a\xff\xfe z\n", kWall);
  EXPECT_NE(logs.Take(kWall).find("stdout: a?? z\n"), std::string::npos);
}

ContainerOptions Options() {
  ContainerOptions options;
  options.id = "wsk-n1-17";
  options.kind = "python:3";
  return options;
}

TEST(OciConfig, WhatIsLimited) {
  ContainerOptions options = Options();
  options.environment = {{"__OW_API_HOST", "http://h"}, {"LANG", "C"}};
  auto config = OciConfig(options, "/r");
  ASSERT_OK(config);
  const auto& json = *config;
  EXPECT_EQ(json["root"]["path"], "/r");
  EXPECT_EQ(json["linux"]["resources"]["memory"]["limit"], 256 << 20);
  EXPECT_EQ(json["linux"]["resources"]["pids"]["limit"], 1024);
  EXPECT_EQ(json["process"]["rlimits"][0]["hard"], 1024);
  EXPECT_EQ(json["process"]["noNewPrivileges"], true);
  EXPECT_EQ(json["linux"]["cgroupsPath"], "/f3-sandboxes/wsk-n1-17");
  for (const auto& [set, names] : json["process"]["capabilities"].items()) {
    EXPECT_EQ(names.size(), 13U) << set;
    for (const auto& name : names) {
      EXPECT_TRUE(name != "CAP_NET_RAW" && name != "CAP_NET_ADMIN" && name != "CAP_SYS_ADMIN");
    }
  }
  const auto& settings = json["process"]["env"];
  EXPECT_EQ(std::count(settings.begin(), settings.end(), "__OW_API_HOST=http://h"), 1);
  EXPECT_EQ(std::count(settings.begin(), settings.end(), "LANG=C"), 1);
  EXPECT_EQ(std::count(settings.begin(), settings.end(), "LANG=C.UTF-8"), 0);
}

TEST(OciConfig, KindsAndWhatIsNone) {
  EXPECT_EQ(CommandOfKind("python:3.11").value()[0], "/usr/bin/python3");
  EXPECT_EQ(CommandOfKind("nodejs:default").value()[0], "/usr/bin/node");
  ContainerOptions options = Options();
  options.kind = "java:8";
  auto config = OciConfig(options, "/r");
  EXPECT_CODE(config, kInvalidArgument);
  EXPECT_NE(config.status().message().find("java:8"), std::string::npos);
  options = Options();
  options.memory_bytes = 1;
  EXPECT_CODE(OciConfig(options, "/r"), kInvalidArgument);
}

}  // namespace
}  // namespace f3::openwhisk
