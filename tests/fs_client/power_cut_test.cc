// SEMANTICS.md 2.1 and 2.2 against a power cut: unsynced data of the durable store and of the
// metadata server's LevelDB is discarded at every sync point of a history of durable files.
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

#include "tests/common/fault_env.h"
#include "tests/common/temp_dir.h"
#include "tests/fs_client/file_world.h"
#include "tests/metadata/leveldb_crash_env.h"

namespace f3::fs::test {
namespace {

std::string Pattern(size_t size, uint32_t seed) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>((seed = seed * 1664525 + 1013904223) >> 24);
  return bytes;
}

// What each file may hold: what the last fsync or close that returned 0 has left, or what the one
// that was under way would have.
struct Promise {
  std::string acknowledged;
  std::string under_way;
};

class PowerCutTest : public ::testing::Test {
 protected:
  enum class Disk { kBlocks, kMetadata };

  std::unique_ptr<World> MakeWorld() {
    World::Disks disks;
    disks.env = &blocks_;
    auto kv = meta::OpenLevelDbKvStore(dir_ / "meta", &metadata_);
    EXPECT_TRUE(kv.ok()) << kv.status().ToString();
    disks.metadata = *std::move(kv);
    disks.first_id = (++worlds_) << 20;
    return std::make_unique<World>(1, /*passthrough=*/true, std::move(disks));
  }

  // One step: `change` the file, then fsync or close it. False once the power is gone.
  bool Step(SimKernel* mount, const SimFileRef& file, const std::string& expected, bool close) {
    Promise& promise = promises_[file->ino];
    promise.under_way = expected;
    const Status status = close ? mount->Close(file) : mount->Fsync(file);
    if (!status.ok()) {
      if (!close) mount->Release(file);
      return false;
    }
    promise.acknowledged = expected;
    return true;
  }

  bool WriteFiles(World* world) {
    SimKernel* mount = world->n(1);
    for (uint32_t i = 0; i < 2; ++i) {
      auto made = mount->Create("f" + std::to_string(i), O_RDWR, meta::CLASS_DURABLE);
      if (!made.ok()) return false;
      SimFileRef file = *made;
      std::string content = Pattern((i << 20) + 1000, i);
      EXPECT_TRUE(mount->Write(file, 0, content).ok());
      if (!Step(mount, file, content, false)) return false;
      const std::string more = Pattern(5000, i + 10);
      EXPECT_TRUE(mount->Write(file, content.size(), more).ok());
      content += more;
      if (!Step(mount, file, content, true)) return false;
      if (!Change(mount, file->ino, &content, i)) return false;
    }
    return true;
  }

  // Changed in place, then replaced.
  bool Change(SimKernel* mount, Ino ino, std::string* content, uint32_t seed) {
    auto opened = mount->Open(ino, O_RDWR);
    if (!opened.ok()) return false;
    const std::string part = Pattern(700, seed + 20);
    EXPECT_TRUE(mount->Write(*opened, 300, part).ok());
    content->replace(300, part.size(), part);
    if (!Step(mount, *opened, *content, true)) return false;
    opened = mount->Open(ino, O_WRONLY | O_TRUNC);
    if (!opened.ok()) return false;
    *content = Pattern(9000, seed + 30);
    EXPECT_TRUE(mount->Write(*opened, 0, *content).ok());
    return Step(mount, *opened, *content, true);
  }

  void CheckFiles(World* world) {
    for (const auto& [ino, promise] : promises_) {
      if (promise.acknowledged.empty()) continue;
      auto opened = world->n(1)->Open(ino, O_RDONLY);
      ASSERT_TRUE(opened.ok()) << opened.status().ToString();
      auto bytes = world->n(1)->Read(*opened, 0, 16u << 20);
      ASSERT_TRUE(bytes.ok()) << bytes.status().ToString();
      EXPECT_TRUE(*bytes == promise.acknowledged || *bytes == promise.under_way)
          << "inode " << ino << " has " << bytes->size() << " bytes of no publish; acknowledged "
          << promise.acknowledged.size() << ", under way " << promise.under_way.size();
      EXPECT_TRUE(world->n(1)->Close(*opened).ok());
    }
  }

  // True when the history ended before the power went.
  bool CutAt(Disk disk, uint64_t point, uint64_t seed) {
    promises_.clear();
    bool finished = false;
    {
      auto world = MakeWorld();
      if (disk == Disk::kBlocks) {
        blocks_.CutPowerAtSync(point);
      } else {
        metadata_.CutPowerAtSync(point);
      }
      finished = WriteFiles(world.get());
      EXPECT_NE(finished, blocks_.dead() || metadata_.dead());
    }
    blocks_.Crash(seed);
    metadata_.CutPowerAtSync(0);
    metadata_.Crash();
    auto world = MakeWorld();
    CheckFiles(world.get());
    return finished;
  }

  void CutEverywhere(Disk disk) {
    uint64_t point = 1;
    for (bool finished = false; !finished; ++point) {
      ASSERT_LT(point, 500u);
      for (uint64_t seed : {0, 2}) {
        SCOPED_TRACE("sync point " + std::to_string(point) + ", seed " + std::to_string(seed));
        finished = CutAt(disk, point, seed);
        if (HasFailure()) return;
      }
    }
    // Each file is published four times.
    EXPECT_GT(point, 8u);
  }

  TempDir dir_;
  FaultEnv blocks_;
  meta::CrashEnv metadata_;
  uint64_t worlds_ = 0;
  std::map<Ino, Promise> promises_;
};

TEST_F(PowerCutTest, DurableFilesSurviveOneAtEverySyncOfTheirBlocks) {
  CutEverywhere(Disk::kBlocks);
}

TEST_F(PowerCutTest, DurableFilesSurviveOneAtEverySyncOfTheMetadata) {
  CutEverywhere(Disk::kMetadata);
}

}  // namespace
}  // namespace f3::fs::test
