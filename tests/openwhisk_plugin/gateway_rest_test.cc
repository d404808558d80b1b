// The REST API over HTTP: entities, rights, errors.
#include "tests/openwhisk_plugin/gateway_fixture.h"

namespace f3::openwhisk {
namespace {

using nlohmann::json;

class RestTest : public GatewayTest {
 protected:
  void SetUp() override {
    GatewayTest::SetUp();
    Start();
  }
};

TEST_F(RestTest, InfoAndPingNeedNoKey) {
  auto info = CallHttp(gateway_->port(), "GET", "/", "");
  EXPECT_EQ(info.status, 200);
  EXPECT_EQ(info.body["api_paths"], json::array({"/api/v1"}));
  EXPECT_EQ(info.body["limits"]["sequence_length"], 50);
  EXPECT_EQ(info.body["runtimes"]["python"][0]["kind"], "python:3");
  EXPECT_EQ(CallHttp(gateway_->port(), "GET", "/api/v1", "").body["api_version_path"], "v1");
  EXPECT_EQ(CallHttp(gateway_->port(), "GET", "/ping", "").status, 200);
}

TEST_F(RestTest, KeysAreChecked) {
  auto missing = CallAs("", "GET", "_/actions");
  EXPECT_EQ(missing.status, 401);
  EXPECT_TRUE(missing.body["error"].is_string());
  EXPECT_TRUE(missing.body["code"].is_string());
  EXPECT_EQ(CallAs(guest_ + "x", "GET", "_/actions").status, 401);
  EXPECT_EQ(CallAs("nobody:" + guest_.substr(37), "PUT", "_/actions/a", Body("echo")).status, 401);
  EXPECT_EQ(CallAs(guest_, "GET", "").body, json::array({"guest"}));
  EXPECT_EQ(CallAs(other_, "GET", "guest/actions").status, 403);
  // A key that is added while the gateway runs.
  auto late = AddNamespace(options_.auth_file, "late");
  ASSERT_OK(late);
  EXPECT_EQ(CallAs(*late, "GET", "").body, json::array({"late"}));
  EXPECT_CODE(AddNamespace(options_.auth_file, "late"), kExists);
}

TEST_F(RestTest, ActionsAreCreatedUpdatedListedAndDeleted) {
  json more = {{"parameters", {{{"key", "p"}, {"value", 1}}}},
               {"annotations", {{{"key", "a"}, {"value", "x"}}, {{"key", "b"}, {"value", 2}}}},
               {"limits", {{"timeout", 1000}}}};
  auto made = Call("PUT", "_/actions/hello", Body("echo", more));
  ASSERT_EQ(made.status, 200) << made.body;
  EXPECT_EQ(made.body["namespace"], "guest");
  EXPECT_EQ(made.body["version"], "0.0.1");
  EXPECT_EQ(made.body["exec"]["code"], "echo");
  EXPECT_EQ(made.body["limits"]["timeout"], 1000);
  EXPECT_EQ(made.body["limits"]["memory"], 256);
  EXPECT_EQ(Annotation(made.body, "exec"), "nodejs:18");
  EXPECT_EQ(Annotation(made.body, "provide-api-key"), false);

  EXPECT_EQ(Call("PUT", "_/actions/hello", Body("echo")).status, 409);

  // An update keeps what it does not name, merges annotations, and removes those it says.
  json update = {{"annotations", {{{"key", "a"}, {"value", "y"}}}},
                 {"delAnnotations", {"b"}},
                 {"limits", {{"memory", 128}}}};
  auto updated = Call("PUT", "_/actions/hello?overwrite=true", update.dump());
  ASSERT_EQ(updated.status, 200) << updated.body;
  EXPECT_EQ(updated.body["version"], "0.0.2");
  EXPECT_EQ(updated.body["exec"]["code"], "echo");
  EXPECT_EQ(updated.body["parameters"][0]["value"], 1);
  EXPECT_EQ(updated.body["limits"]["timeout"], 1000);
  EXPECT_EQ(updated.body["limits"]["memory"], 128);
  EXPECT_EQ(Annotation(updated.body, "a"), "y");
  EXPECT_EQ(Annotation(updated.body, "b"), nullptr);

  auto got = Call("GET", "guest/actions/hello?code=false");
  EXPECT_EQ(got.status, 200);
  EXPECT_FALSE(got.body["exec"].contains("code"));
  EXPECT_EQ(Call("GET", "_/actions/hello").body["exec"]["code"], "echo");

  Put("second", "echo");
  auto list = Call("GET", "_/actions");
  ASSERT_EQ(list.body.size(), 2u);
  EXPECT_FALSE(list.body[0].contains("parameters"));
  EXPECT_EQ(Call("GET", "_/actions?limit=1").body.size(), 1u);
  EXPECT_EQ(Call("GET", "_/actions?skip=2").body.size(), 0u);
  EXPECT_EQ(Call("GET", "_/actions?count=true").body["actions"], 2);
  EXPECT_EQ(Call("GET", "_/actions?limit=201").status, 400);
  EXPECT_EQ(Call("GET", "_/actions?skip=-1").status, 400);

  EXPECT_EQ(Call("DELETE", "_/actions/hello").body["name"], "hello");
  EXPECT_EQ(Call("DELETE", "_/actions/hello").status, 404);
  EXPECT_EQ(Call("GET", "_/actions/hello").status, 404);
  EXPECT_EQ(Invoke("hello").status, 404);
}

TEST_F(RestTest, WrongActionsNameTheField) {
  auto refused = [&](const json& body, const std::string& field) {
    auto answer = Call("PUT", "_/actions/wrong", body.dump());
    EXPECT_EQ(answer.status, 400) << body;
    EXPECT_NE(answer.body["error"].get<std::string>().find(field), std::string::npos)
        << answer.body;
  };
  json exec = {{"kind", "nodejs:18"}, {"code", "echo"}};
  refused({{"annotations", json::array()}}, "exec");
  refused({{"exec", {{"kind", "cobol:60"}, {"code", "x"}}}}, "cobol:60");
  refused({{"exec", {{"kind", "nodejs:18"}}}}, "exec.code");
  refused({{"exec", {{"kind", "nodejs:18"}, {"code", "%"}, {"binary", true}}}}, "base64");
  refused({{"exec", {{"kind", "sequence"}, {"components", json::array()}}}}, "components");
  refused({{"exec", {{"kind", "sequence"}, {"components", {"/_/none"}}}}}, "/guest/none");
  refused({{"exec", exec}, {"limits", {{"timeout", 99}}}}, "limits.timeout");
  refused({{"exec", exec}, {"limits", {{"memory", 1024}}}}, "limits.memory");
  refused({{"exec", exec}, {"limits", {{"concurrency", 2}}}}, "limits.concurrency");
  refused({{"exec", exec}, {"parameters", {{"p", 1}}}}, "parameters");
  refused({{"exec", exec}, {"version", "1"}}, "version");
  EXPECT_EQ(Call("PUT", "_/actions/wrong", "{\"exec\":").status, 400);
  EXPECT_EQ(Call("PUT", "_/actions/wrong", std::string(100000, '[')).status, 400);
  EXPECT_EQ(Call("PUT", "_/actions/%20x", Body("echo")).status, 400);
  EXPECT_EQ(Call("PATCH", "_/actions/wrong", "{}").status, 404);
  EXPECT_EQ(Call("POST", "_/actions", "{}").status, 405);
  EXPECT_EQ(Call("GET", "_/nothing").status, 404);
  json large = {{"exec", exec},
                {"parameters", {{{"key", "p"}, {"value", std::string(1'100'000, 'x')}}}}};
  EXPECT_EQ(Call("PUT", "_/actions/wrong", large.dump()).status, 413);
  EXPECT_EQ(Call("GET", "_/actions/wrong").status, 404);
}

TEST_F(RestTest, HintsAreCheckedByTheAgentAtDeployment) {
  json more = {{"annotations", {{{"key", "f3-hints"}, {"value", {{"locality", "near"}}}}}}};
  for (auto& agent : agents_) {
    agent->FailCheck({grpc::StatusCode::INVALID_ARGUMENT, "f3-hints.locality is \"near\""});
  }
  auto refused = Call("PUT", "_/actions/hinted", Body("echo", more));
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(refused.body["error"], "f3-hints.locality is \"near\"");
  for (auto& agent : agents_) {
    agent->FailCheck({grpc::StatusCode::PERMISSION_DENIED, "f3-mounts[0].volume is not yours"});
  }
  EXPECT_EQ(Call("PUT", "_/actions/hinted", Body("echo", more)).status, 403);
  for (auto& agent : agents_) agent->FailCheck(grpc::Status::OK);
  EXPECT_EQ(Call("PUT", "_/actions/hinted", Body("echo", more)).status, 200);
  // An agent that is away is not the user's fault, and another one is asked.
  agents_[0].reset();
  EXPECT_EQ(Call("PUT", "_/actions/hinted?overwrite=true", Body("echo", more)).status, 200);
  auto checks = agents_[1]->checks();
  ASSERT_FALSE(checks.empty());
  EXPECT_EQ(checks.back().namespace_(), "guest");
  EXPECT_EQ(json::parse(checks.back().annotations())["f3-hints"]["locality"], "near");
}

TEST_F(RestTest, PackagesAndBindings) {
  json parameters = {{{"key", "a"}, {"value", "package"}},
                     {{"key", "b"}, {"value", "package"}},
                     {{"key", "c"}, {"value", "package"}},
                     {{"key", "d"}, {"value", "package"}}};
  EXPECT_EQ(Call("PUT", "_/actions/lib/show", Body("echo")).status, 404) << "no such package";
  EXPECT_EQ(Call("PUT", "_/packages/lib", json{{"parameters", parameters}}.dump()).status, 200);
  EXPECT_EQ(Call("PUT", "_/packages/lib", "{}").status, 409);
  Put("lib/show", "echo",
      {{"parameters", {{{"key", "c"}, {"value", "action"}}, {{"key", "d"}, {"value", "action"}}}}});
  EXPECT_EQ(Call("PUT", "_/actions/lib", Body("echo")).status, 409) << "a package has the name";
  // Private: others may neither see, bind nor call it.
  EXPECT_EQ(CallAs(other_, "GET", "guest/packages/lib").status, 403);
  EXPECT_EQ(CallAs(other_, "POST", "guest/actions/lib/show", "{}").status, 403);
  json binding = {
      {"binding", {{"namespace", "guest"}, {"name", "lib"}}},
      {"parameters", {{{"key", "b"}, {"value", "binding"}}, {{"key", "c"}, {"value", "binding"}}}}};
  EXPECT_EQ(CallAs(other_, "PUT", "_/packages/bound", binding.dump()).status, 403);
  EXPECT_EQ(Call("PUT", "_/packages/lib?overwrite=true", R"({"publish":true})").status, 200);
  EXPECT_EQ(CallAs(other_, "PUT", "_/packages/bound", binding.dump()).status, 200);

  auto package = CallAs(other_, "GET", "_/packages/bound");
  EXPECT_EQ(package.body["binding"], (json{{"namespace", "guest"}, {"name", "lib"}}));
  ASSERT_EQ(package.body["actions"].size(), 1u);
  EXPECT_EQ(package.body["actions"][0]["name"], "show");
  // package < binding < action < call
  auto shown = CallAs(other_, "POST", "_/actions/bound/show?blocking=true", R"({"d":"call"})");
  ASSERT_EQ(shown.status, 200) << shown.body;
  EXPECT_EQ(shown.body["response"]["result"],
            (json{{"a", "package"}, {"b", "binding"}, {"c", "action"}, {"d", "call"}}));
  EXPECT_EQ(shown.body["namespace"], "other");
  EXPECT_EQ(Annotation(shown.body, "path"), "guest/lib/show");
  EXPECT_EQ(Annotation(shown.body, "binding"), "/other/bound");
  EXPECT_EQ(CallAs(other_, "PUT", "_/actions/bound/new", Body("echo")).status, 400);
  EXPECT_EQ(CallAs(other_, "PUT", "guest/actions/lib/new", Body("echo")).status, 403);
  EXPECT_EQ(CallAs(other_, "GET", "_/actions/bound/").body.size(), 1u);
  json again = {{"binding", {{"namespace", "_"}, {"name", "bound"}}}};
  EXPECT_EQ(CallAs(other_, "PUT", "_/packages/twice", again.dump()).status, 400);

  EXPECT_EQ(Call("GET", "_/packages").body.size(), 1u);
  EXPECT_EQ(Call("GET", "_/packages").body[0]["binding"], false);
  EXPECT_EQ(CallAs(other_, "GET", "guest/packages").body.size(), 1u);
  EXPECT_EQ(Call("GET", "_/packages?count=true").body["packages"], 1);
  EXPECT_EQ(Call("DELETE", "_/packages/lib").status, 409) << "it is not empty";
  EXPECT_EQ(Call("DELETE", "_/actions/lib/show").status, 200);
  EXPECT_EQ(Call("DELETE", "_/packages/lib").status, 200);
  EXPECT_EQ(CallAs(other_, "POST", "_/actions/bound/show", "{}").status, 404);
}

TEST_F(RestTest, ActivationsAreListed) {
  Put("one", "log");
  Put("two", "error");
  std::vector<std::string> ids;
  for (const char* name : {"one", "two", "one"}) {
    auto answer = Invoke(name);
    ids.push_back(answer.body["activationId"]);
    EXPECT_EQ(answer.headers["X-OpenWhisk-Activation-Id"], ids.back());
  }
  auto list = Call("GET", "_/activations");
  ASSERT_EQ(list.body.size(), 3u);
  EXPECT_FALSE(list.body[0].contains("response"));
  EXPECT_EQ(Call("GET", "_/activations?name=two").body.size(), 1u);
  EXPECT_EQ(Call("GET", "_/activations?limit=2").body.size(), 2u);
  EXPECT_EQ(Call("GET", "_/activations?skip=2").body.size(), 1u);
  EXPECT_EQ(Call("GET", "_/activations?count=true&name=one").body["activations"], 2);
  EXPECT_TRUE(Call("GET", "_/activations?docs=true").body[0].contains("response"));
  int64_t start = Call("GET", "_/activations/" + ids[0]).body["start"];
  EXPECT_EQ(Call("GET", "_/activations?upto=" + std::to_string(start - 1)).body.size(), 0u);
  EXPECT_EQ(Call("GET", "_/activations?since=" + std::to_string(start)).body.size(), 3u);

  EXPECT_EQ(Call("GET", "_/activations/" + ids[0] + "/logs").body["logs"],
            json::array({"2026 stdout: one", "2026 stderr: two"}));
  auto result = Call("GET", "_/activations/" + ids[1] + "/result");
  EXPECT_EQ(result.body["result"]["error"], "boom");
  EXPECT_EQ(result.body["success"], false);
  EXPECT_EQ(Call("GET", "_/activations/0").status, 400);
  EXPECT_EQ(Call("GET", "_/activations/" + std::string(32, '0')).status, 404);
  EXPECT_EQ(CallAs(other_, "GET", "_/activations").body.size(), 0u);
  EXPECT_EQ(CallAs(other_, "GET", "_/activations/" + ids[0]).status, 404);
  EXPECT_EQ(CallAs(other_, "GET", "guest/activations").status, 403);
}

TEST_F(RestTest, LimitsAndWhatTheGatewayDoesNotHave) {
  auto limits = Call("GET", "_/limits");
  EXPECT_EQ(limits.status, 200);
  EXPECT_EQ(limits.body["maxActionConcurrency"], 1);
  EXPECT_EQ(Call("GET", "_/triggers").body, json::array());
  EXPECT_EQ(Call("GET", "_/rules").body, json::array());
  EXPECT_EQ(Call("PUT", "_/triggers/t", "{}").status, 405);
}

TEST_F(RestTest, EverythingSurvivesARestart) {
  Put("kept", "echo");
  std::string id = Invoke("kept", {{"x", 1}}).body["activationId"];
  gateway_.reset();
  Start();
  EXPECT_EQ(Call("GET", "_/actions/kept").body["exec"]["code"], "echo");
  EXPECT_EQ(Call("GET", "_/activations/" + id).body["response"]["result"]["x"], 1);
  EXPECT_EQ(Call("GET", "_/activations").body.size(), 1u);
}

}  // namespace
}  // namespace f3::openwhisk
