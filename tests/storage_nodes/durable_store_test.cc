// What every DurableStore must do, on the real file system and on one in memory; and what a power
// cut at any moment may leave of it.
#include "storage_nodes/durable_store.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <thread>

#include "common/crc32c.h"
#include "tests/common/fault_env.h"
#include "tests/common/status_matchers.h"
#include "tests/common/temp_dir.h"

namespace f3::storage {
namespace {

std::vector<std::byte> Bytes(const std::string& text) {
  auto view = std::as_bytes(std::span(text));
  return {view.begin(), view.end()};
}

std::vector<std::byte> Pattern(size_t size, uint32_t seed) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; ++i) {
    seed = seed * 1664525 + 1013904223;
    bytes[i] = static_cast<std::byte>(seed >> 24);
  }
  return bytes;
}

Status GetAll(DurableStore& store, const BlockName& name, const std::vector<std::byte>& expected) {
  std::vector<std::byte> into(expected.size());
  F3_RETURN_IF_ERROR(
      store.Get(name, static_cast<uint32_t>(expected.size()), Crc32c(expected), 0, into));
  return into == expected ? Status() : Status::Internal("Get returned other bytes");
}

std::map<BlockName, uint64_t> ListAll(DurableStore& store) {
  std::map<BlockName, uint64_t> blocks;
  EXPECT_OK(store.ForEach([&](const BlockName& name, uint64_t bytes) {
    blocks[name] = bytes;
    return true;
  }));
  return blocks;
}

enum class Backing { kRealDirectory, kMemory };

class DurableStoreTest : public ::testing::TestWithParam<Backing> {
 protected:
  void SetUp() override { Open(); }
  void Open() {
    Env* env = GetParam() == Backing::kMemory ? static_cast<Env*>(&fault_env_) : Env::Real();
    auto opened = DurableStore::OpenDirectory(Root(), env);
    ASSERT_OK(opened);
    store_ = *std::move(opened);
  }
  std::string Root() const {
    return GetParam() == Backing::kMemory ? "/durable" : dir_ / "durable";
  }

  TempDir dir_;
  FaultEnv fault_env_;
  std::unique_ptr<DurableStore> store_;
};

INSTANTIATE_TEST_SUITE_P(, DurableStoreTest,
                         ::testing::Values(Backing::kRealDirectory, Backing::kMemory),
                         [](const auto& info) {
                           return info.param == Backing::kMemory ? "Memory" : "RealDirectory";
                         });

