#include "cli/consistency.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <set>

#include "fake_meta.h"

namespace f3::cli {
namespace {

using storage::BlockName;

class FakeStore : public storage::DurableStore {
 public:
  std::map<BlockName, std::string> blocks;
  std::set<BlockName> corrupt;
  std::function<void()> after_list = [] {};

  Status Put(const BlockName&, std::span<const std::byte>) override { return Status(); }
  Status Commit(Ino) override { return Status(); }
  Status Get(const BlockName& name, uint32_t, uint32_t, uint32_t, std::span<std::byte>) override {
    if (!blocks.count(name)) return Status::NotFound("no such block");
    return corrupt.count(name) ? Status::Corruption("checksum differs") : Status();
  }
  Status Remove(const BlockName& name) override {
    blocks.erase(name);
    return Status();
  }
  Status ForEach(const std::function<bool(const BlockName&, uint64_t)>& visit) override {
    for (const auto& [name, text] : blocks) visit(name, text.size());
    after_list();
    return Status();
  }
  Result<Space> space() override { return Space(); }
};

// Rows and intents, served in pages of two.
class ConsistencyTest : public testing::Test {
 protected:
  ConsistencyTest()
      : client_([this](const meta::Request& request, meta::Reply* reply) {
          return Answer(request, reply);
        }) {}

  Status Answer(const meta::Request& request, meta::Reply* reply) {
    if (request.has_block_map()) {
      for (const auto& name : rows_) {
        if (name.ino != request.block_map().ino() || name.index != request.block_map().first()) {
          continue;
        }
        auto* block = reply->add_blocks();
        block->set_index(name.index);
        block->set_generation(name.generation);
      }
      return Status();
    }
    const auto& scan = request.scan();
    std::vector<BlockName> all;
    if (scan.kind() == meta::SCAN_BLOCKS) all.assign(rows_.begin(), rows_.end());
    if (scan.kind() == meta::SCAN_INTENTS) all.assign(intents_.begin(), intents_.end());
    if (scan.kind() == meta::SCAN_GARBAGE) all.assign(garbage_.begin(), garbage_.end());
    size_t at = scan.after().empty() ? 0 : std::stoul(scan.after());
    for (size_t i = at; i < all.size() && i < at + 2; ++i) {
      auto* row = reply->mutable_scan()->add_blocks();
      row->set_ino(all[i].ino);
      row->mutable_block()->set_index(all[i].index);
      row->mutable_block()->set_generation(all[i].generation);
      row->mutable_block()->set_length(4);
    }
    if (at + 2 < all.size()) reply->mutable_scan()->set_next(std::to_string(at + 2));
    if (scan.kind() == meta::SCAN_CHECK) {
      reply->mutable_scan()->set_checked(3);
      reply->mutable_scan()->add_problems("a dangling entry");
    }
    return Status();
  }

  void Store(BlockName name, bool with_row) {
    store_.blocks[name] = "data";
    if (with_row) rows_.insert(name);
  }
  Findings Check(bool repair = false) {
    Findings findings;
    Status status = CheckBlocks(&client_, &store_, repair, &findings, [] {});
    EXPECT_TRUE(status.ok()) << status.ToString();
    return findings;
  }

  std::set<BlockName> rows_, intents_, garbage_;
  FakeMeta client_;
  FakeStore store_;
};

TEST_F(ConsistencyTest, WhatAgreesIsClean) {
  for (uint64_t i = 0; i < 5; ++i) Store({7, i, 1}, true);
  Findings findings = Check();
  EXPECT_TRUE(findings.problems.empty());
  EXPECT_EQ(findings.blocks, 5u);
  EXPECT_EQ(findings.block_bytes, 20u);
}

TEST_F(ConsistencyTest, NamesMissingCorruptAndLeakedBlocks) {
  Store({7, 0, 1}, true);
  Store({7, 1, 1}, true);
  Store({8, 2, 5}, false);
  store_.blocks.erase({7, 0, 1});
  store_.corrupt.insert({7, 1, 1});
  Findings findings = Check();
  ASSERT_EQ(findings.problems.size(), 3u);
  EXPECT_NE(findings.problems[0].find("block 0 of inode 7 is missing"), std::string::npos);
  EXPECT_NE(findings.problems[1].find("block 1 of inode 7 is corrupt"), std::string::npos);
  EXPECT_NE(findings.problems[2].find("block 2 of inode 8, generation 5"), std::string::npos);
  EXPECT_EQ(store_.blocks.size(), 2u);
}

TEST_F(ConsistencyTest, RepairRemovesLeaksAndNothingElse) {
  Store({7, 0, 1}, true);
  Store({8, 2, 5}, false);
  store_.corrupt.insert({7, 0, 1});
  Findings findings = Check(true);
  EXPECT_EQ(findings.repaired.size(), 1u);
  EXPECT_EQ(findings.problems.size(), 1u);
  EXPECT_EQ(store_.blocks.size(), 1u);
  EXPECT_TRUE(store_.blocks.count({7, 0, 1}));
}

TEST_F(ConsistencyTest, ABlockOfAPublishUnderWayIsNotLeaked) {
  Store({7, 0, 9}, false);
  intents_.insert({7, 0, 9});
  EXPECT_TRUE(Check(true).problems.empty());
  EXPECT_EQ(store_.blocks.size(), 1u);
}

TEST_F(ConsistencyTest, APublishThatCommitsDuringTheCheckIsNotLeaked) {
  Store({7, 0, 9}, false);
  intents_.insert({7, 0, 9});
  store_.after_list = [this] {
    intents_.clear();
    rows_.insert({7, 0, 9});
  };
  EXPECT_TRUE(Check(true).problems.empty());
  EXPECT_EQ(store_.blocks.size(), 1u);
}

TEST_F(ConsistencyTest, WhatWaitsForItsCollectionIsNotLeaked) {
  Store({7, 0, 1}, false);
  Store({7, 0, 2}, true);
  garbage_.insert({7, 0, 1});
  EXPECT_TRUE(Check().problems.empty());
}

TEST_F(ConsistencyTest, WhatIsCollectedDuringTheCheckIsNotLeaked) {
  Store({7, 0, 1}, false);
  store_.after_list = [this] { store_.blocks.erase({7, 0, 1}); };
  EXPECT_TRUE(Check().problems.empty());
}

TEST_F(ConsistencyTest, ABlockPutAfterTheListIsNotTouched) {
  store_.after_list = [this] { Store({7, 0, 9}, false); };
  EXPECT_TRUE(Check(true).problems.empty());
  EXPECT_EQ(store_.blocks.size(), 1u);
}

TEST_F(ConsistencyTest, MetadataProblemsAreHandedOn) {
  Findings findings;
  ASSERT_TRUE(CheckMetadata(&client_, &findings, [] {}).ok());
  EXPECT_EQ(findings.inodes, 3u);
  EXPECT_EQ(findings.problems, (std::vector<std::string>{"a dangling entry"}));
}

TEST_F(ConsistencyTest, AScanThatDoesNotAdvanceEnds) {
  FakeMeta stuck([](const meta::Request&, meta::Reply* reply) {
    reply->mutable_scan()->set_next("same");
    return Status();
  });
  Findings findings;
  EXPECT_TRUE(CheckMetadata(&stuck, &findings, [] {}).Is(Code::kInternal));
}

}  // namespace
}  // namespace f3::cli
