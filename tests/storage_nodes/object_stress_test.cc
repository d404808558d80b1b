// Many threads on few objects in tight tiers: nothing is torn, and nothing waits for ever.
#include <atomic>
#include <latch>
#include <random>
#include <set>
#include <thread>

#include "tests/storage_nodes/store_fixture.h"

namespace f3::storage {
namespace {

class ObjectStressTest : public StoreTest {
 protected:
  static std::string ContentOf(const ObjectKey& key) {
    return std::string(200'000, static_cast<char>('a' + (key.ino * 5 + key.incarnation) % 26));
  }
  // Everything but these says that something is wrong.
  static void ExpectOrdinary(const Status& status) {
    static const std::set<Code> kOrdinary = {Code::kOk, Code::kExists, Code::kObjectMissing,
                                             Code::kTierFull, Code::kBusy};
    EXPECT_TRUE(kOrdinary.contains(status.code())) << status.ToString();
  }

  void Work(unsigned seed) {
    std::mt19937 random(seed);
    for (int step = 0; step < 300; ++step) {
      const ObjectKey key{1 + random() % 4, 1 + random() % 4};
      switch (random() % 8) {
        case 0:
        case 1: {
          const TierKind tier = mounted_ && random() % 2 == 0 ? TierKind::kMemory : TierKind::kDisk;
          auto object = store_->Create(key, Role::kFilling, tier, random() % 2 * 100'000);
          ExpectOrdinary(object.status());
          if (!object.ok()) break;
          const std::string content = ContentOf(key);
          if (::pwrite((*object)->fd(), content.data(), content.size(), 0) !=
              static_cast<ssize_t>(content.size())) {
            ExpectOrdinary(store_->Remove(key));  // a full tmpfs
            break;
          }
          ExpectOrdinary((*object)->Seal(1, random() % 4 == 0 ? Role::kHome : Role::kCopy));
          break;
        }
        case 2:
        case 3: {
          auto object = store_->Find(key);
          ExpectOrdinary(object.status());
          if (object.ok() && !(*object)->info().writing) {
            EXPECT_TRUE(Read(**object) == ContentOf(key));
          }
          break;
        }
        case 4:
          ExpectOrdinary(store_->Remove(key));
          break;
        case 5:
          ExpectOrdinary(store_->MakeRoom(TierKind::kDisk, 1 << 20));
          break;
        case 6:
          ExpectOrdinary(store_->Spill(random() % 2 * 500'000));
          break;
        default:
          store_->List();
          store_->usage();
      }
    }
  }
};

TEST_F(ObjectStressTest, ManyThreadsOnFewObjects) {
  mounted_ = MountTmpfs(dir_ / "memory", 2 << 20);
  if (mounted_) options_.memory_dir = dir_ / "memory";
  options_.disk_capacity_bytes = 3 << 20;
  Open();
  std::atomic<int> evicted{0};
  store_->SetEvictionListener([&](const ObjectKey&) { ++evicted; });  // races with everything
  std::vector<std::thread> threads;
  for (unsigned seed = 1; seed <= 4; ++seed) threads.emplace_back([this, seed] { Work(seed); });
  for (std::thread& thread : threads) thread.join();
  auto report = store_->Verify(true);
  ASSERT_OK(report);
  EXPECT_TRUE(report->empty());
  store_->SetEvictionListener(nullptr);
  const std::string uuid = store_->tier_uuid();
  Open();
  EXPECT_EQ(store_->tier_uuid(), uuid);
  for (const ObjectInfo& info : store_->List()) EXPECT_EQ(info.size, 200'000u);
}

// Sealing and removing at once: what was removed keeps no row, for the next start would take it for
// a lost home; and sealing does nothing to another file that has got the name meanwhile.
TEST_F(ObjectStressTest, SealingWhatIsRemovedMeanwhile) {
  constexpr int kRounds = 2000;
  const std::string longer(1 << 20, 'b');
  Open();
  const std::string uuid = store_->tier_uuid();
  for (int round = 0; round < kRounds; ++round) {
    const ObjectKey key{1, 1};
    auto object = store_->Create(key, Role::kHome, TierKind::kDisk, 200'000);
    ASSERT_OK(object);
    Write(**object, "a");
    std::latch begin(2);
    std::jthread sealer([&] {
      begin.arrive_and_wait();
      ExpectOrdinary((*object)->Seal(1, Role::kHome));
    });
    begin.arrive_and_wait();
    ASSERT_OK(store_->Remove(key));
    const bool again = round % 8 == 0;
    std::shared_ptr<Object> other = again ? Make(key, Role::kFilling, longer) : nullptr;
    sealer.join();
    if (again) {
      EXPECT_TRUE(Read(*other) == longer);
      other.reset();
      ASSERT_OK(store_->Remove(key));
    }
  }
  Open();
  EXPECT_TRUE(store_->LostHomes().empty());
  EXPECT_EQ(store_->tier_uuid(), uuid);
}

}  // namespace
}  // namespace f3::storage
