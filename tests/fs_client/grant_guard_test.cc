#include "fs_client/grant_guard.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <thread>

namespace f3::fs {
namespace {

constexpr Ino kFile = 42;

// Too large for a stack that sanitizers have padded.
class GrantGuardTest : public testing::Test {
 protected:
  const std::unique_ptr<GrantGuard> guard_ = std::make_unique<GrantGuard>();
};

TEST_F(GrantGuardTest, AGrantHoldsWhileNothingHappens) {
  const uint64_t since = guard_->Now();
  EXPECT_TRUE(guard_->Holds(kFile, since));
  EXPECT_TRUE(guard_->Holds(0, since));
  EXPECT_TRUE(guard_->Holds(UINT64_MAX, since));
}

TEST_F(GrantGuardTest, AnInvalidationTakesBackWhatWasAskedBefore) {
  const uint64_t before = guard_->Now();
  guard_->Invalidate(kFile);
  EXPECT_FALSE(guard_->Holds(kFile, before));
  EXPECT_TRUE(guard_->Holds(kFile + 1, before));
  EXPECT_TRUE(guard_->Holds(kFile, guard_->Now()));
}

TEST_F(GrantGuardTest, EachInvalidationCounts) {
  guard_->Invalidate(kFile);
  const uint64_t between = guard_->Now();
  guard_->Invalidate(kFile);
  EXPECT_FALSE(guard_->Holds(kFile, between));
}

TEST_F(GrantGuardTest, InvalidatingAllTakesBackEverythingAskedBefore) {
  const uint64_t before = guard_->Now();
  guard_->InvalidateAll();
  EXPECT_FALSE(guard_->Holds(kFile, before));
  EXPECT_FALSE(guard_->Holds(kFile + 1, before));
  EXPECT_TRUE(guard_->Holds(kFile, guard_->Now()));
}

TEST_F(GrantGuardTest, NothingIsGrantedWhileALeaseIsGivenBack) {
  const uint64_t before = guard_->Now();
  guard_->BeginForget(kFile);
  EXPECT_FALSE(guard_->Holds(kFile, before));
  const uint64_t during = guard_->Now();
  EXPECT_FALSE(guard_->Holds(kFile, during));
  EXPECT_TRUE(guard_->Holds(kFile + 1, during));
  guard_->EndForget(kFile);
  // The server may have handled the giving back after a request that was sent meanwhile.
  EXPECT_FALSE(guard_->Holds(kFile, during));
  EXPECT_TRUE(guard_->Holds(kFile, guard_->Now()));
}

TEST_F(GrantGuardTest, TwoThatGiveBackAtOnceAreBothWaitedFor) {
  guard_->BeginForget(kFile);
  guard_->BeginForget(kFile);
  guard_->EndForget(kFile);
  EXPECT_FALSE(guard_->Holds(kFile, guard_->Now()));
  guard_->EndForget(kFile);
  EXPECT_TRUE(guard_->Holds(kFile, guard_->Now()));
}

TEST_F(GrantGuardTest, ANoticeIsFollowedByASecondWithoutAnother) {
  constexpr int64_t kNow = 5'000'000;
  EXPECT_TRUE(guard_->Settled(kFile, kNow));
  guard_->Noticed(kFile, kNow);
  EXPECT_FALSE(guard_->Settled(kFile, kNow + 999'999));
  EXPECT_TRUE(guard_->Settled(kFile, kNow + 1'000'000));
}

TEST_F(GrantGuardTest, RepliesAreWrittenSideBySide) {
  GrantGuard::Writing one(guard_.get());
  std::thread([this] { GrantGuard::Writing other(guard_.get()); }).join();
}

TEST_F(GrantGuardTest, AnInvalidationWaitsForTheReplyThatIsBeingWritten) {
  const uint64_t since = guard_->Now();
  std::optional<GrantGuard::Writing> writing;
  writing.emplace(guard_.get());
  std::atomic<bool> written{false};
  std::thread invalidation([&] {
    guard_->Invalidate(kFile);
    EXPECT_TRUE(written);
  });
  EXPECT_TRUE(guard_->Holds(kFile, since));
  written = true;
  writing.reset();
  invalidation.join();
  EXPECT_FALSE(guard_->Holds(kFile, since));
}

TEST_F(GrantGuardTest, WhatHoldsWhileItIsWrittenIsInvalidatedAfterwards) {
  constexpr uint64_t kRounds = 2'000;
  // What the kernel has: the reply that was written last or, once it heard of a change, nothing.
  std::atomic<uint64_t> server{0}, kernel{0};
  std::thread changes([&] {
    for (uint64_t value = 1; value <= kRounds; ++value) {
      server = value;
      guard_->Invalidate(kFile);
      kernel = 0;
      // Anything that is cached from here on was asked for after the change.
      const uint64_t cached = kernel;
      EXPECT_TRUE(cached == 0 || cached >= value) << cached << " after " << value;
    }
  });
  for (uint64_t i = 0; i < kRounds; ++i) {
    const uint64_t since = guard_->Now();
    const uint64_t value = server;
    GrantGuard::Writing writing(guard_.get());
    if (guard_->Holds(kFile, since)) kernel = value;
  }
  changes.join();
}

}  // namespace
}  // namespace f3::fs
