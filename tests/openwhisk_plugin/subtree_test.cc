// Directories of a volume, at a metadata server in this process; and where data is.
#include "openwhisk_plugin/subtree.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <memory>
#include <set>
#include <string>

#include "metadata/server.h"
#include "openwhisk_plugin/data_locator.h"
#include "tests/common/status_matchers.h"
#include "tests/common/temp_dir.h"

namespace f3::openwhisk {
namespace {

constexpr char kSecret[] = "0123456789abcdef0123456789abcdef";

class SubtreeTest : public ::testing::Test {
 protected:
  SubtreeTest() : key_(ClusterKey::FromSecret(kSecret).value()) {}
  void SetUp() override {
    auto store = meta::OpenLevelDbKvStore(dir_ / "db");
    ASSERT_OK(store);
    meta::MetadataServer::Options options;
    options.listen = "127.0.0.1:0";
    auto server = meta::MetadataServer::Start(options, key_, std::move(store).value());
    ASSERT_OK(server);
    server_ = std::move(server).value();
    meta::MetaClient::Options client;
    client.server = server_->address();
    auto connected = meta::MetaClient::Connect(client, key_, nullptr);
    ASSERT_OK(connected);
    client_ = std::move(connected).value();
    meta::Request request;
    request.mutable_create_volume()->set_name("v");
    request.mutable_create_volume()->set_mode(S_IFDIR | 0755);
    Run(request);
  }
  void TearDown() override {
    if (client_ != nullptr) client_->Shutdown();
  }

  meta::Reply Run(meta::Request request, Code expected = Code::kOk) {
    meta::Reply reply;
    EXPECT_TRUE(HasCode(client_->Call(std::move(request), &reply), expected));
    return reply;
  }
  meta::Attr At(const std::string& path, Code expected = Code::kOk) {
    meta::Request request;
    request.mutable_resolve()->set_volume("v");
    request.mutable_resolve()->set_path(path);
    return Run(request, expected).entry().attr();
  }
  // A node of another kind than a directory, without content.
  void Make(const std::string& directory, const std::string& name, uint32_t mode,
            const std::string& target = "") {
    meta::Request request;
    request.mutable_make_node()->set_parent(At(directory).ino());
    request.mutable_make_node()->set_name(name);
    request.mutable_make_node()->set_mode(mode);
    request.mutable_make_node()->set_target(target);
    Run(request);
  }
  std::set<std::string> Find(const std::string& glob) {
    SearchBudget budget;
    std::vector<FoundFile> found;
    EXPECT_OK(FindFiles(client_.get(), "v", "openwhisk/n", glob, &budget, &found));
    std::set<std::string> paths;
    for (const FoundFile& file : found) paths.insert(file.path);
    return paths;
  }

