// What of KvStore is LevelDB's alone, and how commits share device syncs.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/mutex.h"
#include "metadata/kv_store.h"
#include "metadata/occ_store.h"
#include "tests/common/status_matchers.h"
#include "tests/common/temp_dir.h"
#include "tests/metadata/kv_helpers.h"
#include "tests/metadata/leveldb_crash_env.h"

namespace f3::meta {
namespace {

// ---- LevelDB ----

class LevelDbTest : public ::testing::Test {
 protected:
  std::unique_ptr<KvStore> Open() {
    auto opened = OpenLevelDbKvStore(dir_ / "db", &env_);
    EXPECT_OK(opened);
    return *std::move(opened);
  }

  TempDir dir_;
  CrashEnv env_;
};

TEST_F(LevelDbTest, ReopeningGivesWhatWasCommittedAndGoesOnCounting) {
  auto store = Open();
  Put(store.get(), "a", "1");
  Put(store.get(), "b", "1");
  const uint64_t sequence = store->Begin()->snapshot_sequence();
  store = nullptr;
  store = Open();
  EXPECT_EQ(Read(store.get(), "a"), "1");
  EXPECT_EQ(store->Begin()->snapshot_sequence(), sequence);
  EXPECT_EQ(store->synced_sequence(), sequence);
  Put(store.get(), "a", "2");
  EXPECT_EQ(store->Begin()->snapshot_sequence(), sequence + 1);
}

TEST_F(LevelDbTest, APowerCutTakesOnlyWhatWasNotSynced) {
  auto store = Open();
  auto txn = store->Begin();
  txn->Put("synced", "1");
  auto sequence = txn->Commit(Durability::kSynced);
  ASSERT_OK(sequence);
  const uint64_t syncs = env_.syncs();
  Put(store.get(), "buffered", "1");
  EXPECT_EQ(env_.syncs(), syncs);
  store = nullptr;
  env_.Crash();
  store = Open();
  EXPECT_EQ(Read(store.get(), "synced"), "1");
  EXPECT_EQ(Read(store.get(), "buffered"), "NotFound");
  EXPECT_EQ(store->Begin()->snapshot_sequence(), *sequence);
}

TEST_F(LevelDbTest, WhatTheLastProcessLeftIsDurableOnceItIsOpen) {
  auto store = Open();
  Put(store.get(), "buffered", "1");
  store = nullptr;
  store = Open();
  EXPECT_EQ(Read(store.get(), "buffered"), "1");
  store = nullptr;
  env_.Crash();
  store = Open();
  EXPECT_EQ(Read(store.get(), "buffered"), "1");
}

TEST_F(LevelDbTest, ASyncThatFailsMakesNothingDurable) {
  auto store = Open();
  const uint64_t before = store->synced_sequence();
  env_.FailSyncs(true);
  auto txn = store->Begin();
  txn->Put("a", "1");
  EXPECT_CODE(txn->Commit(Durability::kSynced), kIo);
  EXPECT_EQ(store->synced_sequence(), before);
  // The device may have lost what it said it would keep: the log is not written any more.
  env_.FailSyncs(false);
  EXPECT_CODE(store->Sync(), kIo);
  EXPECT_EQ(store->synced_sequence(), before);
}

TEST_F(LevelDbTest, ASecondOpenerIsToldThatItIsInUse) {
  auto store = Open();
  auto second = OpenLevelDbKvStore(dir_ / "db");
  EXPECT_CODE(second, kBusy);
  EXPECT_NE(second.status().message().find("in use by another process"), std::string::npos);
}

TEST_F(LevelDbTest, OtherFailuresAreNotTakenForALock) {
  std::filesystem::create_directories(dir_ / "blocks");
  EXPECT_CODE(OpenLevelDbKvStore(dir_ / "blocks/absent/db"), kIo);
  const std::string dir = dir_ / "blocks/db";
  EXPECT_OK(OpenLevelDbKvStore(dir));
  std::ofstream(dir + "/CURRENT", std::ios::trunc) << "MANIFEST-999999\n";
  auto damaged = OpenLevelDbKvStore(dir);
  EXPECT_CODE(damaged, kCorruption);
  EXPECT_NE(damaged.status().message().find("f3 meta restore"), std::string::npos);
}

TEST_F(LevelDbTest, ATableThatVanishedIsNotTakenForAnAbsentKey) {
  // Each reopening makes a table of what was written before.
  Put(Open().get(), "a", "1");
  Put(Open().get(), "b", "1");
  Open();
  auto store = Open();
  std::set<std::string> tables;
  for (const auto& entry : std::filesystem::directory_iterator(dir_ / "db")) {
    if (entry.path().extension() == ".ldb") tables.insert(entry.path());
  }
  ASSERT_GE(tables.size(), 2u);
  std::filesystem::remove(*tables.begin());
  EXPECT_EQ(Read(store.get(), "a"), "Io");
  EXPECT_CODE(store->Begin()->Scan("a", "z", 10), kIo);
  EXPECT_CODE(store->Backup(dir_ / "backup"), kIo);
  EXPECT_FALSE(std::filesystem::exists(dir_ / "backup.partial"));
}

// ---- group commit ----

// A map whose device syncs wait until they are let go.
class GatedEngine : public Engine {
 public:
  Snapshot TakeSnapshot() override { return nullptr; }
  Result<std::string> Get(const Snapshot&, std::string_view) override {
    return Status::NotFound("nothing is kept");
  }
  Result<Pairs> Scan(const Snapshot&, std::string_view, std::string_view, size_t) override {
    return Pairs();
  }
  Status Apply(const Writes&) override { return apply_status; }
  Status Sync() override {
    MutexLock lock(mutex_);
    ++syncs_;
    changed_.SignalAll();
    while (!open_) changed_.Wait(mutex_);
    return sync_status;
  }

