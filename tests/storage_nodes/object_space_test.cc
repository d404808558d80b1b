// Room in the tiers: eviction, spilling, refusing; and finding damage.
#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <thread>

#include "common/unique_fd.h"
#include "storage_nodes/ledger.h"
#include "tests/storage_nodes/store_fixture.h"

namespace f3::storage {
namespace {

constexpr uint64_t kMiB = 1 << 20;

class ObjectSpaceTest : public StoreTest {
 protected:
  void Listen() {
    store_->SetEvictionListener([this](const ObjectKey& key) { evicted_.push_back(key); });
  }
  void Damage(const ObjectKey& key) {
    const std::string path = (*store_->Find(key))->path();
    std::fstream(path, std::ios::in | std::ios::out).seekp(1).put('~');
  }
  std::string MiB(char c, uint64_t n = 1) { return std::string(n * kMiB, c); }

  std::vector<ObjectKey> evicted_;
};

TEST_F(ObjectSpaceTest, LeastRecentlyUsedCopiesGoFirst) {
  options_.disk_capacity_bytes = 4 * kMiB;
  Open();
  Listen();
  for (Ino ino : {1, 2, 3}) MakeSealed({ino, 1}, Role::kCopy, MiB('c'));
  EXPECT_EQ(ReadByKey({1, 1}).size(), kMiB);  // now the most recently used
  auto created = store_->Create({4, 1}, Role::kHome, TierKind::kDisk, 2 * kMiB);
  ASSERT_OK(created);
  EXPECT_EQ(evicted_, std::vector<ObjectKey>({{2, 1}}));
  EXPECT_CODE(store_->Find({2, 1}), kObjectMissing);
  EXPECT_OK(store_->Find({1, 1}));
  Listen();
}

TEST_F(ObjectSpaceTest, HomesAndCopiesInUseAreNeverEvicted) {
  options_.disk_capacity_bytes = 4 * kMiB;
  Open();
  Listen();
  MakeSealed({1, 1}, Role::kHome, MiB('h'));
  MakeSealed({2, 1}, Role::kCopy, MiB('c'));
  MakeSealed({3, 1}, Role::kStaging, MiB('s'));
  auto in_use = store_->Find({2, 1});
  ASSERT_OK(in_use);
  Status status = StatusOf(store_->Create({4, 1}, Role::kHome, TierKind::kDisk, 2 * kMiB));
  EXPECT_CODE(status, kTierFull);
  EXPECT_EQ(status.Errno(), ENOSPC);
  EXPECT_NE(status.message().find("disk tier"), std::string::npos) << status.message();
  EXPECT_NE(status.message().find("3.0 MiB of 4.0 MiB used"), std::string::npos)
      << status.message();
  EXPECT_TRUE(evicted_.empty());
  (*in_use).reset();
  EXPECT_OK(store_->Create({4, 1}, Role::kHome, TierKind::kDisk, 2 * kMiB));
  EXPECT_EQ(evicted_, std::vector<ObjectKey>({{2, 1}}));
}

TEST_F(ObjectSpaceTest, RefusedCreationLeavesNothing) {
  options_.disk_capacity_bytes = 4 * kMiB;
  Open();
  EXPECT_CODE(store_->Create({1, 1}, Role::kHome, TierKind::kDisk, 5 * kMiB), kTierFull);
  EXPECT_CODE(store_->Find({1, 1}), kObjectMissing);
  EXPECT_EQ(store_->usage().objects, 0u);
  EXPECT_OK(store_->Create({1, 1}, Role::kHome, TierKind::kDisk, kMiB));
}

TEST_F(ObjectSpaceTest, CapacityCountsWhatWasWrittenBehindOurBack) {
  options_.disk_capacity_bytes = 4 * kMiB;
  Open();
  auto object = Make({1, 1}, Role::kHome, "");
  UniqueFd passthrough(::open(object->path().c_str(), O_WRONLY));
  const std::string bytes = MiB('p', 3);
  ASSERT_EQ(::write(passthrough.get(), bytes.data(), bytes.size()),
            static_cast<ssize_t>(bytes.size()));
  EXPECT_GE(store_->usage().disk_used, 3 * kMiB);
  EXPECT_CODE(store_->MakeRoom(TierKind::kDisk, 2 * kMiB), kTierFull);
  // Removed, its bytes count until the last reference goes.
  ASSERT_OK(store_->Remove({1, 1}));
  EXPECT_CODE(store_->MakeRoom(TierKind::kDisk, 2 * kMiB), kTierFull);
  object.reset();
  EXPECT_OK(store_->MakeRoom(TierKind::kDisk, 2 * kMiB));
  EXPECT_EQ(store_->usage().disk_used, 0u);
}

TEST_F(ObjectSpaceTest, UsageCountsCopies) {
  options_.disk_capacity_bytes = 16 * kMiB;
  Open();
  MakeSealed({1, 1}, Role::kCopy, MiB('c'));
  MakeSealed({2, 1}, Role::kHome, MiB('h'));
  auto usage = store_->usage();
  EXPECT_EQ(usage.objects, 2u);
  EXPECT_EQ(usage.copies_bytes, kMiB);
  EXPECT_EQ(usage.disk_used, 2 * kMiB);
  EXPECT_EQ(usage.disk_capacity, 16 * kMiB);
  EXPECT_EQ(usage.memory_capacity, 0u);
  Open();
  EXPECT_EQ(store_->usage().disk_used, 2 * kMiB);
}

TEST_F(ObjectSpaceTest, WithoutAMemoryTierItsUseIsRefused) {
  Open();
  EXPECT_CODE(store_->Create({1, 1}, Role::kHome, TierKind::kMemory, 0), kNotSupported);
  EXPECT_CODE(store_->MakeRoom(TierKind::kMemory, 1), kNotSupported);
  EXPECT_OK(store_->Spill(~0ull));
}

TEST_F(ObjectSpaceTest, FullMemoryTierEvictsCopiesThenSpillsHomesThenRefuses) {
  UseMemoryTier(8 * kMiB);
  Open();
  Listen();
  MakeSealed({1, 1}, Role::kHome, MiB('h', 2), TierKind::kMemory);
  MakeSealed({2, 1}, Role::kCopy, MiB('c', 2), TierKind::kMemory);
  auto in_use = Make({3, 1}, Role::kHome, MiB('u', 2), TierKind::kMemory);
  EXPECT_OK(store_->MakeRoom(TierKind::kMemory, 3 * kMiB));
  EXPECT_EQ(evicted_, std::vector<ObjectKey>({{2, 1}}));
  EXPECT_EQ((*store_->Find({1, 1}))->tier(), TierKind::kMemory);

  EXPECT_OK(store_->MakeRoom(TierKind::kMemory, 5 * kMiB));
  auto spilled = store_->Find({1, 1});
  ASSERT_OK(spilled);
  EXPECT_EQ((*spilled)->tier(), TierKind::kDisk);
  EXPECT_EQ(Read(**spilled), MiB('h', 2));

  Status status = store_->MakeRoom(TierKind::kMemory, 7 * kMiB);
  EXPECT_CODE(status, kTierFull);
  EXPECT_NE(status.message().find("memory tier"), std::string::npos) << status.message();
  EXPECT_EQ(Read(*in_use), MiB('u', 2));
  in_use.reset();
}

TEST_F(ObjectSpaceTest, SpilledObjectsKeepContentHolesTimesAndState) {
  UseMemoryTier(8 * kMiB);
  Open();
  auto object = Make({1, 1}, Role::kHome, "begin", TierKind::kMemory);
  Write(*object, "end", 100 * kMiB);  // sparse
  const struct timespec times[2] = {{1000, 5}, {2000, 7}};
  ASSERT_EQ(::futimens(object->fd(), times), 0);
  ASSERT_OK(object->Seal(3, Role::kHome));
  auto staging = Make({2, 1}, Role::kStaging, "staging", TierKind::kMemory);
  object.reset();
  staging.reset();
  MakeSealed({3, 1}, Role::kCopy, "copies stay", TierKind::kMemory);
  ASSERT_OK(store_->Spill(~0ull));
  for (int restart = 0; restart < 2; ++restart) {
    auto found = store_->Find({1, 1});
    ASSERT_OK(found);
    EXPECT_EQ((*found)->tier(), TierKind::kDisk);
    const ObjectInfo info = (*found)->info();
    EXPECT_FALSE(info.writing);
    EXPECT_EQ(info.version, 3u);
    EXPECT_EQ(info.size, 100 * kMiB + 3);
    EXPECT_LE(info.allocated_bytes, 3 * kMiB);
    struct stat st;
    ASSERT_EQ(::fstat((*found)->fd(), &st), 0);
    EXPECT_EQ(st.st_mtim.tv_sec, 2000);
    EXPECT_EQ(st.st_mtim.tv_nsec, 7);
    char text[4] = {};
    ASSERT_EQ(::pread((*found)->fd(), text, 3, 100 * kMiB), 3);
    EXPECT_STREQ(text, "end");
    EXPECT_EQ((*found)->Checksums().size(), 101u);
    auto moved = store_->Find({2, 1});
    ASSERT_OK(moved);
    EXPECT_EQ((*moved)->tier(), TierKind::kDisk);
    EXPECT_TRUE((*moved)->info().writing);
    EXPECT_EQ(Read(**moved), "staging");
    EXPECT_EQ((*store_->Find({3, 1}))->tier(), TierKind::kMemory);
    (*found).reset();
    (*moved).reset();
    if (restart == 0) Open();
  }
  EXPECT_OK(store_->Verify(false));
}

TEST_F(ObjectSpaceTest, ObjectsInUseOrMappedWritableAreNotSpilled) {
  UseMemoryTier(8 * kMiB);
  Open();
  auto in_use = Make({1, 1}, Role::kHome, "in use", TierKind::kMemory);
  auto mapped = Make({2, 1}, Role::kHome, std::string(4096, 'm'), TierKind::kMemory);
  void* map = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, mapped->fd(), 0);
  ASSERT_NE(map, MAP_FAILED);
  mapped.reset();
  ASSERT_OK(store_->Spill(~0ull));
  EXPECT_EQ((*store_->Find({1, 1}))->tier(), TierKind::kMemory);
  EXPECT_EQ((*store_->Find({2, 1}))->tier(), TierKind::kMemory);
  ::munmap(map, 4096);
  in_use.reset();
  ASSERT_OK(store_->Spill(~0ull));
  EXPECT_EQ((*store_->Find({1, 1}))->tier(), TierKind::kDisk);
  EXPECT_EQ((*store_->Find({2, 1}))->tier(), TierKind::kDisk);
}

TEST_F(ObjectSpaceTest, FindDuringASpillGetsTheWholeObject) {
  UseMemoryTier(64 * kMiB);
  Open();
  const std::string content = MiB('x', 20);
  for (Incarnation round = 1; round <= 5; ++round) {
    MakeSealed({1, round}, Role::kHome, content, TierKind::kMemory);
    std::thread spiller([&] { EXPECT_OK(store_->Spill(~0ull)); });
    auto found = store_->Find({1, round});
    ASSERT_OK(found);
    EXPECT_TRUE(Read(**found) == content);
    ASSERT_OK((*found)->BeginWriting(Role::kHome));
    Write(**found, "written");
    (*found).reset();
    spiller.join();
    EXPECT_EQ(ReadByKey({1, round}).substr(0, 9), "writtenxx");
    ASSERT_OK(store_->Remove({1, round}));
  }
}

TEST_F(ObjectSpaceTest, RemoveDuringASpillWins) {
  UseMemoryTier(64 * kMiB);
  Open();
  for (Incarnation round = 1; round <= 5; ++round) {
    MakeSealed({1, round}, Role::kHome, MiB('x', 8), TierKind::kMemory);
    std::thread spiller([&] { EXPECT_OK(store_->Spill(~0ull)); });
    ASSERT_OK(store_->Remove({1, round}));
    spiller.join();
    EXPECT_CODE(store_->Find({1, round}), kObjectMissing);
  }
  EXPECT_TRUE(store_->List().empty());
  Open();
  EXPECT_TRUE(store_->List().empty());
}

TEST_F(ObjectSpaceTest, ReservationInTheMemoryTierIsBoundByItsSize) {
  UseMemoryTier(8 * kMiB);
  Open();
  auto object = store_->Create({1, 1}, Role::kHome, TierKind::kMemory, 4 * kMiB);
  ASSERT_OK(object);
  EXPECT_EQ((*object)->info().allocated_bytes, 4 * kMiB);
  EXPECT_CODE(store_->Create({2, 1}, Role::kHome, TierKind::kMemory, 6 * kMiB), kTierFull);
  EXPECT_CODE(store_->Create({2, 1}, Role::kHome, TierKind::kMemory, 60 * kMiB), kTierFull);
  EXPECT_EQ(store_->usage().memory_used / kMiB, 4u);
}

TEST_F(ObjectSpaceTest, VerifyFindsDamageAndRepairDropsCopiesOnly) {
  Open();
  Listen();
  MakeSealed({1, 1}, Role::kHome, MiB('h', 2));
  MakeSealed({2, 1}, Role::kCopy, MiB('c', 2));
  MakeSealed({3, 1}, Role::kCopy, MiB('g', 2));
  ASSERT_OK(store_->SettleChecksums(10'000'000));
  auto clean = store_->Verify(true);
  ASSERT_OK(clean);
  EXPECT_TRUE(clean->empty());
  Damage({1, 1});
  Damage({2, 1});
  auto report = store_->Verify(false);
  ASSERT_OK(report);
  EXPECT_EQ(report->size(), 2u);
  EXPECT_OK(store_->Find({2, 1}));
  auto repaired = store_->Verify(true);
  ASSERT_OK(repaired);
  EXPECT_EQ(repaired->size(), 2u);
  EXPECT_EQ(evicted_, std::vector<ObjectKey>({{2, 1}}));
  EXPECT_CODE(store_->Find({2, 1}), kObjectMissing);
  EXPECT_OK(store_->Find({1, 1}));  // its only bytes: for people to decide
  EXPECT_OK(store_->Find({3, 1}));
}

TEST(MemoryLedger, GrantsFitTheBudgetAndReportUse) {
  MemoryLedger ledger(100 * kMiB);
  uint64_t used = 5;
  ASSERT_OK(ledger.Grant("buffers", 40 * kMiB, [&] { return used; }));
  ASSERT_OK(ledger.Grant("memory tier", 60 * kMiB, [] { return uint64_t{0}; }));
  EXPECT_CODE(ledger.Grant("buffers", 1, [] { return uint64_t{0}; }), kExists);
  Status status = ledger.Grant("more", kMiB, [] { return uint64_t{0}; });
  EXPECT_CODE(status, kBadConfig);
  EXPECT_NE(status.message().find("buffers 40.0 MiB"), std::string::npos) << status.message();
  used = 7;
  auto lines = ledger.lines();
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].used_bytes, 7u);
  EXPECT_EQ(lines[1].granted_bytes, 60 * kMiB);
}

}  // namespace
}  // namespace f3::storage
