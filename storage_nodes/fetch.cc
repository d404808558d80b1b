#include "storage_nodes/fetch.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "common/crc32c.h"
#include "common/log.h"
#include "storage_nodes/object_bytes.h"

namespace f3::storage {
namespace {

// Blocks of the durable store are verified whole, so they are best read whole.
uint64_t ChunkBytesFor(const FetchPlan& plan) {
  return plan.durable && plan.holders.empty() ? kBlockBytes : xdt::kMaxTransferBytes;
}

bool AllZeros(std::span<const std::byte> bytes) {
  return bytes.empty() || (bytes[0] == std::byte{0} &&
                           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace

FetchImpl::FetchImpl(FetchParts* parts, FetchPlan plan, std::shared_ptr<Object> object)
    : parts_(parts),
      key_(plan.key),
      version_(plan.version),
      size_(plan.size),
      chunk_bytes_(ChunkBytesFor(plan)),
      window_(std::max<uint64_t>(
          parts->options.window_chunks * xdt::kMaxTransferBytes / chunk_bytes_, 1)),
      source_(std::make_shared<ContentSource>(parts, std::move(plan))),
      object_(std::move(object)),
      chunks_((size_ + chunk_bytes_ - 1) / chunk_bytes_, ChunkState::kMissing),
      checksums_((size_ + kChecksumBytes - 1) / kChecksumBytes, 0) {}

FetchImpl::~FetchImpl() {
  {
    MutexLock lock(mutex_);
    if (copy_) return;
  }
  // Not if another fetch of the same content has begun meanwhile.
  auto found = parts_->options.objects->Find(key_);
  if (found.ok() && *found == object_) {
    parts_->options.objects->Remove(key_).PermitUnchecked();
  }
}

bool FetchImpl::complete() const {
  MutexLock lock(mutex_);
  return here_ == chunks_.size();
}

uint32_t FetchImpl::ChunkBytes(size_t chunk) const {
  return static_cast<uint32_t>(std::min(chunk_bytes_, size_ - chunk * chunk_bytes_));
}

void FetchImpl::ReadAsync(uint64_t offset, std::span<std::byte> into, int64_t deadline_micros,
                          ReadDone done) {
  if (offset >= size_) return done(size_t{0});
  into = into.first(std::min<uint64_t>(into.size(), size_ - offset));
  auto self = shared_from_this();
  EnsureAsync(offset, into.size(), deadline_micros,
              [self, offset, into, deadline_micros, done = std::move(done)](const Status& status) {
                if (status.Is(Code::kTierFull) || status.Is(Code::kNoSpace)) {
                  return self->source_->Read(offset, into, deadline_micros, done);
                }
                if (!status.ok()) return done(status);
                auto read = ReadObject(*self->object_, offset, into);
                if (!read.ok()) return done(read.status());
                // Zeros at the end are not stored before the fill is over.
                std::memset(into.data() + *read, 0, into.size() - *read);
                done(into.size());
              });
}

void FetchImpl::EnsureAsync(uint64_t offset, uint64_t length, int64_t deadline_micros,
                            std::function<void(Status)> done) {
  if (offset >= size_ || length == 0) return done(Status());
  const size_t first = offset / chunk_bytes_;
  const size_t last = (offset + std::min(length, size_ - offset) - 1) / chunk_bytes_;
  auto waiter = std::make_shared<Waiter>();
  std::vector<size_t> missing;
  {
    MutexLock lock(mutex_);
    for (size_t chunk = first; chunk <= last; ++chunk) {
      if (chunks_[chunk] == ChunkState::kHere) continue;
      ++waiter->left;
      waiters_[chunk].push_back(waiter);
      if (chunks_[chunk] == ChunkState::kComing) continue;
      // A long range is left to the fill, but for its beginning.
      if (filling_ && missing.size() >= window_) continue;
      chunks_[chunk] = ChunkState::kComing;
      ++coming_;
      missing.push_back(chunk);
    }
    if (!missing.empty()) cursor_ = missing.back() + 1;
    if (waiter->left > 0) waiter->done.swap(done);  // else nobody has to wait
  }
  if (done) return done(Status());
  for (size_t chunk : missing) Get(chunk, deadline_micros);
}

void FetchImpl::FillAsync(std::function<void(Status, bool copy)> done) {
  {
    MutexLock lock(mutex_);
    filling_ = true;
    fill_done_ = std::move(done);
  }
  GoOn();
}

// Holes arrive before Get returns, as many as a sparse file has: a loop, not a recursion. Who comes
// while another is at it leaves the rest to that one.
void FetchImpl::GoOn() {
  {
    MutexLock lock(mutex_);
    look_again_ = true;
    if (going_on_) return;
    going_on_ = true;
  }
  for (;;) {
    std::vector<size_t> chunks;
    bool over = false;
    Status error;
    {
      MutexLock lock(mutex_);
      if (!filling_ || !look_again_) {
        going_on_ = false;
        return;
      }
      look_again_ = false;
      error = fill_error_;
      size_t passed = 0;
      while (error.ok() && coming_ < window_ && here_ + coming_ < chunks_.size() &&
             passed++ < chunks_.size()) {
        const size_t chunk = cursor_++ % chunks_.size();
        if (chunks_[chunk] != ChunkState::kMissing) continue;
        chunks_[chunk] = ChunkState::kComing;
        ++coming_;
        chunks.push_back(chunk);
      }
      over = coming_ == 0 && (!error.ok() || here_ == chunks_.size());
      if (over) {
        filling_ = false;
        fill_error_ = Status();
        going_on_ = false;
      }
    }
    if (over) return EndFill(error);
    const int64_t deadline =
        parts_->options.clock->MonotonicMicros() + 3 * parts_->options.request_timeout_micros;
    for (size_t chunk : chunks) Get(chunk, deadline);
  }
}

void FetchImpl::Get(size_t chunk, int64_t deadline_micros) {
  auto self = shared_from_this();
  source_->Get(chunk * chunk_bytes_, ChunkBytes(chunk), deadline_micros,
               [self, chunk](Result<Piece> piece) { self->Arrived(chunk, std::move(piece)); });
}

void FetchImpl::Arrived(size_t chunk, Result<Piece> piece) {
  Status status = piece.ok() ? Store(chunk, *piece) : piece.status();
  const bool exact = !piece.ok() || piece->exact;
  if (piece.ok()) piece->buffer = {};  // whoever is asked next needs one
  std::vector<std::pair<std::function<void(Status)>, Status>> ready;
  const auto end = [&ready](Waiter* waiter, const Status& with) {
    if (waiter->done) ready.emplace_back(std::exchange(waiter->done, nullptr), with);
  };
  {
    MutexLock lock(mutex_);
    --coming_;
    chunks_[chunk] = status.ok() ? ChunkState::kHere : ChunkState::kMissing;
    if (status.ok()) ++here_;
    if (!exact) exact_ = false;
    if (!status.ok() && filling_ && fill_error_.ok()) fill_error_ = status;
    auto waiting = waiters_.extract(chunk);
    if (!waiting.empty()) {
      for (const WaiterRef& waiter : waiting.mapped()) {
        if (--waiter->left == 0 || !status.ok()) end(waiter.get(), status);
      }
    }
    if (filling_ && !fill_error_.ok() && coming_ == 0) {
      // Nobody will get the other chunks for those who wait for them.
      for (auto& [other, waiters] : waiters_) {
        for (const WaiterRef& waiter : waiters) end(waiter.get(), fill_error_);
      }
      waiters_.clear();
    }
  }
  for (const auto& [done, with] : ready) done(with);
  ready.clear();  // what the callbacks own goes before the next is asked for
  GoOn();
}

Status FetchImpl::Store(size_t chunk, const Piece& piece) {
  const uint64_t offset = chunk * chunk_bytes_;
  const std::span<const std::byte> bytes = piece.buffer.span();
  if (piece.buffer.valid() && !AllZeros(bytes)) {
    auto written = WriteObject(*object_, offset, false, bytes);
    if (written.status().Is(Code::kNoSpace)) {
      F3_RETURN_IF_ERROR(parts_->options.objects->MakeRoom(object_->tier(), bytes.size()));
      written = WriteObject(*object_, offset, false, bytes);
    }
    if (!written.ok()) return written.status();
  }
  static const std::vector<std::byte> zeros(kChecksumBytes);
  static const uint32_t zeros_crc = Crc32c(zeros);
  for (uint64_t at = 0; at < ChunkBytes(chunk); at += kChecksumBytes) {
    const size_t n = std::min<uint64_t>(kChecksumBytes, ChunkBytes(chunk) - at);
    const bool hole = !piece.buffer.valid();
    const uint32_t crc = hole && n == kChecksumBytes
                             ? zeros_crc
                             : Crc32c(hole ? std::span(zeros).first(n) : bytes.subspan(at, n));
    MutexLock lock(mutex_);
    checksums_[(offset + at) / kChecksumBytes] = crc;
  }
  return Status();
}

// Everything has arrived, or something could not be had.
void FetchImpl::EndFill(Status status) {
  bool copy = false;
  std::function<void(Status, bool)> done;
  std::vector<uint32_t> checksums;
  {
    MutexLock lock(mutex_);
    copy = status.ok() && exact_;
    checksums = checksums_;
    done = std::exchange(fill_done_, nullptr);
  }
  if (status.ok() && ::ftruncate(object_->fd(), static_cast<off_t>(size_)) != 0) {
    status = Status::FromErrno(errno, "size object " + ToString(key_));
  }
  if (status.ok() && copy) {
    object_->SetChecksums(std::move(checksums));
    status = object_->Seal(version_, Role::kCopy);
  }
  if (!status.ok()) {
    spdlog::info("object {} was not fetched: {}", ToString(key_), status.ToString());
    copy = false;
  }
  {
    MutexLock lock(mutex_);
    copy_ = copy;
  }
  if (done) done(status, copy);
}

}  // namespace f3::storage
