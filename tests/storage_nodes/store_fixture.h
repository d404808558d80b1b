// What tests of the object store share: tiers of their own (a real tmpfs of a chosen size), and
// writing and reading objects.
#ifndef F3_TESTS_STORAGE_NODES_STORE_FIXTURE_H_
#define F3_TESTS_STORAGE_NODES_STORE_FIXTURE_H_

#include <gtest/gtest.h>
#include <sched.h>
#include <spdlog/spdlog.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "storage_nodes/object_store.h"
#include "tests/common/status_matchers.h"
#include "tests/common/temp_dir.h"

namespace f3::storage {

// Mounts a tmpfs that disappears with the process: the test binary gets a mount namespace first.
inline bool MountTmpfs(const std::string& dir, uint64_t bytes) {
  static const bool own_namespace =
      ::unshare(CLONE_NEWNS) == 0 &&
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
  if (!own_namespace) return false;
  ::mkdir(dir.c_str(), 0700);
  std::string options = "size=" + std::to_string(bytes);
  return ::mount("tmpfs", dir.c_str(), "tmpfs", 0, options.c_str()) == 0;
}

class StoreTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kMemoryBytes = 8 << 20;

  void SetUp() override {
    spdlog::set_level(spdlog::level::err);
    options_.disk_dir = dir_ / "disk";
    options_.checksum_delay_micros = 0;
    options_.boot_id = "boot-1";
  }
  void TearDown() override {
    store_.reset();
    if (mounted_) ::umount2((dir_ / "memory").c_str(), MNT_DETACH);
  }

  void UseMemoryTier(uint64_t bytes = kMemoryBytes) {
    mounted_ = MountTmpfs(dir_ / "memory", bytes);
    if (!mounted_) GTEST_SKIP() << "mounting a tmpfs needs root";
    options_.memory_dir = dir_ / "memory";
  }
  // What a reboot does to it.
  void EmptyMemoryTier(uint64_t bytes = kMemoryBytes) {
    ASSERT_EQ(::umount2((dir_ / "memory").c_str(), MNT_DETACH), 0);
    ASSERT_TRUE(MountTmpfs(dir_ / "memory", bytes));
  }
  void Open() {
    store_.reset();
    auto opened = ObjectStore::Open(options_);
    ASSERT_OK(opened);
    store_ = *std::move(opened);
  }

  std::shared_ptr<Object> Make(const ObjectKey& key, Role role, const std::string& content,
                               TierKind tier = TierKind::kDisk) {
    auto object = store_->Create(key, role, tier, 0);
    EXPECT_OK(object);
    if (!object.ok()) return nullptr;
    Write(**object, content);
    return *object;
  }
  // A sealed object that nobody has open.
  void MakeSealed(const ObjectKey& key, Role role, const std::string& content,
                  TierKind tier = TierKind::kDisk, Version version = 1) {
    auto object = Make(key, role, content, tier);
    ASSERT_NE(object, nullptr);
    ASSERT_OK(object->Seal(version, role));
  }

  static void Write(const Object& object, const std::string& content, uint64_t offset = 0) {
    ASSERT_EQ(::pwrite(object.fd(), content.data(), content.size(), static_cast<off_t>(offset)),
              static_cast<ssize_t>(content.size()));
  }
  static std::string Read(const Object& object) {
    struct stat st = {};
    EXPECT_EQ(::fstat(object.fd(), &st), 0);
    std::string content(static_cast<size_t>(st.st_size), '\0');
    EXPECT_EQ(::pread(object.fd(), content.data(), content.size(), 0),
              static_cast<ssize_t>(content.size()));
    return content;
  }
  std::string ReadByKey(const ObjectKey& key) {
    auto object = store_->Find(key);
    EXPECT_OK(object);
    return object.ok() ? Read(**object) : "";
  }

  TempDir dir_;
  ObjectStore::Options options_;
  std::unique_ptr<ObjectStore> store_;
  bool mounted_ = false;
};

}  // namespace f3::storage

#endif  // F3_TESTS_STORAGE_NODES_STORE_FIXTURE_H_
