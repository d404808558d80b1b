#include "hwalloc/medium.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

#include "hwalloc/heap.h"
#include "hwalloc/page_pool.h"

namespace f3::hwalloc {
namespace {

constexpr uint32_t kAllGranules = kGranules - kFirstGranule;

bool IsZero(const char* bytes, size_t count) {
  return std::all_of(bytes, bytes + count, [](char c) { return c == 0; });
}

// Units as a heap would give them.
class MediumTest : public ::testing::Test {
 protected:
  ~MediumTest() override {
    while (char* base = medium_.Drop()) Return(base);
  }
  char* AddUnit() {
    PagePool::Run run = pool_.Take(1);
    medium_.Add(run.base, &heap_, run.clean);
    ++units_;
    return run.base;
  }
  void Return(char* base) {
    --units_;
    pool_.GiveArenas(&base, 1, 0);
  }
  char* Take(uint32_t granules, uint32_t alignment = 1, bool* zero = nullptr) {
    bool is_zero = false;
    auto* p = static_cast<char*>(medium_.Take(granules, alignment, &is_zero));
    if (zero != nullptr) *zero = is_zero;
    return p;
  }
  void Give(char* p) {
    if (char* base = medium_.Give(p)) Return(base);
  }

  PagePool pool_;
  Heap heap_;
  MediumArenas medium_;
  int units_ = 0;
};

TEST_F(MediumTest, WithoutAUnitThereIsNoRoom) { EXPECT_EQ(Take(1), nullptr); }

TEST_F(MediumTest, AUnitIsUsedUpToItsLastByte) {
  char* base = AddUnit();
  std::vector<char*> blocks;
  while (char* p = Take(1)) {
    std::memset(p, 1, kGranuleBytes);
    blocks.push_back(p);
  }
  ASSERT_EQ(blocks.size(), kAllGranules);
  EXPECT_EQ(blocks.back() + kGranuleBytes, base + kUnitBytes);
  for (char* p : blocks) {
    EXPECT_EQ(MediumUsable(p), kGranuleBytes);
    EXPECT_EQ(MediumOwner(p), &heap_);
  }
}

TEST_F(MediumTest, NeighboursThatAreFreedBecomeOneRun) {
  AddUnit();
  char* a = Take(40);
  char* b = Take(40);
  char* c = Take(kAllGranules - 80);
  EXPECT_EQ(Take(1), nullptr);
  Give(a);
  Give(c);
  EXPECT_EQ(Take(41 + kAllGranules - 80), nullptr);
  Give(b);
  EXPECT_EQ(Take(kAllGranules), a);
}

TEST_F(MediumTest, TheUnitThatFitsBestIsUsedAndInItTheLowestRun) {
  AddUnit();
  char* first = Take(30);
  Take(10);
  char* second = Take(20);
  Take(kAllGranules - 60);
  AddUnit();
  Take(5);
  Give(first);
  Give(second);
  EXPECT_EQ(Take(15), first);
  EXPECT_EQ(Take(15), first + 15 * kGranuleBytes);
  EXPECT_EQ(Take(20), second);
}

TEST_F(MediumTest, AlignmentsHold) {
  for (uint32_t alignment = 1; alignment <= 64; alignment *= 2) {
    AddUnit();
    AddUnit();
    Take(3);
    for (uint32_t granules : {1u, 7u, 30u}) {
      char* p = Take(granules, alignment);
      ASSERT_NE(p, nullptr) << alignment;
      EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % (alignment * kGranuleBytes), 0u);
    }
  }
}

TEST_F(MediumTest, AnAlignedBlockUsesTheHoleThatAnotherLeft) {
  AddUnit();
  std::vector<char*> blocks;
  while (char* p = Take(8, 8)) blocks.push_back(p);
  ASSERT_EQ(blocks.size(), 15u);
  for (char* p : blocks) {
    Give(p);
    EXPECT_EQ(Take(8, 8), p);
  }
}

TEST_F(MediumTest, ABlockGrowsIntoWhatIsFreeBehindIt) {
  AddUnit();
  char* p = Take(10);
  EXPECT_TRUE(medium_.Resize(p, 50));
  EXPECT_EQ(MediumUsable(p), 50 * kGranuleBytes);
  char* behind = Take(1);
  EXPECT_EQ(behind, p + 50 * kGranuleBytes);
  EXPECT_FALSE(medium_.Resize(p, 51));
  EXPECT_EQ(MediumUsable(p), 50 * kGranuleBytes);
  EXPECT_TRUE(medium_.Resize(p, 7));
  EXPECT_EQ(Take(43), p + 7 * kGranuleBytes);
  Give(behind);
  EXPECT_FALSE(medium_.Resize(p, kAllGranules + 1));
}

TEST_F(MediumTest, WhatWasNeverUsedIsZero) {
  AddUnit();
  bool zero = false;
  char* a = Take(20, 1, &zero);
  EXPECT_TRUE(zero);
  EXPECT_TRUE(medium_.Resize(a, 30));
  std::memset(a, 1, 30 * kGranuleBytes);
  EXPECT_TRUE(medium_.Resize(a, 10));
  char* b = Take(20, 1, &zero);
  EXPECT_FALSE(zero);
  EXPECT_EQ(b, a + 10 * kGranuleBytes);
  char* c = Take(20, 1, &zero);
  EXPECT_TRUE(zero);
  EXPECT_TRUE(IsZero(c, 20 * kGranuleBytes));
}

TEST_F(MediumTest, OneEmptyUnitIsKept) {
  AddUnit();
  char* a = Take(kAllGranules);
  AddUnit();
  char* b = Take(kAllGranules);
  Give(a);
  EXPECT_EQ(units_, 2);
  Give(b);
  EXPECT_EQ(units_, 1);
  // It is used again, and freed again.
  b = Take(kAllGranules);
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(medium_.DropEmpty(), nullptr);
  Give(b);
  char* base = medium_.DropEmpty();
  ASSERT_NE(base, nullptr);
  Return(base);
  EXPECT_EQ(Take(1), nullptr);
}

// Against a map of what lives.
class MediumModel : public MediumTest {
 public:
  void TestBody() override {}

