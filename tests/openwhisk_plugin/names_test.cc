#include "openwhisk_plugin/names.h"

#include <gtest/gtest.h>

#include "tests/common/status_matchers.h"

namespace f3::openwhisk {
namespace {

TEST(NamesTest, OfContainers) {
  for (const char* good : {"a", "wsk-n1-17", "A_b.c-9"}) EXPECT_OK(CheckContainer(good));
  EXPECT_OK(CheckContainer(std::string(128, 'a')));
  for (const std::string bad : {"", ".", "..", ".hidden", "roots", "a/b", "a b", "ä"}) {
    EXPECT_CODE(CheckContainer(bad), kInvalidArgument) << bad;
  }
  EXPECT_CODE(CheckContainer(std::string(129, 'a')), kInvalidArgument);
  EXPECT_EQ(CheckContainer("a/b").message(),
            "container is \"a/b\"; allowed are 1 to 128 of A-Z a-z 0-9 _ . -, not beginning with a "
            "dot");
}

TEST(NamesTest, OfNamespacesAndActions) {
  for (const char* good : {"guest", "_", "a b", "joe@x.org_dev", "9", "R&D"}) {
    EXPECT_OK(CheckNamespace(good));
    EXPECT_OK(CheckAction(good));
    EXPECT_OK(CheckAction(std::string("package/") + good));
  }
  for (const char* bad :
       {".", "..", ".workflows", "a/b/c", "a ", "/a", "a/", "a/..", "../a", "a\nb", "@a"}) {
    EXPECT_CODE(CheckNamespace(bad), kInvalidArgument) << bad;
    EXPECT_CODE(CheckAction(bad), kInvalidArgument) << bad;
  }
  EXPECT_CODE(CheckNamespace("a/b"), kInvalidArgument);
  EXPECT_CODE(CheckNamespace(""), kInvalidArgument);
  EXPECT_OK(CheckAction(""));
  EXPECT_CODE(CheckNamespace(std::string(256, 'a')), kInvalidArgument);
}

TEST(NamesTest, OfActivations) {
  EXPECT_OK(CheckActivation("activation", ""));
  EXPECT_OK(CheckActivation("activation", "00112233445566778899aabbccddeeff"));
  for (const char* bad : {"..", "a/b", "a.b", " "}) {
    EXPECT_CODE(CheckActivation("workflow", bad), kInvalidArgument) << bad;
  }
  EXPECT_EQ(CheckActivation("workflow", "a/b").message(),
            "workflow is \"a/b\"; allowed are at most 128 of A-Z a-z 0-9 _ -");
}

TEST(VolumePolicyTest, DefaultAndOwnAndWhatIsAllowed) {
  auto policy = VolumePolicy::Parse({"guest=shared", "*=public", "other=x=y"});
  ASSERT_OK(policy.status());
  EXPECT_OK(policy->Check("guest", "default"));
  EXPECT_OK(policy->Check("guest", "guest"));
  EXPECT_OK(policy->Check("guest", "shared"));
  EXPECT_OK(policy->Check("anybody", "public"));
  EXPECT_OK(policy->Check("other", "x=y"));
  EXPECT_CODE(policy->Check("anybody", "shared"), kNotPermitted);
  EXPECT_CODE(policy->Check("anybody", "guest"), kNotPermitted);
  EXPECT_EQ(policy->Check("a", "shared").message(),
            "namespace a may not use the volume \"shared\"; the agent's setting openwhisk_allow = "
            "[\"a=shared\"] permits it");
  EXPECT_EQ(policy->VolumesOf("guest"),
            (std::vector<std::string>{"default", "guest", "shared", "public"}));
}

TEST(VolumePolicyTest, RefusesWhatItDoesNotUnderstand) {
  for (const char* bad : {"", "guest", "guest=", "=v", "../x=v"}) {
    EXPECT_CODE(VolumePolicy::Parse({bad}).status(), kBadConfig) << bad;
  }
}

}  // namespace
}  // namespace f3::openwhisk
