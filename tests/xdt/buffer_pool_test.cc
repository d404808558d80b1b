#include "xdt/buffer_pool.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <thread>
#include <vector>

#include "tests/common/status_matchers.h"

namespace f3::xdt {
namespace {

using Share = BufferPool::Share;

BufferPool::AccountRef Account(uint64_t limit = UINT64_MAX) {
  return std::make_shared<BufferPool::Account>(limit);
}

class BufferPoolTest : public testing::Test {
 protected:
  // A wait whose end is written down under `number`.
  void Wait(int number, uint64_t bytes, const BufferPool::AccountRef& account,
            int64_t for_micros = 1'000'000) {
    pool_.Wait(bytes, account, clock_.MonotonicMicros() + for_micros,
               [this, number](Result<Share> share) {
                 ended_.push_back(number);
                 if (share.ok()) {
                   shares_[number] = std::move(share).value();
                 } else {
                   failed_[number] = share.status();
                 }
               });
  }
  using Numbers = std::vector<int>;

  ManualClock clock_;
  int wakes_ = 0;
  BufferPool pool_{{100, &clock_, [this] { ++wakes_; }}};
  Numbers ended_;
  std::map<int, Share> shares_;
  std::map<int, Status> failed_;
};

TEST_F(BufferPoolTest, ThoseWhoWaitAreServedInOrder) {
  auto account = Account();
  auto held = pool_.TryReserve(90, account);
  ASSERT_OK(held);
  Wait(1, 50, account);
  Wait(2, 5, account);
  Wait(3, 60, account);
  // The second would fit, and so would who comes now: neither goes before the first.
  EXPECT_EQ(pool_.Pump(), 3u);
  EXPECT_CODE(pool_.TryReserve(1, account), kAgain);
  EXPECT_EQ(pool_.wanted_bytes(), 40u);
  EXPECT_EQ(pool_.waiting_bytes(), 50u);
  wakes_ = 0;
  held->Reset();
  EXPECT_EQ(wakes_, 1);
  EXPECT_EQ(pool_.Pump(), 1u);
  EXPECT_EQ(ended_, Numbers({1, 2}));
  EXPECT_EQ(pool_.used_bytes(), 55u);
  shares_.erase(1);
  EXPECT_EQ(pool_.Pump(), 0u);
  EXPECT_EQ(ended_, Numbers({1, 2, 3}));
  shares_.clear();
  EXPECT_EQ(pool_.used_bytes(), 0u);
}

TEST_F(BufferPoolTest, AnAccountAtItsLimitHoldsUpNobodyElse) {
  auto greedy = Account(30), other = Account();
  auto held = pool_.TryReserve(20, greedy);
  ASSERT_OK(held);
  Wait(1, 20, greedy);
  Wait(2, 70, other);
  EXPECT_EQ(pool_.Pump(), 1u);
  EXPECT_EQ(ended_, Numbers({2}));
  EXPECT_EQ(pool_.wanted_bytes(), 0u) << "it waits for its account, not for the pool";
  shares_.clear();
  held->Reset();
  EXPECT_EQ(pool_.Pump(), 0u);
  EXPECT_EQ(ended_, Numbers({2, 1}));
}

TEST_F(BufferPoolTest, AWaitEndsAtItsDeadlineAndTheNextHasItsTurn) {
  auto account = Account();
  auto held = pool_.TryReserve(60, account);
  ASSERT_OK(held);
  Wait(1, 90, account, 10);
  Wait(2, 40, account, 1000);
  clock_.AdvanceMicros(11);
  EXPECT_EQ(pool_.Pump(), 1u);
  EXPECT_TRUE(HasCode(failed_[1], Code::kTimeout));
  EXPECT_EQ(pool_.Pump(), 0u);
  EXPECT_EQ(ended_, Numbers({1, 2}));
}

TEST_F(BufferPoolTest, WhatCanNeverFitIsRefusedAtOnce) {
  auto account = Account(50);
  for (const uint64_t bytes : {uint64_t{51}, uint64_t{101}, UINT64_MAX}) {
    EXPECT_CODE(pool_.TryReserve(bytes, account), kFileTooBig);
    Wait(1, bytes, account);
    EXPECT_TRUE(HasCode(failed_[1], Code::kFileTooBig));
  }
  EXPECT_EQ(pool_.used_bytes(), 0u);
}

TEST_F(BufferPoolTest, AShareIsGivenBackOnce) {
  auto account = Account();
  auto made = pool_.TryReserve(10, account);
  ASSERT_OK(made);
  Share first = std::move(made).value();
  Share second = std::move(first);
  EXPECT_EQ(first.bytes(), 0u);  // NOLINT(bugprone-use-after-move): what is left of it
  first.Reset();
  EXPECT_EQ(pool_.used_bytes(), 10u);
  second = Share();
  EXPECT_EQ(pool_.used_bytes(), 0u);
  Wait(1, 100, account);
  pool_.FailWaits(Status::Unavailable("stopping"));
  EXPECT_TRUE(HasCode(failed_[1], Code::kUnavailable));
}

// Any order of takes, waits and returns: never more than there is, nobody overtaken but by others'
// accounts, nothing lost.
RC_GTEST_PROP(BufferPoolProperty, IsBoundedAndFair, ()) {
  struct Waiter {
    int number;
    uint64_t bytes;
    size_t account;
  };
  ManualClock clock;
  BufferPool pool({100, &clock, {}});
  const std::vector<BufferPool::AccountRef> accounts = {Account(), Account(60)};
  uint64_t of[2] = {0, 0};
  std::map<int, std::pair<Share, size_t>> held;
  std::vector<Waiter> waiting;
  int next = 0;
  const uint64_t limit[2] = {UINT64_MAX, 60};
  const auto fits = [&](const Waiter& w) { return of[w.account] + w.bytes <= limit[w.account]; };
  for (int step = *rc::gen::inRange(0, 200); step > 0; --step) {
    const auto bytes = *rc::gen::inRange<uint64_t>(1, 61);
    const auto account = *rc::gen::inRange<size_t>(0, 2);
    switch (*rc::gen::inRange(0, 3)) {
      case 0: {
        const bool room = waiting.empty() && of[0] + of[1] + bytes <= 100;
        auto share = pool.TryReserve(bytes, accounts[account]);
        RC_ASSERT(share.ok() == (room && fits({0, bytes, account})));
        if (share.ok()) {
          of[account] += bytes;
          held.emplace(next++, std::pair(std::move(share).value(), account));
        }
        break;
      }
      case 1: {
        const int number = next++;
        waiting.push_back({number, bytes, account});
        pool.Wait(bytes, accounts[account], INT64_MAX, [&, number, account](Result<Share> share) {
          RC_ASSERT(share.ok());
          // Those before it wait for their account.
          for (auto it = waiting.begin(); it->number != number; ++it) RC_ASSERT(!fits(*it));
          std::erase_if(waiting, [&](const Waiter& w) { return w.number == number; });
          of[account] += share->bytes();
          held.emplace(number, std::pair(std::move(share).value(), account));
        });
        break;
      }
      default: {
        if (held.empty()) break;
        auto it = held.begin();
        std::advance(it, *rc::gen::inRange<size_t>(0, held.size()));
        of[it->second.second] -= it->second.first.bytes();
        held.erase(it);
      }
    }
    RC_ASSERT(pool.Pump() == waiting.size());
    RC_ASSERT(pool.used_bytes() == of[0] + of[1]);
    RC_ASSERT(pool.used_bytes() <= 100u);
    // Whoever is first and may have some lacks room.
    const auto first = std::find_if(waiting.begin(), waiting.end(), fits);
    if (first != waiting.end()) RC_ASSERT(pool.used_bytes() + first->bytes > 100u);
  }
}

TEST_F(BufferPoolTest, ManyThreadsNeverHoldMoreThanThereIs) {
  BufferPool pool({64, Clock::Real(), {}});
  std::atomic<uint64_t> held{0};
  std::atomic<int> running{16};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 16; ++t) {
    threads.emplace_back([&, t] {
      auto account = Account(t % 2 == 0 ? 40 : UINT64_MAX);
      for (uint64_t i = 0; i < 500; ++i) {
        const uint64_t bytes = 1 + (t * 7 + i) % 32;
        std::atomic<bool> got{false};
        Share share;
        pool.Wait(bytes, account, INT64_MAX, [&](Result<Share> granted) {
          share = std::move(granted).value();
          got = true;
        });
        while (!got) {
          pool.Pump();
          std::this_thread::yield();
        }
        EXPECT_LE(held += bytes, 64u);
        held -= bytes;
      }
      --running;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(running, 0);
  EXPECT_EQ(pool.used_bytes(), 0u);
}

}  // namespace
}  // namespace f3::xdt
