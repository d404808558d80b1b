#include "storage_nodes/publisher.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include "common/crc32c.h"
#include "hwalloc/buffer_arena.h"
#include "tests/common/fault_env.h"
#include "tests/storage_nodes/store_fixture.h"

namespace f3::storage {
namespace {

constexpr Ino kIno = 0x77;

// A durable file as metadata server, durable store and staging object see it.
class PublisherTest : public StoreTest {
 protected:
  void SetUp() override {
    StoreTest::SetUp();
    Open();
    auto durable = DurableStore::OpenDirectory("/durable", &env_);
    ASSERT_OK(durable);
    durable_ = *std::move(durable);
    auto buffers = hwalloc::BufferArena::Create(16 << 20);
    ASSERT_OK(buffers);
    buffers_ = *std::move(buffers);
    object_ = Make({kIno, 1}, Role::kStaging, "");
    ASSERT_NE(object_, nullptr);
  }
  void TearDown() override {
    object_.reset();
    StoreTest::TearDown();
  }

  Result<PublishResult> Publish(std::optional<std::set<uint64_t>> dirty = {}) {
    PublishRequest request;
    request.object = object_;
    request.size = object_->info().size;
    request.generation = ++generation_;
    for (const auto& [index, row] : rows_) request.current.push_back(row);
    request.dirty = std::move(dirty);
    auto result = PublishObject(durable_.get(), buffers_.get(), request);
    if (!result.ok()) return result;
    for (const DurableBlock& row : result->changed) rows_[row.index] = row;
    for (uint64_t index : result->dropped) EXPECT_EQ(rows_.erase(index), 1u);
    size_ = request.size;
    return result;
  }

  // The published content of [offset, offset + length), from the durable store alone.
  std::string ReadPublished(uint64_t offset, size_t length) {
    std::string content;
    while (length > 0) {
      const uint64_t index = offset / kBlockBytes;
      const uint64_t at = offset % kBlockBytes;
      std::vector<std::byte> into(std::min<uint64_t>(length, kBlockBytes - at));
      auto row = rows_.find(index);
      if (row != rows_.end()) {
        EXPECT_OK(durable_->Get({kIno, index, row->second.generation}, row->second.length,
                                row->second.crc, static_cast<uint32_t>(at), into));
      }
      content.append(reinterpret_cast<char*>(into.data()), into.size());
      offset += into.size();
      length -= into.size();
    }
    return content;
  }
  void ExpectPublished() {
    ASSERT_EQ(size_, object_->info().size);
    ASSERT_LE(size_, 64u << 20) << "too large to compare";
    EXPECT_TRUE(ReadPublished(0, static_cast<size_t>(size_)) == Read(*object_));
    for (const auto& [index, row] : rows_) {
      EXPECT_LE(index * kBlockBytes + row.length, size_) << "a row reaches past the end";
    }
  }
  static std::string Text(size_t size, int seed) {
    std::string text(size, '\0');
    for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + (i * 7 + seed) % 26);
    return text;
  }
  void Truncate(uint64_t size) {
    ASSERT_EQ(::ftruncate(object_->fd(), static_cast<off_t>(size)), 0);
  }

