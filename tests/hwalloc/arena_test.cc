#include "hwalloc/arena.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <array>
#include <set>
#include <vector>

namespace f3::hwalloc {
namespace {

TEST(Classes, AreSixtyFourOfEightBytes) {
  EXPECT_EQ(ClassOf(0), 0u);
  EXPECT_EQ(ClassOf(1), 0u);
  EXPECT_EQ(ClassOf(8), 0u);
  EXPECT_EQ(ClassOf(9), 1u);
  EXPECT_EQ(ClassOf(kMaxHardwareBytes), kHardwareClasses - 1);
  for (uint32_t bytes = 1; bytes <= kMaxHardwareBytes; ++bytes) {
    EXPECT_GE(ClassBytes(ClassOf(bytes)), bytes);
    EXPECT_LT(ClassBytes(ClassOf(bytes)), bytes + kClassStep);
  }
}

TEST(Layout, SlotsFitAndEveryByteFindsItsSlot) {
  for (uint32_t bytes = kClassStep; bytes <= kUnitBytes / 2 - 4096; bytes += kClassStep) {
    ArenaLayout layout = MakeLayout(bytes, 64);
    ASSERT_GT(layout.slots, 0u) << bytes;
    ASSERT_LE(layout.SlotOffset(layout.slots), kUnitBytes) << bytes;
    ASSERT_GE(layout.first_slot, (kHeaderColours - 1) * kLineBytes + layout.header_bytes) << bytes;
    ASSERT_EQ(layout.first_slot % layout.alignment(), 0u) << bytes;
    for (uint32_t slot = 0; slot < layout.slots; ++slot) {
      ASSERT_EQ(layout.SlotOf(layout.SlotOffset(slot)), slot) << bytes;
      ASSERT_EQ(layout.SlotOf(layout.SlotOffset(slot) + bytes - 1), slot) << bytes;
    }
  }
}

TEST(Layout, LittleIsLost) {
  for (uint32_t i = 0; i < kHardwareClasses; ++i) {
    ArenaLayout layout = MakeLayout(ClassBytes(i), 64);
    if (layout.slots == kMaxSlots) continue;  // 8 bytes: half of the unit is never touched
    EXPECT_GE(layout.slots * layout.object_bytes, kUnitBytes * 95 / 100) << layout.object_bytes;
  }
}

TEST(Layout, TheModelMayHaveOtherSizes) {
  ArenaLayout layout = MakeLayout(8, 32, 4096, 256, 1);
  EXPECT_EQ(layout.slots, 256u);
  EXPECT_EQ(layout.header_bytes, 64u);
  EXPECT_EQ(layout.first_slot, 64u);
}

TEST(Layout, TheHeaderIsFoundFromEveryAddressOfTheArena) {
  for (uintptr_t base : {0x10000ul, 0x7f12345f0000ul}) {
    EXPECT_EQ(ArenaBase(base + 1), base);
    EXPECT_EQ(ArenaBase(base + kUnitBytes - 1), base);
    EXPECT_EQ(ArenaBase(base + kUnitBytes), base);
    EXPECT_LT(HeaderOffset(base), kHeaderColours * kLineBytes);
  }
  std::set<uint32_t> lines;
  for (uintptr_t i = 1; i <= kHeaderColours; ++i) lines.insert(HeaderOffset(i * kUnitBytes));
  EXPECT_EQ(lines.size(), kHeaderColours);
}

RC_GTEST_PROP(SlotBitmap, BehavesLikeASetOfFreeSlots, ()) {
  auto slots = *rc::gen::inRange<uint32_t>(1, kMaxSlots + 1);
  uint64_t any = 0;
  std::array<uint64_t, kMaxWords> words{};
  SlotBitmap bitmap(&any, words.data());
  bitmap.Fill(slots);
  std::set<uint32_t> free;
  for (uint32_t i = 0; i < slots; ++i) free.insert(i);
  auto steps = *rc::gen::container<std::vector<uint32_t>>(rc::gen::arbitrary<uint32_t>());
  for (uint32_t step : steps) {
    if (step % 4 == 0) {
      uint32_t slot = step / 4 % slots;
      RC_ASSERT(bitmap.Put(slot) == free.insert(slot).second);
    } else if (step % 4 == 1 && !bitmap.empty()) {
      uint32_t word = 0;
      uint64_t bits = bitmap.TakeWord(&word);
      RC_ASSERT(word == *free.begin() / kWordSlots);
      for (uint32_t bit = 0; bit < kWordSlots; ++bit) {
        RC_ASSERT(((bits >> bit) & 1) == free.erase(word * kWordSlots + bit));
      }
      if (step % 8 == 1) {  // half of these words are given back
        bitmap.PutWord(word, bits);
        for (uint32_t bit = 0; bit < kWordSlots; ++bit) {
          if ((bits >> bit) & 1) free.insert(word * kWordSlots + bit);
        }
      }
    } else if (!bitmap.empty()) {
      uint32_t slot = bitmap.Take();
      RC_ASSERT(slot == *free.begin());
      free.erase(slot);
    }
    RC_ASSERT(bitmap.empty() == free.empty());
  }
  for (uint32_t i = 0; i < slots; ++i) RC_ASSERT(bitmap.free(i) == (free.count(i) == 1));
}

}  // namespace
}  // namespace f3::hwalloc
