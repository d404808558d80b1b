#include "fs_client/staging_fill.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>

namespace f3::fs {
namespace {

constexpr int64_t kBufferWaitMicros = 10'000'000;

// Calls `done` once, when `Part` was called as often as announced; with the first error.
class Join {
 public:
  Join(size_t parts, StagingFill::Done done) : left_(parts), done_(std::move(done)) {}
  void Part(const Status& status) {
    Status result;
    {
      MutexLock lock(mutex_);
      if (status_.ok()) status_ = status;
      if (--left_ > 0) return;
      result = status_;
    }
    done_(result);
  }

 private:
  Mutex mutex_;
  size_t left_ F3_GUARDED_BY(mutex_);
  Status status_ F3_GUARDED_BY(mutex_);
  const StagingFill::Done done_;
};

}  // namespace

StagingFill::StagingFill(const Parts& parts, std::shared_ptr<storage::Object> object, uint64_t size,
                         const std::vector<storage::DurableBlock>& rows)
    : parts_(parts), object_(std::move(object)), size_(size) {
  for (const storage::DurableBlock& row : rows) {
    if (row.index * kBlockBytes < size) absent_.emplace(row.index, row);
  }
}

bool StagingFill::complete() const {
  MutexLock lock(mutex_);
  return absent_.empty();
}

void StagingFill::Ensure(uint64_t offset, uint64_t length, Done done) {
  std::vector<storage::DurableBlock> start;
  bool nothing = false;
  {
    MutexLock lock(mutex_);
    const uint64_t first = offset / kBlockBytes;
    // Not past the end of all offsets.
    const uint64_t last_byte =
        length == 0 ? offset : offset + std::min(length - 1, UINT64_MAX - offset);
    const uint64_t last = last_byte / kBlockBytes;
    auto begin = absent_.lower_bound(first);
    auto end = absent_.upper_bound(last);
    nothing = begin == end || length == 0;
    if (!nothing) {
      auto join = std::make_shared<Join>(static_cast<size_t>(std::distance(begin, end)), done);
      for (auto it = begin; it != end; ++it) {
        auto [waiters, fresh] = loading_.try_emplace(it->first);
        waiters->second.push_back([join](const Status& status) { join->Part(status); });
        if (fresh) start.push_back(it->second);
      }
    }
  }
  if (nothing) {
    done(Status());
    return;
  }
  for (const storage::DurableBlock& row : start) Load(row);
}

void StagingFill::Load(const storage::DurableBlock& row) {
  auto self = shared_from_this();
  if (!parts_.executor->TrySubmit([self, row] { self->Loaded(row.index, self->LoadNow(row)); })) {
    Loaded(row.index, Status::Io("too much is waiting to be read from the durable store"));
  }
}

Status StagingFill::LoadNow(const storage::DurableBlock& row) {
  if (row.length == 0) return Status();
  F3_ASSIGN_OR_RETURN(hwalloc::Buffer buffer,
                      parts_.buffers->Allocate(row.length, kBufferWaitMicros));
  F3_RETURN_IF_ERROR(parts_.durable->Get({object_->key().ino, row.index, row.generation},
                                         row.length, row.crc, 0, buffer.span()));
  const uint64_t begin = row.index * kBlockBytes;
  uint64_t length = row.length;
  {
    MutexLock lock(mutex_);
    length = begin >= size_ ? 0 : std::min(length, size_ - begin);
  }
  for (uint64_t at = 0; at < length;) {
    const ssize_t n =
        ::pwrite(object_->fd(), buffer.data() + at, length - at, static_cast<off_t>(begin + at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      return Status::FromErrno(n < 0 ? errno : EIO, "stage object " + ToString(object_->key()));
    at += static_cast<uint64_t>(n);
  }
  return Status();
}

void StagingFill::Loaded(uint64_t index, const Status& status) {
  std::vector<Done> waiters;
  {
    MutexLock lock(mutex_);
    if (status.ok()) absent_.erase(index);
    waiters = std::move(loading_[index]);
    loading_.erase(index);
  }
  for (const Done& waiter : waiters) waiter(status);
}

void StagingFill::Truncate(uint64_t size, std::function<Status()> truncate, Done done) {
  auto self = shared_from_this();
  // The block that keeps its front has to be there before its rest is cut off.
  auto cut = [self, size, truncate = std::move(truncate), done](const Status& ensured) {
    if (!ensured.ok()) {
      done(ensured);
      return;
    }
    const uint64_t first_gone = (size + kBlockBytes - 1) / kBlockBytes;
    std::shared_ptr<Join> join;
    {
      MutexLock lock(self->mutex_);
      self->size_ = std::min(self->size_, size);
      auto loading = self->loading_.lower_bound(first_gone);
      const auto count = static_cast<size_t>(std::distance(loading, self->loading_.end()));
      for (auto it = self->absent_.lower_bound(first_gone); it != self->absent_.end();) {
        it = self->absent_.erase(it);
      }
      auto finish = [truncate, done](const Status&) { done(truncate()); };
      join = std::make_shared<Join>(count + 1, finish);
      for (; loading != self->loading_.end(); ++loading) {
        loading->second.push_back([join](const Status&) { join->Part(Status()); });
      }
    }
    join->Part(Status());
  };
  if (size % kBlockBytes == 0) {
    cut(Status());
  } else {
    Ensure(size, 1, cut);
  }
}

}  // namespace f3::fs
