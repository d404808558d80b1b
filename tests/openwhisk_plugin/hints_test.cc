#include "openwhisk_plugin/hints.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/common/status_matchers.h"

namespace f3::openwhisk {
namespace {

std::string ErrorOf(const std::string& annotations) {
  auto parsed = ParseAnnotations(annotations);
  if (parsed.ok()) return "";
  EXPECT_EQ(parsed.status().code(), Code::kInvalidArgument) << annotations;
  return parsed.status().message();
}

std::string ErrorOfHints(const std::string& hints) {
  return ErrorOf("{\"f3-hints\":" + hints + "}");
}

std::string ErrorOfMount(const std::string& mount) {
  return ErrorOf("{\"f3-mounts\":[" + mount + "]}");
}

TEST(HintsTest, NothingSaidIsNoMountAndNoHint) {
  for (const char* text : {"", "{}", R"({"web-export":true,"limits":{"x":[1,{}]}})",
                           R"({"f3-mounts":[],"f3-hints":{}})"}) {
    auto action = ParseAnnotations(text);
    ASSERT_OK(action.status());
    EXPECT_TRUE(action->mounts.empty());
    EXPECT_TRUE(action->hints.classes.empty());
    EXPECT_FALSE(action->hints.follow.has_value());
    EXPECT_FALSE(action->hints.locality.has_value());
  }
}

TEST(HintsTest, AnEmptyMountIsTheDefault) {
  auto action = ParseAnnotations(R"({"f3-mounts":[{}]})");
  ASSERT_OK(action.status());
  ASSERT_EQ(action->mounts.size(), 1u);
  EXPECT_EQ(action->mounts[0].volume, "default");
  EXPECT_EQ(action->mounts[0].path, "/mnt/f3");
  EXPECT_FALSE(action->mounts[0].read_only);
  EXPECT_EQ(action->mounts[0].lifetime, Lifetime::kNamespace);
}

TEST(HintsTest, EveryFieldIsRead) {
  auto action = ParseAnnotations(R"({
    "f3-mounts": [{"volume": "wf1", "path": "//data/in/", "mode": "ro", "lifetime": "workflow"},
                  {"path": "/scratch"}],
    "f3-hints": {"class": {"tmp/*": "ephemeral", "*.db": "durable", "*": "ephemeral"},
                 "follow": true, "ttl": 60, "locality": "require", "transfer": "prefetch",
                 "inputs": ["in/*", "/data/in/x"], "outputs": ["out/*"]}})");
  ASSERT_OK(action.status());
  ASSERT_EQ(action->mounts.size(), 2u);
  EXPECT_EQ(action->mounts[0].volume, "wf1");
  EXPECT_EQ(action->mounts[0].path, "/data/in");
  EXPECT_TRUE(action->mounts[0].read_only);
  EXPECT_EQ(action->mounts[0].lifetime, Lifetime::kWorkflow);
  const Hints& hints = action->hints;
  ASSERT_EQ(hints.classes.size(), 3u);
  EXPECT_EQ(hints.classes[0], std::make_pair(std::string("tmp/*"), meta::CLASS_EPHEMERAL));
  EXPECT_EQ(hints.classes[1], std::make_pair(std::string("*.db"), meta::CLASS_DURABLE));
  EXPECT_EQ(hints.classes[2].first, "*");
  EXPECT_EQ(hints.follow, true);
  EXPECT_EQ(hints.ttl_s, 60u);
  EXPECT_EQ(hints.locality, Locality::kRequire);
  EXPECT_EQ(hints.transfer, Transfer::kPrefetch);
  EXPECT_EQ(hints.inputs, (std::vector<std::string>{"in/*", "/data/in/x"}));
  EXPECT_EQ(hints.outputs, std::vector<std::string>{"out/*"});
}

TEST(HintsTest, ClassesInAListKeepItsOrder) {
  auto action = ParseAnnotations(R"({"f3-hints":{"class":[{"z*":"ephemeral"},{"a*":"durable"}]}})");
  ASSERT_TRUE(action.ok()) << action.status().ToString();
  ASSERT_EQ(action->hints.classes.size(), 2u);
  EXPECT_EQ(action->hints.classes[0].first, "z*");
  EXPECT_EQ(action->hints.classes[1].second, meta::CLASS_DURABLE);
}

TEST(HintsTest, OneClassIsThatOfEveryFile) {
  auto action = ParseAnnotations(R"({"f3-hints":{"class":"durable"}})");
  ASSERT_OK(action.status());
  ASSERT_EQ(action->hints.classes.size(), 1u);
  EXPECT_EQ(action->hints.classes[0], std::make_pair(std::string("*"), meta::CLASS_DURABLE));
}

TEST(HintsTest, ACallReplacesTheFieldsThatItNames) {
  Hints base;
  base.follow = true;
  base.ttl_s = 5;
  base.classes = {{"*", meta::CLASS_DURABLE}};
  base.inputs = {"a"};
  auto hints = ApplyCallHints(base, R"({"class":"ephemeral","inputs":["b","c"],"follow":false})");
  ASSERT_OK(hints.status());
  EXPECT_EQ(hints->follow, false);
  EXPECT_EQ(hints->ttl_s, 5u);
  ASSERT_EQ(hints->classes.size(), 1u);
  EXPECT_EQ(hints->classes[0].second, meta::CLASS_EPHEMERAL);
  EXPECT_EQ(hints->inputs, (std::vector<std::string>{"b", "c"}));
  auto same = ApplyCallHints(base, "");
  ASSERT_OK(same.status());
  EXPECT_EQ(same->inputs, base.inputs);
}

TEST(HintsErrorTest, OfCallsNameTheParameter) {
  auto hints = ApplyCallHints({}, R"({"locality":"near"})");
  ASSERT_FALSE(hints.ok());
  EXPECT_EQ(hints.status().message(),
            "__f3.locality is \"near\"; allowed are prefer, require, off");
  EXPECT_EQ(ApplyCallHints({}, "3").status().message(),
            "the hints in __f3 is 3; allowed are objects");
  EXPECT_EQ(ApplyCallHints({}, "{").status().message(), "the hints in __f3 are not JSON");
}

TEST(HintsErrorTest, OfTheWhole) {
  EXPECT_EQ(ErrorOf("nonsense"), "the annotations are not JSON");
  EXPECT_EQ(ErrorOf("[1]"), "the annotations is an array; allowed are objects");
  EXPECT_EQ(ErrorOf("{\"a\":\"" + std::string(1 << 20, 'x') + "\"}"),
            "the annotations have 1048584 bytes; allowed are 1048576");
  std::string many = "{";
  for (int i = 0; i < 5000; ++i) many += "\"k" + std::to_string(i) + "\":0,";
  EXPECT_EQ(ErrorOf(many + "\"k\":0}"), "the annotations have 5001 fields; allowed are 4096");
  EXPECT_EQ(ErrorOf(R"({"f3-hint":{}})"),
            "there is no annotation \"f3-hint\"; did you mean \"f3-hints\"?");
  EXPECT_EQ(ErrorOf(R"({"f3-something-else":{}})"),
            "there is no annotation \"f3-something-else\"; F3 has f3-mounts and f3-hints");
  EXPECT_EQ(ErrorOf(R"({"f3-hints":[]})"), "f3-hints is an array; allowed are objects");
  EXPECT_EQ(ErrorOf(R"({"f3-mounts":{}})"), "f3-mounts is an object; allowed are arrays of mounts");
}

TEST(HintsErrorTest, OfUnknownFields) {
  EXPECT_EQ(ErrorOfHints(R"({"localty":"off"})"),
            "f3-hints has no field \"localty\"; did you mean \"locality\"?");
  EXPECT_EQ(ErrorOfHints(R"({"zebra":1})"),
            "f3-hints has no field \"zebra\"; it has class, follow, ttl, locality, transfer, "
            "inputs, outputs");
  EXPECT_EQ(ErrorOfMount(R"({"pth":"/a"})"),
            "f3-mounts[0] has no field \"pth\"; did you mean \"path\"?");
}

TEST(HintsErrorTest, OfHints) {
  EXPECT_EQ(ErrorOfHints(R"({"locality":"near"})"),
            "f3-hints.locality is \"near\"; allowed are prefer, require, off");
  EXPECT_EQ(ErrorOfHints(R"({"locality":null})"),
            "f3-hints.locality is null; allowed are prefer, require, off");
  EXPECT_EQ(ErrorOfHints(R"({"transfer":1})"),
            "f3-hints.transfer is 1; allowed are direct, prefetch");
  EXPECT_EQ(ErrorOfHints(R"({"follow":"yes"})"),
            "f3-hints.follow is \"yes\"; allowed are true, false");
  for (const char* ttl : {"0", "-1", "1.5", "31536001", "\"60\"", "1e30"}) {
    EXPECT_EQ(ErrorOfHints(std::string("{\"ttl\":") + ttl + "}").substr(0, 16), "f3-hints.ttl is ")
        << ttl;
  }
  EXPECT_EQ(ErrorOfHints(R"({"ttl":0})"),
            "f3-hints.ttl is 0; allowed are whole seconds from 1 to 31536000");
  EXPECT_EQ(ErrorOfHints(R"({"class":"fast"})"),
            "f3-hints.class is \"fast\"; allowed are ephemeral, durable");
  EXPECT_EQ(
      ErrorOfHints(R"({"class":7})"),
      "f3-hints.class is 7; allowed are ephemeral, durable, an object of globs and these, or a "
      "list of such objects");
  EXPECT_EQ(ErrorOfHints(R"({"class":[{"*":"durable"},"durable"]})"),
            "f3-hints.class is \"durable\"; allowed are ephemeral, durable, an object of globs and "
            "these, or a list of such objects");
  EXPECT_EQ(ErrorOfHints(R"({"class":{"a*":"fast"}})"),
            "f3-hints.class[\"a*\"] is \"fast\"; allowed are ephemeral, durable");
  EXPECT_EQ(ErrorOfHints(R"({"class":{"":"durable"}})"), "f3-hints.class's glob is empty");
  EXPECT_EQ(ErrorOfHints(R"({"class":{"/a":"durable"}})"),
            "f3-hints.class's glob is \"/a\"; allowed are globs relative to the mount");
}

TEST(HintsErrorTest, OfGlobs) {
  EXPECT_EQ(ErrorOfHints(R"({"inputs":"in/*"})"),
            "f3-hints.inputs is \"in/*\"; allowed are arrays of globs");
  EXPECT_EQ(ErrorOfHints(R"({"inputs":["a",3]})"), "f3-hints.inputs[1] is 3; allowed are strings");
  EXPECT_EQ(ErrorOfHints(R"({"outputs":["/a"]})"),
            "f3-hints.outputs[0] is \"/a\"; allowed are globs relative to the mount");
  EXPECT_EQ(ErrorOfHints(R"({"outputs":["a/../b"]})"),
            "f3-hints.outputs[0] is \"a/../b\"; allowed are globs without \".\" and \"..\"");
  EXPECT_EQ(ErrorOfHints(R"({"outputs":["a\nb"]})"),
            "f3-hints.outputs[0] is \"a\\nb\"; allowed are strings without control characters");
  EXPECT_EQ(ErrorOfHints("{\"outputs\":[\"" + std::string(4097, 'a') + "\"]}"),
            "f3-hints.outputs[0] has 4097 bytes; allowed are 4096");
  std::string globs = "\"a\"";
  for (int i = 0; i < 64; ++i) globs += ",\"a\"";
  EXPECT_EQ(ErrorOfHints("{\"inputs\":[" + globs + "]}"),
            "f3-hints.inputs has 65 globs; allowed are 64");
  std::string classes = "\"g\":\"durable\"";
  for (int i = 0; i < 64; ++i) classes += ",\"g" + std::to_string(i) + "\":\"durable\"";
  EXPECT_EQ(ErrorOfHints("{\"class\":{" + classes + "}}"),
            "f3-hints.class has 65 globs; allowed are 64");
}

TEST(HintsErrorTest, OfMounts) {
  EXPECT_EQ(ErrorOfMount("3"), "f3-mounts[0] is 3; allowed are objects");
  EXPECT_EQ(ErrorOfMount(R"({"mode":"w"})"), "f3-mounts[0].mode is \"w\"; allowed are ro, rw");
  EXPECT_EQ(ErrorOfMount(R"({"lifetime":"forever"})"),
            "f3-mounts[0].lifetime is \"forever\"; allowed are namespace, workflow");
  EXPECT_EQ(ErrorOfMount(R"({"volume":""})"), "f3-mounts[0].volume is empty");
  EXPECT_EQ(
      ErrorOfMount(R"({"volume":"a/b"})"),
      "f3-mounts[0].volume is \"a/b\"; allowed are names of at most 255 bytes without / , \\");
  EXPECT_EQ(ErrorOfMount(R"({"volume":"v,suid"})").substr(0, 21), "f3-mounts[0].volume i");
  EXPECT_EQ(ErrorOfMount(R"({"path":"data"})"),
            "f3-mounts[0].path is \"data\"; allowed are absolute paths without \".\" and \"..\"");
  EXPECT_EQ(ErrorOfMount(R"({"path":"/mnt/../etc"})"),
            "f3-mounts[0].path is \"/mnt/../etc\"; allowed are absolute paths without \".\" and "
            "\"..\"");
  EXPECT_EQ(ErrorOfMount(R"({"path":"//"})"),
            "f3-mounts[0].path is \"//\"; allowed are directories below \"/\"");
  EXPECT_EQ(ErrorOfMount(R"({"path":"/proc/self"})"),
            "f3-mounts[0].path is \"/proc/self\"; allowed are directories that neither are in "
            "/proc nor contain it");
  for (const char* path : {"/proc", "/sys/x", "/dev", "/run", "/run/f3", "/run/f3/x"}) {
    EXPECT_NE(ErrorOfMount(std::string("{\"path\":\"") + path + "\"}"), "") << path;
  }
  EXPECT_EQ(ErrorOfMount(R"({"path":"/run/other"})"), "");
  EXPECT_EQ(ErrorOfMount("{\"path\":\"/" + std::string(256, 'a') + "\"}").substr(0, 20),
            "f3-mounts[0].path is");
  EXPECT_EQ(ErrorOfMount(R"({"path":"/a"},{"path":"/a/b"})"),
            "f3-mounts[1].path is \"/a/b\", which is in another mount or has one in it (\"/a\")");
  EXPECT_NE(ErrorOfMount("{},{}"), "");
  EXPECT_EQ(ErrorOfMount(R"({"path":"/ab"},{"path":"/a"})"), "");
  std::string mounts = "{\"path\":\"/m\"}";
  for (int i = 0; i < 16; ++i) mounts += ",{\"path\":\"/m" + std::to_string(i) + "\"}";
  EXPECT_EQ(ErrorOfMount(mounts), "f3-mounts has 17 mounts; allowed are 16");
}

TEST(HintsErrorTest, DeepNestingIsAnErrorAndNoMore) {
  const std::string deep(500'000, '[');
  EXPECT_EQ(ErrorOf(deep), "the annotations are not JSON");
  const std::string closed = std::string(400'000, '[') + std::string(400'000, ']');
  EXPECT_EQ(ErrorOfHints("{\"ttl\":" + closed + "}"),
            "f3-hints.ttl is an array; allowed are whole seconds from 1 to 31536000");
  EXPECT_EQ(ErrorOf("{\"else\":" + closed + "}"), "");
}

}  // namespace
}  // namespace f3::openwhisk