  FaultEnv env_;
  std::unique_ptr<DurableStore> durable_;
  std::unique_ptr<hwalloc::BufferArena> buffers_;
  std::shared_ptr<Object> object_;
  std::map<uint64_t, DurableBlock> rows_;
  Generation generation_ = 0;
  uint64_t size_ = 0;
};

TEST_F(PublisherTest, EmptyFileHasNoBlocks) {
  auto result = Publish();
  ASSERT_OK(result);
  EXPECT_TRUE(result->changed.empty());
  EXPECT_TRUE(result->dropped.empty());
}

TEST_F(PublisherTest, PutsEveryBlockOnceAndAgainOnlyWhatChanged) {
  Write(*object_, Text(2 * kBlockBytes + 1000, 1));
  auto first = Publish();
  ASSERT_OK(first);
  EXPECT_EQ(first->changed.size(), 3u);
  EXPECT_EQ(first->written_bytes, 2 * kBlockBytes + 1000);
  EXPECT_EQ(first->changed[2].length, 1000u);
  ExpectPublished();

  Write(*object_, "changed", kBlockBytes + 5);
  auto second = Publish();
  ASSERT_OK(second);
  ASSERT_EQ(second->changed.size(), 1u);
  EXPECT_EQ(second->changed[0].index, 1u);
  EXPECT_EQ(second->changed[0].generation, 2u);
  ExpectPublished();

  auto third = Publish();
  ASSERT_OK(third);
  EXPECT_TRUE(third->changed.empty());
}

TEST_F(PublisherTest, DirtySetIsTrusted) {
  Write(*object_, Text(3 * kBlockBytes, 1));
  ASSERT_OK(Publish());
  Write(*object_, "changed", 2 * kBlockBytes);
  auto result = Publish(std::set<uint64_t>{2, 9});
  ASSERT_OK(result);
  ASSERT_EQ(result->changed.size(), 1u);
  EXPECT_EQ(result->changed[0].index, 2u);
  ExpectPublished();
}

TEST_F(PublisherTest, SparseFileOfATerabyteIsCheap) {
  const uint64_t far = 1ull << 40;
  Write(*object_, "begin", 10);
  Write(*object_, "end", far);
  auto result = Publish();
  ASSERT_OK(result);
  ASSERT_EQ(result->changed.size(), 2u);
  EXPECT_EQ(result->changed[1].index, far / kBlockBytes);
  EXPECT_EQ(ReadPublished(far, 3), "end");
  EXPECT_EQ(ReadPublished(5ull << 30, 100), std::string(100, '\0'));
  // Nothing changed: only the blocks with rows are looked at.
  auto again = Publish();
  ASSERT_OK(again);
  EXPECT_TRUE(again->changed.empty());
}

TEST_F(PublisherTest, BlocksThatBecameHolesOrZerosLoseTheirRows) {
  Write(*object_, Text(3 * kBlockBytes, 1));
  ASSERT_OK(Publish());
  ASSERT_EQ(::fallocate(object_->fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, kBlockBytes),
            0);
  Write(*object_, std::string(kBlockBytes, '\0'), kBlockBytes);
  auto result = Publish(std::set<uint64_t>{0, 1});
  ASSERT_OK(result);
  EXPECT_TRUE(result->changed.empty());
  EXPECT_EQ(result->dropped, (std::vector<uint64_t>{0, 1}));
  ExpectPublished();
}

TEST_F(PublisherTest, TruncatedBytesNeverComeBack) {
  for (bool known : {false, true}) {
    SCOPED_TRACE(known ? "dirty set" : "unknown writes");
    const std::optional<std::set<uint64_t>> none =
        known ? std::make_optional<std::set<uint64_t>>() : std::nullopt;
    Truncate(0);
    Write(*object_, Text(3 * kBlockBytes, 1));
    ASSERT_OK(Publish());
    Truncate(kBlockBytes + 100);
    auto shrunk = Publish(none);
    ASSERT_OK(shrunk);
    EXPECT_EQ(shrunk->dropped, std::vector<uint64_t>{2});
    ASSERT_EQ(shrunk->changed.size(), 1u);
    EXPECT_EQ(shrunk->changed[0].length, 100u);
    ExpectPublished();
    Truncate(3 * kBlockBytes);
    ASSERT_OK(Publish(none));
    ExpectPublished();
    Truncate(0);
    auto emptied = Publish(none);
    ASSERT_OK(emptied);
    EXPECT_TRUE(rows_.empty());
  }
}

TEST_F(PublisherTest, ShorterObjectThanAskedForIsTriedAgain) {
  Write(*object_, Text(1000, 1));
  PublishRequest request;
  request.object = object_;
  request.size = 2000;
  request.generation = 1;
  EXPECT_CODE(PublishObject(durable_.get(), buffers_.get(), request), kAgain);
}

TEST_F(PublisherTest, FullStoreKeepsTheOldContentAndTryingAgainWorks) {
  Write(*object_, Text(kBlockBytes + 1000, 1));
  ASSERT_OK(Publish());
  const std::string old = Read(*object_);
  const uint64_t used = env_.used_bytes();
  Write(*object_, Text(4 * kBlockBytes, 2));
  env_.SetCapacity(used + kBlockBytes + 5);
  EXPECT_CODE(Publish(), kNoSpace);
  EXPECT_EQ(env_.used_bytes(), used);
  EXPECT_TRUE(ReadPublished(0, old.size()) == old);
  env_.SetCapacity(~0ull);
  ASSERT_OK(Publish());
  ExpectPublished();
}

TEST_F(PublisherTest, PowerCutAtEverySyncPointLeavesOldOrNewWhole) {
  Write(*object_, Text(kBlockBytes + 1000, 1));
  ASSERT_OK(Publish());
  for (uint64_t point = 1;; ++point) {
    SCOPED_TRACE(point);
    Write(*object_, Text(kBlockBytes + 1000, static_cast<int>(point) + 1));
    const std::string old = ReadPublished(0, static_cast<size_t>(size_));
    env_.CutPowerAtSync(point);
    auto result = Publish();
    const bool cut = env_.dead();
    EXPECT_EQ(result.ok(), !cut);
    env_.Crash(point % 3);
    if (result.ok()) ExpectPublished();
    if (!result.ok()) EXPECT_TRUE(ReadPublished(0, old.size()) == old);
    if (!cut || HasFailure()) break;
  }
}

TEST_F(PublisherTest, CorruptedBlockIsAnErrorNeverWrongBytes) {
  Write(*object_, Text(1000, 1));
  ASSERT_OK(Publish());
  const DurableBlock row = rows_.at(0);
  bool corrupted = false;
  auto fan_out = env_.ListDir("/durable");
  ASSERT_OK(fan_out);
  for (const std::string& hh : *fan_out) {
    corrupted |= env_.Corrupt("/durable/" + hh + "/77/0.1", 500);
  }
  ASSERT_TRUE(corrupted);
  std::vector<std::byte> into(10);
  EXPECT_CODE(durable_->Get({kIno, 0, 1}, row.length, row.crc, 0, into), kCorruption);
}

TEST_F(PublisherTest, GarbageCollectionTakesOnlyWhatNothingNames) {
  Write(*object_, Text(2 * kBlockBytes, 1));
  ASSERT_OK(Publish());
  Write(*object_, Text(2 * kBlockBytes, 2));
  ASSERT_OK(Publish());  // the blocks of generation 1 are garbage now
  auto put = [&](const BlockName& name) {
    std::vector<std::byte> bytes(10);
    ASSERT_OK(durable_->Put(name, bytes));
  };
  const BlockName orphan{0x99, 0, 2}, intended{0x9a, 0, 3}, newer{0x9b, 0, 8};
  put(orphan);
  put(intended);
  put(newer);
  LiveBlocks live;
  live.horizon = 5;
  live.is_live = [&](const BlockName& name) -> Result<bool> {
    EXPECT_LE(name.generation, live.horizon);
    if (name == intended) return true;
    auto row = rows_.find(name.index);
    return name.ino == kIno && row != rows_.end() && row->second.generation == name.generation;
  };
  auto result = CollectGarbage(durable_.get(), live);
  ASSERT_OK(result);
  EXPECT_EQ(result->removed_blocks, 3u);
  EXPECT_EQ(result->removed_bytes, 2 * kBlockBytes + 10);
  EXPECT_EQ(result->kept_blocks, 4u);
  ExpectPublished();
  std::set<BlockName> left;
  ASSERT_OK(durable_->ForEach([&](const BlockName& name, uint64_t) {
    left.insert(name);
    return true;
  }));
  EXPECT_EQ(left, (std::set<BlockName>{{kIno, 0, 2}, {kIno, 1, 2}, intended, newer}));
}

TEST_F(PublisherTest, GarbageCollectionStopsWhenMetadataCannotAnswer) {
  Write(*object_, Text(1000, 1));
  ASSERT_OK(Publish());
  LiveBlocks live;
  live.horizon = 5;
  live.is_live = [](const BlockName&) -> Result<bool> { return Status::Unavailable("no server"); };
  EXPECT_CODE(CollectGarbage(durable_.get(), live), kUnavailable);
  ExpectPublished();
}

}  // namespace
}  // namespace f3::storage
