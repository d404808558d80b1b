// Locks and begun publishes: who has them, who loses them, and that they cost no scan.
#include <gtest/gtest.h>

#include "metadata/location_ops.h"
#include "metadata/lock_ops.h"
#include "tests/metadata/op_world.h"

namespace f3::meta {
namespace {

constexpr SessionId kOther = OpWorld::kSession + 1;

// Forwards all, and counts scans.
class ScanCounter : public Transaction {
 public:
  explicit ScanCounter(Transaction* txn) : txn_(txn) {}
  Result<std::string> Get(std::string_view key) override { return txn_->Get(key); }
  Result<std::vector<std::pair<std::string, std::string>>> Scan(std::string_view begin,
                                                                std::string_view end,
                                                                size_t limit) override {
    ++scans;
    return txn_->Scan(begin, end, limit);
  }
  void Put(std::string_view key, std::string_view value) override { txn_->Put(key, value); }
  void Delete(std::string_view key) override { txn_->Delete(key); }
  Result<uint64_t> Commit(Durability durability,
                          const std::function<void(uint64_t)>& on_commit) override {
    return txn_->Commit(durability, on_commit);
  }
  bool has_writes() const override { return txn_->has_writes(); }
  uint64_t snapshot_sequence() const override { return txn_->snapshot_sequence(); }

  int scans = 0;

 private:
  Transaction* const txn_;
};

class LockTest : public testing::Test, public OpWorld {
 protected:
  // A durable file, open for writing at kSession's node.
  void SetUp() override {
    Request create = Create(root(), "f");
    create.mutable_create()->mutable_flags()->set_write(true);
    const Reply created = Do(create);
    file_ = created.entry().attr().ino();
    incarnation_ = created.open().incarnation();
  }

  Request SetLock(uint64_t owner, LockType type, uint64_t start = 0, uint64_t end = UINT64_MAX,
                  LockKind kind = LOCK_FCNTL) const {
    Request request;
    SetLockOp* op = request.mutable_set_lock();
    op->set_ino(file_);
    op->set_owner(owner);
    op->set_kind(kind);
    op->mutable_range()->set_type(type);
    op->mutable_range()->set_start(start);
    op->mutable_range()->set_end(end);
    op->mutable_range()->set_pid(40);
    return request;
  }
  LockRange Holder(uint64_t owner) {
    Request request;
    GetLockOp* op = request.mutable_get_lock();
    op->set_ino(file_);
    op->set_owner(owner);
    op->mutable_range()->set_type(LOCK_TYPE_WRITE);
    op->mutable_range()->set_end(UINT64_MAX);
    return Do(request).lock();
  }
  uint64_t BeginPublish() {
    Request request;
    request.mutable_begin_publish()->set_ino(file_);
    return Do(request).number();
  }
  Code FinishPublish(uint64_t generation) {
    Request request;
    PublishOp* op = request.mutable_publish();
    op->set_ino(file_);
    op->set_incarnation(incarnation_);
    op->set_size(1);
    op->set_content_changed(true);
    op->set_generation(generation);
    op->add_changed()->set_length(1);
    return Try(request);
  }
  int ScansOf(const Request& request) {
    int scans = -1;
    EXPECT_OK(OpWorld::Run([&](OpContext& context) {
      ScanCounter counter(context.txn);
      context.txn = &counter;
      Reply reply;
      Status status = ExecuteOp(context, request, &reply);
      scans = counter.scans;
      return status;
    }));
    return scans;
  }

  // The generations of publishes that are begun.
  std::vector<Generation> Begun() {
    Request request;
    request.mutable_scan()->set_kind(SCAN_INTENTS);
    request.mutable_scan()->set_max_items(100);
    std::vector<Generation> generations;
    const Reply reply = Do(request);
    for (const BlockRow& row : reply.scan().blocks()) {
      EXPECT_EQ(row.ino(), file_);
      generations.push_back(row.block().generation());
    }
    return generations;
  }