TEST_P(DurableStoreTest, ReadsBackWhatWasPut) {
  const BlockName name{0x20, 3, 9};
  auto bytes = Pattern(100'000, 1);
  ASSERT_OK(store_->Put(name, bytes));
  ASSERT_OK(store_->Commit(name.ino));
  EXPECT_OK(GetAll(*store_, name, bytes));
  Open();
  EXPECT_OK(GetAll(*store_, name, bytes));
}

TEST_P(DurableStoreTest, WholeBlocksAndRangesOfThem) {
  const BlockName name{1, 0, 1};
  auto bytes = Pattern(kBlockBytes, 2);
  ASSERT_OK(store_->Put(name, bytes));
  EXPECT_OK(GetAll(*store_, name, bytes));
  std::vector<std::byte> part(1000);
  ASSERT_OK(store_->Get(name, kBlockBytes, Crc32c(bytes), 5000, part));
  EXPECT_TRUE(std::equal(part.begin(), part.end(), bytes.begin() + 5000));
}

TEST_P(DurableStoreTest, BytesPastTheStoredLengthAreZero) {
  const BlockName name{1, 0, 1};
  auto bytes = Bytes("hello");
  ASSERT_OK(store_->Put(name, bytes));
  std::vector<std::byte> into(10, std::byte{1});
  ASSERT_OK(store_->Get(name, 5, Crc32c(bytes), 0, into));
  EXPECT_EQ(into, Bytes(std::string("hello\0\0\0\0\0", 10)));
  ASSERT_OK(store_->Get(name, 5, Crc32c(bytes), 3, into));
  EXPECT_EQ(into, Bytes(std::string("lo\0\0\0\0\0\0\0\0", 10)));
  ASSERT_OK(store_->Get(name, 5, Crc32c(bytes), 77, into));
  EXPECT_EQ(into, std::vector<std::byte>(10));
  std::vector<std::byte> outside(2);
  EXPECT_CODE(store_->Get(name, 5, Crc32c(bytes), kBlockBytes - 1, outside), kInvalidArgument);
}

TEST_P(DurableStoreTest, NeverReplaces) {
  const BlockName name{1, 0, 1};
  ASSERT_OK(store_->Put(name, Bytes("first")));
  EXPECT_CODE(store_->Put(name, Bytes("other")), kExists);
  EXPECT_OK(GetAll(*store_, name, Bytes("first")));
  EXPECT_EQ(ListAll(*store_).size(), 1u);
}

TEST_P(DurableStoreTest, OneOfManyPutsOfOneNameSucceeds) {
  std::atomic<int> succeeded{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      Status status = store_->Put({1, 0, 1}, Bytes("content"));
      if (status.ok()) ++succeeded;
      if (!status.ok()) EXPECT_CODE(status, kExists);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(succeeded, 1);
  EXPECT_OK(GetAll(*store_, {1, 0, 1}, Bytes("content")));
}

TEST_P(DurableStoreTest, RefusesEmptyAndOversizedBlocks) {
  EXPECT_CODE(store_->Put({1, 0, 1}, {}), kInvalidArgument);
  EXPECT_CODE(store_->Put({1, 0, 1}, Pattern(kBlockBytes + 1, 1)), kInvalidArgument);
  EXPECT_TRUE(ListAll(*store_).empty());
}

TEST_P(DurableStoreTest, MissingBlockIsNotFoundByName) {
  std::vector<std::byte> into(5);
  Status status = store_->Get({0xabc, 0, 1}, 5, 0, 0, into);
  EXPECT_CODE(status, kNotFound);
  EXPECT_NE(status.message().find("/abc/0.1"), std::string::npos) << status.message();
}

TEST_P(DurableStoreTest, RemoveIsIdempotentAndLeavesTheOthers) {
  ASSERT_OK(store_->Put({1, 0, 1}, Bytes("a")));
  ASSERT_OK(store_->Put({1, 1, 1}, Bytes("b")));
  EXPECT_OK(store_->Remove({1, 0, 1}));
  EXPECT_OK(store_->Remove({1, 0, 1}));
  EXPECT_OK(store_->Remove({77, 0, 1}));
  EXPECT_OK(GetAll(*store_, {1, 1, 1}, Bytes("b")));
  EXPECT_OK(store_->Remove({1, 1, 1}));
  EXPECT_TRUE(ListAll(*store_).empty());
  EXPECT_OK(store_->Put({1, 0, 2}, Bytes("c")));  // after its directory went
}

TEST_P(DurableStoreTest, ForEachVisitsEverythingAndStopsWhenTold) {
  std::set<BlockName> names;
  for (Ino ino = 1; ino <= 20; ++ino) {
    names.insert({ino << 40 | ino, ino % 3, ino * 7});
  }
  for (const BlockName& name : names) ASSERT_OK(store_->Put(name, Bytes("xyz")));
  std::set<BlockName> seen;
  for (const auto& [name, bytes] : ListAll(*store_)) {
    seen.insert(name);
    EXPECT_EQ(bytes, 3u);
  }
  EXPECT_EQ(seen, names);
  int visits = 0;
  EXPECT_OK(store_->ForEach([&](const BlockName&, uint64_t) { return ++visits < 3; }));
  EXPECT_EQ(visits, 3);
}

TEST_P(DurableStoreTest, PutsAndRemovesOfOneInodeDoNotDisturbEachOther) {
  // Every Remove may take the inode's directory away under a Put.
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (Generation generation = 1; generation <= 100; ++generation) {
        const BlockName name{5, t, generation};
        ASSERT_OK(store_->Put(name, Bytes("content")));
        ASSERT_OK(GetAll(*store_, name, Bytes("content")));
        ASSERT_OK(store_->Remove(name));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(ListAll(*store_).empty());
}

TEST(DirectoryStore, CorruptedBlockIsNamedWithBothChecksums) {
  TempDir dir;
  auto opened = DurableStore::OpenDirectory(dir / "durable", Env::Real());
  ASSERT_OK(opened);
  DurableStore& store = **opened;
  auto bytes = Pattern(5000, 3);
  ASSERT_OK(store.Put({0x1f, 2, 3}, bytes));
  std::string path;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir / "durable")) {
    if (entry.is_regular_file()) path = entry.path();
  }
  std::fstream(path, std::ios::in | std::ios::out).seekp(4000).put('!');
  std::vector<std::byte> into(10);  // far from the damage: the whole block is verified
  Status status = store.Get({0x1f, 2, 3}, 5000, Crc32c(bytes), 0, into);
  EXPECT_CODE(status, kCorruption);
  EXPECT_EQ(status.Errno(), EIO);
  char expected[9];
  snprintf(expected, sizeof(expected), "%08x", Crc32c(bytes));
  EXPECT_NE(status.message().find(path), std::string::npos) << status.message();
  EXPECT_NE(status.message().find(expected), std::string::npos) << status.message();

  std::filesystem::resize_file(path, 4999);
  EXPECT_CODE(GetAll(store, {0x1f, 2, 3}, bytes), kCorruption);
}

TEST(DirectoryStore, SpaceIsThatOfItsFileSystem) {
  TempDir dir;
  auto store = DurableStore::OpenDirectory(dir / "durable", Env::Real());
  ASSERT_OK(store);
  auto space = (*store)->space();
  ASSERT_OK(space);
  EXPECT_GT(space->capacity_bytes, space->free_bytes);
  EXPECT_GT(space->free_bytes, 0u);
}

TEST(DirectoryStoreFaults, FullStoreReportsNoSpaceAndLeavesNothing) {
  FaultEnv env;
  auto store = DurableStore::OpenDirectory("/durable", &env);
  ASSERT_OK(store);
  ASSERT_OK((*store)->Put({1, 0, 1}, Pattern(1000, 1)));
  env.SetCapacity(1500);
  Status status = (*store)->Put({1, 1, 1}, Pattern(1000, 2));
  EXPECT_CODE(status, kNoSpace);
  EXPECT_NE(status.message().find("/durable is full"), std::string::npos) << status.message();
  EXPECT_EQ(env.used_bytes(), 1000u);
  EXPECT_EQ(ListAll(**store).size(), 1u);
  EXPECT_OK(GetAll(**store, {1, 0, 1}, Pattern(1000, 1)));
  env.SetCapacity(2000);
  EXPECT_OK((*store)->Put({1, 1, 1}, Pattern(1000, 2)));
}

TEST(DirectoryStoreFaults, AFailedCallFailsThePutAndLeavesNothingUnderItsName) {
  for (uint64_t nth = 1;; ++nth) {
    FaultEnv env;
    auto store = DurableStore::OpenDirectory("/durable", &env);
    ASSERT_OK(store);
    const uint64_t before = env.changes();
    env.FailCall(nth, Status::Io("injected"));
    Status status = (*store)->Put({1, 0, 1}, Bytes("content"));
    if (status.ok()) {
      EXPECT_GT(nth, env.changes() - before);
      EXPECT_GE(nth, 3u);
      break;
    }
    EXPECT_CODE(status, kIo);
    env.FailCall(0, Status());
    EXPECT_CODE(GetAll(**store, {1, 0, 1}, Bytes("content")), kNotFound);
    EXPECT_OK((*store)->Remove({1, 0, 1}));
    EXPECT_EQ(env.used_bytes(), 0u);
    EXPECT_OK((*store)->Put({1, 0, 1}, Bytes("content")));
  }
}

// A history of puts, commits and removes, and what a power cut in it must have left.
class CrashHistory {
 public:
  explicit CrashHistory(FaultEnv* env) : env_(env) {}

  // Runs until the power goes or the end is reached.
  void Run() {
    auto opened = DurableStore::OpenDirectory("/durable", env_);
    if (!opened.ok()) return;
    store_ = *std::move(opened);
    Generation generation = 0;
    for (int round = 0; round < 4; ++round) {
      for (Ino ino : {Ino{1}, Ino{2}, Ino{1} << 40}) {
        ++generation;
        std::vector<BlockName> put;
        for (uint64_t index = 0; index < 2; ++index) {
          const BlockName name{ino, index, generation};
          contents_[name] = Pattern(300, static_cast<uint32_t>(generation * 2 + index));
          if (!store_->Put(name, contents_[name]).ok()) return;
          put.push_back(name);
        }
        if (!store_->Commit(ino).ok()) return;
        committed_.insert(put.begin(), put.end());
        // The round before is garbage now; not synced, so it may come back.
        for (auto it = committed_.begin(); it != committed_.end();) {
          const bool old = it->ino == ino && it->generation < generation;
          const BlockName name = *it;
          it = old ? committed_.erase(it) : std::next(it);
          if (old && !store_->Remove(name).ok()) return;
        }
      }
    }
  }

  void Check() {
    auto opened = DurableStore::OpenDirectory("/durable", env_);
    ASSERT_OK(opened);
    DurableStore& store = **opened;
    for (const BlockName& name : committed_) EXPECT_OK(GetAll(store, name, contents_[name]));
    auto listed = ListAll(store);
    for (const auto& [name, content] : contents_) {
      Status status = GetAll(store, name, content);
      EXPECT_TRUE(status.ok() || status.Is(Code::kNotFound)) << status.ToString();
      if (status.ok()) EXPECT_TRUE(listed.contains(name));
    }
    // What no row names can be removed, finished or not, and nothing else is left.
    for (const auto& [name, bytes] : listed) {
      EXPECT_TRUE(contents_.contains(name));
      if (!committed_.contains(name)) EXPECT_OK(store.Remove(name));
    }
    EXPECT_EQ(env_->used_bytes(), committed_.size() * 300);
  }

 private:
  FaultEnv* const env_;
  std::unique_ptr<DurableStore> store_;
  std::map<BlockName, std::vector<std::byte>> contents_;
  std::set<BlockName> committed_;
};

TEST(DirectoryStoreFaults, CommittedBlocksSurviveAPowerCutAtEverySyncPoint) {
  bool finished = false;
  for (uint64_t point = 1; !finished; ++point) {
    for (uint64_t seed : {0, 1, 2, 3, 4}) {
      SCOPED_TRACE("sync point " + std::to_string(point) + ", seed " + std::to_string(seed));
      FaultEnv env;
      CrashHistory history(&env);
      env.CutPowerAtSync(point);
      history.Run();
      finished = !env.dead();
      env.Crash(seed);
      history.Check();
      if (HasFailure()) return;
    }
    ASSERT_LT(point, 1000u);
  }
}

}  // namespace
}  // namespace f3::storage
