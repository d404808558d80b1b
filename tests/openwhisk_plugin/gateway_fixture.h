// A gateway over real HTTP, with two nodes whose agents and containers are doubles.
#ifndef F3_TESTS_OPENWHISK_PLUGIN_GATEWAY_FIXTURE_H_
#define F3_TESTS_OPENWHISK_PLUGIN_GATEWAY_FIXTURE_H_

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "openwhisk_plugin/gateway/gateway.h"
#include "tests/common/status_matchers.h"
#include "tests/common/temp_dir.h"
#include "tests/openwhisk_plugin/gateway_doubles.h"

namespace f3::openwhisk {

class GatewayTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (int node : {0, 1}) {
      agents_[node] = std::make_unique<FakeAgent>(Socket(node));
      options_.engine.nodes.push_back({Node(node), Socket(node), ""});
    }
    options_.data_dir = dir_ / "data";
    options_.auth_file = dir_ / "keys";
    options_.engine.invoker.id_prefix = "wsktest-1";
    options_.http.port = 0;
    options_.http.threads = 16;
    auto guest = AddNamespace(options_.auth_file, "guest");
    auto other = AddNamespace(options_.auth_file, "other");
    ASSERT_OK(guest);
    ASSERT_OK(other);
    guest_ = *guest;
    other_ = *other;
  }
  void TearDown() override {
    world_.Release();
    gateway_.reset();
    for (auto& agent : agents_) {
      if (agent == nullptr) continue;
      EXPECT_TRUE(agent->attached().empty()) << "a container is attached";
    }
    EXPECT_EQ(world_.Count("create"), world_.Count("destroy"));
  }

  static std::string Node(int node) { return "n" + std::to_string(node + 1); }
  std::string Socket(int node) const { return dir_ / (Node(node) + ".sock"); }

  void Start() {
    auto gateway = Gateway::Start(options_, world_.Factory());
    ASSERT_OK(gateway);
    gateway_ = *std::move(gateway);
  }
  HttpAnswer Call(const std::string& method, const std::string& path,
                  const std::string& body = "") {
    return CallAs(guest_, method, path, body);
  }
  HttpAnswer CallAs(const std::string& key, const std::string& method, const std::string& path,
                    const std::string& body = "") {
    return CallHttp(gateway_->port(), method, "/api/v1/namespaces/" + path, key, body);
  }
  static std::string Body(const std::string& code, nlohmann::json more = nlohmann::json::object()) {
    more["exec"] = {{"kind", "nodejs:18"}, {"code", code}};
    return more.dump();
  }
  // Creates or replaces an action that does what `code` says (see ContainerWorld).
  void Put(const std::string& name, const std::string& code,
           nlohmann::json more = nlohmann::json::object()) {
    auto answer = Call("PUT", "_/actions/" + name + "?overwrite=true", Body(code, std::move(more)));
    ASSERT_EQ(answer.status, 200) << answer.body;
  }
  void PutSequence(const std::string& name, const nlohmann::json& components) {
    nlohmann::json body = {{"exec", {{"kind", "sequence"}, {"components", components}}}};
    auto answer = Call("PUT", "_/actions/" + name + "?overwrite=true", body.dump());
    ASSERT_EQ(answer.status, 200) << answer.body;
  }
  HttpAnswer Invoke(const std::string& name, const nlohmann::json& arguments = {},
                    const std::string& query = "?blocking=true") {
    return Call("POST", "_/actions/" + name + query, arguments.is_null() ? "{}" : arguments.dump());
  }
  static nlohmann::json Annotation(const nlohmann::json& entity, const std::string& key) {
    for (const auto& item : entity["annotations"]) {
      if (item["key"] == key) return item["value"];
    }
    return nullptr;
  }

  TempDir dir_;
  std::unique_ptr<FakeAgent> agents_[2];
  ContainerWorld world_;
  GatewayOptions options_;
  std::string guest_, other_;
  std::unique_ptr<Gateway> gateway_;
};

}  // namespace f3::openwhisk

#endif  // F3_TESTS_OPENWHISK_PLUGIN_GATEWAY_FIXTURE_H_
