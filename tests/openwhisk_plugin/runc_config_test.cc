#include "openwhisk_plugin/runc_config.h"

#include <gtest/gtest.h>

namespace f3::openwhisk {
namespace {

using Json = nlohmann::ordered_json;

TEST(RuncCallTest, CreateAsContainerdCallsIt) {
  const RuncCall call = ParseRuncCall(
      {"--root", "/var/run/docker/runtime-runc/moby", "--log", "/run/x/log.json", "--log-format",
       "json", "--systemd-cgroup", "create", "--bundle", "/run/x", "--pid-file", "/run/x/init.pid",
       "--console-socket", "/tmp/create", "0123abcd"});
  EXPECT_TRUE(call.creates);
  EXPECT_EQ(call.id, "0123abcd");
  EXPECT_EQ(call.bundle, "/run/x");
  EXPECT_EQ(call.log, "/run/x/log.json");
}

TEST(RuncCallTest, RunAsPeopleCallIt) {
  EXPECT_EQ(ParseRuncCall({"run", "-d", "-b=/b", "c1"}).bundle, "/b");
  EXPECT_EQ(ParseRuncCall({"run", "-b", "/b", "--preserve-fds", "3", "c1"}).id, "c1");
  EXPECT_EQ(ParseRuncCall({"run", "c1"}).bundle, ".");
  EXPECT_EQ(ParseRuncCall({"--root=/r", "--debug", "run", "--no-pivot", "c1"}).id, "c1");
}

TEST(RuncCallTest, NothingElseCreates) {
  for (const char* command : {"start", "delete", "state", "kill", "exec", "pause", "features"}) {
    EXPECT_FALSE(ParseRuncCall({"--root", "/create", command, "run"}).creates) << command;
  }
  EXPECT_FALSE(ParseRuncCall({}).creates);
  EXPECT_FALSE(ParseRuncCall({"--version"}).creates);
  // A value that looks like a command.
  EXPECT_FALSE(ParseRuncCall({"--root", "create", "state", "c1"}).creates);
  EXPECT_EQ(ParseRuncCall({"create", "--bundle"}).id, "");
}

TEST(BindsTest, AreReadAsTheAgentWritesThem) {
  std::vector<RuncBind> binds;
  ASSERT_TRUE(ParseBinds(R"({"binds":[{"source":"/s/roots/k","destination":"/mnt/f3"}]})", &binds));
  ASSERT_EQ(binds.size(), 1u);
  EXPECT_EQ(binds[0].source, "/s/roots/k");
  EXPECT_EQ(binds[0].destination, "/mnt/f3");
  EXPECT_FALSE(binds[0].read_only);
  for (const char* bad : {"", "[]", "{}", R"({"binds":3})", R"({"binds":[{"source":"/s"}]})",
                          R"({"binds":[{"source":"s","destination":"/d"}]})"}) {
    EXPECT_FALSE(ParseBinds(bad, &binds)) << bad;
  }
}

TEST(BindsTest, OfAContainerThatNobodyKnowsAreTheLateRoot) {
  auto late = BindsOf("/s/c1", nullptr);
  ASSERT_EQ(late.size(), 2u);
  EXPECT_EQ(late[0].source, "/s/c1/run");
  EXPECT_EQ(late[0].destination, "/run/f3");
  EXPECT_TRUE(late[0].read_only);
  EXPECT_EQ(late[1].source, "/s/c1/root");
  EXPECT_EQ(late[1].destination, "/mnt/f3");
  EXPECT_TRUE(late[1].read_only);
  const std::vector<RuncBind> none;
  EXPECT_EQ(BindsOf("/s/c1", &none).size(), 1u);
}

TEST(AddBindsTest, AddsToTheEndAndChangesNothingElse) {
  const std::string text =
      R"({"ociVersion":"1.0.2","process":{"args":["sh"],"rlimits":[{"hard":18446744073709551615}]},)"
      R"("mounts":[{"destination":"/proc","type":"proc"}],"zz":1,"aa":0.5})";
  Json config = Json::parse(text);
  const std::vector<RuncBind> binds = {{"/s/c/run", "/run/f3", true}, {"/s/roots/k", "/d", false}};
  ASSERT_TRUE(AddBinds("/s", binds, &config));
  ASSERT_EQ(config["mounts"].size(), 3u);
  EXPECT_EQ(config["mounts"][1].dump(),
            R"({"destination":"/run/f3","type":"bind","source":"/s/c/run",)"
            R"("options":["rbind","rprivate","ro","nosuid","nodev","noexec"]})");
  EXPECT_EQ(config["mounts"][2]["options"].dump(), R"(["rbind","rprivate"])");
  const std::string once = config.dump();
  ASSERT_TRUE(AddBinds("/s", binds, &config));
  EXPECT_EQ(config.dump(), once);
  config["mounts"].erase(2);
  config["mounts"].erase(1);
  EXPECT_EQ(config.dump(), text);
}

TEST(AddBindsTest, ReplacesItsOwnAndLeavesOthers) {
  Json config =
      Json::parse(R"({"mounts":[{"destination":"/mnt/f3","source":"/s/c/root","type":"bind"},)"
                  R"({"destination":"/run/f3","source":"/elsewhere","type":"bind"}]})");
  ASSERT_TRUE(
      AddBinds("/s", {{"/s/roots/k", "/mnt/f3", false}, {"/s/c/run", "/run/f3", true}}, &config));
  ASSERT_EQ(config["mounts"].size(), 3u);
  EXPECT_EQ(config["mounts"][0]["source"], "/s/roots/k");
  EXPECT_EQ(config["mounts"][1]["source"], "/elsewhere");
  EXPECT_EQ(config["mounts"][2]["source"], "/s/c/run");
}

TEST(AddBindsTest, WantsAConfiguration) {
  Json none = Json::parse("[]"), odd = Json::parse(R"({"mounts":{}})"), empty = Json::object();
  EXPECT_FALSE(AddBinds("/s", {}, &none));
  EXPECT_FALSE(AddBinds("/s", {}, &odd));
  EXPECT_TRUE(AddBinds("/s", {{"/s/c/run", "/run/f3", true}}, &empty));
  EXPECT_EQ(empty["mounts"].size(), 1u);
  Json broken = Json::parse("{", nullptr, false);
  EXPECT_FALSE(AddBinds("/s", {}, &broken));
}

}  // namespace
}  // namespace f3::openwhisk
