#include "cli/settings.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <memory>

namespace f3::cli {
namespace {

struct Values {
  std::string name = "default";
  uint64_t size = 0;
  int64_t pause = 0;
  uint64_t count = 0;
  bool fast = false;
  size_t colour = 9;
  std::vector<std::string> children;
  std::unique_ptr<Settings> child;
  Settings settings;

  Values() {
    settings.Text("name", &name, "a name");
    settings.Bytes("size", &size, 1 << 20, 1ull << 40, "a size");
    settings.Micros("pause", &pause, 1000, 60'000'000, "a pause");
    settings.Number("count", &count, 1, 32, "a count");
    settings.Flag("very_fast", &fast, "a flag");
    settings.Choice(
        "colour", {"red", "green"}, [this](size_t i) { colour = i; }, "a choice");
    settings.Tables("child", [this] {
      children.emplace_back();
      child = std::make_unique<Settings>();
      child->Text("label", &children.back(), "");
      return child.get();
    });
  }
};

TEST(SettingsTest, ReadsEveryKindOfValueFromToml) {
  Values v;
  Status status = v.settings.ApplyToml(
      "name = \"x\"\nsize = \"64M\"\npause = \"250ms\"\ncount = 7\nvery_fast = true\n"
      "colour = \"green\"\n[[child]]\nlabel = \"a\"\n[[child]]\nlabel = \"b\"\n",
      "f.toml");
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(v.name, "x");
  EXPECT_EQ(v.size, 64u << 20);
  EXPECT_EQ(v.pause, 250'000);
  EXPECT_EQ(v.count, 7u);
  EXPECT_TRUE(v.fast);
  EXPECT_EQ(v.colour, 1u);
  EXPECT_EQ(v.children, (std::vector<std::string>{"a", "b"}));
}

TEST(SettingsTest, AListIsAnArrayOrHasCommas) {
  std::vector<std::string> list = {"before"};
  std::string text;
  Settings settings;
  settings.Texts("list", &list, "");
  settings.Text("text", &text, "");
  ASSERT_TRUE(settings.ApplyToml("list = [\"a=b\", \"c\"]\n", "f.toml").ok());
  EXPECT_EQ(list, (std::vector<std::string>{"a=b", "c"}));
  ASSERT_TRUE(settings.Set("list", "x,,y").ok());
  EXPECT_EQ(list, (std::vector<std::string>{"x", "y"}));
  ASSERT_TRUE(settings.ApplyToml("list = []\n", "f.toml").ok());
  EXPECT_TRUE(list.empty());
  Status status = settings.ApplyToml("list = [1]\n", "f.toml");
  EXPECT_EQ(status.message(), "f.toml:1: list is a list of texts");
  EXPECT_TRUE(settings.ApplyToml("text = [\"a\"]\n", "f.toml").Is(Code::kBadConfig));
}

TEST(SettingsTest, AnUnknownKeyIsRefusedWithItsLineAndTheNearestKey) {
  Values v;
  Status status = v.settings.ApplyToml("name = \"x\"\nsise = \"64M\"\n", "f.toml");
  ASSERT_TRUE(status.Is(Code::kBadConfig));
  EXPECT_NE(status.message().find("f.toml:2"), std::string::npos) << status.message();
  EXPECT_NE(status.message().find("\"sise\""), std::string::npos);
  EXPECT_NE(status.message().find("did you mean \"size\"?"), std::string::npos);
}

TEST(SettingsTest, AnUnknownKeyNearNothingGetsTheListOfKeys) {
  Values v;
  Status status = v.settings.ApplyToml("wavelength = 3\n", "f.toml");
  EXPECT_NE(status.message().find("known are name, size, pause"), std::string::npos)
      << status.message();
}

TEST(SettingsTest, AnUnknownKeyInATableIsRefused) {
  Values v;
  Status status = v.settings.ApplyToml("[[child]]\nlable = \"a\"\n", "f.toml");
  EXPECT_NE(status.message().find("f.toml:2"), std::string::npos) << status.message();
  EXPECT_NE(status.message().find("\"label\""), std::string::npos);
}

TEST(SettingsTest, NonsenseValuesAreRefusedWithTheirBounds) {
  for (const char* text :
       {"size = \"12 potatoes\"", "size = \"1K\"", "size = \"9000P\"", "size = -5", "size = \"\"",
        "pause = \"0s\"", "pause = \"2h\"", "count = 0", "count = 33", "count = \"many\"",
        "very_fast = 3", "colour = \"blue\"", "name = [1]", "child = 3", "size ="}) {
    Values v;
    Status status = v.settings.ApplyToml(text, "f.toml");
    EXPECT_TRUE(status.Is(Code::kBadConfig)) << text;
    EXPECT_NE(status.message().find("f.toml:1"), std::string::npos) << status.message();
  }
  Values v;
  EXPECT_NE(
      v.settings.ApplyToml("size = \"1K\"", "f").message().find("between 1.0 MiB and 1.0 TiB"),
      std::string::npos);
}

TEST(SettingsTest, FlagsWinOverTheFile) {
  Values v;
  CLI::App app;
  v.settings.AddFlags(&app);
  app.parse("--size 2M --very-fast", false);
  ASSERT_TRUE(v.settings.ApplyToml("size = \"1M\"\nname = \"file\"", "f").ok());
  ASSERT_TRUE(v.settings.ApplyFlags().ok());
  EXPECT_EQ(v.size, 2u << 20);
  EXPECT_TRUE(v.fast);
  EXPECT_EQ(v.name, "file");
}

TEST(SettingsTest, ABadFlagIsNamed) {
  Values v;
  CLI::App app;
  v.settings.AddFlags(&app);
  app.parse("--size=huge", false);
  Status status = v.settings.ApplyFlags();
  EXPECT_TRUE(status.Is(Code::kBadConfig));
  EXPECT_NE(status.message().find("--size"), std::string::npos) << status.message();
}

TEST(SettingsTest, PathsBecomeAbsolute) {
  Settings settings;
  std::string path;
  settings.Path("path", &path, "");
  ASSERT_TRUE(settings.Set("path", "a/../b/").ok());
  EXPECT_EQ(path[0], '/');
  EXPECT_EQ(path.substr(path.size() - 2), "/b");
}

TEST(SettingsTest, AMissingFileIsNamed) {
  Values v;
  Status status = v.settings.ApplyTomlFile("/nonexistent/f.toml");
  EXPECT_NE(status.message().find("/nonexistent/f.toml"), std::string::npos);
}

TEST(NearestTest, FindsSlipsAndNothingElse) {
  std::vector<std::string> known = {"listen", "data", "secret"};
  EXPECT_EQ(Nearest("lisen", known), "listen");
  EXPECT_EQ(Nearest("scret", known), "secret");
  EXPECT_EQ(Nearest("dtaa", known), "data");
  EXPECT_EQ(Nearest("metadata_server", known), "");
}

}  // namespace
}  // namespace f3::cli