  const ClusterKey key_;
  TempDir dir_;
  std::unique_ptr<meta::MetadataServer> server_;
  std::unique_ptr<meta::MetaClient> client_;
};

TEST_F(SubtreeTest, IsMadeWithWhatIsAboveIt) {
  for (int i = 0; i < 2; ++i) {
    EXPECT_OK(MakeSubtree(client_.get(), "v", "openwhisk/n/.workflows/w"));
  }
  EXPECT_EQ(At("openwhisk").mode(), S_IFDIR | 0755u);
  EXPECT_EQ(At("openwhisk/n").mode(), S_IFDIR | 0777u);
  EXPECT_EQ(At("openwhisk/n/.workflows").mode(), S_IFDIR | 0755u);
  EXPECT_EQ(At("openwhisk/n/.workflows/w").mode(), S_IFDIR | 0777u);
  EXPECT_CODE(MakeSubtree(client_.get(), "none", "openwhisk/n"), kNotFound);
}

TEST_F(SubtreeTest, NoLinkAndNoFileStandsForADirectory) {
  ASSERT_OK(MakeSubtree(client_.get(), "v", "openwhisk/n"));
  ASSERT_OK(MakeSubtree(client_.get(), "v", "openwhisk/other"));
  Make("openwhisk/n", ".workflows", S_IFLNK | 0777, "../other");
  EXPECT_CODE(MakeSubtree(client_.get(), "v", "openwhisk/n/.workflows/w"), kNotDirectory);
  At("openwhisk/other/w", Code::kNotFound);
  EXPECT_FALSE(RemoveSubtree(client_.get(), "v", "openwhisk/n/.workflows/w").ok());
  At("openwhisk/other");
}

TEST_F(SubtreeTest, IsRemovedWithAllThatIsInIt) {
  ASSERT_OK(MakeSubtree(client_.get(), "v", "openwhisk/n/.workflows/w"));
  ASSERT_OK(MakeSubtree(client_.get(), "v", "openwhisk/n/.workflows/x"));
  std::string path = "openwhisk/n/.workflows/w";
  for (int depth = 0; depth < 30; ++depth) {
    Make(path, "f", S_IFIFO | 0600);
    Make(path, "link", S_IFLNK | 0777, "../x");
    Make(path, "d", S_IFDIR | 0700);
    Make(path, "e", S_IFDIR | 0700);
    path += "/d";
  }
  for (int i = 0; i < 1500; ++i) Make(path, "many" + std::to_string(i), S_IFIFO | 0600);
  for (int i = 0; i < 2; ++i) {
    EXPECT_OK(RemoveSubtree(client_.get(), "v", "openwhisk/n/.workflows/w"));
  }
  At("openwhisk/n/.workflows/w", Code::kNotFound);
  At("openwhisk/n/.workflows/x");
  EXPECT_OK(RemoveSubtree(client_.get(), "none", "openwhisk/n/.workflows/w"));
}

TEST_F(SubtreeTest, GlobsFindRegularFilesBelowIt) {
  ASSERT_OK(MakeSubtree(client_.get(), "v", "openwhisk/n/in"));
  ASSERT_OK(MakeSubtree(client_.get(), "v", "openwhisk/n/more/in"));
  for (const char* name : {"a.bin", "b.bin", ".hidden"})
    Make("openwhisk/n/in", name, S_IFREG | 0600);
  Make("openwhisk/n/more/in", "c.bin", S_IFREG | 0600);
  Make("openwhisk/n/in", "pipe.bin", S_IFIFO | 0600);
  Make("openwhisk/n", "link", S_IFLNK | 0777, "in");
  using Paths = std::set<std::string>;
  EXPECT_EQ(Find("in/*.bin"), (Paths{"in/a.bin", "in/b.bin"}));
  EXPECT_EQ(Find("in/a.bin"), (Paths{"in/a.bin"}));
  EXPECT_EQ(Find("*/*.bin"), (Paths{"in/a.bin", "in/b.bin"}));
  EXPECT_EQ(Find("more/i?/[a-c]*"), (Paths{"more/in/c.bin"}));
  EXPECT_EQ(Find("link/a.bin"), Paths{});
  EXPECT_EQ(Find("in"), Paths{});
  EXPECT_EQ(Find("nowhere/*"), Paths{});
  EXPECT_EQ(Find("in/a.bin/x"), Paths{});
}

TEST_F(SubtreeTest, ASearchHasABudget) {
  ASSERT_OK(MakeSubtree(client_.get(), "v", "openwhisk/n"));
  for (int i = 0; i < 20; ++i) Make("openwhisk/n", std::to_string(i), S_IFREG | 0600);
  SearchBudget budget{30};
  std::vector<FoundFile> found;
  EXPECT_OK(FindFiles(client_.get(), "v", "openwhisk/n", "*", &budget, &found));
  EXPECT_EQ(found.size(), 20u);
  EXPECT_CODE(FindFiles(client_.get(), "v", "openwhisk/n", "*", &budget, &found), kInvalidArgument);
}

TEST_F(SubtreeTest, LocateRefusesWhatItCannotLookFor) {
  DataLocator locator(client_.get(), key_, VolumePolicy::Parse({"n=v"}).value());
  LocateRequest request;
  request.set_namespace_("n");
  request.set_annotations(R"({"f3-mounts":[{"volume":"v"},{"volume":"secret","path":"/s"}]})");
  auto with = [&](const std::string& path) {
    LocateRequest one = request;
    one.add_paths(path);
    return locator.Locate(one);
  };
  ASSERT_OK(with("in/*"));
  EXPECT_EQ(with("in/*")->bytes(), 0u);
  ASSERT_OK(with("/mnt/f3/in/*"));
  EXPECT_CODE(with("/s/x"), kNotPermitted);
  EXPECT_CODE(with("/elsewhere/x"), kInvalidArgument);
  EXPECT_CODE(with("/mnt/f3/../x"), kInvalidArgument);
  EXPECT_CODE(with(""), kInvalidArgument);
  request.add_references("not a reference");
  EXPECT_CODE(locator.Locate(request), kInvalidArgument);
  xdt::ReferenceKeys keys(key_.reference_root(), {});
  xdt::Reference reference;
  reference.owner = 7;
  reference.length = 1000;
  reference.name_space = keys.NamespaceTag({"other", ""});
  request.set_references(0, keys.Seal(reference));
  EXPECT_CODE(locator.Locate(request), kNotPermitted);
  reference.name_space = keys.NamespaceTag({"n", ""});
  request.set_references(0, keys.Seal(reference));
  auto located = locator.Locate(request);
  ASSERT_OK(located);
  EXPECT_EQ(located->bytes(), 1000u);
  EXPECT_EQ(located->nodes_size(), 0) << "no such node is there";
}

}  // namespace
}  // namespace f3::openwhisk
