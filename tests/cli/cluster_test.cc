#include "cli/cluster.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "cli/daemon_config.h"
#include "cli/network.h"

namespace f3::cli {
namespace {

TEST(ClusterLayoutTest, SurvivesItsFile) {
  ClusterLayout layout = PlanCluster("/x/\"odd\" dir", 3, true);
  ASSERT_TRUE(ChooseAddresses(&layout, {}).ok());
  layout.memory_bytes = 64 << 20;
  layout.delay_micros = 2000;
  layout.openwhisk_allow = {"a \"b\"=v", "*=w"};
  layout.passthrough = false;
  auto again = ClusterLayout::FromToml(layout.ToToml(), "cluster.toml");
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  EXPECT_EQ(again->ToToml(), layout.ToToml());
  EXPECT_EQ(again->openwhisk_allow, layout.openwhisk_allow);
  ASSERT_EQ(again->nodes.size(), 3u);
  EXPECT_EQ(again->nodes[2].netns, layout.nodes[2].netns);
}

TEST(ClusterLayoutTest, AnIncompleteFileIsRefused) {
  EXPECT_TRUE(ClusterLayout::FromToml("", "f").status().Is(Code::kBadConfig));
  EXPECT_TRUE(ClusterLayout::FromToml("id = \"a\"", "f").status().Is(Code::kBadConfig));
}

TEST(ClusterLayoutTest, LoadSaysHowToMakeOne) {
  Status status = ClusterLayout::Load("/nonexistent").status();
  EXPECT_TRUE(status.Is(Code::kNotFound));
  EXPECT_NE(status.message().find("f3 up --dir /nonexistent"), std::string::npos);
}

TEST(ClusterLayoutTest, InterfaceNamesFitTheKernelsLimit) {
  ClusterLayout layout = PlanCluster("/some/dir", kMaxNodes, true);
  EXPECT_LE(layout.bridge.size(), 15u);
  std::set<std::string> names = {layout.bridge};
  for (const auto& node : layout.nodes) {
    EXPECT_LE(node.link.size(), 15u) << node.link;
    EXPECT_TRUE(names.insert(node.link).second);
  }
}

TEST(ClusterLayoutTest, ClustersDoNotShareNames) {
  EXPECT_NE(PlanCluster("/a", 1, true).bridge, PlanCluster("/b", 1, true).bridge);
  EXPECT_NE(PlanCluster("/a", 1, true).nodes[0].netns, PlanCluster("/b", 1, true).nodes[0].netns);
}

TEST(AddressesTest, MoveOnPastSubnetsInUse) {
  ClusterLayout layout = PlanCluster("/a", 2, true);
  ASSERT_TRUE(ChooseAddresses(&layout, {}).ok());
  std::string first = layout.metadata;
  std::string subnet = first.substr(0, first.rfind('.'));
  ASSERT_TRUE(ChooseAddresses(&layout, {subnet}).ok());
  EXPECT_NE(layout.metadata, first);
  EXPECT_NE(layout.nodes[0].address, layout.nodes[1].address);

  std::set<std::string> all;
  for (int i = 0; i < 256; ++i) all.insert("10.201." + std::to_string(i));
  EXPECT_TRUE(ChooseAddresses(&layout, all).Is(Code::kNoSpace));
}

TEST(AddressesTest, WithoutNamespacesAllAreLoopback) {
  ClusterLayout layout = PlanCluster("/a", 2, false);
  ASSERT_TRUE(ChooseAddresses(&layout, {}).ok());
  EXPECT_EQ(layout.metadata.rfind("127.", 0), 0u);
  EXPECT_EQ(layout.nodes[1].address.rfind("127.", 0), 0u);
}

// What `f3 up` writes must be what the daemons accept.
TEST(ClusterLayoutTest, DaemonConfigurationsAreValid) {
  std::string dir = testing::TempDir() + "f3_cluster_test";
  std::filesystem::create_directories(dir + "/run");
  ClusterLayout layout = PlanCluster(dir, 2, true);
  ASSERT_TRUE(ChooseAddresses(&layout, {}).ok());
  layout.memory_bytes = 64 << 20;
  layout.disk_bytes = 1 << 30;
  layout.delay_micros = 1500;
  layout.openwhisk_allow = {"alice=shared", "*=datasets"};
  ASSERT_TRUE(layout.WriteDaemonConfigs().ok());

  MetaConfig meta;
  Settings meta_settings;
  meta.Declare(&meta_settings);
  Status status = meta_settings.ApplyTomlFile(layout.run("meta.toml"));
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_TRUE(meta.Check().ok());

  NodeConfig node;
  Settings node_settings;
  node.Declare(&node_settings);
  status = node_settings.ApplyTomlFile(layout.run("n2.toml"));
  EXPECT_TRUE(status.ok()) << status.ToString();
  status = node.Check();
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(node.agent.name, "n2");
  EXPECT_EQ(node.agent.metadata_server, layout.metadata);
  EXPECT_EQ(node.agent.injected_delay_micros, 1500);
  EXPECT_EQ(node.openwhisk_allow, layout.openwhisk_allow);
  ASSERT_EQ(node.agent.mounts.size(), 1u);
  EXPECT_EQ(node.agent.mounts[0].dir, dir + "/n2");
  EXPECT_EQ(node.agent_socket, layout.agent_socket(layout.nodes[1]));
  EXPECT_EQ(node.sandboxes, layout.sandboxes(layout.nodes[1]));
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace f3::cli
