#include "storage_nodes/content_source.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/log.h"

namespace f3::storage {

std::vector<DurableBlock>::const_iterator FirstBlock(const std::vector<DurableBlock>& blocks,
                                                     uint64_t offset) {
  return std::lower_bound(
      blocks.begin(), blocks.end(), offset / kBlockBytes,
      [](const DurableBlock& block, uint64_t index) { return block.index < index; });
}

// One range on its way, from place to place.
struct ContentSource::Try {
  uint64_t offset = 0;
  uint32_t length = 0;
  int64_t deadline_micros = 0;
  Done done;
  hwalloc::Buffer buffer;
  std::vector<std::string> asked;  // nodes, of this generation of holders
  uint64_t generation = 0;
  bool durable_tried = false;
  bool refreshed = false;
  Status last = Status::Unavailable("no node that holds the bytes is up");

  void Fail(const Status& status) {
    buffer = {};
    done(status);
  }
};

void ContentSource::Get(uint64_t offset, uint32_t length, int64_t deadline_micros, Done done) {
  if (plan_.durable && IsHole(offset, length)) return done(Piece{{}, true});
  auto attempt = std::make_shared<Try>();
  attempt->offset = offset;
  attempt->length = length;
  attempt->deadline_micros = deadline_micros;
  attempt->done = std::move(done);
  {
    MutexLock lock(mutex_);
    attempt->generation = generation_;
  }
  Next(attempt);
}

void ContentSource::Read(uint64_t offset, std::span<std::byte> into, int64_t deadline_micros,
                         Fetch::ReadDone done) {
  const auto length = static_cast<uint32_t>(std::min<size_t>(into.size(), xdt::kMaxTransferBytes));
  auto self = shared_from_this();
  Get(offset, length, deadline_micros,
      [self, offset, into, length, deadline_micros,
       done = std::move(done)](const Result<Piece>& piece) {
        if (!piece.ok()) return done(piece.status());
        if (piece->buffer.valid()) {
          std::memcpy(into.data(), piece->buffer.data(), length);
        } else {
          std::memset(into.data(), 0, length);
        }
        if (length == into.size()) return done(into.size());
        self->Read(offset + length, into.subspan(length), deadline_micros,
                   [length, done](const Result<size_t>& rest) {
                     if (!rest.ok()) return done(rest.status());
                     done(length + *rest);
                   });
      });
}

bool ContentSource::IsHole(uint64_t offset, uint32_t length) const {
  const auto block = FirstBlock(plan_.blocks, offset);
  return block == plan_.blocks.end() || block->index * kBlockBytes >= offset + length;
}

// Goes on with the next place that was not asked yet.
void ContentSource::Next(const TryRef& attempt) {
  Clock* const clock = parts_->options.clock;
  const int64_t now = clock->MonotonicMicros();
  if (now >= attempt->deadline_micros) {
    return attempt->Fail(
        Status::Timeout("the bytes did not come in time: " + attempt->last.ToString()));
  }
  if (!attempt->buffer.valid()) {
    auto buffer = parts_->options.buffers->Allocate(attempt->length, 0);
    if (!buffer.ok()) {
      // Buffers come back as other transfers end; their callbacks must not wait for it.
      auto self = shared_from_this();
      const bool waits = parts_->blocking->TrySubmit([self, attempt, now] {
        auto late = self->parts_->options.buffers->Allocate(attempt->length,
                                                            attempt->deadline_micros - now);
        if (!late.ok()) return attempt->Fail(late.status());
        attempt->buffer = std::move(late).value();
        self->Next(attempt);
      });
      if (!waits) attempt->Fail(Status::Again("too many reads wait for a buffer"));
      return;
    }
    attempt->buffer = std::move(buffer).value();
  }
  Source holder;
  bool ask = false;
  {
    MutexLock lock(mutex_);
    if (attempt->generation != generation_) {
      attempt->generation = generation_;
      attempt->asked.clear();
    }
    for (size_t i = 0; i < holders_.size() && !ask; ++i) {
      holder = holders_[(preferred_ + i) % holders_.size()];
      ask = std::find(attempt->asked.begin(), attempt->asked.end(), holder.node) ==
            attempt->asked.end();
    }
  }
  if (ask) return Ask(attempt, holder);
  if (plan_.durable && !attempt->durable_tried) return ReadDurable(attempt);
  if (plan_.refresh && !attempt->refreshed) return Refresh(attempt);
  attempt->Fail(attempt->last);
}

void ContentSource::Ask(const TryRef& attempt, const Source& holder) {
  xdt::ReadRequest request;
  request.token = holder.token;
  request.object = plan_.key;
  request.version = plan_.version;
  request.offset = attempt->offset;
  request.length = attempt->length;
  const int64_t timeout =
      parts_->options.clock->MonotonicMicros() + parts_->options.request_timeout_micros;
  auto self = shared_from_this();
  parts_->options.engine->Read(
      holder.peer, request, attempt->buffer.span(), std::min(timeout, attempt->deadline_micros),
      [self, attempt, node = holder.node](const Result<xdt::ReadResult>& read) {
        Status status = read.status();
        const bool exact = read.ok() && !read->writing && read->version == self->plan_.version;
        if (read.ok() && self->plan_.durable && !exact) {
          status = Status::WrongVersion("the object at " + node + " is being written");
        } else if (read.ok() && read->length < attempt->length) {
          status = exact ? Status::Corruption("the object at " + node + " is shorter than its file")
                         : Status::Stale("the file has been cut short; open it again");
        }
        if (status.ok()) {
          self->parts_->pulled_bytes += read->length;
          return attempt->done(Piece{std::move(attempt->buffer), exact});
        }
        spdlog::debug("object {} from {}: {}", ToString(self->plan_.key), node, status.ToString());
        attempt->last = status.WithContext("node " + node);
        attempt->asked.push_back(node);
        ++self->parts_->failovers;
        {
          MutexLock lock(self->mutex_);
          std::vector<Source>& holders = self->holders_;
          // Others need not find out the same way.
          if (holders.size() > 1 && holders[self->preferred_].node == node) {
            self->preferred_ = (self->preferred_ + 1) % holders.size();
          }
        }
        self->Next(attempt);
      });
}

void ContentSource::ReadDurable(const TryRef& attempt) {
  attempt->durable_tried = true;
  auto self = shared_from_this();
  const bool submitted = parts_->readers->TrySubmit([self, attempt] {
    Status status = self->ReadBlocks(attempt);
    if (!status.ok()) {
      attempt->last = status;
      return self->Next(attempt);
    }
    self->parts_->durable_read_bytes += attempt->length;
    attempt->done(Piece{std::move(attempt->buffer), true});
  });
  if (!submitted) attempt->Fail(Status::Again("too many reads of the durable store wait"));
}

Status ContentSource::ReadBlocks(const TryRef& attempt) {
  const std::span<std::byte> into = attempt->buffer.span();
  const uint64_t end = attempt->offset + attempt->length;
  std::memset(into.data(), 0, into.size());
  for (auto block = FirstBlock(plan_.blocks, attempt->offset);
       block != plan_.blocks.end() && block->index * kBlockBytes < end; ++block) {
    const uint64_t start = block->index * kBlockBytes;
    const uint64_t from = std::max(start, attempt->offset);
    const uint64_t to = std::min(end, start + kBlockBytes);
    F3_RETURN_IF_ERROR(parts_->options.durable->Get(
        {plan_.key.ino, block->index, block->generation}, block->length, block->crc,
        static_cast<uint32_t>(from - start), into.subspan(from - attempt->offset, to - from)));
  }
  return Status();
}

void ContentSource::Refresh(const TryRef& attempt) {
  attempt->refreshed = true;
  attempt->buffer = {};  // the server may be slow
  auto self = shared_from_this();
  const bool submitted = parts_->blocking->TrySubmit([self, attempt] {
    Status status;
    {
      MutexLock asking(self->refresh_mutex_);
      bool done = false;
      {
        MutexLock lock(self->mutex_);
        done = self->generation_ != attempt->generation;
      }
      if (!done) {
        auto fresh = self->plan_.refresh();
        status = fresh.status();
        MutexLock lock(self->mutex_);
        if (fresh.ok()) {
          self->holders_ = std::move(fresh->holders);
          self->preferred_ = 0;
          ++self->generation_;
        }
      }
    }
    if (!status.ok()) return attempt->Fail(status);
    self->Next(attempt);
  });
  if (!submitted) attempt->Fail(attempt->last);
}

}  // namespace f3::storage
