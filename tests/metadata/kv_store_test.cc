// One suite over both back ends of KvStore.
#include "metadata/kv_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <thread>

#include "tests/common/status_matchers.h"
#include "tests/common/temp_dir.h"
#include "tests/metadata/kv_helpers.h"

namespace f3::meta {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

enum class BackEnd { kMemory, kLevelDb };

class KvStoreTest : public ::testing::TestWithParam<BackEnd> {
 protected:
  KvStoreTest() : store_(NewStore("db")) {}

  std::unique_ptr<KvStore> NewStore(const std::string& name) {
    if (GetParam() == BackEnd::kMemory) return NewMemoryKvStore();
    auto opened = OpenLevelDbKvStore(dir_ / name);
    EXPECT_OK(opened);
    return *std::move(opened);
  }

  TempDir dir_;
  std::unique_ptr<KvStore> store_;
};

INSTANTIATE_TEST_SUITE_P(BackEnds, KvStoreTest,
                         ::testing::Values(BackEnd::kMemory, BackEnd::kLevelDb),
                         [](const auto& param) {
                           return param.param == BackEnd::kMemory ? "Memory" : "LevelDb";
                         });

TEST_P(KvStoreTest, KeepsWhatIsPutAndForgetsWhatIsDeleted) {
  EXPECT_EQ(Read(store_.get(), "a"), "NotFound");
  Put(store_.get(), "a", "1");
  EXPECT_EQ(Read(store_.get(), "a"), "1");
  Put(store_.get(), "a", "2");
  EXPECT_EQ(Read(store_.get(), "a"), "2");
  auto txn = store_->Begin();
  txn->Delete("a");
  txn->Delete("was never there");
  EXPECT_OK(txn->Commit(Durability::kBuffered));
  EXPECT_EQ(Read(store_.get(), "a"), "NotFound");
}

TEST_P(KvStoreTest, KeysAndValuesAreAnyBytes) {
  const std::string key("k\0\xff\n", 4);
  const std::string value("\0\xff\0", 3);
  Put(store_.get(), key, value);
  Put(store_.get(), "empty", "");
  EXPECT_EQ(Read(store_.get(), key), value);
  EXPECT_EQ(Read(store_.get(), std::string("k\0\xff", 3)), "NotFound");
  EXPECT_EQ(Read(store_.get(), "empty"), "");
  const std::string large(3 << 20, 'x');
  Put(store_.get(), "large", large);
  EXPECT_EQ(Read(store_.get(), "large"), large);
}

TEST_P(KvStoreTest, ScansInByteOrderWithinTheRange) {
  const std::string high("b\xff", 2);
  for (const std::string& key : {std::string("c"), high, std::string("a"), std::string("b")}) {
    Put(store_.get(), key, "of " + key);
  }
  auto txn = store_->Begin();
  EXPECT_THAT(ScanAll(*txn, "a", "d"), ElementsAre(Pair("a", "of a"), Pair("b", "of b"),
                                                   Pair(high, "of " + high), Pair("c", "of c")));
  EXPECT_THAT(ScanAll(*txn, "a", "c", 2), ElementsAre(Pair("a", "of a"), Pair("b", "of b")));
  EXPECT_THAT(ScanAll(*txn, "b", "b\x01"), ElementsAre(Pair("b", "of b")));
  EXPECT_THAT(ScanAll(*txn, std::string("b\0", 2), "c"), ElementsAre(Pair(high, "of " + high)));
}

TEST_P(KvStoreTest, AnEmptyRangeOrLimitGivesNothing) {
  Put(store_.get(), "b", "1");
  auto txn = store_->Begin();
  EXPECT_THAT(ScanAll(*txn, "a", "z", 0), IsEmpty());
  txn->Put("c", "own");
  EXPECT_THAT(ScanAll(*txn, "a", "z", 0), IsEmpty());
  EXPECT_THAT(ScanAll(*txn, "c", "c"), IsEmpty());
  EXPECT_THAT(ScanAll(*txn, "z", "a"), IsEmpty());
  EXPECT_THAT(ScanAll(*txn, "d", "z"), IsEmpty());
}

TEST_P(KvStoreTest, ATransactionReadsItsOwnWrites) {
  Put(store_.get(), "b", "old");
  Put(store_.get(), "c", "old");
  Put(store_.get(), "e", "old");
  auto txn = store_->Begin();
  EXPECT_FALSE(txn->has_writes());
  txn->Put("a", "own");
  txn->Put("b", "own");
  txn->Delete("c");
  txn->Put("d", "own");
  txn->Delete("d");
  EXPECT_TRUE(txn->has_writes());
  EXPECT_EQ(Read(*txn, "a"), "own");
  EXPECT_EQ(Read(*txn, "b"), "own");
  EXPECT_EQ(Read(*txn, "c"), "NotFound");
  EXPECT_EQ(Read(*txn, "d"), "NotFound");
  EXPECT_THAT(ScanAll(*txn, "a", "z"),
              ElementsAre(Pair("a", "own"), Pair("b", "own"), Pair("e", "old")));
  // A page is full although own deletions hide stored pairs.
  EXPECT_THAT(ScanAll(*txn, "b", "z", 2), ElementsAre(Pair("b", "own"), Pair("e", "old")));
  EXPECT_THAT(ScanAll(*txn, "a", "z", 1), ElementsAre(Pair("a", "own")));
  txn->Put("c", "again");
  EXPECT_EQ(Read(*txn, "c"), "again");
}

TEST_P(KvStoreTest, NothingOfATransactionIsSeenBeforeItsCommit) {
  Put(store_.get(), "a", "old");
  auto txn = store_->Begin();
  txn->Put("a", "new");
  txn->Put("b", "new");
  EXPECT_EQ(Read(store_.get(), "a"), "old");
  EXPECT_EQ(Read(store_.get(), "b"), "NotFound");
  EXPECT_OK(txn->Commit(Durability::kBuffered));
  EXPECT_EQ(Read(store_.get(), "a"), "new");
  EXPECT_EQ(Read(store_.get(), "b"), "new");
}

TEST_P(KvStoreTest, AnAbandonedTransactionLeavesNothing) {
  {
    auto txn = store_->Begin();
    txn->Put("a", "1");
  }
  EXPECT_EQ(Read(store_.get(), "a"), "NotFound");
}

TEST_P(KvStoreTest, ATransactionReadsOneMoment) {
  Put(store_.get(), "a", "old");
  Put(store_.get(), "b", "old");
  auto reader = store_->Begin();
  EXPECT_EQ(Read(*reader, "a"), "old");
  auto writer = store_->Begin();
  writer->Put("a", "new");
  writer->Delete("b");
  writer->Put("c", "new");
  EXPECT_OK(writer->Commit(Durability::kBuffered));
  EXPECT_EQ(Read(*reader, "a"), "old");
  EXPECT_EQ(Read(*reader, "b"), "old");
  EXPECT_EQ(Read(*reader, "c"), "NotFound");
  EXPECT_THAT(ScanAll(*reader, "a", "z"), ElementsAre(Pair("a", "old"), Pair("b", "old")));
  // It changed nothing, so what others did is no conflict.
  EXPECT_OK(reader->Commit(Durability::kBuffered));
}

// Commits `other` while a transaction is open that did `first`, and then writes; what its commit
// gives.
Code CommitAfter(KvStore* store, const std::function<void(Transaction&)>& first,
                 const std::function<void(Transaction&)>& other) {
  auto txn = store->Begin();
  first(*txn);
  auto between = store->Begin();
  other(*between);
  EXPECT_OK(between->Commit(Durability::kBuffered));
  txn->Put("result", "written");
  return txn->Commit(Durability::kBuffered).status().code();
}

TEST_P(KvStoreTest, AChangeOfWhatWasReadIsAConflict) {
  for (const char* key : {"a", "b", "c", "d"}) Put(store_.get(), key, "old");
  auto read = [](const char* key) { return [key](Transaction& txn) { Read(txn, key); }; };
  auto put = [](const char* key) { return [key](Transaction& txn) { txn.Put(key, "new"); }; };
  auto del = [](const char* key) { return [key](Transaction& txn) { txn.Delete(key); }; };
  auto scan = [](const char* begin, const char* end, size_t limit = SIZE_MAX) {
    return [=](Transaction& txn) { ScanAll(txn, begin, end, limit); };
  };
  KvStore* store = store_.get();
  EXPECT_EQ(CommitAfter(store, read("a"), put("a")), Code::kConflict);
  EXPECT_EQ(Read(store, "result"), "NotFound");
  EXPECT_EQ(CommitAfter(store, read("a"), del("a")), Code::kConflict);
  EXPECT_EQ(CommitAfter(store, read("a"), put("a")), Code::kConflict);  // that it was absent
  EXPECT_EQ(CommitAfter(store, scan("a", "c"), put("b")), Code::kConflict);
  EXPECT_EQ(CommitAfter(store, scan("a", "c"), put("bb")), Code::kConflict);
  EXPECT_EQ(CommitAfter(store, scan("a", "c"), del("bb")), Code::kConflict);
  EXPECT_EQ(CommitAfter(store, scan("a", "z", 1), put("a")), Code::kConflict);
  EXPECT_EQ(Read(store, "result"), "NotFound");
  // What was not read is none: another key, the end of the range, what comes after a full page.
  EXPECT_EQ(CommitAfter(store, read("a"), put("b")), Code::kOk);
  EXPECT_EQ(CommitAfter(store, scan("a", "c"), put("c")), Code::kOk);
  EXPECT_EQ(CommitAfter(store, scan("a", "z", 1), put("b")), Code::kOk);
  EXPECT_EQ(CommitAfter(store, put("a"), put("a")), Code::kOk);  // blind writes
  EXPECT_EQ(Read(store, "result"), "written");
}

TEST_P(KvStoreTest, APageThatOwnDeletionsShortenedConflictsOnAllThatItRead) {
  for (const char* key : {"a", "b", "c"}) Put(store_.get(), key, "old");
  auto first = [](Transaction& txn) {
    txn.Delete("a");
    EXPECT_THAT(ScanAll(txn, "a", "z", 1), ElementsAre(Pair("b", "old")));
  };
  EXPECT_EQ(CommitAfter(store_.get(), first, [](Transaction& txn) { txn.Put("b", "new"); }),
            Code::kConflict);
}

TEST_P(KvStoreTest, WriteSkewIsAConflict) {
  Put(store_.get(), "a", "1");
  Put(store_.get(), "b", "1");
  auto one = store_->Begin();
  auto two = store_->Begin();
  Read(*one, "a");
  Read(*two, "b");
  one->Put("b", "0");
  two->Put("a", "0");
  EXPECT_OK(one->Commit(Durability::kBuffered));
  EXPECT_CODE(two->Commit(Durability::kBuffered), kConflict);
}

TEST_P(KvStoreTest, ConflictsAreRememberedForAsLongAsTheyMatter) {
  Put(store_.get(), "a", "old");
  auto oldest = store_->Begin();
  Read(*oldest, "a");
  Put(store_.get(), "a", "new");
  // Younger transactions that end must not make the store forget.
  for (int i = 0; i < 100; ++i) Put(store_.get(), "other", std::to_string(i));
  oldest->Put("result", "written");
  EXPECT_CODE(oldest->Commit(Durability::kBuffered), kConflict);
}

TEST_P(KvStoreTest, SequencesGrowAndNameTheMoment) {
  const uint64_t before = store_->Begin()->snapshot_sequence();
  auto txn = store_->Begin();
  txn->Put("a", "1");
  uint64_t told = 0;
  auto committed = txn->Commit(Durability::kBuffered, [&](uint64_t sequence) { told = sequence; });
  ASSERT_OK(committed);
  EXPECT_GT(*committed, before);
  EXPECT_EQ(told, *committed);
  auto reader = store_->Begin();
  EXPECT_EQ(reader->snapshot_sequence(), *committed);
  Put(store_.get(), "b", "1");
  EXPECT_GT(store_->Begin()->snapshot_sequence(), *committed);
  auto read_at = reader->Commit(Durability::kBuffered);
  ASSERT_OK(read_at);
  EXPECT_EQ(*read_at, *committed);
}

TEST_P(KvStoreTest, OnCommitRunsOnlyWhenTheCommitTakesEffect) {
  Put(store_.get(), "a", "old");
  auto txn = store_->Begin();
  Read(*txn, "a");
  Put(store_.get(), "a", "new");
  txn->Put("b", "1");
  bool ran = false;
  EXPECT_CODE(txn->Commit(Durability::kBuffered, [&](uint64_t) { ran = true; }), kConflict);
  EXPECT_FALSE(ran);
  // It is also how somebody who only read learns that it was still so.
  auto reader = store_->Begin();
  Read(*reader, "a");
  Put(store_.get(), "a", "newer");
  EXPECT_CODE(reader->Commit(Durability::kBuffered, [&](uint64_t) { ran = true; }), kConflict);
  EXPECT_FALSE(ran);
  reader = store_->Begin();
  Read(*reader, "a");
  EXPECT_OK(reader->Commit(Durability::kBuffered, [&](uint64_t) { ran = true; }));
  EXPECT_TRUE(ran);
}

TEST_P(KvStoreTest, RunTxnTriesAgainOnConflict) {
  Put(store_.get(), "count", "1");
  int attempts = 0;
  auto committed = RunTxn(store_.get(), Durability::kBuffered, [&](Transaction& txn) {
    const std::string read = Read(txn, "count");
    if (++attempts == 1) Put(store_.get(), "count", "5");
    txn.Put("count", std::to_string(std::stoi(read) + 1));
    return Status();
  });
  EXPECT_OK(committed);
  EXPECT_EQ(attempts, 2);
  EXPECT_EQ(Read(store_.get(), "count"), "6");
}

TEST_P(KvStoreTest, RunTxnGivesUpInTheEnd) {
  Put(store_.get(), "count", "0");
  int attempts = 0;
  auto committed = RunTxn(store_.get(), Durability::kBuffered, [&](Transaction& txn) {
    Read(txn, "count");
    Put(store_.get(), "count", std::to_string(++attempts));
    txn.Put("result", "written");
    return Status();
  });
  EXPECT_CODE(committed, kAgain);
  EXPECT_GT(attempts, 1);
  EXPECT_EQ(Read(store_.get(), "result"), "NotFound");
}

TEST_P(KvStoreTest, RunTxnReturnsTheBodysFailureAndWritesNothing) {
  int attempts = 0;
  auto committed = RunTxn(store_.get(), Durability::kBuffered, [&](Transaction& txn) {
    ++attempts;
    txn.Put("a", "1");
    return Status::NotEmpty("no");
  });
  EXPECT_CODE(committed, kNotEmpty);
  EXPECT_EQ(attempts, 1);
  EXPECT_EQ(Read(store_.get(), "a"), "NotFound");
}

TEST_P(KvStoreTest, IncrementsOfManyThreadsAreAllCounted) {
  constexpr int kThreads = 4, kEach = 25;
  Put(store_.get(), "count", "0");
  std::atomic<int> on_commit{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int done = 0; done < kEach;) {
        auto txn = store_->Begin();
        const int count = std::stoi(Read(*txn, "count"));
        txn->Put("count", std::to_string(count + 1));
        auto committed = txn->Commit(Durability::kBuffered, [&](uint64_t) { ++on_commit; });
        if (committed.ok()) ++done;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Read(store_.get(), "count"), std::to_string(kThreads * kEach));
  EXPECT_EQ(on_commit, kThreads * kEach);
}

TEST_P(KvStoreTest, SyncedSequenceSaysWhatIsDurable) {
  auto txn = store_->Begin();
  txn->Put("a", "1");
  auto buffered = txn->Commit(Durability::kBuffered);
  ASSERT_OK(buffered);
  EXPECT_LT(store_->synced_sequence(), *buffered);
  auto synced = store_->Sync();
  ASSERT_OK(synced);
  EXPECT_GE(*synced, *buffered);
  EXPECT_EQ(store_->synced_sequence(), *synced);
  txn = store_->Begin();
  txn->Put("a", "2");
  auto committed = txn->Commit(Durability::kSynced);
  ASSERT_OK(committed);
  EXPECT_GE(store_->synced_sequence(), *committed);
}

TEST_P(KvStoreTest, ABackupFillsAnEmptyStore) {
  const std::string odd("K\0\xff", 3);
  Put(store_.get(), odd, std::string("\0", 1));
  // More than one page of the copy.
  auto txn = store_->Begin();
  for (int i = 0; i < 3000; ++i) txn->Put("I" + std::to_string(i), "value " + std::to_string(i));
  ASSERT_OK(txn->Commit(Durability::kBuffered));
  ASSERT_OK(store_->Backup(dir_ / "backup"));
  EXPECT_FALSE(std::filesystem::exists(dir_ / "backup.partial"));
  Put(store_.get(), "I0", "after the backup");
  auto restored = NewStore("restored");
  ASSERT_OK(RestoreBackup(restored.get(), dir_ / "backup"));
  EXPECT_EQ(Read(restored.get(), odd), std::string("\0", 1));
  EXPECT_EQ(Read(restored.get(), "I0"), "value 0");
  EXPECT_EQ(Read(restored.get(), "I2999"), "value 2999");
  EXPECT_EQ(ScanAll(*restored->Begin(), "A", "\x7f").size(), 3001u);
  // The restored store goes on like any other.
  Put(restored.get(), "I0", "new");
  EXPECT_EQ(Read(restored.get(), "I0"), "new");
}

TEST_P(KvStoreTest, ABackupIsRestoredOnlyIntoAnEmptyStore) {
  Put(store_.get(), "A", "1");
  ASSERT_OK(store_->Backup(dir_ / "backup"));
  EXPECT_CODE(RestoreBackup(store_.get(), dir_ / "backup"), kExists);
}

TEST_P(KvStoreTest, ADamagedBackupIsRefusedWhole) {
  for (int i = 0; i < 20; ++i) Put(store_.get(), "I" + std::to_string(i), "value");
  ASSERT_OK(store_->Backup(dir_ / "backup"));
  std::ifstream in(dir_ / "backup", std::ios::binary);
  const std::string good((std::istreambuf_iterator<char>(in)), {});
  auto refused = [&](const std::string& bytes) {
    std::ofstream(dir_ / "damaged", std::ios::binary | std::ios::trunc) << bytes;
    auto empty = NewMemoryKvStore();
    EXPECT_CODE(RestoreBackup(empty.get(), dir_ / "damaged"), kCorruption);
    EXPECT_THAT(ScanAll(*empty->Begin(), "", "\x7f"), IsEmpty());
  };
  for (size_t bytes = 0; bytes < good.size(); bytes += 7) refused(good.substr(0, bytes));
  refused(good.substr(0, good.size() - 1));
  for (size_t at = 0; at < good.size(); at += 5) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x20);
    refused(bad);
  }
  EXPECT_CODE(RestoreBackup(NewMemoryKvStore().get(), dir_ / "absent"), kCorruption);
}

TEST_P(KvStoreTest, ABackupThatCannotBeWrittenSaysSo) {
  Put(store_.get(), "A", "1");
  EXPECT_CODE(store_->Backup(dir_ / "no/such/place"), kIo);
}

}  // namespace
}  // namespace f3::meta
