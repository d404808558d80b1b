#include "fs_client/follow.h"

#include <algorithm>
#include <utility>

namespace f3::fs {
namespace {

void RunAll(const std::vector<std::function<void()>>& wakes) {
  for (const auto& wake : wakes) wake();
}

}  // namespace

void Follow::WriterOpened(uint64_t size) {
  MutexLock lock(mutex_);
  if (writers_++ > 0) return;
  vanished_ = false;
  broken_from_ = UINT64_MAX;
  watermark_ = size;
  ahead_.clear();
}

void Follow::WriterClosed(bool vanished, uint64_t size) {
  Wakes wakes;
  {
    MutexLock lock(mutex_);
    if (writers_ == 0) return;
    if (vanished) {
      vanished_ = true;
      ++epoch_;
    }
    if (--writers_ == 0) end_ = size;
    WakeLocked(&wakes);
  }
  RunAll(wakes);
}

void Follow::BreakLocked(uint64_t offset) {
  ++epoch_;
  broken_from_ = std::min(broken_from_, offset);
}

void Follow::Wrote(uint64_t offset, uint64_t length) {
  Wakes wakes;
  {
    MutexLock lock(mutex_);
    if (writers_ == 0 || length == 0) return;
    uint64_t end = offset + length;
    if (offset < watermark_) BreakLocked(offset);
    if (offset > watermark_) {
      // Several writes of one program may arrive out of order; what comes after a gap waits for it.
      auto next = ahead_.upper_bound(offset);
      if (next != ahead_.begin() && std::prev(next)->second >= offset) {
        --next;
        offset = next->first;
      }
      while (next != ahead_.end() && next->first <= end) {
        end = std::max(end, next->second);
        next = ahead_.erase(next);
      }
      ahead_[offset] = end;
      if (ahead_.size() > kMaxAhead) BreakLocked(watermark_);
    } else {
      watermark_ = std::max(watermark_, end);
      while (!ahead_.empty() && ahead_.begin()->first <= watermark_) {
        watermark_ = std::max(watermark_, ahead_.begin()->second);
        ahead_.erase(ahead_.begin());
      }
    }
    WakeLocked(&wakes);
  }
  RunAll(wakes);
}

void Follow::Truncated(uint64_t size) {
  Wakes wakes;
  {
    MutexLock lock(mutex_);
    if (writers_ == 0) return;
    if (size < watermark_) {
      BreakLocked(size);
      watermark_ = size;
    }
    ahead_.erase(ahead_.lower_bound(size), ahead_.end());
    if (!ahead_.empty()) {
      auto& last = *std::prev(ahead_.end());
      last.second = std::min(last.second, size);
    }
    WakeLocked(&wakes);
  }
  RunAll(wakes);
}

bool Follow::has_writer() const {
  MutexLock lock(mutex_);
  return writers_ > 0;
}

bool Follow::vanished() const {
  MutexLock lock(mutex_);
  return vanished_;
}

uint64_t Follow::epoch() const {
  MutexLock lock(mutex_);
  return epoch_;
}

bool Follow::AnswerLocked(const Waiter& waiter, Result<Progress>* answer) const {
  const bool broken = waiter.epoch == kAnyEpoch
                          ? (vanished_ && writers_ == 0) || waiter.offset > broken_from_
                          : waiter.epoch != epoch_;
  if (broken) {
    *answer = Status::WriterVanished(
        "the file's writer died, or rewrote what had been read: what was read may be incomplete");
    return true;
  }
  if (writers_ == 0) {
    *answer = Progress{end_, false};
    return true;
  }
  if (watermark_ > waiter.offset) {
    *answer = Progress{watermark_, true};
    return true;
  }
  return false;
}

void Follow::WakeLocked(Wakes* wakes) {
  for (auto it = waiters_.begin(); it != waiters_.end();) {
    Result<Progress> answer = Progress{};
    if (!AnswerLocked(it->second, &answer)) {
      ++it;
      continue;
    }
    wakes->push_back([done = std::move(it->second.done), answer] { done(answer); });
    it = waiters_.erase(it);
  }
}

uint64_t Follow::Await(uint64_t offset, uint64_t epoch, Done done) {
  return Add({offset, epoch, std::move(done)});
}

uint64_t Follow::AwaitRemote(uint64_t offset, Done done) {
  return Add({offset, kAnyEpoch, std::move(done)});
}

uint64_t Follow::Add(Waiter waiter) {
  Result<Progress> answer = Progress{};
  {
    MutexLock lock(mutex_);
    if (!AnswerLocked(waiter, &answer)) {
      const uint64_t id = next_wait_++;
      waiters_.emplace(id, std::move(waiter));
      return id;
    }
  }
  waiter.done(std::move(answer));
  return 0;
}

void Follow::Cancel(uint64_t wait, const Status& status) {
  Done done;
  Result<Progress> answer = Progress{};
  {
    MutexLock lock(mutex_);
    auto it = waiters_.find(wait);
    if (it == waiters_.end()) return;
    done = std::move(it->second.done);
    waiters_.erase(it);
    answer = status.ok() ? Result<Progress>(Progress{watermark_, writers_ > 0}) : status;
  }
  done(std::move(answer));
}

void Follow::CancelAll(const Status& status) {
  std::vector<uint64_t> all;
  {
    MutexLock lock(mutex_);
    for (const auto& [id, waiter] : waiters_) all.push_back(id);
  }
  for (uint64_t id : all) Cancel(id, status);
}

}  // namespace f3::fs
