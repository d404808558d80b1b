// Sizes and lifetimes, counted by hand.
#include "hwalloc/model/characterise.h"

#include <gtest/gtest.h>

namespace f3::hwmodel {
namespace {

class CharacteriseTest : public ::testing::Test {
 protected:
  void Allocate(uint64_t pointer, uint64_t bytes) {
    Call call;
    call.bytes = bytes;
    program_.EnterCall(call, 10);
    program_.ExitCall(call, 3, pointer);
  }
  void Free(uint64_t pointer) {
    Call call;
    call.op = Op::kFree;
    call.old = pointer;
    program_.EnterCall(call, 10);
    program_.ExitCall(call, 3, 0);
  }
  void Realloc(uint64_t old, uint64_t pointer, uint64_t bytes) {
    Call call;
    call.op = Op::kRealloc;
    call.old = old;
    call.bytes = bytes;
    program_.EnterCall(call, 10);
    program_.ExitCall(call, 3, pointer);
  }
  const Characterisation::Counts& Ended() {
    program_.End(100);
    return program_.counts();
  }

  Characterisation program_;
};

TEST_F(CharacteriseTest, CountsSizesInGroups) {
  uint64_t pointer = 0x1000;
  for (uint64_t bytes : {0, 16, 17, 512, 513, 4096, 4097}) Allocate(pointer += 0x10000, bytes);
  const auto& counts = Ended();
  EXPECT_EQ(counts.by_size, (std::array<uint64_t, 8>{2, 1, 0, 0, 0, 1, 2, 1}));
  EXPECT_EQ(counts.allocations, 7u);
  EXPECT_EQ(counts.small_allocations, 4u);
  EXPECT_EQ(counts.instructions, 7 * 13 + 100u);
}

TEST_F(CharacteriseTest, AnAgeIsTheNumberOfLaterAllocationsOfTheClass) {
  Allocate(0x1000, 16);
  Allocate(0x2000, 200);  // another class: does not age the first
  Free(0x1000);           // age 0
  Allocate(0x1000, 16);
  for (uint64_t i = 0; i < 4; ++i) Allocate(0x10000 + i * 16, 16);
  Free(0x1000);  // age 4
  for (uint64_t i = 4; i < 20; ++i) Allocate(0x10000 + i * 16, 16);
  Free(0x10000);  // age 19
  const auto& counts = Ended();
  EXPECT_EQ(counts.by_lifetime, (std::array<uint64_t, 6>{1, 1, 0, 1, 0, 0}));
  EXPECT_EQ(counts.live_to_exit, 20u);
  EXPECT_DOUBLE_EQ(counts.DieWithin(16), 2.0 / 23);
  EXPECT_DOUBLE_EQ(counts.LiveToExit(), 20.0 / 23);
}

TEST_F(CharacteriseTest, ReallocIsADeathAndABirth) {
  Allocate(0x1000, 16);
  Realloc(0x1000, 0x2000, 32);
  Realloc(0x2000, 0, 48);  // failed: the old one lives
  Realloc(0x2000, 0x3000, 600);
  Realloc(0, 0x4000, 8);
  Realloc(0x4000, 0, 0);  // freed
  const auto& counts = Ended();
  EXPECT_EQ(counts.allocations, 4u);
  EXPECT_EQ(counts.live_to_exit, 0u);
  EXPECT_EQ(counts.by_lifetime[0], 3u);
}

TEST_F(CharacteriseTest, NothingDividesByNothing) {
  const auto& counts = Ended();
  EXPECT_EQ(counts.DieWithin(16), 0);
  EXPECT_EQ(counts.LiveToExit(), 0);
  EXPECT_EQ(counts.SmallShare(), 0);
}

}  // namespace
}  // namespace f3::hwmodel
