#include "hwalloc/heap.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "hwalloc/process.h"

namespace f3::hwalloc {
namespace {

constexpr uint32_t kClassOf64 = ClassOf(64);

void* Take(Heap* heap, uint32_t index) {
  void* p = heap->TryAllocate(index);
  return p != nullptr ? p : heap->AllocateSlow(index);
}

void Put(Heap* heap, void* p) { heap->FreeLocal(UnitOf(p), p); }

class HeapTest : public ::testing::Test {
 protected:
  ~HeapTest() override { heap_->DropAll(); }
  // Units that the pool has handed out since this test began.
  uint64_t Units() { return Pool().usage().used_units - before_; }

  uint64_t before_ = Pool().usage().used_units;
  std::unique_ptr<Heap> heap_ = std::make_unique<Heap>();
};

TEST_F(HeapTest, EverySlotOfEveryClassIsHandedOutOnce) {
  for (uint32_t index = 0; index < kClasses; ++index) {
    ArenaLayout layout = LayoutOfClass(index);
    std::set<char*> slots;
    for (uint32_t i = 0; i < layout.slots; ++i) {
      char* p = static_cast<char*>(Take(heap_.get(), index));
      ASSERT_NE(p, nullptr);
      EXPECT_TRUE(slots.insert(p).second);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % layout.alignment(), 0u);
      std::memset(p, 1, SlotBytes(index));
      EXPECT_EQ(UnitOf(p)->owner, heap_.get());
      EXPECT_EQ(HeaderOf(p + SlotBytes(index) - 1), HeaderOf(p));
    }
    for (auto next = slots.begin(), at = next++; next != slots.end(); at = next++) {
      EXPECT_GE(*next - *at, static_cast<ptrdiff_t>(SlotBytes(index)));
    }
    EXPECT_EQ(heap_->arenas(), index + 1) << "all slots fit into one arena";
  }
}

TEST_F(HeapTest, AFreedSlotOfTheLoadedWordIsTheNext) {
  void* a = Take(heap_.get(), kClassOf64);
  void* b = Take(heap_.get(), kClassOf64);
  Put(heap_.get(), a);
  EXPECT_EQ(Take(heap_.get(), kClassOf64), a);
  Put(heap_.get(), b);
  EXPECT_EQ(Take(heap_.get(), kClassOf64), b);
  EXPECT_EQ(heap_->loads(), 1u);
}

TEST_F(HeapTest, TheObjectsFreedLastAreTheNext) {
  std::vector<void*> objects;
  for (uint32_t i = 0; i < kHeldObjects + 2; ++i) {
    objects.push_back(Take(heap_.get(), kClassOf64));
  }
  for (void* p : objects) Put(heap_.get(), p);
  for (uint32_t i = kHeldObjects; i > 0; --i) {
    EXPECT_EQ(Take(heap_.get(), kClassOf64), objects[i - 1]);
  }
  // The others are free slots of their word, whose lowest is taken.
  EXPECT_EQ(Take(heap_.get(), kClassOf64), objects[kHeldObjects]);
  EXPECT_EQ(Take(heap_.get(), kClassOf64), objects[kHeldObjects + 1]);
}

TEST_F(HeapTest, AnObjectMayContainTheMark) {
  std::vector<uint64_t*> objects;
  for (int i = 0; i < 100; ++i) {
    objects.push_back(static_cast<uint64_t*>(Take(heap_.get(), kClassOf64)));
    *objects.back() = kFreedMark;
  }
  for (uint64_t* p : objects) Put(heap_.get(), p);
  std::set<void*> again;
  for (int i = 0; i < 100; ++i) again.insert(Take(heap_.get(), kClassOf64));
  EXPECT_EQ(again.size(), 100u);
}

TEST_F(HeapTest, ArenasThatAreEmptyAgainGoBack) {
  std::vector<void*> objects;
  uint32_t slots = LayoutOfClass(kClassOf64).slots;
  for (uint32_t i = 0; i < slots * 20; ++i) objects.push_back(Take(heap_.get(), kClassOf64));
  EXPECT_EQ(Units(), 20u);
  for (void* p : objects) Put(heap_.get(), p);
  // The current arena, and few for the next need.
  EXPECT_LE(Units(), 5u);
  heap_->Flush();
  EXPECT_EQ(Units(), 0u);
}

TEST_F(HeapTest, AFullArenaIsUsedAgainOnceEnoughOfItIsFree) {
  uint32_t slots = LayoutOfClass(kClassOf64).slots;
  std::vector<void*> objects;
  for (uint32_t i = 0; i < slots * 2; ++i) objects.push_back(Take(heap_.get(), kClassOf64));
  // The first arena is full, the second is current and full too.
  for (uint32_t i = 0; i < slots / 2; ++i) Put(heap_.get(), objects[i]);
  std::set<void*> freed(objects.begin(), objects.begin() + slots / 2);
  for (uint32_t i = 0; i < slots / 2; ++i) {
    EXPECT_EQ(freed.erase(Take(heap_.get(), kClassOf64)), 1u);
  }
  EXPECT_EQ(heap_->arenas(), 2u);
}

TEST_F(HeapTest, RemoteFreesComeBackWhenTheOwnerNeedsThem) {
  uint32_t slots = LayoutOfClass(kClassOf64).slots;
  std::vector<void*> objects;
  for (uint32_t i = 0; i < slots * 4; ++i) objects.push_back(Take(heap_.get(), kClassOf64));
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = t; i < objects.size(); i += 4) heap_->FreeRemote(objects[i]);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(heap_->has_remote());
  for (uint32_t i = 0; i < slots * 4; ++i) Take(heap_.get(), kClassOf64);
  EXPECT_FALSE(heap_->has_remote());
  EXPECT_LE(Units(), 5u);
}