  void Run() {
    int steps = *rc::gen::inRange(1, std::getenv("F3_FULL") != nullptr ? 3000 : 400);
    for (int i = 0; i < steps; ++i) Step();
    while (!live_.empty()) Free(live_.begin());
    RC_ASSERT(units_ <= 1);
  }

 private:
  struct Block {
    uint32_t granules;
    char fill;
  };
  using Place = std::map<char*, Block>::iterator;

  void Step() {
    int kind = *rc::gen::inRange(0, 10);
    if (live_.empty() || kind < 5) return Add();
    auto at = live_.begin();
    std::advance(at, *rc::gen::inRange<size_t>(0, live_.size()));
    if (kind < 9) return Free(at);
    Resize(at);
  }

  void Add() {
    auto granules = *rc::gen::inRange<uint32_t>(1, *rc::gen::element(9u, 40u, 73u));
    uint32_t alignment = 1u << *rc::gen::element(0, 0, 0, *rc::gen::inRange(0, 6));
    bool zero = false;
    char* p = Take(granules, alignment, &zero);
    if (p == nullptr) {
      AddUnit();
      p = Take(granules, alignment, &zero);
    }
    RC_ASSERT((p != nullptr));
    RC_ASSERT(reinterpret_cast<uintptr_t>(p) % (alignment * kGranuleBytes) == 0u);
    if (zero) RC_ASSERT(IsZero(p, granules * kGranuleBytes));
    Put(p, granules);
  }

  void Put(char* p, uint32_t granules) {
    RC_ASSERT(MediumUsable(p) == granules * kGranuleBytes);
    auto [at, fresh] = live_.emplace(p, Block{granules, ++fill_});
    RC_ASSERT(fresh);
    if (at != live_.begin()) RC_ASSERT(End(std::prev(at)) <= p);
    if (std::next(at) != live_.end()) RC_ASSERT(End(at) <= std::next(at)->first);
    std::memset(p, fill_, granules * kGranuleBytes);
  }

  static char* End(Place at) { return at->first + at->second.granules * kGranuleBytes; }

  void Check(Place at) {
    for (const char* p = at->first; p < End(at); p += kGranuleBytes / 2) {
      RC_ASSERT(*p == at->second.fill);
    }
  }

  void Free(Place at) {
    Check(at);
    Give(at->first);
    live_.erase(at);
  }

  void Resize(Place at) {
    Check(at);
    char* p = at->first;
    auto granules = *rc::gen::inRange<uint32_t>(1, 73);
    if (!medium_.Resize(p, granules)) {
      RC_ASSERT(granules > at->second.granules);
      RC_ASSERT(MediumUsable(p) == at->second.granules * kGranuleBytes);
      return;
    }
    live_.erase(at);
    Put(p, granules);
  }

  std::map<char*, Block> live_;
  char fill_ = 0;
};

RC_GTEST_PROP(MediumArenas, BehaveLikeAMapOfBlocks, ()) { MediumModel().Run(); }

TEST(Medium, SizesAndAlignmentsOfAUnit) {
  EXPECT_TRUE(IsMedium(1, 1));
  EXPECT_TRUE(IsMedium(kMaxMediumBytes, 512));
  EXPECT_FALSE(IsMedium(kMaxMediumBytes + 1, 1));
  EXPECT_TRUE(IsMedium(32 << 10, 32 << 10));
  EXPECT_FALSE(IsMedium(33 << 10, 32 << 10));
  EXPECT_FALSE(IsMedium(1, 64 << 10));
}

using MediumDeathTest = MediumTest;

TEST_F(MediumDeathTest, AddressesThatAreNoBlock) {
  AddUnit();
  char* p = Take(10);
  EXPECT_DEATH(Give(p + 16), "inside an object");
  EXPECT_DEATH(Give(p + kGranuleBytes), "double free");
  EXPECT_EQ(MediumUsable(p + 16), 0u);
  Take(1);
  Give(p);
  EXPECT_DEATH(Give(p), "double free");
}

}  // namespace
}  // namespace f3::hwalloc
