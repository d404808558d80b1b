#include "cli/daemon_config.h"

#include <gtest/gtest.h>

namespace f3::cli {
namespace {

constexpr const char* kNode =
    "name = \"n1\"\nmetadata = \"10.0.0.1:7600\"\nsecret = \"/s\"\nstate = \"/st\"\n"
    "durable = \"/d\"\nbind = \"10.0.0.2\"\n";

Status LoadNode(const std::string& text, NodeConfig* config) {
  Settings settings;
  config->Declare(&settings);
  F3_RETURN_IF_ERROR(settings.ApplyToml(text, "node.toml"));
  return config->Check();
}

Status LoadMeta(const std::string& text) {
  MetaConfig config;
  Settings settings;
  config.Declare(&settings);
  F3_RETURN_IF_ERROR(settings.ApplyToml(text, "meta.toml"));
  return config.Check();
}

TEST(NodeConfigTest, ReadsMounts) {
  NodeConfig config;
  Status status = LoadNode(std::string(kNode) +
                               "memory = \"64M\"\n"
                               "[[mount]]\nvolume = \"v\"\nsubtree = \"a/b\"\ndir = \"/mnt/x\"\n"
                               "read_only = true\nclass = \"ephemeral\"\ntier = \"memory\"\n"
                               "[[mount]]\ndir = \"/mnt/y\"\nfollow = true\nttl = 60\n",
                           &config);
  ASSERT_TRUE(status.ok()) << status.ToString();
  ASSERT_EQ(config.agent.mounts.size(), 2u);
  EXPECT_EQ(config.agent.memory_bytes, 64u << 20);
  const auto& first = config.agent.mounts[0];
  EXPECT_EQ(first.volume, "v");
  EXPECT_EQ(first.subtree, "a/b");
  EXPECT_TRUE(first.read_only);
  EXPECT_EQ(first.file_class, meta::CLASS_EPHEMERAL);
  EXPECT_EQ(first.tier, meta::TIER_MEMORY);
  const auto& second = config.agent.mounts[1];
  EXPECT_EQ(second.volume, "default");
  EXPECT_TRUE(second.follow);
  EXPECT_EQ(second.ttl_s, 60u);
}

TEST(NodeConfigTest, SaysWhatIsMissing) {
  for (const char* key : {"metadata", "secret", "state", "durable", "bind"}) {
    std::string text = kNode;
    size_t begin = text.find(std::string(key) + " = ");
    text.erase(begin, text.find('\n', begin) + 1 - begin);
    NodeConfig config;
    Status status = LoadNode(text, &config);
    EXPECT_TRUE(status.Is(Code::kBadConfig)) << key;
    EXPECT_NE(status.message().find(key), std::string::npos) << status.message();
  }
}

TEST(NodeConfigTest, RefusesNonsense) {
  for (const char* text :
       {"memory = \"3\"", "memory = \"lots\"", "disk = \"1M\"", "buffers = \"1K\"",
        "delay = \"1h\"", "log_level = \"loud\"", "[[mount]]\nvolume = \"v\"",
        "[[mount]]\ndir = \"/m\"\n[[mount]]\ndir = \"/m\"", "[[mount]]\ndir = \"/m\"\nttl = -1",
        "[[mount]]\ndir = \"/m\"\nclass = \"eternal\""}) {
    NodeConfig config;
    EXPECT_TRUE(LoadNode(std::string(kNode) + text, &config).Is(Code::kBadConfig)) << text;
  }
}

TEST(NodeConfigTest, MountFlags) {
  NodeConfig config;
  config.mount_flags = {"v/a:/mnt/x:ro,class=ephemeral", "default:/mnt/y"};
  ASSERT_TRUE(LoadNode(kNode, &config).ok());
  ASSERT_EQ(config.agent.mounts.size(), 2u);
  EXPECT_EQ(config.agent.mounts[0].subtree, "a");
  EXPECT_TRUE(config.agent.mounts[0].read_only);
  EXPECT_EQ(config.agent.mounts[1].dir, "/mnt/y");
  NodeConfig bad;
  bad.mount_flags = {"default"};
  EXPECT_TRUE(LoadNode(kNode, &bad).Is(Code::kBadConfig));
}

TEST(MetaConfigTest, ChecksWhatFitsTogether) {
  std::string base = "data = \"/d\"\nsecret = \"/s\"\n";
  EXPECT_TRUE(LoadMeta(base).ok());
  EXPECT_TRUE(LoadMeta(base + "listen = \"nonsense\"").Is(Code::kBadConfig));
  EXPECT_TRUE(LoadMeta(base + "listen = \"h:99999\"").Is(Code::kBadConfig));
  EXPECT_TRUE(LoadMeta(base + "tls_cert = \"/c\"").Is(Code::kBadConfig));
  EXPECT_TRUE(LoadMeta(base + "session_timeout = \"90s\"").Is(Code::kBadConfig));
  EXPECT_TRUE(LoadMeta("data = \"/d\"").Is(Code::kBadConfig));
}

TEST(MountOptionsTest, TurnsOptionsIntoAMount) {
  fs::MountOptions mount;
  Settings others;
  std::string secret;
  others.Path("secret", &secret, "");
  Status status = ApplyMountOptions(
      "ro,dev,suid,noallow_other,class=durable,tier=disk,follow,ttl=5,nopassthrough,secret=/k",
      &mount, &others);
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_TRUE(mount.read_only);
  EXPECT_TRUE(mount.dev);
  EXPECT_TRUE(mount.suid);
  EXPECT_FALSE(mount.allow_other);
  EXPECT_FALSE(mount.passthrough);
  EXPECT_EQ(mount.file_class, meta::CLASS_DURABLE);
  EXPECT_EQ(mount.tier, meta::TIER_DISK);
  EXPECT_TRUE(mount.follow);
  EXPECT_EQ(mount.ttl_s, 5u);
  EXPECT_EQ(secret, "/k");
}

TEST(MountOptionsTest, SkipsWhatFstabWritesForAll) {
  fs::MountOptions mount;
  Settings none;
  EXPECT_TRUE(
      ApplyMountOptions("defaults,_netdev,nofail,rw,x-systemd.automount,nodev,nosuid,,noatime",
                        &mount, &none)
          .ok());
  EXPECT_FALSE(mount.dev);
}

TEST(MountOptionsTest, NamesAnUnknownOption) {
  fs::MountOptions mount;
  Settings none;
  Status status = ApplyMountOptions("ro,clas=durable", &mount, &none);
  EXPECT_TRUE(status.Is(Code::kBadConfig));
  EXPECT_NE(status.message().find("\"clas=durable\" is unknown; did you mean \"class\"?"),
            std::string::npos)
      << status.message();
  EXPECT_FALSE(ApplyMountOptions("dir=/etc", &mount, &none).ok());
  EXPECT_FALSE(ApplyMountOptions("follow=perhaps", &mount, &none).ok());
}

TEST(MountSourceTest, Parses) {
  auto source = ParseMountSource("10.0.0.1:7600/v/a/b/");
  ASSERT_TRUE(source.ok());
  EXPECT_EQ(source->server, "10.0.0.1:7600");
  EXPECT_EQ(source->volume, "v");
  EXPECT_EQ(source->subtree, "a/b");
  for (const char* bad : {"", "host:1", "host/v", "host:1/", "host:port/v", ":1/v", "h:1/v/../w"}) {
    EXPECT_FALSE(ParseMountSource(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace f3::cli
