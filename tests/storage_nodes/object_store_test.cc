#include "storage_nodes/object_store.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <atomic>
#include <cerrno>
#include <thread>
#include <vector>

#include "common/crc32c.h"
#include "common/unique_fd.h"
#include "storage_nodes/object_bytes.h"
#include "tests/storage_nodes/store_fixture.h"

namespace f3::storage {
namespace {

using ObjectStoreTest = StoreTest;

const ObjectKey kKey{0x10, 0x2};
const ObjectKey kOther{0x11, 0x3};

TEST_F(ObjectStoreTest, KeepsContentUnderItsKey) {
  Open();
  auto object = Make(kKey, Role::kHome, "hello");
  EXPECT_EQ(object->key(), kKey);
  EXPECT_EQ(object->tier(), TierKind::kDisk);
  EXPECT_TRUE(object->info().writing);
  EXPECT_EQ(object->info().size, 5u);
  EXPECT_EQ(ReadByKey(kKey), "hello");
  EXPECT_CODE(store_->Create(kKey, Role::kHome, TierKind::kDisk, 0), kExists);
  EXPECT_CODE(store_->Find(kOther), kObjectMissing);
}

TEST_F(ObjectStoreTest, EverybodyOnTheNodeSharesOneHandle) {
  Open();
  auto object = Make(kKey, Role::kHome, "x");
  auto found = store_->Find(kKey);
  ASSERT_OK(found);
  EXPECT_EQ(object, *found);
}

TEST_F(ObjectStoreTest, SealedObjectSurvivesARestart) {
  Open();
  MakeSealed(kKey, Role::kHome, "hello", TierKind::kDisk, 7);
  const std::string uuid = store_->tier_uuid();
  Open();
  auto infos = store_->List();
  ASSERT_EQ(infos.size(), 1u);
  EXPECT_EQ(infos[0].key, kKey);
  EXPECT_EQ(infos[0].role, Role::kHome);
  EXPECT_EQ(infos[0].version, 7u);
  EXPECT_FALSE(infos[0].writing);
  EXPECT_EQ(infos[0].size, 5u);
  EXPECT_EQ(ReadByKey(kKey), "hello");
  EXPECT_EQ(store_->tier_uuid(), uuid);
}

TEST_F(ObjectStoreTest, SealedObjectCannotBeWrittenUntilWritingBegins) {
  Open();
  auto object = Make(kKey, Role::kHome, "hello");
  const int fd = object->fd();
  ASSERT_OK(object->Seal(1, Role::kHome));
  EXPECT_EQ(object->fd(), fd);
  EXPECT_EQ(::pwrite(object->fd(), "x", 1, 0), -1);
  EXPECT_EQ(errno, EBADF);
  ASSERT_OK(object->BeginWriting(Role::kHome));
  EXPECT_EQ(object->fd(), fd);
  Write(*object, "J");
  EXPECT_EQ(Read(*object), "Jello");
  EXPECT_TRUE(object->info().writing);
  EXPECT_EQ(object->info().version, 1u);
}

TEST_F(ObjectStoreTest, SealIsBusyWhileAWritableMappingOfAnotherProcessLives) {
  for (TierKind tier : {TierKind::kDisk, TierKind::kMemory}) {
    if (tier == TierKind::kMemory) UseMemoryTier();
    Open();
    auto object =
        Make({1, static_cast<Incarnation>(tier)}, Role::kHome, std::string(4096, 'a'), tier);
    ASSERT_NE(object, nullptr);
    int to_child[2], to_parent[2];
    ASSERT_EQ(::pipe2(to_child, 0), 0);
    ASSERT_EQ(::pipe2(to_parent, 0), 0);
    const std::string path = object->path();
    pid_t child = ::fork();
    if (child == 0) {
      // Only the mapping is left: no descriptor of this process is open for writing.
      int fd = ::open(path.c_str(), O_RDWR);
      void* map = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
      ::close_range(3, static_cast<unsigned>(to_child[0]) - 1, 0);
      ::close_range(static_cast<unsigned>(to_parent[1]) + 1, ~0u, 0);
      char byte = 0;
      if (::write(to_parent[1], map == MAP_FAILED ? "n" : "y", 1) != 1) _exit(1);
      if (::read(to_child[0], &byte, 1) != 1) _exit(1);
      *static_cast<volatile char*>(map) = 'z';
      _exit(0);
    }
    char byte = 0;
    ASSERT_EQ(::read(to_parent[0], &byte, 1), 1);
    ASSERT_EQ(byte, 'y');
    EXPECT_CODE(object->Seal(1, Role::kHome), kBusy);
    EXPECT_TRUE(object->info().writing);
    Write(*object, "b", 1);  // it is still open for writing here
    ASSERT_EQ(::write(to_child[1], "g", 1), 1);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    for (int fd : {to_child[0], to_child[1], to_parent[0], to_parent[1]}) ::close(fd);
    EXPECT_OK(object->Seal(1, Role::kHome));
    EXPECT_EQ(Read(*object).substr(0, 2), "zb");
    object.reset();
  }
}

TEST_F(ObjectStoreTest, SealIsBusyWhileADescriptorIsOpenForWriting) {
  Open();
  auto object = Make(kKey, Role::kHome, "hello");
  UniqueFd writer(::open(object->path().c_str(), O_WRONLY));
  EXPECT_CODE(object->Seal(1, Role::kHome), kBusy);
  writer.Reset();
  // The descriptor for passthrough is no writer.
  UniqueFd backing(::dup(object->read_fd()));
  EXPECT_OK(object->Seal(1, Role::kHome));
}

// A reader in another thread holds the descriptor that it reads for as long as that takes.
TEST_F(ObjectStoreTest, SealDoesNotMindReaders) {
  Open();
  auto object = Make(kKey, Role::kHome, std::string(8 << 20, 'x'));
  std::atomic<bool> over = false;
  std::atomic<int> reads = 0;
  std::thread reader([&] {
    std::vector<std::byte> into(8 << 20);
    for (; !over; ++reads) EXPECT_OK(ReadObject(*object, 0, into));
  });
  for (Version version = 1; version <= 30; ++version) {
    // The read that begins after this one finds the object open for writing.
    for (const int before = reads; reads == before;) std::this_thread::yield();
    EXPECT_OK(object->Seal(version, Role::kHome));
    EXPECT_OK(object->BeginWriting(Role::kHome));
  }
  over = true;
  reader.join();
}

TEST_F(ObjectStoreTest, RemovedObjectStaysReadableThroughItsHandle) {
  Open();
  auto object = Make(kKey, Role::kHome, "hello");
  ASSERT_OK(store_->Remove(kKey));
  EXPECT_CODE(store_->Find(kKey), kObjectMissing);
  EXPECT_EQ(Read(*object), "hello");
  EXPECT_CODE(object->Seal(1, Role::kHome), kObjectMissing);
  EXPECT_CODE(object->BeginWriting(Role::kHome), kObjectMissing);
  EXPECT_OK(store_->Remove(kKey));
  // The key is free for another object, which the old handle does not disturb.
  auto again = Make(kKey, Role::kHome, "new");
  object.reset();
  EXPECT_EQ(ReadByKey(kKey), "new");
}

TEST_F(ObjectStoreTest, RekeyGivesTheBytesAnotherName) {
  Open();
  MakeSealed(kKey, Role::kCopy, "hello");
  ASSERT_OK(store_->SettleChecksums(10'000'000));
  ASSERT_OK(store_->Rekey(kKey, kOther));
  EXPECT_CODE(store_->Find(kKey), kObjectMissing);
  EXPECT_EQ(ReadByKey(kOther), "hello");
  auto object = store_->Find(kOther);
  ASSERT_OK(object);
  EXPECT_EQ((*object)->Checksums().size(), 1u);
  EXPECT_CODE(store_->Rekey(kOther, kKey), kBusy);
  (*object).reset();
  MakeSealed(kKey, Role::kCopy, "x");
  EXPECT_CODE(store_->Rekey(kOther, kKey), kExists);
  Open();
  EXPECT_EQ(ReadByKey(kOther), "hello");
}

TEST_F(ObjectStoreTest, ReservationIsAllocatedAheadAndGivenBackAtSeal) {
  Open();
  auto object = store_->Create(kKey, Role::kHome, TierKind::kDisk, 4 << 20);
  ASSERT_OK(object);
  EXPECT_EQ((*object)->info().size, 0u);
  EXPECT_GE((*object)->info().allocated_bytes, 4u << 20);
  Write(**object, "hello");
  ASSERT_OK((*object)->Seal(1, Role::kHome));
  EXPECT_LE((*object)->info().allocated_bytes, 64u << 10);
  EXPECT_EQ(Read(**object), "hello");
}

TEST_F(ObjectStoreTest, ChecksumsAppearAfterSealAndGoWhenWritingBegins) {
  Open();
  std::string content(kChecksumBytes + 10, 'q');
  auto object = Make(kKey, Role::kHome, content);
  EXPECT_TRUE(object->Checksums().empty());
  ASSERT_OK(object->Seal(1, Role::kHome));
  ASSERT_OK(store_->SettleChecksums(10'000'000));
  auto bytes = std::as_bytes(std::span(content));
  std::vector<uint32_t> expected = {Crc32c(bytes.first(kChecksumBytes)),
                                    Crc32c(bytes.subspan(kChecksumBytes))};
  EXPECT_EQ(object->Checksums(), expected);
  object.reset();
  Open();
  auto found = store_->Find(kKey);
  ASSERT_OK(found);
  EXPECT_EQ((*found)->Checksums(), expected);
  ASSERT_OK((*found)->BeginWriting(Role::kHome));
  EXPECT_TRUE((*found)->Checksums().empty());
}

TEST_F(ObjectStoreTest, ChecksumsOfOldBytesAreNeverKept) {
  Open();
  auto object = Make(kKey, Role::kHome, std::string(16 * kChecksumBytes, 'a'));
  for (int round = 0; round < 400; ++round) {
    // The background thread is somewhere in the object when its bytes change.
    ASSERT_OK(object->Seal(1, Role::kHome));
    ASSERT_OK(object->BeginWriting(Role::kHome));
    Write(*object, std::to_string(round), static_cast<uint64_t>(round % 16) * kChecksumBytes);
  }
  ASSERT_OK(object->Seal(2, Role::kHome));
  ASSERT_OK(store_->SettleChecksums(10'000'000));
  EXPECT_EQ(object->Checksums().size(), 16u);
  auto report = store_->Verify(false);
  ASSERT_OK(report);
  EXPECT_TRUE(report->empty());
}

TEST_F(ObjectStoreTest, ChecksumsOfTheFillerAreKept) {
  Open();
  auto object = Make(kKey, Role::kFilling, "hello");
  object->SetChecksums({42});  // not what the store would compute
  ASSERT_OK(object->Seal(3, Role::kCopy));
  EXPECT_EQ(object->Checksums(), std::vector<uint32_t>{42});
}

}  // namespace
}  // namespace f3::storage