TEST_F(HeapTest, FlushLeavesWhatLives) {
  auto* live = static_cast<char*>(Take(heap_.get(), kClassOf64));
  void* other = Take(heap_.get(), kClassOf64);
  std::memset(live, 7, 64);
  Put(heap_.get(), other);
  heap_->Flush();
  EXPECT_EQ(Units(), 1u);
  EXPECT_EQ(live[63], 7);
  // The arena is found again, and the live slot is not handed out.
  for (uint32_t i = 1; i < LayoutOfClass(kClassOf64).slots; ++i) {
    EXPECT_NE(Take(heap_.get(), kClassOf64), live);
  }
  EXPECT_EQ(Units(), 1u);
  Put(heap_.get(), live);
}

TEST_F(HeapTest, DropAllGivesEverythingBackAtOnce) {
  for (uint32_t index = 0; index < kClasses; ++index) {
    for (int i = 0; i < 200; ++i) Take(heap_.get(), index);
  }
  EXPECT_GT(Units(), kClasses);
  heap_->DropAll();
  EXPECT_EQ(Units(), 0u);
  EXPECT_NE(Take(heap_.get(), kClassOf64), nullptr);
}

using HeapDeathTest = HeapTest;

TEST_F(HeapDeathTest, DoubleFreeInTheLoadedWord) {
  void* p = Take(heap_.get(), kClassOf64);
  Put(heap_.get(), p);
  EXPECT_DEATH(Put(heap_.get(), p), "hwalloc: double free");
}

TEST_F(HeapDeathTest, DoubleFreeInAnotherWord) {
  void* p = Take(heap_.get(), kClassOf64);
  for (uint32_t i = 0; i < 2 * kWordSlots; ++i) Take(heap_.get(), kClassOf64);
  Put(heap_.get(), p);
  EXPECT_DEATH(Put(heap_.get(), p), "hwalloc: double free");
}

TEST_F(HeapDeathTest, DoubleFreeWhenOthersWereFreedMeanwhile) {
  std::vector<void*> objects;
  for (int i = 0; i < 10; ++i) objects.push_back(Take(heap_.get(), kClassOf64));
  for (void* p : objects) Put(heap_.get(), p);
  for (void* p : objects) EXPECT_DEATH(Put(heap_.get(), p), "hwalloc: double free");
  // Also when the entry has room again.
  Take(heap_.get(), kClassOf64);
  EXPECT_DEATH(Put(heap_.get(), objects[9]), "hwalloc: double free");
}

TEST_F(HeapDeathTest, FreedByTheOwnerAndByAnother) {
  void* p = Take(heap_.get(), kClassOf64);
  Put(heap_.get(), p);
  heap_->FreeRemote(p);
  EXPECT_DEATH(heap_->Drain(), "hwalloc: double free");
}

TEST_F(HeapDeathTest, RemoteDoubleFree) {
  void* p = Take(heap_.get(), kClassOf64);
  heap_->FreeRemote(p);
  heap_->Drain();
  heap_->FreeRemote(p);
  EXPECT_DEATH(heap_->Drain(), "hwalloc: double free");
}

}  // namespace
}  // namespace f3::hwalloc
