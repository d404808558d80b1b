// The hardware object table: hits and misses, moves between the lists, releases; and a random
// history against a set of what is allocated.
#include "hwalloc/model/object_table.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <map>
#include <vector>

namespace f3::hwmodel {
namespace {

constexpr uint32_t kA = 0, kB = 1;  // threads

// Objects of 512 bytes: an arena has few, so it is soon full.
constexpr uint64_t kBig = 512;
uint32_t BigSlots() { return ObjectTable::Layout(hwalloc::ClassOf(kBig)).slots; }

std::vector<uint64_t> Fill(ObjectTable* table, uint32_t thread, uint32_t objects) {
  std::vector<uint64_t> places;
  for (uint32_t i = 0; i < objects; ++i) places.push_back(table->Allocate(thread, kBig).address);
  return places;
}

TEST(ObjectTable, ArenasHoldAtMost256ObjectsBehindAHeaderOfALine) {
  for (uint32_t i = 0; i < kClasses; ++i) {
    const auto& layout = ObjectTable::Layout(i);
    EXPECT_EQ(layout.object_bytes, (i + 1) * 8);
    EXPECT_LE(layout.slots, kSlotsPerArena);
    EXPECT_LE(layout.header_bytes, 64u);
    EXPECT_LE(layout.SlotOffset(layout.slots), hwalloc::kUnitBytes) << i;
  }
  EXPECT_EQ(ObjectTable::Layout(0).slots, 256u);
  EXPECT_EQ(BigSlots(), 127u);
}

TEST(ObjectTable, TheFirstOfAClassMissesTheOthersHit) {
  ObjectTable table;
  TableStep first = table.Allocate(kA, 24);
  EXPECT_FALSE(first.hit);
  EXPECT_TRUE(first.new_arena);
  EXPECT_FALSE(first.listed);  // nothing was in a list
  EXPECT_EQ(first.headers_count, 1u);
  EXPECT_TRUE(table.Allocate(kA, 17).hit);   // the same class
  EXPECT_FALSE(table.Allocate(kA, 25).hit);  // another
  EXPECT_FALSE(table.Allocate(kB, 24).hit);  // another thread's table
}

TEST(ObjectTable, OneMissForEachArenaFilled) {
  ObjectTable table;
  uint32_t misses = 0;
  for (int i = 0; i < 10 * 256; ++i) misses += !table.Allocate(kA, 8).hit;
  EXPECT_EQ(misses, 10u);
}

TEST(ObjectTable, FreeingHitsWhileTheArenaIsInTheTable) {
  ObjectTable table;
  uint64_t place = table.Allocate(kA, 40).address;
  TableStep step = table.Free(kA, place);
  EXPECT_TRUE(step.ok);
  EXPECT_TRUE(step.hit);
  EXPECT_EQ(step.headers_count, 0u);
  EXPECT_EQ(table.Allocate(kA, 40).address, place);  // the lowest free slot
}

TEST(ObjectTable, AFullArenaComesBackWhenOneOfItsObjectsIsFreed) {
  ObjectTable table;
  auto first = Fill(&table, kA, BigSlots());
  TableStep next = table.Allocate(kA, kBig);  // the first arena goes, full
  EXPECT_TRUE(next.new_arena);
  EXPECT_TRUE(next.listed);
  EXPECT_EQ(next.headers_count, 2u);  // one written back, one made

  TableStep freed = table.Free(kA, first[5]);
  EXPECT_FALSE(freed.hit);
  EXPECT_TRUE(freed.listed);  // full → available
  freed = table.Free(kA, first[6]);
  EXPECT_FALSE(freed.hit);
  EXPECT_FALSE(freed.listed);  // it is available already

  Fill(&table, kA, BigSlots() - 1);  // the second arena is full
  TableStep back = table.Allocate(kA, kBig);
  EXPECT_FALSE(back.hit);
  EXPECT_FALSE(back.new_arena);
  EXPECT_TRUE(back.listed);  // available → table
  EXPECT_EQ(back.address, first[5]);
  EXPECT_TRUE(table.Free(kA, first[7]).hit);
}

TEST(ObjectTable, AnEmptyArenaIsReleasedUnlessItIsTheOnlyOneThatWaits) {
  ObjectTable table;
  auto first = Fill(&table, kA, BigSlots());
  auto second = Fill(&table, kA, BigSlots());
  Fill(&table, kA, 1);
  for (uint64_t place : first) EXPECT_EQ(table.Free(kA, place).released_arena, 0u);
  uint64_t released = 0;
  for (uint64_t place : second) {
    TableStep step = table.Free(kA, place);
    if (step.released_arena != 0) released = step.released_arena;
  }
  EXPECT_EQ(released, hwalloc::ArenaBase(second[0]));
  // Its address is used again, by whatever class needs an arena.
  TableStep step = table.Allocate(kA, 8);
  EXPECT_TRUE(step.new_arena);
  EXPECT_EQ(hwalloc::ArenaBase(step.address), released);
}

TEST(ObjectTable, AnotherThreadsFreeMissesAndIsSeenByTheOwner) {
  ObjectTable table;
  auto places = Fill(&table, kA, BigSlots());
  TableStep step = table.Free(kB, places[3]);
  EXPECT_TRUE(step.ok);
  EXPECT_FALSE(step.hit);
  EXPECT_TRUE(step.remote);
  TableStep again = table.Allocate(kA, kBig);
  EXPECT_TRUE(again.hit);
  EXPECT_EQ(again.address, places[3]);
}

TEST(ObjectTable, WhatIsNotAllocatedIsNotFreed) {
  ObjectTable table;
  uint64_t place = table.Allocate(kA, 64).address;
  EXPECT_FALSE(table.Free(kA, place + 8).ok);                      // within an object
  EXPECT_FALSE(table.Free(kA, place + 64).ok);                     // never allocated
  EXPECT_FALSE(table.Free(kA, hwalloc::ArenaBase(place) + 8).ok);  // the header
  EXPECT_FALSE(table.Free(kA, 0x1000).ok);
  EXPECT_FALSE(table.Free(kA, UINT64_MAX).ok);
  EXPECT_TRUE(table.Free(kA, place).ok);
  EXPECT_FALSE(table.Free(kA, place).ok);  // twice
  EXPECT_EQ(table.live_bytes(), 0u);
}

TEST(ObjectTable, TheBypassCounterKnowsTheHighestLineTouched) {
  ObjectTable table;
  uint64_t base = hwalloc::ArenaBase(table.Allocate(kA, 64).address);
  EXPECT_TRUE(table.FirstTouch(base));  // the header
  EXPECT_FALSE(table.FirstTouch(base + 32));
  EXPECT_TRUE(table.FirstTouch(base + 64));
  EXPECT_TRUE(table.FirstTouch(base + 256));
  EXPECT_FALSE(table.FirstTouch(base + 128));  // below the counter: taken for touched
  EXPECT_TRUE(table.FirstTouch(base + 320));
}

TEST(ObjectTable, ReleasedArenasAreFreshAgain) {
  ObjectTable table;
  auto first = Fill(&table, kA, BigSlots());
  auto second = Fill(&table, kA, BigSlots());
  Fill(&table, kA, 1);
  uint64_t base = hwalloc::ArenaBase(second[0]);
  EXPECT_TRUE(table.FirstTouch(base + 640));
  for (uint64_t place : first) table.Free(kA, place);
  for (uint64_t place : second) table.Free(kA, place);
  ASSERT_EQ(hwalloc::ArenaBase(table.Allocate(kA, 8).address), base);
  EXPECT_TRUE(table.FirstTouch(base + 64));
}

TEST(ObjectTable, TheAddressCacheKnowsTheClassesThatAskedLast) {
  ObjectTable table;
  EXPECT_FALSE(table.Allocate(kA, 512).aac_hit);
  Fill(&table, kA, BigSlots() - 1);
  EXPECT_TRUE(table.Allocate(kA, 512).aac_hit);
  // 256 bytes share the entry: class 31 and class 63 of 32 entries.
  EXPECT_FALSE(table.Allocate(kA, 256).aac_hit);
  Fill(&table, kA, BigSlots() - 1);
  EXPECT_FALSE(table.Allocate(kA, 512).aac_hit);
}

struct Step {
  bool free = false;
  uint32_t thread = 0;
  uint32_t bytes = 0;
  uint32_t which = 0;
};

void showValue(const Step& step, std::ostream& out) {
  out << (step.free ? "free " : "alloc ") << step.thread << " " << step.bytes << " " << step.which;
}

rc::Gen<Step> AnyStep() {
  // Few sizes, so that arenas fill and empty.
  return rc::gen::build<Step>(rc::gen::set(&Step::free, rc::gen::arbitrary<bool>()),
                              rc::gen::set(&Step::thread, rc::gen::inRange(0u, 3u)),
                              rc::gen::set(&Step::bytes, rc::gen::element(0u, 8u, 24u, 500u, 512u)),
                              rc::gen::set(&Step::which, rc::gen::inRange(0u, 100000u)));
}

// Steps come in bursts: enough of them to fill arenas.
void PlayHistory(const std::vector<Step>& steps) {
  ObjectTable table;
  std::map<uint64_t, uint64_t> live;  // place → bytes of its class
  uint64_t live_bytes = 0;
  for (const Step& step : steps) {
    for (int i = 0; i < 40; ++i) {
      if (!step.free) {
        uint64_t place = table.Allocate(step.thread, step.bytes).address;
        uint64_t bytes = hwalloc::ClassBytes(hwalloc::ClassOf(step.bytes));
        auto after = live.lower_bound(place);
        RC_ASSERT(after == live.end() || place + bytes <= after->first);
        if (after != live.begin()) {
          auto before = std::prev(after);
          RC_ASSERT(before->first + before->second <= place);
        }
        live[place] = bytes;
        live_bytes += bytes;
      } else if (!live.empty()) {
        auto at = live.lower_bound(kArenaRegion + (step.which + i * 977u) % 3000000u);
        if (at == live.end()) at = live.begin();
        RC_ASSERT(table.Free(step.thread, at->first).ok);
        live_bytes -= at->second;
        live.erase(at);
      }
      RC_ASSERT(table.live_bytes() == live_bytes);
    }
  }
  for (const auto& [place, bytes] : live) RC_ASSERT(table.Free(kA, place).ok);
  RC_ASSERT(table.live_bytes() == 0u);
}

TEST(ObjectTable, AgreesWithASetOfObjects) {
  ASSERT_TRUE(rc::check("objects are apart, and freed once",
                        [] { PlayHistory(*rc::gen::container<std::vector<Step>>(AnyStep())); }));
}

}  // namespace
}  // namespace f3::hwmodel
