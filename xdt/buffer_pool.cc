#include "xdt/buffer_pool.h"

#include <algorithm>
#include <utility>

#include "common/units.h"

namespace f3::xdt {

BufferPool::Share& BufferPool::Share::operator=(Share&& other) noexcept {
  if (this != &other) {
    Reset();
    pool_ = std::exchange(other.pool_, nullptr);
    account_ = std::move(other.account_);
    bytes_ = std::exchange(other.bytes_, 0);
  }
  return *this;
}

void BufferPool::Share::Reset() {
  if (pool_ != nullptr) pool_->Release(bytes_, account_.get());
  pool_ = nullptr;
  account_ = nullptr;
  bytes_ = 0;
}

Status BufferPool::CheckPossible(uint64_t bytes, const Account& account) const {
  const uint64_t most = std::min(options_.capacity_bytes, account.limit_bytes_);
  if (bytes <= most) return Status();
  return Status::FileTooBig("a buffer here has at most " + FormatBytes(most) +
                            "; raise xdt_memory of this node for more");
}

bool BufferPool::FitsAccount(uint64_t bytes, const Account& account) const {
  return account.limit_bytes_ - account.used_bytes_ >= bytes;
}

BufferPool::Share BufferPool::Take(uint64_t bytes, const AccountRef& account) {
  used_bytes_ += bytes;
  account->used_bytes_ += bytes;
  Share share;
  share.pool_ = this;
  share.account_ = account;
  share.bytes_ = bytes;
  return share;
}

Result<BufferPool::Share> BufferPool::TryReserve(uint64_t bytes, const AccountRef& account) {
  F3_RETURN_IF_ERROR(CheckPossible(bytes, *account));
  MutexLock lock(mutex_);
  if (!waiting_.empty() || used_bytes_ + bytes > options_.capacity_bytes ||
      !FitsAccount(bytes, *account)) {
    return Status::Again("the node's buffers are in use");
  }
  return Take(bytes, account);
}

void BufferPool::Wait(uint64_t bytes, AccountRef account, int64_t deadline_micros, Done done) {
  Status possible = CheckPossible(bytes, *account);
  if (!possible.ok()) return done(possible);
  MutexLock lock(mutex_);
  waiting_.push_back({bytes, std::move(account), deadline_micros, std::move(done)});
  if (options_.wake) options_.wake();
}

size_t BufferPool::Pump() {
  std::vector<std::pair<Done, Result<Share>>> ready;
  size_t left = 0;
  {
    MutexLock lock(mutex_);
    const int64_t now = options_.clock->MonotonicMicros();
    bool pool_full = false;
    for (auto it = waiting_.begin(); it != waiting_.end();) {
      if (!pool_full && FitsAccount(it->bytes, *it->account)) {
        if (used_bytes_ + it->bytes <= options_.capacity_bytes) {
          ready.emplace_back(std::move(it->done), Take(it->bytes, it->account));
          it = waiting_.erase(it);
          continue;
        }
        pool_full = true;
      }
      if (it->deadline_micros <= now) {
        ready.emplace_back(std::move(it->done),
                           Status::Timeout("no buffer of the node became free in time"));
        it = waiting_.erase(it);
      } else {
        ++it;
      }
    }
    left = waiting_.size();
  }
  for (auto& [done, share] : ready) done(std::move(share));
  return left;
}

void BufferPool::FailWaits(const Status& status) {
  std::list<Waiting> waiting;
  {
    MutexLock lock(mutex_);
    waiting.swap(waiting_);
  }
  for (Waiting& one : waiting) one.done(status);
}

uint64_t BufferPool::wanted_bytes() const {
  MutexLock lock(mutex_);
  for (const Waiting& one : waiting_) {
    if (!FitsAccount(one.bytes, *one.account)) continue;
    const uint64_t needed = used_bytes_ + one.bytes;
    return needed > options_.capacity_bytes ? needed - options_.capacity_bytes : 0;
  }
  return 0;
}

uint64_t BufferPool::waiting_bytes() const {
  MutexLock lock(mutex_);
  return waiting_.empty() ? 0 : waiting_.front().bytes;
}

uint64_t BufferPool::used_bytes() const {
  MutexLock lock(mutex_);
  return used_bytes_;
}

void BufferPool::Release(uint64_t bytes, Account* account) {
  MutexLock lock(mutex_);
  used_bytes_ -= bytes;
  account->used_bytes_ -= bytes;
  if (!waiting_.empty() && options_.wake) options_.wake();
}

}  // namespace f3::xdt