  void Let(bool open) {
    MutexLock lock(mutex_);
    open_ = open;
    changed_.SignalAll();
  }
  void AwaitSync() {
    MutexLock lock(mutex_);
    while (syncs_ == 0) changed_.Wait(mutex_);
  }
  int syncs() {
    MutexLock lock(mutex_);
    return syncs_;
  }
  Status apply_status, sync_status;  // set while nothing runs

 private:
  Mutex mutex_;
  CondVar changed_;
  bool open_ F3_GUARDED_BY(mutex_) = true;
  int syncs_ F3_GUARDED_BY(mutex_) = 0;
};

class GroupCommitTest : public ::testing::Test {
 protected:
  GatedEngine* const engine_ = new GatedEngine;
  OccKvStore store_{std::unique_ptr<Engine>(engine_), 0};
};

TEST_F(GroupCommitTest, WhoeverCommitsDuringASyncSharesTheNext) {
  engine_->Let(false);
  auto commit_synced = [this] {
    auto txn = store_.Begin();
    txn->Put("a", "1");
    return txn->Commit(Durability::kSynced).status();
  };
  auto first = std::async(std::launch::async, commit_synced);
  engine_->AwaitSync();
  for (int i = 0; i < 3; ++i) Put(&store_, "b", "1");
  const uint64_t last = store_.Begin()->snapshot_sequence();
  std::vector<std::future<Result<uint64_t>>> syncs;
  for (int i = 0; i < 4; ++i) {
    syncs.push_back(std::async(std::launch::async, [this] { return store_.Sync(); }));
  }
  EXPECT_EQ(store_.synced_sequence(), 0u);
  engine_->Let(true);
  EXPECT_OK(first.get());
  for (auto& sync : syncs) {
    auto durable = sync.get();
    ASSERT_OK(durable);
    EXPECT_GE(*durable, last);
  }
  EXPECT_EQ(engine_->syncs(), 2);
  EXPECT_EQ(store_.synced_sequence(), last);
  // Nothing is left to do.
  EXPECT_OK(store_.Sync());
  EXPECT_EQ(engine_->syncs(), 2);
}

TEST_F(GroupCommitTest, AFailedSyncIsToldAndTheNextTriesAgain) {
  engine_->sync_status = Status::Io("the device is broken");
  auto txn = store_.Begin();
  txn->Put("a", "1");
  EXPECT_CODE(txn->Commit(Durability::kSynced), kIo);
  EXPECT_EQ(store_.synced_sequence(), 0u);
  engine_->sync_status = Status();
  auto synced = store_.Sync();
  ASSERT_OK(synced);
  EXPECT_EQ(*synced, 1u);
}

TEST_F(GroupCommitTest, AFailedWriteDoesNotCount) {
  engine_->apply_status = Status::NoSpace("the disk is full");
  auto reader = store_.Begin();
  EXPECT_CODE(reader->Get("a"), kNotFound);
  auto txn = store_.Begin();
  txn->Put("a", "1");
  bool ran = false;
  EXPECT_CODE(txn->Commit(Durability::kBuffered, [&](uint64_t) { ran = true; }), kNoSpace);
  EXPECT_FALSE(ran);
  EXPECT_EQ(store_.Begin()->snapshot_sequence(), 0u);
  engine_->apply_status = Status();
  reader->Put("b", "1");  // nobody changed what it read
  EXPECT_OK(reader->Commit(Durability::kBuffered));
}

}  // namespace
}  // namespace f3::meta
