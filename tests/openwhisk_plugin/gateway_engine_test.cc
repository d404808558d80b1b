// Activations from call to record: containers, sequences, placement, failures.
#include <future>

#include "tests/openwhisk_plugin/gateway_fixture.h"

namespace f3::openwhisk {
namespace {

using nlohmann::json;

class EngineTest : public GatewayTest {
 protected:
  json Result(const HttpAnswer& answer) { return answer.body["response"]["result"]; }
  void OneNode() { options_.engine.nodes.pop_back(); }
  // What containers with so much memory in all do at once.
  void Memory(uint64_t mb) { options_.engine.invoker.memory_bytes = mb << 20; }
  HttpAnswer Record(const std::string& id) {
    HttpAnswer answer;
    // Written before anybody is told that it is over, so few turns are enough.
    EXPECT_TRUE(agents_[1]->WaitFor([&] {
      answer = Call("GET", "_/activations/" + id);
      return answer.status == 200;
    }));
    return answer;
  }
};

TEST_F(EngineTest, BlockingResultAndAsynchronous) {
  Start();
  Put("echo", "echo", {{"parameters", {{{"key", "p"}, {"value", 1}}}}});
  auto blocking = Invoke("echo", {{"x", "y"}});
  EXPECT_EQ(blocking.status, 200);
  EXPECT_EQ(Result(blocking), (json{{"p", 1}, {"x", "y"}}));
  EXPECT_EQ(blocking.body["response"]["status"], "success");
  EXPECT_EQ(Annotation(blocking.body, "kind"), "nodejs:18");
  EXPECT_TRUE(Annotation(blocking.body, "initTime").is_number());
  auto warm = Invoke("echo");
  EXPECT_EQ(Annotation(warm.body, "initTime"), nullptr);
  EXPECT_EQ(Invoke("echo", {}, "?blocking=true&result=true").body, (json{{"p", 1}}));
  auto later = Invoke("echo", {}, "");
  EXPECT_EQ(later.status, 202);
  EXPECT_EQ(Record(later.body["activationId"]).body["response"]["success"], true);
  EXPECT_EQ(world_.Count("create"), 1) << "the container is used again";
  EXPECT_EQ(world_.Count("init"), 1);

  json run;
  for (const auto& event : world_.events()) {
    if (event.what == "run") run = event.body;
  }
  EXPECT_EQ(run["namespace"], "guest");
  EXPECT_EQ(run["action_name"], "/guest/echo");
  EXPECT_EQ(run["action_version"], "0.0.1");
  EXPECT_EQ(run["activation_id"], later.body["activationId"]);
  EXPECT_FALSE(run.contains("api_key"));
}

TEST_F(EngineTest, InitParametersAndTheApiKeyGoWhereTheyShould) {
  Start();
  Put("env", "env",
      {{"parameters",
        {{{"key", "SECRET"}, {"value", "s"}, {"init", true}}, {{"key", "plain"}, {"value", 1}}}},
       {"annotations", {{{"key", "provide-api-key"}, {"value", true}}}}});
  json env = Result(Invoke("env"));
  EXPECT_EQ(env["SECRET"], "s");
  EXPECT_FALSE(env.contains("plain"));
  EXPECT_EQ(env["__OW_ACTION_NAME"], "/guest/env");
  EXPECT_EQ(env["__OW_API_KEY"], guest_);
  for (const auto& event : world_.events()) {
    if (event.what != "run") continue;
    EXPECT_EQ(event.body["value"], (json{{"plain", 1}}));
  }
}

TEST_F(EngineTest, FailuresHaveOpenWhisksForms) {
  Start();
  struct Case {
    const char* code;
    int http;
    int status;
    const char* text;
  };
  for (const auto& c :
       std::initializer_list<Case>{{"error", 502, 1, "boom"},
                                   {"crash", 502, 2, "exited unexpectedly"},
                                   {"none", 502, 2, "valid JSON"},
                                   {"slow", 502, 2, "time limit of 1000 milliseconds"},
                                   {"oom", 502, 2, "memory"},
                                   {"badinit", 502, 2, "no main in it"},
                                   {"deadinit", 502, 2, "did not initialize"},
                                   {"huge", 502, 1, "2000011 bytes"}}) {
    Put(c.code, c.code, {{"limits", {{"timeout", 1000}}}});
    auto answer = Invoke(c.code);
    EXPECT_EQ(answer.status, c.http) << c.code;
    EXPECT_EQ(answer.body["response"]["statusCode"], c.status) << c.code;
    std::string text = Result(answer)["error"];
    EXPECT_NE(text.find(c.text), std::string::npos) << c.code << ": " << text;
    EXPECT_LT(text.size(), 2000u);
    EXPECT_EQ(Annotation(answer.body, "timeout"), c.code == std::string("slow")) << c.code;
  }
  // All but the two whose container behaved are gone.
  EXPECT_TRUE(world_.WaitCount("destroy", 6));
}

TEST_F(EngineTest, TooLargeArgumentsAreRefused) {
  Start();
  Put("echo", "echo");
  json large = {{"text", std::string(1'048'577, 'x')}};
  EXPECT_EQ(Invoke("echo", large).status, 413);
  EXPECT_EQ(Call("POST", "_/actions/echo", "[1]").status, 400);
  EXPECT_EQ(Call("POST", "_/actions/echo?blocking=true&timeout=x", "{}").status, 400);
}

TEST_F(EngineTest, FinalParametersCannotBeGiven) {
  Start();
  Put("fixed", "echo",
      {{"parameters", {{{"key", "p"}, {"value", 1}}}},
       {"annotations", {{{"key", "final"}, {"value", true}}}}});
  EXPECT_EQ(Invoke("fixed", {{"p", 2}}).status, 400);
  EXPECT_EQ(Invoke("fixed", {{"q", 2}}).status, 200);
}

TEST_F(EngineTest, TheAgentHearsOfEveryContainerAndActivation) {
  OneNode();
  Start();
  json mounts = json::array({{{"path", "/mnt/f3"}, {"lifetime", "workflow"}}});
  Put("files", "echo", {{"annotations", {{{"key", "f3-mounts"}, {"value", mounts}}}}});
  auto first = Invoke("files", {{"__f3", {{"follow", true}}}, {"x", 1}});
  EXPECT_EQ(Result(first), (json{{"x", 1}})) << "__f3 is not the action's";
  Invoke("files");
  auto attaches = agents_[0]->attaches();
  ASSERT_EQ(attaches.size(), 2u) << "before and after the container is made";
  EXPECT_EQ(attaches[0].pid(), 0);
  EXPECT_EQ(attaches[1].pid(), 4242);
  EXPECT_EQ(attaches[0].namespace_(), "guest");
  EXPECT_EQ(attaches[0].action(), "files");
  EXPECT_EQ(json::parse(attaches[0].annotations()), (json{{"f3-mounts", mounts}}));
  auto updates = agents_[0]->updates();
  ASSERT_EQ(updates.size(), 2u);
  EXPECT_EQ(updates[0].activation(), first.body["activationId"]);
  EXPECT_EQ(updates[0].workflow(), first.body["activationId"]);
  EXPECT_EQ(json::parse(updates[0].call_hints()), (json{{"follow", true}}));
  EXPECT_EQ(updates[1].call_hints(), "");
  EXPECT_TRUE(agents_[0]->WaitFor([&] { return agents_[0]->ended_workflows().size() == 2; }));
  EXPECT_EQ(agents_[0]->ended_workflows()[0],
            "guest/" + first.body["activationId"].get<std::string>());
}

TEST_F(EngineTest, AnAttachThatFailsIsInTheRecord) {
  OneNode();
  Start();
  Put("files", "echo");
  agents_[0]->FailAttach({grpc::StatusCode::FAILED_PRECONDITION, "the root is read-only"});
  auto answer = Invoke("files");
  EXPECT_EQ(answer.status, 500);
  EXPECT_EQ(answer.body["response"]["status"], "whisk internal error");
  EXPECT_NE(Result(answer)["error"].get<std::string>().find("the root is read-only"),
            std::string::npos);
  agents_[0]->FailAttach(grpc::Status::OK);
  world_.FailNextCreate("runc: no space left");
  EXPECT_NE(Result(Invoke("files"))["error"].get<std::string>().find("no space left"),
            std::string::npos);
  EXPECT_EQ(Invoke("files").status, 200);
}

TEST_F(EngineTest, WhatAnEarlierGatewayLeftIsDetached) {
  agents_[0]->AddLeftover("wsktest-0-n1-7");
  agents_[0]->AddLeftover("somebody-elses");
  Start();
  EXPECT_EQ(agents_[0]->attached(), std::set<std::string>{"somebody-elses"});
  DetachRequest request;
  request.set_container("somebody-elses");
  DetachReply reply;
  EXPECT_TRUE(agents_[0]->Detach(nullptr, &request, &reply).ok());
}

TEST_F(EngineTest, IdleContainersArePausedThenRemoved) {
  OneNode();
  options_.engine.invoker.pause_grace_micros = 20'000;
  options_.engine.invoker.idle_micros = 3'600'000'000;
  Start();
  Put("count", "count");
  EXPECT_EQ(Result(Invoke("count"))["count"], 1);
  EXPECT_TRUE(world_.WaitCount("pause", 1));
  EXPECT_EQ(Result(Invoke("count"))["count"], 2);
  EXPECT_EQ(world_.Count("resume"), 1);
  gateway_.reset();
  options_.engine.invoker.idle_micros = 50'000;
  Start();
  Invoke("count");
  EXPECT_TRUE(world_.WaitCount("destroy", 2)) << "one at the end of the first gateway";
  // A container that died while it was idle is replaced without anybody noticing.
  gateway_.reset();
  options_.engine.invoker.idle_micros = options_.engine.invoker.pause_grace_micros = 3'600'000'000;
  Start();
  Invoke("count");
  world_.Kill(world_.created().back().id);
  EXPECT_EQ(Result(Invoke("count"))["count"], 1);
}

TEST_F(EngineTest, ANewVersionRunsInANewContainer) {
  OneNode();
  Start();
  Put("thing", "count");
  Invoke("thing");
  Put("thing", "echo");
  EXPECT_EQ(Result(Invoke("thing", {{"x", 1}}))["x"], 1);
  EXPECT_EQ(world_.Count("create"), 2);
  // Deleted and made again it has its old version number, and no old container.
  EXPECT_EQ(Call("DELETE", "_/actions/thing").status, 200);
  Put("thing", "count");
  EXPECT_EQ(Result(Invoke("thing"))["count"], 1);
}

TEST_F(EngineTest, OthersMakeRoomAndTheQueueIsBounded) {
  OneNode();
  Memory(256);
  options_.engine.invoker.max_queued = 1;
  Start();
  Put("a", "echo");
  Put("b", "block");
  Put("large", "echo", {{"limits", {{"memory", 512}}}});
  EXPECT_EQ(Invoke("a").status, 200);
  auto blocked = Invoke("b", {}, "");
  EXPECT_EQ(blocked.status, 202);
  ASSERT_TRUE(world_.WaitBlocked(1)) << "a's idle container went";
  auto queued = Invoke("a", {}, "");
  EXPECT_EQ(queued.status, 202);
  EXPECT_EQ(Invoke("a", {}, "").status, 429);
  EXPECT_EQ(Invoke("large").status, 405) << "no node gives so much";
  world_.Release();
  EXPECT_EQ(Record(queued.body["activationId"]).body["response"]["success"], true);
  EXPECT_EQ(Record(blocked.body["activationId"]).body["response"]["success"], true);
  EXPECT_EQ(Call("GET", "_/activations?count=true").body["activations"], 3)
      << "what was refused left no record";
}

TEST_F(EngineTest, StemCellsAreBoundLate) {
  OneNode();
  options_.engine.invoker.prewarm["nodejs:18"] = 1;
  Start();
  ASSERT_TRUE(world_.WaitCount("create", 1));
  // A container whose first attach already names its process was there before its action.
  auto bound_late = [&] {
    std::set<std::string> seen;
    for (const auto& attach : agents_[0]->attaches()) {
      if (seen.insert(attach.container()).second && attach.pid() == 4242) return true;
    }
    return false;
  };
  int actions = 0;
  EXPECT_TRUE(agents_[0]->WaitFor([&] {
    std::string name = "echo" + std::to_string(actions++);
    Put(name, "echo");
    EXPECT_EQ(Invoke(name).status, 200);
    return bound_late();
  }));
  EXPECT_TRUE(world_.WaitCount("create", 2)) << "another one takes its place";
}

TEST_F(EngineTest, ABlockingCallThatOutlivesItsWaitIsAccepted) {
  Start();
  Put("block", "block");
  auto answer = Invoke("block", {}, "?blocking=true&timeout=50");
  EXPECT_EQ(answer.status, 202);
  std::string id = answer.body["activationId"];
  EXPECT_EQ(Call("GET", "_/activations/" + id).status, 404) << "not over yet";
  world_.Release();
  EXPECT_EQ(Record(id).body["response"]["success"], true);
}

TEST_F(EngineTest, StoppingEndsWhatRunsAndWhatWaits) {
  OneNode();
  Memory(256);
  Start();
  Put("block", "block");
  Put("wait", "echo");
  auto blocked = std::async(std::launch::async, [&] { return Invoke("block"); });
  ASSERT_TRUE(world_.WaitBlocked(1));
  std::string waiting = Invoke("wait", {}, "").body["activationId"];
  gateway_->Stop();
  auto answer = blocked.get();
  EXPECT_EQ(answer.status, 502);
  gateway_.reset();
  Start();
  EXPECT_EQ(Call("GET", "_/activations/" + waiting).body["response"]["statusCode"], 3);
}

TEST_F(EngineTest, ThrottlesPerNamespace) {
  options_.engine.throttle.concurrent = 1;
  Start();
  Put("block", "block");
  EXPECT_EQ(Invoke("block", {}, "").status, 202);
  auto refused = Invoke("block", {}, "");
  EXPECT_EQ(refused.status, 429);
  EXPECT_NE(refused.body["error"].get<std::string>().find("concurrent"), std::string::npos);
  world_.Release();
}

TEST_F(EngineTest, SequencesPassResultsOn) {
  Start();
  Put("inc", "nest");
  PutSequence("twice", {"/_/inc", "/guest/inc"});
  PutSequence("four", {"/_/twice", "/_/twice"});
  auto answer = Invoke("four", {{"n", 10}});
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(Result(answer)["n"], 14);
  EXPECT_EQ(Annotation(answer.body, "topmost"), true);
  EXPECT_EQ(Annotation(answer.body, "kind"), "sequence");
  ASSERT_EQ(answer.body["logs"].size(), 2u);
  std::string top = answer.body["activationId"];
  auto inner = Record(answer.body["logs"][0]);
  EXPECT_EQ(inner.body["cause"], top);
  EXPECT_EQ(Annotation(inner.body, "causedBy"), "sequence");
  EXPECT_EQ(Annotation(inner.body, "topmost"), nullptr);
  auto step = Record(inner.body["logs"][1]);
  EXPECT_EQ(step.body["cause"], inner.body["activationId"]);
  EXPECT_EQ(step.body["response"]["result"]["n"], 12);
  // Everything belongs to one workflow.
  for (auto& agent : agents_) {
    for (const auto& update : agent->updates()) EXPECT_EQ(update.workflow(), top);
  }
}

TEST_F(EngineTest, AFailingStepEndsTheSequence) {
  Start();
  Put("inc", "nest");
  Put("bad", "error");
  PutSequence("broken", {"/_/inc", "/_/bad", "/_/inc"});
  auto answer = Invoke("broken");
  EXPECT_EQ(answer.status, 502);
  EXPECT_EQ(Result(answer)["error"], "boom");
  EXPECT_EQ(answer.body["logs"].size(), 2u);
  EXPECT_EQ(Call("DELETE", "_/actions/bad").status, 200);
  auto gone = Invoke("broken");
  EXPECT_EQ(gone.status, 502);
  EXPECT_EQ(gone.body["logs"].size(), 1u);
  json itself = {{"exec", {{"kind", "sequence"}, {"components", {"/_/broken"}}}}};
  EXPECT_EQ(Call("PUT", "_/actions/broken?overwrite=true", itself.dump()).status, 400);
  PutSequence("outer", {"/_/broken"});
  json round = {{"exec", {{"kind", "sequence"}, {"components", {"/_/outer"}}}}};
  EXPECT_EQ(Call("PUT", "_/actions/broken?overwrite=true", round.dump()).status, 400);
  json many = {{"exec", {{"kind", "sequence"}, {"components", json(51, "/_/inc")}}}};
  EXPECT_EQ(Call("PUT", "_/actions/many", many.dump()).status, 400);
  // Nested ones are counted when they run.
  PutSequence("thirty", json(std::vector<std::string>(30, "/_/inc")));
  PutSequence("sixty", {"/_/thirty", "/_/thirty"});
  EXPECT_EQ(Invoke("sixty").status, 502);
}

TEST_F(EngineTest, GoesWhereTheInputsAre) {
  Start();
  json mounts = json::array({{{"path", "/mnt/f3"}}});
  json more = {{"annotations",
                {{{"key", "f3-mounts"}, {"value", mounts}},
                 {{"key", "f3-hints"}, {"value", {{"inputs", {"in/*"}}}}}}}};
  Put("near", "echo", more);
  for (int holder : {1, 0}) {
    LocateReply reply;
    reply.set_bytes(1'000'000'000);
    auto* held = reply.add_nodes();
    held->set_node(Node(holder));
    held->set_bytes(1'000'000'000);
    for (auto& agent : agents_) agent->Answer(reply);
    auto answer = Invoke("near", {{"file", {{"name", "/mnt/f3/a.bin"}}}});
    json locality = Annotation(answer.body, "f3-locality");
    EXPECT_EQ(
        locality,
        (json{{"node", Node(holder)}, {"hit", true}, {"bytes", 1'000'000'000}, {"pulled", 0}}));
  }
  auto locates = agents_[0]->locates();
  if (locates.empty()) locates = agents_[1]->locates();
  ASSERT_FALSE(locates.empty());
  ASSERT_EQ(locates[0].paths_size(), 2);
  EXPECT_EQ(locates[0].paths(0), "in/*");
  EXPECT_EQ(locates[0].paths(1), "/mnt/f3/a.bin");
  // Without an answer the hash decides, and the record says why.
  for (auto& agent : agents_) agent->FailLocate({grpc::StatusCode::UNAVAILABLE, "no metadata"});
  auto answer = Invoke("near");
  EXPECT_EQ(answer.status, 200);
  EXPECT_NE(Annotation(answer.body, "f3-locality")["error"].get<std::string>().find("no metadata"),
            std::string::npos);
}

}  // namespace
}  // namespace f3::openwhisk
