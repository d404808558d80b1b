// What is left of the objects after the agent, the host or a tier went away.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>

#include "tests/storage_nodes/store_fixture.h"

namespace f3::storage {
namespace {

class ObjectRecoveryTest : public StoreTest {
 protected:
  // Runs `work` on a store of its own in a process that then dies without closing anything.
  template <typename Work>
  void InKilledProcess(Work work) {
    store_.reset();
    pid_t child = ::fork();
    if (child == 0) {
      auto opened = ObjectStore::Open(options_);
      if (!opened.ok()) _exit(1);
      work(**opened);
      ::kill(::getpid(), SIGKILL);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child could not open the store";
  }
  static void MakeIn(ObjectStore& store, const ObjectKey& key, Role role, bool seal,
                     const std::string& content, TierKind tier = TierKind::kDisk) {
    auto object = store.Create(key, role, tier, 0);
    if (!object.ok()) _exit(1);
    if (::pwrite((*object)->fd(), content.data(), content.size(), 0) < 0) _exit(1);
    if (seal && !(*object)->Seal(1, role).ok()) _exit(1);
  }
  bool Has(const ObjectKey& key) { return store_->Find(key).ok(); }
  std::string FileOf(const ObjectKey& key) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(dir_.path())) {
      if (entry.path().filename() == ToString(key)) return entry.path();
    }
    return "";
  }
};

TEST_F(ObjectRecoveryTest, KilledAgentKeepsHomesAndStagingAndCompleteCopies) {
  Open();
  const std::string uuid = store_->tier_uuid();
  InKilledProcess([](ObjectStore& store) {
    MakeIn(store, {1, 1}, Role::kHome, true, "sealed home");
    MakeIn(store, {2, 1}, Role::kHome, false, "home being written");
    MakeIn(store, {3, 1}, Role::kStaging, false, "staging");
    MakeIn(store, {4, 1}, Role::kCopy, true, "copy");
    MakeIn(store, {5, 1}, Role::kFilling, false, "half a copy");
    MakeIn(store, {6, 1}, Role::kHome, true, "removed");
    if (!store.Remove({6, 1}).ok()) _exit(1);
  });
  Open();
  EXPECT_EQ(store_->tier_uuid(), uuid);
  EXPECT_TRUE(store_->LostHomes().empty());
  std::map<ObjectKey, ObjectInfo> infos;
  for (const ObjectInfo& info : store_->List()) infos[info.key] = info;
  ASSERT_EQ(infos.size(), 4u);
  EXPECT_FALSE(infos.at({1, 1}).writing);
  EXPECT_TRUE(infos.at({2, 1}).writing);
  EXPECT_TRUE(infos.at({3, 1}).writing);
  EXPECT_EQ(infos.at({3, 1}).role, Role::kStaging);
  EXPECT_FALSE(infos.at({4, 1}).writing);
  EXPECT_EQ(ReadByKey({2, 1}), "home being written");
  EXPECT_EQ(ReadByKey({4, 1}), "copy");
  EXPECT_EQ(FileOf({5, 1}), "");
  // What was being written can be sealed as it is.
  auto home = store_->Find({2, 1});
  ASSERT_OK(home);
  EXPECT_OK((*home)->Seal(2, Role::kHome));
}

TEST_F(ObjectRecoveryTest, FilesWithoutARowAreRemoved) {
  Open();
  MakeSealed({1, 1}, Role::kHome, "home");
  const std::string file = FileOf({1, 1});
  const std::string folder = std::filesystem::path(file).parent_path();
  std::ofstream(folder + "/1-2") << "no row";
  std::ofstream(folder + "/rubbish") << "no object";
  Open();
  EXPECT_TRUE(std::filesystem::exists(file));
  EXPECT_FALSE(std::filesystem::exists(folder + "/1-2"));
  EXPECT_FALSE(std::filesystem::exists(folder + "/rubbish"));
}

TEST_F(ObjectRecoveryTest, AMissingHomeIsLostAndOnlyThatOne) {
  Open();
  MakeSealed({1, 1}, Role::kHome, "kept");
  MakeSealed({2, 1}, Role::kHome, "deleted behind our back", TierKind::kDisk, 5);
  const std::string uuid = store_->tier_uuid();
  ASSERT_TRUE(std::filesystem::remove(FileOf({2, 1})));
  EXPECT_CODE(store_->Find({2, 1}), kObjectMissing);
  Open();
  ASSERT_EQ(store_->LostHomes().size(), 1u);
  EXPECT_EQ(store_->LostHomes()[0].key, (ObjectKey{2, 1}));
  EXPECT_EQ(store_->LostHomes()[0].version, 5u);
  EXPECT_EQ(store_->List().size(), 1u);
  const std::string lost_uuid = store_->tier_uuid();
  EXPECT_NE(lost_uuid, uuid);
  // It is said once more at each registration until the metadata server has heard it: the uuid
  // stays, and does not change again.
  Open();
  EXPECT_TRUE(store_->LostHomes().empty());
  EXPECT_EQ(store_->tier_uuid(), lost_uuid);
  EXPECT_EQ(ReadByKey({1, 1}), "kept");
}

TEST_F(ObjectRecoveryTest, AHomeOfAnotherSizeThanSealedIsLost) {
  Open();
  MakeSealed({1, 1}, Role::kHome, "twelve bytes");
  MakeSealed({2, 1}, Role::kCopy, "twelve bytes");
  const std::string uuid = store_->tier_uuid();
  std::filesystem::resize_file(FileOf({1, 1}), 3);
  std::filesystem::resize_file(FileOf({2, 1}), 3);
  Open();
  EXPECT_NE(store_->tier_uuid(), uuid);
  EXPECT_TRUE(store_->List().empty());
}

TEST_F(ObjectRecoveryTest, EmptiedMemoryTierChangesTheUuidOnlyIfItHeldHomes) {
  UseMemoryTier();
  Open();
  const std::string uuid = store_->tier_uuid();
  MakeSealed({1, 1}, Role::kHome, "on disk");
  MakeSealed({2, 1}, Role::kCopy, "in memory", TierKind::kMemory);
  store_.reset();
  EmptyMemoryTier();
  Open();
  EXPECT_EQ(store_->tier_uuid(), uuid);
  EXPECT_TRUE(Has({1, 1}));
  EXPECT_FALSE(Has({2, 1}));

  MakeSealed({3, 1}, Role::kHome, "in memory", TierKind::kMemory);
  store_.reset();
  EmptyMemoryTier();
  Open();
  EXPECT_NE(store_->tier_uuid(), uuid);
  EXPECT_TRUE(Has({1, 1}));
  ASSERT_EQ(store_->LostHomes().size(), 1u);
  EXPECT_EQ(store_->LostHomes()[0].key, (ObjectKey{3, 1}));
}

TEST_F(ObjectRecoveryTest, MemoryTierSurvivesAnAgentRestart) {
  UseMemoryTier();
  Open();
  MakeSealed({1, 1}, Role::kHome, "in memory", TierKind::kMemory);
  Open();
  EXPECT_EQ(ReadByKey({1, 1}), "in memory");
  EXPECT_EQ((*store_->Find({1, 1}))->tier(), TierKind::kMemory);
}

TEST_F(ObjectRecoveryTest, WipedDiskTierStartsAnewWithAnotherUuid) {
  UseMemoryTier();
  Open();
  const std::string uuid = store_->tier_uuid();
  MakeSealed({1, 1}, Role::kHome, "on disk");
  MakeSealed({2, 1}, Role::kHome, "in memory", TierKind::kMemory);
  store_.reset();
  std::filesystem::remove_all(options_.disk_dir);
  Open();
  EXPECT_NE(store_->tier_uuid(), uuid);
  EXPECT_TRUE(store_->List().empty());
  EXPECT_EQ(FileOf({2, 1}), "");
}

TEST_F(ObjectRecoveryTest, AnotherNodesTierIsRefusedNotCleared) {
  UseMemoryTier();
  Open();
  MakeSealed({1, 1}, Role::kHome, "in memory", TierKind::kMemory);
  // While its owner runs:
  ObjectStore::Options other;
  other.disk_dir = dir_ / "other";
  other.memory_dir = options_.memory_dir;
  EXPECT_CODE(ObjectStore::Open(other), kBusy);
  ObjectStore::Options same = options_;
  EXPECT_CODE(ObjectStore::Open(same), kBusy);
  store_.reset();
  // And when the owner is down but this node has objects of its own:
  other.memory_dir.clear();
  ASSERT_OK(ObjectStore::Open(other));
  other.memory_dir = options_.memory_dir;
  EXPECT_CODE(ObjectStore::Open(other), kBadConfig);
  Open();
  EXPECT_EQ(ReadByKey({1, 1}), "in memory");
}

TEST_F(ObjectRecoveryTest, AfterAHostRestartOnlyVerifiedBytesCount) {
  Open();
  MakeSealed({1, 1}, Role::kHome, "sealed, checksummed");
  MakeSealed({2, 1}, Role::kHome, "damaged by the power cut");
  MakeSealed({3, 1}, Role::kCopy, "damaged copy");
  ASSERT_OK(store_->SettleChecksums(10'000'000));
  store_.reset();
  options_.checksum_delay_micros = 3'600'000'000;
  Open();
  MakeSealed({4, 1}, Role::kHome, "sealed, without checksums");
  ASSERT_NE(Make({5, 1}, Role::kHome, "being written"), nullptr);
  ASSERT_NE(Make({6, 1}, Role::kStaging, "staging"), nullptr);
  const std::string uuid = store_->tier_uuid();
  store_.reset();
  for (ObjectKey key : {ObjectKey{2, 1}, ObjectKey{3, 1}}) {
    std::fstream(FileOf(key), std::ios::in | std::ios::out).seekp(3).put('\0');
  }
  options_.boot_id = "boot-2";
  Open();
  EXPECT_NE(store_->tier_uuid(), uuid);
  std::vector<ObjectKey> lost;
  for (const ObjectInfo& info : store_->LostHomes()) lost.push_back(info.key);
  std::sort(lost.begin(), lost.end());
  EXPECT_EQ(lost, (std::vector<ObjectKey>{{4, 1}, {5, 1}}));
  EXPECT_EQ(ReadByKey({1, 1}), "sealed, checksummed");
  EXPECT_CODE(store_->Find({2, 1}), kCorruption);
  EXPECT_CODE(store_->Find({3, 1}), kObjectMissing);
  EXPECT_FALSE(Has({6, 1}));
  // The doubt outlives the agent, the verdict too.
  Open();
  EXPECT_EQ(ReadByKey({1, 1}), "sealed, checksummed");
  EXPECT_CODE(store_->Find({2, 1}), kCorruption);
}

TEST_F(ObjectRecoveryTest, HostRestartWithoutAnOrderlyCloseChangesTheUuid) {
  Open();
  const std::string uuid = store_->tier_uuid();
  options_.boot_id = "boot-2";
  Open();  // closed in order: the catalogue is known to be complete
  EXPECT_EQ(store_->tier_uuid(), uuid);
  InKilledProcess([](ObjectStore&) {});
  options_.boot_id = "boot-3";
  Open();
  EXPECT_NE(store_->tier_uuid(), uuid);
}

// The agent is killed at random moments of a random history; what it had acknowledged is there.
TEST_F(ObjectRecoveryTest, NothingAcknowledgedIsLostWhenTheAgentIsKilled) {
  Open();
  store_.reset();
  std::map<Ino, std::string> sealed;  // acknowledged as sealed and not removed since
  std::mt19937 random(7);
  for (int round = 0; round < 12; ++round) {
    int acks[2];
    ASSERT_EQ(::pipe2(acks, O_CLOEXEC), 0);
    pid_t child = ::fork();
    if (child == 0) {
      auto opened = ObjectStore::Open(options_);
      if (!opened.ok()) _exit(1);
      ObjectStore& store = **opened;
      std::mt19937 choose(static_cast<unsigned>(round));
      for (Ino step = 1;; ++step) {
        const Ino ino = static_cast<Ino>(round) << 32 | step;
        MakeIn(store, {ino, 1}, Role::kHome, true, std::to_string(ino));
        int64_t ack = static_cast<int64_t>(ino);
        if (::write(acks[1], &ack, sizeof(ack)) != sizeof(ack)) _exit(1);
        if (choose() % 3 == 0) {
          if (!store.Rekey({ino, 1}, {ino, 2}).ok() || !store.Rekey({ino, 2}, {ino, 1}).ok()) {
            _exit(1);
          }
        }
        if (choose() % 2 == 0) {
          ack = -ack;  // from here on it may be gone
          if (::write(acks[1], &ack, sizeof(ack)) != sizeof(ack)) _exit(1);
          if (!store.Remove({ino, 1}).ok()) _exit(1);
        }
      }
    }
    ::close(acks[1]);
    const unsigned steps = random() % 200;
    int64_t ack = 0;
    auto note = [&] {
      if (ack > 0) sealed[static_cast<Ino>(ack)] = std::to_string(ack);
      if (ack < 0) sealed.erase(static_cast<Ino>(-ack));
    };
    for (unsigned i = 0; i <= steps && ::read(acks[0], &ack, sizeof(ack)) == sizeof(ack); ++i) {
      note();
    }
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child failed";
    while (::read(acks[0], &ack, sizeof(ack)) == sizeof(ack)) note();
    ::close(acks[0]);

    Open();
    EXPECT_TRUE(store_->LostHomes().empty());
    for (const auto& [ino, content] : sealed) {
      // Killed between two names, the bytes have exactly one of them.
      const ObjectKey key{ino, Has({ino, 1}) ? Incarnation{1} : Incarnation{2}};
      EXPECT_EQ(ReadByKey(key), content);
      EXPECT_FALSE(Has({ino, 3 - key.incarnation}));
      if (key.incarnation == 2) ASSERT_OK(store_->Rekey({ino, 2}, {ino, 1}));
    }
    store_.reset();
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace f3::storage
