#include "cli/drain.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "fake_meta.h"

namespace f3::cli {
namespace {

struct File {
  Ino ino = 0;
  Ino parent = 0;
  std::string name{};
  bool directory = false;
  meta::FileClass file_class = meta::CLASS_EPHEMERAL;
  uint64_t home = 2;
  std::string content{};
};

// A namespace of one volume; reading a file in `mount_` makes a copy on node 1 when it is looked
// for.
class DrainTest : public testing::Test {
 protected:
  DrainTest()
      : mount_(testing::TempDir() + "f3_drain_test"),
        client_([this](const meta::Request& request, meta::Reply* reply) {
          return Answer(request, reply);
        }) {
    std::filesystem::create_directories(mount_ + "/sub");
  }
  ~DrainTest() override { std::filesystem::remove_all(mount_); }

  void Fill(const File& file, meta::Attr* attr) const {
    attr->set_ino(file.ino);
    attr->set_mode(file.directory ? S_IFDIR | 0755 : S_IFREG | 0644);
    attr->set_file_class(file.file_class);
    attr->set_home(file.home);
    attr->set_incarnation(file.content.empty() ? 0 : file.ino + 100);
    attr->set_size(file.content.size());
  }

  Status Answer(const meta::Request& request, meta::Reply* reply) {
    if (request.has_list_nodes()) {
      for (uint32_t id : {1, 2}) {
        auto* node = reply->add_nodes();
        node->set_id(id);
        node->set_name("n" + std::to_string(id));
      }
    } else if (request.has_list_volumes()) {
      reply->add_names("default");
    } else if (request.has_resolve()) {
      reply->mutable_entry()->mutable_attr()->set_ino(1);
    } else if (request.has_readdir()) {
      // One entry a page.
      for (const auto& file : files_) {
        if (file.parent != request.readdir().ino() || file.name <= request.readdir().after()) {
          continue;
        }
        auto* entry = reply->add_entries();
        entry->set_name(file.name);
        Fill(file, entry->mutable_entry()->mutable_attr());
        return Status();
      }
      reply->set_last(true);
    } else if (request.has_location()) {
      auto* home = reply->mutable_open()->add_holders();
      home->set_node(2);
      home->set_up(true);
      if (asked_[request.location().ino()]++ > 0 && copies_work_) {
        auto* copy = reply->mutable_open()->add_holders();
        copy->set_node(1);
        copy->set_up(true);
      }
    }
    return Status();
  }

  void Add(Ino ino, Ino parent, const std::string& path, File file) {
    file.ino = ino;
    file.parent = parent;
    file.name = std::filesystem::path(path).filename();
    if (!file.directory) std::ofstream(mount_ + "/" + path) << file.content;
    files_.push_back(file);
  }

  std::string mount_;
  std::vector<File> files_;
  std::map<Ino, int> asked_;
  bool copies_work_ = true;
  FakeMeta client_;
};

TEST_F(DrainTest, CopiesWhatOnlyThatNodeHolds) {
  Add(10, 1, "a", {.content = "aaaa"});
  Add(11, 1, "durable", {.file_class = meta::CLASS_DURABLE, .content = "d"});
  Add(12, 1, "elsewhere", {.home = 1, .content = "e"});
  Add(13, 1, "empty", {});
  Add(14, 1, "sub", {.directory = true});
  Add(15, 14, "sub/b", {.content = "bb"});
  auto result = DrainNode(&client_, "n2", {{"default", mount_}}, [](const std::string&) {});
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_EQ(result->files, 3u);
  EXPECT_EQ(result->moved, 2u);
  EXPECT_EQ(result->bytes, 6u);
  EXPECT_TRUE(result->stuck.empty());
}

TEST_F(DrainTest, WhatIsCopiedAlreadyIsNotReadAgain) {
  Add(10, 1, "a", {.content = "aaaa"});
  asked_[10] = 1;
  std::filesystem::remove(mount_ + "/a");
  auto result = DrainNode(&client_, "n2", {{"default", mount_}}, [](const std::string&) {});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->moved, 0u);
  EXPECT_TRUE(result->stuck.empty());
}

TEST_F(DrainTest, NamesWhatCannotBeMoved) {
  Add(10, 1, "a", {.content = "aaaa"});
  Add(11, 1, "b", {.content = "bbbb"});
  std::filesystem::remove(mount_ + "/a");
  auto result = DrainNode(&client_, "n2", {{"default", mount_}}, [](const std::string&) {});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->moved, 1u);
  ASSERT_EQ(result->stuck.size(), 1u);
  EXPECT_EQ(result->stuck[0].find("default/a: "), 0u) << result->stuck[0];

  asked_.clear();
  result = DrainNode(&client_, "n2", {{"other", mount_}}, [](const std::string&) {});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->stuck.size(), 2u);
}

TEST_F(DrainTest, AnUnknownNodeIsNamed) {
  auto result = DrainNode(&client_, "n9", {{"default", mount_}}, [](const std::string&) {});
  EXPECT_TRUE(result.status().Is(Code::kNotFound));
}

}  // namespace
}  // namespace f3::cli