  Ino file_ = 0;
  Incarnation incarnation_ = 0;
};

TEST_F(LockTest, OwnersExcludeEachOther) {
  Do(SetLock(1, LOCK_TYPE_READ));
  Do(SetLock(2, LOCK_TYPE_READ));
  EXPECT_EQ(Try(SetLock(1, LOCK_TYPE_WRITE)), Code::kAgain);
  EXPECT_EQ(Try(SetLock(3, LOCK_TYPE_WRITE)), Code::kAgain);
  Do(SetLock(2, LOCK_TYPE_UNLOCK));
  EXPECT_EQ(effects.locks_freed, std::vector<Ino>{file_});
  Do(SetLock(1, LOCK_TYPE_WRITE));
  EXPECT_EQ(Try(SetLock(2, LOCK_TYPE_READ)), Code::kAgain);
}

TEST_F(LockTest, OneNumberInTwoSessionsIsTwoOwners) {
  Do(SetLock(1, LOCK_TYPE_WRITE));
  session = kOther;
  EXPECT_EQ(Try(SetLock(1, LOCK_TYPE_WRITE)), Code::kAgain);
  EXPECT_EQ(Holder(1).type(), LOCK_TYPE_WRITE);
  EXPECT_EQ(Holder(1).pid(), 0u) << "a process of another host";
  session = kSession;
  EXPECT_EQ(Holder(2).pid(), 40u);
  EXPECT_EQ(Holder(1).type(), LOCK_TYPE_UNLOCK);
}

TEST_F(LockTest, KindsAndPartsOfAFileAreApart) {
  Do(SetLock(1, LOCK_TYPE_WRITE, 0, 99));
  Do(SetLock(2, LOCK_TYPE_WRITE, 100, 199));
  Do(SetLock(3, LOCK_TYPE_WRITE, 0, UINT64_MAX, LOCK_FLOCK));
  EXPECT_EQ(Try(SetLock(1, LOCK_TYPE_READ, 50, 100)), Code::kAgain);
  Do(SetLock(1, LOCK_TYPE_UNLOCK, 10, 19));
  Do(SetLock(4, LOCK_TYPE_WRITE, 10, 19));
  EXPECT_EQ(Try(SetLock(4, LOCK_TYPE_WRITE, 9, 9)), Code::kAgain);
}

TEST_F(LockTest, AClosedFileAndASessionThatIsOverHoldNoLocks) {
  Do(SetLock(1, LOCK_TYPE_WRITE, 0, 9));
  Do(SetLock(2, LOCK_TYPE_WRITE, 10, 19));
  session = kOther;
  Do(SetLock(1, LOCK_TYPE_WRITE, 20, 29));
  Request release;
  release.mutable_release_locks()->set_ino(file_);
  release.mutable_release_locks()->set_owner(1);
  release.mutable_release_locks()->set_kind(LOCK_FCNTL);
  session = kSession;
  Do(release);
  Do(SetLock(3, LOCK_TYPE_WRITE, 0, 9));
  EXPECT_EQ(Try(SetLock(3, LOCK_TYPE_WRITE, 20, 29)), Code::kAgain);

  ASSERT_OK(
      OpWorld::Run([](OpContext& context) { return ReleaseSessionLocks(context, kSession); }));
  EXPECT_EQ(effects.locks_freed, std::vector<Ino>{file_});
  session = kOther + 1;
  Do(SetLock(1, LOCK_TYPE_WRITE, 0, 19));
  EXPECT_EQ(Try(SetLock(1, LOCK_TYPE_WRITE, 20, 29)), Code::kAgain) << "another session's";
  ASSERT_OK(OpWorld::Run([](OpContext& context) { return ReleaseSessionLocks(context, kOther); }));
  Do(SetLock(1, LOCK_TYPE_WRITE, 20, 29));
}

TEST_F(LockTest, ASessionHasOnePublishOfAFileAtATime) {
  const uint64_t first = BeginPublish();
  session = kOther;
  const uint64_t others = BeginPublish();
  session = kSession;
  const uint64_t second = BeginPublish();
  EXPECT_EQ(Begun(), (std::vector<Generation>{others, second}));
  EXPECT_EQ(FinishPublish(first), Code::kStale);
  EXPECT_EQ(FinishPublish(others), Code::kStale);
  EXPECT_EQ(FinishPublish(second), Code::kOk);
  EXPECT_EQ(FinishPublish(second), Code::kStale) << "done";
  EXPECT_EQ(Begun(), std::vector<Generation>{others});
}

TEST_F(LockTest, ASessionThatIsOverHasBegunNothing) {
  const uint64_t mine = BeginPublish();
  session = kOther;
  const uint64_t others = BeginPublish();
  ASSERT_OK(OpWorld::Run([](OpContext& context) { return DropIntents(context, kSession); }));
  EXPECT_EQ(Begun(), std::vector<Generation>{others});
  session = kSession;
  EXPECT_EQ(FinishPublish(mine), Code::kStale);
  ASSERT_OK(OpWorld::Run([](OpContext& context) { return DropIntents(context, kOther); }));
  EXPECT_EQ(Begun(), std::vector<Generation>());
}

// A scan of LevelDB passes over all that was deleted or replaced between the keys it looks for and
// the next one that is left: with each of these a scan, 4,000 durable files took a minute.
TEST_F(LockTest, LocksAndPublishesAreFoundWithoutAScan) {
  EXPECT_EQ(ScansOf(SetLock(1, LOCK_TYPE_WRITE)), 0);
  EXPECT_EQ(ScansOf(SetLock(1, LOCK_TYPE_UNLOCK)), 0);
  Request begin;
  begin.mutable_begin_publish()->set_ino(file_);
  EXPECT_EQ(ScansOf(begin), 0);
}

}  // namespace
}  // namespace f3::meta
