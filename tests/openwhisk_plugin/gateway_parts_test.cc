// The gateway's pure parts: names, JSON, rules of merging, placement, outcomes, keys, throttle.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <sodium.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <numeric>
#include <set>

#include "openwhisk_plugin/gateway/auth.h"
#include "openwhisk_plugin/gateway/entities.h"
#include "openwhisk_plugin/gateway/json_text.h"
#include "openwhisk_plugin/gateway/names.h"
#include "openwhisk_plugin/gateway/outcome.h"
#include "openwhisk_plugin/gateway/placement.h"
#include "openwhisk_plugin/gateway/resolve.h"
#include "openwhisk_plugin/gateway/throttle.h"
#include "tests/common/status_matchers.h"
#include "tests/common/temp_dir.h"

namespace f3::openwhisk {
namespace {

using nlohmann::json;

TEST(Names, AreCheckedAsOpenWhiskDoes) {
  for (const char* good : {"a", "A_1", "9.9", "a b", "x@y.z", "_", "a&b-c"}) {
    EXPECT_OK(CheckName("action", good)) << good;
  }
  for (const char* bad : {"", " a", "a ", "-a", ".", "..", "a/b", "a\nb", "\xc3\xa9"}) {
    EXPECT_CODE(CheckName("action", bad), kInvalidArgument) << bad;
  }
  EXPECT_CODE(CheckName("action", std::string("a\0b", 3)), kInvalidArgument);
  EXPECT_OK(CheckName("action", std::string(256, 'a')));
  EXPECT_CODE(CheckName("action", std::string(257, 'a')), kInvalidArgument);
}

TEST(Names, ReferToActions) {
  auto name = [](const char* text) {
    auto parsed = ParseActionName(text, "own");
    return parsed.ok() ? parsed->ToString() : "error";
  };
  EXPECT_EQ(name("a"), "/own/a");
  EXPECT_EQ(name("p/a"), "/own/p/a");
  EXPECT_EQ(name("/_/a"), "/own/a");
  EXPECT_EQ(name("/_/p/a"), "/own/p/a");
  EXPECT_EQ(name("/other/a"), "/other/a");
  EXPECT_EQ(name("other/p/a"), "/other/p/a");
  for (const char* bad : {"", "/", "/a", "//a", "a/b/c/d", "/a/b/c/d", "/a//b"}) {
    EXPECT_EQ(name(bad), "error") << bad;
  }
}

TEST(JsonText, IsBoundedInDepth) {
  auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_OK(ParseJson(nested(kMaxJsonDepth), "x"));
  EXPECT_CODE(ParseJson(nested(kMaxJsonDepth + 1), "x"), kInvalidArgument);
  EXPECT_CODE(ParseJson(std::string(5'000'000, '{'), "x"), kInvalidArgument);
  EXPECT_OK(ParseJson("\"" + std::string(1000, '[') + "\\\"[\"", "x")) << "in a text";
  for (const char* bad : {"", "{", "nul", "{\"a\":1,}", "\"\xff\"", "1 2"}) {
    EXPECT_CODE(ParseJson(bad, "x"), kInvalidArgument) << bad;
  }
}

TEST(Arguments, LaterOnesWin) {
  Parameters package{{"a", {1}}, {"b", {1}}, {"e", {1, true}}};
  Parameters action{{"b", {2}}, {"c", {2}}};
  auto call = MergeArguments(Merge(package, action), {{"c", 3}, {"__f3", {{"follow", true}}}});
  EXPECT_EQ(call.arguments, (json{{"a", 1}, {"b", 2}, {"c", 3}}));
  EXPECT_EQ(call.environment, (json{{"e", 1}}));
  EXPECT_EQ(call.hints, R"({"follow":true})");
}

TEST(Entities, RowsHoldEverything) {
  json body = {{"exec", {{"kind", "python:default"}, {"code", "UEsDBAAA"}, {"main", "go"}}},
               {"parameters", {{{"key", "p"}, {"value", {1, 2}}, {"init", true}}}},
               {"annotations", {{{"key", "a"}, {"value", nullptr}}}},
               {"limits", {{"timeout", 5000}, {"memory", 512}, {"logs", 0}}},
               {"publish", true}};
  auto put = ParseActionPut(body, "ns");
  ASSERT_OK(put);
  auto action = ApplyPut(*put, nullptr, {"ns", "pkg", "name"}, 42);
  ASSERT_OK(action);
  EXPECT_TRUE(action->exec.binary) << "a zip file is seen without being told";
  EXPECT_EQ(action->exec.kind, "python:3");
  auto read = ActionFromRow(ToRow(*action));
  ASSERT_OK(read);
  EXPECT_EQ(read->id, action->id);
  EXPECT_EQ(read->revision, action->revision);
  EXPECT_EQ(ToJson(*read, false), ToJson(*action, false));
  EXPECT_EQ(read->parameters["p"].init, true);
  EXPECT_CODE(ActionFromRow("{}"), kCorruption);
  EXPECT_CODE(PackageFromRow("x"), kCorruption);

  auto next = ApplyPut(ActionPut{}, &*action, action->id, 43);
  ASSERT_OK(next);
  EXPECT_EQ(next->version, "0.0.2");
  EXPECT_NE(next->revision, action->revision);
  EXPECT_EQ(next->limits.timeout_millis, 5000);
}

TEST(Outcomes, ResultsUpToTheLimitPass) {
  RunOutcome outcome;
  outcome.http_status = 200;
  size_t frame = DumpJson({{"t", ""}}).size();
  outcome.response = {{"t", std::string(kMaxPayloadBytes - frame, 'x')}};
  EXPECT_EQ(RunResponse(outcome, 1).outcome, Outcome::kSuccess);
  outcome.response = {{"t", std::string(kMaxPayloadBytes - frame + 1, 'x')}};
  EXPECT_EQ(RunResponse(outcome, 1).outcome, Outcome::kApplicationError);
  outcome.http_status = 502;
  outcome.response = {{"error", {{"why", 1}}}};
  auto response = RunResponse(outcome, 1);
  EXPECT_EQ(response.outcome, Outcome::kDeveloperError);
  EXPECT_EQ(response.result, (json{{"error", {{"why", 1}}}}));
}

TEST(Outcomes, LogsAreCutWithALineThatSaysSo) {
  std::vector<std::string> lines;
  std::string text;
  for (int i = 0; i < 20000; ++i) text += std::string(99, 'x') + "\n";
  AppendLogLines(text, 1 << 20, &lines);
  EXPECT_EQ(lines.size(), (1u << 20) / 100 + 1);
  EXPECT_NE(lines.back().find("1 MB"), std::string::npos);
  lines.clear();
  AppendLogLines(text, 0, &lines);
  EXPECT_TRUE(lines.empty());
  AppendLogLines("a\xff\n\nb", 100, &lines);
  EXPECT_EQ(lines, (std::vector<std::string>{"a?", "b"}));
}

class PlacementTest : public ::testing::Test {
 protected:
  PlacementTest() {
    request_.name_space = "ns";
    request_.action = "/ns/a";
    request_.candidates.resize(3);
  }
  size_t Best() { return ChoosePlacement(request_).at(0); }
  PlacementRequest request_;
};

TEST_F(PlacementTest, GoesToTheDataUnlessWaitingCostsMore) {
  request_.input_bytes = 1'000'000'000;  // 5 s at 200 MB/s
  request_.candidates[1].held_bytes = 1'000'000'000;
  EXPECT_EQ(Best(), 1u);
  request_.candidates[1].wait_micros = 4'000'000;
  EXPECT_EQ(Best(), 1u);
  request_.candidates[1].wait_micros = 6'000'000;
  EXPECT_NE(Best(), 1u) << "pulling is cheaper than the queue";
  request_.locality = InputLocality::kRequire;
  EXPECT_EQ(ChoosePlacement(request_), std::vector<size_t>{1});
  request_.locality = InputLocality::kOff;
  request_.candidates[1].wait_micros = 0;
  request_.candidates[2].start = StartKind::kWarm;
  EXPECT_EQ(Best(), 2u);
}

TEST_F(PlacementTest, AWarmContainerIsWorthSomeBytes) {
  request_.candidates[0].start = StartKind::kWarm;
  request_.input_bytes = 50'000'000;  // 0.25 s, less than a cold start
  request_.candidates[1].held_bytes = 50'000'000;
  EXPECT_EQ(Best(), 0u);
  request_.input_bytes = request_.candidates[1].held_bytes = 500'000'000;
  EXPECT_EQ(Best(), 1u);
}

TEST_F(PlacementTest, HashTakesTheHomeWhileItIsFree) {
  request_.policy = PlacementPolicy::kHash;
  auto order = HashOrder("ns", "/ns/a", 3);
  EXPECT_EQ(ChoosePlacement(request_), order);
  request_.candidates[order[0]].free = false;
  EXPECT_EQ(Best(), order[1]);
  for (auto& candidate : request_.candidates) candidate.free = false;
  std::set<size_t> seen;
  for (request_.random = 0; request_.random < 3; ++request_.random) seen.insert(Best());
  EXPECT_EQ(seen.size(), 3u);
}

TEST_F(PlacementTest, EveryOrderHoldsEachNodeOnce) {
  EXPECT_TRUE(rc::check([] {
    PlacementRequest request;
    request.policy = *rc::gen::element(PlacementPolicy::kLocate, PlacementPolicy::kRandom,
                                       PlacementPolicy::kHash);
    request.name_space = *rc::gen::arbitrary<std::string>();
    request.action = *rc::gen::arbitrary<std::string>();
    request.random = *rc::gen::arbitrary<uint64_t>();
    request.input_bytes = *rc::gen::arbitrary<uint32_t>();
    request.candidates.resize(*rc::gen::inRange(0, 20));
    for (auto& candidate : request.candidates) {
      candidate.free = *rc::gen::arbitrary<bool>();
      candidate.held_bytes = *rc::gen::arbitrary<uint32_t>();
      candidate.wait_micros = *rc::gen::inRange(0, 1'000'000);
    }
    auto order = ChoosePlacement(request);
    std::sort(order.begin(), order.end());
    std::vector<size_t> all(request.candidates.size());
    std::iota(all.begin(), all.end(), 0);
    RC_ASSERT(order == all);
  }));
}

TEST(Inputs, AreHintsAndArgumentsThatNameData) {
  json annotations = {{"f3-mounts", {{{"path", "/data"}}, json::object()}},
                      {"f3-hints", {{"inputs", {"in/*"}}, {"locality", "require"}}}};
  std::string reference = "AQ" + std::string(177, 'x');
  json arguments = {{"a", "/data/x"},
                    {"b", {{"c", {"/mnt/f3/y", "/data", "/datax/z", "/etc/passwd", 1}}}},
                    {"r", reference},
                    {"no", "AQ" + std::string(176, 'x') + "!"}};
  auto inputs = FindInputs(annotations, nullptr, arguments);
  EXPECT_EQ(inputs.locality, InputLocality::kRequire);
  EXPECT_EQ(inputs.paths, (std::vector<std::string>{"in/*", "/data/x", "/mnt/f3/y"}));
  EXPECT_EQ(inputs.references, std::vector<std::string>{reference});
  // The call's hints take the place of the annotation's.
  inputs = FindInputs(annotations, {{"inputs", {"other"}}, {"locality", "off"}}, nullptr);
  EXPECT_EQ(inputs.locality, InputLocality::kOff);
  EXPECT_EQ(inputs.paths, std::vector<std::string>{"other"});
  auto many = FindInputs(annotations, nullptr, json(std::vector<std::string>(1000, "/data/x")));
  EXPECT_LE(many.paths.size(), 256u);
}

TEST(Costs, LearnWhatPullingTakes) {
  PlacementCosts costs;
  auto before = costs.Get();
  costs.AddStart(StartKind::kCold, before.cold_micros * 2);
  EXPECT_GT(costs.Get().cold_micros, before.cold_micros);
  for (int i = 0; i < 50; ++i) costs.AddRun("a", 0, 100'000);
  for (int i = 0; i < 50; ++i) costs.AddRun("a", 100'000'000, 1'100'000);  // 100 MB in 1 s
  EXPECT_NEAR(costs.Get().bytes_per_second, 100e6, 5e6);
  costs.AddRun("unknown", 100'000'000, 100'000'000);
  EXPECT_NEAR(costs.Get().bytes_per_second, 100e6, 5e6) << "it may have computed all the time";
  costs.AddRun("a", 1000, 10'000'000);
  EXPECT_NEAR(costs.Get().bytes_per_second, 100e6, 5e6) << "too few bytes to tell";
}

std::string Basic(const std::string& credentials) {
  std::string out(credentials.size() * 2 + 4, '\0');
  sodium_bin2base64(out.data(), out.size(),
                    reinterpret_cast<const unsigned char*>(credentials.data()), credentials.size(),
                    sodium_base64_VARIANT_ORIGINAL);
  return "Basic " + std::string(out.c_str());
}

TEST(Auth, ReadsOnlyPrivateAndWellFormedFiles) {
  TempDir dir;
  std::string path = dir / "keys";
  EXPECT_CODE(AuthKeys::Open(path), kBadConfig);
  auto credentials = AddNamespace(path, "guest");
  ASSERT_OK(credentials);
  struct stat st {};
  ASSERT_EQ(::stat(path.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  EXPECT_CODE(AddNamespace(path, "no good"), kInvalidArgument);
  auto keys = AuthKeys::Open(path);
  ASSERT_OK(keys);
  EXPECT_EQ((*keys)->Check(Basic(*credentials))->name_space, "guest");
  for (const std::string& wrong :
       {std::string(), std::string("Basic"), std::string("Basic !!!"), Basic("nocolon"),
        Basic(*credentials + "x"), Basic(credentials->substr(0, credentials->size() - 1)),
        Basic(":"), "Bearer " + Basic(*credentials).substr(6), std::string(100000, 'x')}) {
    EXPECT_CODE((*keys)->Check(wrong), kUnauthenticated) << wrong.substr(0, 50);
  }
  // A line that is wrong leaves the keys as they were; nothing is half read.
  std::ofstream(path, std::ios::app) << "nonsense\n";
  EXPECT_OK((*keys)->Check(Basic(*credentials)));
  EXPECT_CODE(AuthKeys::Open(path), kBadConfig);
  std::ofstream(path) << *credentials << " guest\n";
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  EXPECT_CODE(AuthKeys::Open(path), kBadConfig);
}

TEST(Throttles, CountPerMinuteAndAtOnce) {
  ManualClock clock;
  Throttle throttle({.per_minute = 3, .concurrent = 2}, &clock);
  EXPECT_OK(throttle.Enter("a"));
  EXPECT_OK(throttle.Enter("a"));
  EXPECT_CODE(throttle.Enter("a"), kAgain);
  EXPECT_OK(throttle.Enter("b"));
  throttle.Leave("a");
  EXPECT_OK(throttle.Enter("a"));
  throttle.Leave("a");
  EXPECT_CODE(throttle.Enter("a"), kAgain) << "three in this minute";
  clock.AdvanceMicros(60'000'000);
  EXPECT_OK(throttle.Enter("a"));
}

}  // namespace
}  // namespace f3::openwhisk
