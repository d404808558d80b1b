#include "common/cluster_key.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "tests/common/status_matchers.h"
#include "tests/common/temp_dir.h"

namespace f3 {
namespace {

constexpr int64_t kNow = 1'700'000'000'000'000'000;

ClusterKey Key(const std::string& secret = "a secret of sixteen bytes") {
  return *ClusterKey::FromSecret(secret);
}

Capability Example() {
  Capability capability;
  capability.session = 0x1122334455667788;
  capability.node = 0xabcdef01;
  capability.object = {0xfedcba9876543210, 0x0123456789abcdef};
  capability.write = true;
  capability.expires_wall_nanos = kNow + 5'000'000'000;
  return capability;
}

TEST(ClusterKey, TokensComeBackAsTheyWere) {
  ClusterKey key = Key();
  for (bool write : {false, true}) {
    Capability given = Example();
    given.write = write;
    std::string token = key.Seal(given);
    EXPECT_EQ(token.size(), ClusterKey::kTokenBytes);
    auto opened = key.Open(token, kNow);
    ASSERT_OK(opened);
    EXPECT_EQ(opened->session, given.session);
    EXPECT_EQ(opened->node, given.node);
    EXPECT_EQ(opened->object, given.object);
    EXPECT_EQ(opened->write, write);
    EXPECT_EQ(opened->expires_wall_nanos, given.expires_wall_nanos);
  }
}

TEST(ClusterKey, EveryChangedBitIsNoticed) {
  ClusterKey key = Key();
  const std::string token = key.Seal(Example());
  for (size_t at = 0; at < token.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string changed = token;
      changed[at] = static_cast<char>(changed[at] ^ (1 << bit));
      EXPECT_CODE(key.Open(changed, kNow), kTokenInvalid) << at << " " << bit;
    }
  }
  for (size_t length = 0; length < token.size(); ++length) {
    EXPECT_CODE(key.Open(token.substr(0, length), kNow), kTokenInvalid);
  }
  EXPECT_CODE(key.Open(token + "x", kNow), kTokenInvalid);
}

TEST(ClusterKey, AnotherSecretMakesOtherTokensAndBearers) {
  ClusterKey key = Key(), other = Key("another secret of many bytes");
  EXPECT_CODE(other.Open(key.Seal(Example()), kNow), kTokenInvalid);
  EXPECT_TRUE(key.IsBearer(key.bearer()));
  EXPECT_FALSE(key.IsBearer(other.bearer()));
  EXPECT_FALSE(key.IsBearer(""));
  EXPECT_FALSE(key.IsBearer(key.bearer() + " "));
  EXPECT_EQ(key.bearer(), Key().bearer());
  EXPECT_EQ(key.bearer().find("a secret"), std::string::npos);
}

TEST(ClusterKey, TokensExpireWithAnAllowanceForClocks) {
  ClusterKey key = Key();
  const Capability capability = Example();
  const std::string token = key.Seal(capability);
  EXPECT_OK(key.Open(token, capability.expires_wall_nanos));
  EXPECT_OK(key.Open(token, capability.expires_wall_nanos + 1'000'000'000));
  EXPECT_CODE(key.Open(token, capability.expires_wall_nanos + 3'000'000'000), kTokenExpired);
}

TEST(ClusterKey, ShortSecretsAreRefused) {
  EXPECT_CODE(ClusterKey::FromSecret("short"), kInvalidArgument);
  EXPECT_CODE(ClusterKey::FromSecret(""), kInvalidArgument);
}

TEST(ClusterKey, FileIsMadeOnceForItsOwnerOnlyAndReadBack) {
  TempDir dir;
  const std::string path = dir / "secret";
  EXPECT_CODE(ClusterKey::FromFile(path), kBadConfig);
  ASSERT_OK(ClusterKey::CreateFile(path));
  EXPECT_CODE(ClusterKey::CreateFile(path), kExists);
  struct stat st;
  ASSERT_EQ(::stat(path.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  auto first = ClusterKey::FromFile(path), second = ClusterKey::FromFile(path);
  ASSERT_OK(first);
  ASSERT_OK(second);
  EXPECT_EQ(first->bearer(), second->bearer());

  std::ofstream(dir / "short") << "short\n";
  Status status = ClusterKey::FromFile(dir / "short").status();
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.message().find(dir / "short"), std::string::npos);
  EXPECT_EQ(status.message().find("short\n"), std::string::npos);
}

}  // namespace
}  // namespace f3
