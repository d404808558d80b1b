#include "xdt/incoming.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "xdt/owned_objects.h"

namespace f3::xdt {

Result<IncomingRef> Incoming::Create(uint64_t bytes, BufferPool::Share share, Timers* timers) {
  F3_ASSIGN_OR_RETURN(auto buffer, SharedBuffer::Create(bytes));
  F3_ASSIGN_OR_RETURN(std::span<std::byte> mapping, buffer->StartFilling());
  return IncomingRef(new Incoming(std::move(buffer), mapping, bytes, std::move(share), timers));
}

Incoming::Incoming(std::unique_ptr<SharedBuffer> buffer, std::span<std::byte> mapping,
                   uint64_t bytes, BufferPool::Share share, Timers* timers)
    : bytes_(bytes),
      pieces_((bytes + kPieceBytes - 1) / kPieceBytes),
      timers_(timers),
      fd_(buffer->fd()),
      share_(std::move(share)),
      buffer_(std::move(buffer)),
      mapping_(mapping),
      here_(pieces_),
      left_(pieces_) {}

bool Incoming::Arrived(size_t piece, std::span<const std::byte> bytes) {
  // Only one copy of a piece is ever asked for at a time, and none after the last has come.
  std::memcpy(mapping_.data() + piece * kPieceBytes, bytes.data(), bytes.size());
  std::vector<Ready> ready;
  Result<uint64_t> answer = uint64_t{0};
  bool last = false;
  {
    MutexLock lock(mutex_);
    if (here_[piece] || !status_.ok()) return false;
    here_[piece] = true;
    while (first_missing_ < pieces_ && here_[first_missing_]) ++first_missing_;
    last = --left_ == 0;
    if (last) {
      status_ = buffer_->FinishFilling();
      if (status_.ok()) {
        content_ = std::make_shared<Content>(std::move(buffer_), bytes_, std::move(share_));
      }
    }
    const uint64_t here = std::min<uint64_t>(bytes_, uint64_t{first_missing_} * kPieceBytes);
    answer = status_.ok() ? Result<uint64_t>(here) : status_;
    for (auto it = waiters_.begin(); it != waiters_.end();) {
      auto waiter = it++;
      if (waiter->wanted > here && status_.ok()) continue;
      ready.push_back(std::move(waiter->ready));
      waiters_.erase(waiter);
    }
  }
  for (auto& one : ready) one(answer);
  return last;
}

void Incoming::Fail(const Status& status) {
  std::list<Waiter> waiters;
  {
    MutexLock lock(mutex_);
    if (content_ != nullptr || !status_.ok()) return;
    status_ = status;
    waiters.swap(waiters_);
  }
  for (Waiter& waiter : waiters) waiter.ready(status);
}

void Incoming::Await(uint64_t wanted, int64_t deadline_micros, Ready ready) {
  wanted = std::min(wanted, bytes_);
  uint64_t id = 0;
  Result<uint64_t> answer = uint64_t{0};
  {
    MutexLock lock(mutex_);
    const uint64_t here = std::min<uint64_t>(bytes_, uint64_t{first_missing_} * kPieceBytes);
    answer = status_.ok() ? Result<uint64_t>(here) : status_;
    if (status_.ok() && here < wanted) {
      id = next_waiter_++;
      waiters_.push_back({id, wanted, std::move(ready)});
    }
  }
  if (id == 0) return ready(std::move(answer));
  if (deadline_micros == kNever) return;
  timers_->At(deadline_micros, [self = weak_from_this(), id] {
    if (auto incoming = self.lock()) incoming->Expire(id);
  });
}

void Incoming::Expire(uint64_t id) {
  Ready ready;
  {
    MutexLock lock(mutex_);
    auto at = std::find_if(waiters_.begin(), waiters_.end(),
                           [id](const Waiter& waiter) { return waiter.id == id; });
    if (at == waiters_.end()) return;
    ready = std::move(at->ready);
    waiters_.erase(at);
  }
  ready(Status::Timeout("the bytes did not arrive in time"));
}

bool Incoming::AddReaderToOthers() {
  int readers = readers_;
  while (readers > 0) {
    if (readers_.compare_exchange_weak(readers, readers + 1)) return true;
  }
  return false;
}

uint64_t Incoming::available() const {
  MutexLock lock(mutex_);
  return std::min<uint64_t>(bytes_, uint64_t{first_missing_} * kPieceBytes);
}

ContentRef Incoming::content() const {
  MutexLock lock(mutex_);
  return content_;
}

Status Incoming::status() const {
  MutexLock lock(mutex_);
  return status_;
}

}  // namespace f3::xdt
