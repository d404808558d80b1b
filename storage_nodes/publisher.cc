#include "storage_nodes/publisher.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <thread>

#include "common/crc32c.h"
#include "common/mutex.h"
#include "hwalloc/buffer_arena.h"
#include "storage_nodes/object_bytes.h"

namespace f3::storage {
namespace {

// Puts that sync at the same time share the device's flushes; more gain little.
constexpr size_t kMaxThreads = 4;
constexpr int64_t kBufferTimeoutMicros = 30'000'000;

// One publish: which blocks there are to look at, and what became of each.
class Publish {
 public:
  Publish(DurableStore* store, hwalloc::BufferArena* buffers, const PublishRequest& request)
      : store_(store), buffers_(buffers), request_(request), ino_(request.object->key().ino) {
    for (const DurableBlock& row : request.current) current_[row.index] = row;
  }

  Result<PublishResult> Run() {
    F3_RETURN_IF_ERROR(CheckSize());
    F3_RETURN_IF_ERROR(request_.dirty ? ListDirty() : ListAll());
    std::vector<std::thread> helpers;
    const size_t threads = std::min(kMaxThreads, candidates_.size());
    for (size_t i = 1; i < threads; ++i) helpers.emplace_back([this] { Work(); });
    Work();
    for (std::thread& helper : helpers) helper.join();

    MutexLock lock(mutex_);
    if (failure_.ok() && !result_.changed.empty()) failure_ = store_->Commit(ino_);
    if (!failure_.ok()) {
      // Nothing refers to these, and a full store needs the room.
      for (const DurableBlock& row : result_.changed) {
        store_->Remove({ino_, row.index, row.generation}).PermitUnchecked();
      }
      return failure_;
    }
    for (const auto& [index, row] : current_) {
      if (index >= BlockCount()) result_.dropped.push_back(index);
    }
    std::sort(result_.dropped.begin(), result_.dropped.end());
    std::sort(result_.changed.begin(), result_.changed.end(),
              [](const DurableBlock& a, const DurableBlock& b) { return a.index < b.index; });
    return result_;
  }

 private:
  uint64_t BlockCount() const { return (request_.size + kBlockBytes - 1) / kBlockBytes; }
  uint32_t LengthOf(uint64_t index) const {
    return static_cast<uint32_t>(std::min(kBlockBytes, request_.size - index * kBlockBytes));
  }

  Status CheckSize() const {
    struct stat st;
    if (::fstat(request_.object->read_fd(), &st) != 0) {
      return Status::FromErrno(errno, "stat " + request_.object->path());
    }
    if (static_cast<uint64_t>(st.st_size) < request_.size) return Shorter();
    return Status();
  }

  Status Shorter() const {
    return Status::Again(request_.object->path() + " became shorter than the " +
                         std::to_string(request_.size) + " bytes to publish; publish again");
  }

  Status ListDirty() {
    for (uint64_t index : *request_.dirty) {
      if (index < BlockCount()) candidates_.push_back(index);
    }
    // Bytes of a row past the end of the file must not come back when the file grows again.
    if (BlockCount() > 0) {
      const uint64_t last = BlockCount() - 1;
      auto row = current_.find(last);
      if (row != current_.end() && row->second.length > LengthOf(last) &&
          !request_.dirty->contains(last)) {
        candidates_.push_back(last);
      }
    }
    return Status();
  }

  // Blocks with a row, and blocks with data: what is neither is a hole that was one before.
  Status ListAll() {
    for (const auto& [index, row] : current_) {
      if (index < BlockCount()) candidates_.push_back(index);
    }
    uint64_t offset = 0;
    while (offset < request_.size) {
      F3_ASSIGN_OR_RETURN(uint64_t data, Seek(offset, SEEK_DATA));
      if (data >= request_.size) break;
      F3_ASSIGN_OR_RETURN(uint64_t hole, Seek(data, SEEK_HOLE));
      const uint64_t end = std::min(hole, request_.size);
      for (uint64_t index = data / kBlockBytes; index * kBlockBytes < end; ++index) {
        candidates_.push_back(index);
      }
      offset = std::max(end, (data / kBlockBytes + 1) * kBlockBytes);
    }
    std::sort(candidates_.begin(), candidates_.end());
    candidates_.erase(std::unique(candidates_.begin(), candidates_.end()), candidates_.end());
    return Status();
  }

  // Past the end of the content when there is no more.
  Result<uint64_t> Seek(uint64_t offset, int whence) const {
    off_t at = ::lseek(request_.object->read_fd(), static_cast<off_t>(offset), whence);
    if (at >= 0) return static_cast<uint64_t>(at);
    if (errno == ENXIO) return request_.size;
    return Status::FromErrno(errno, "seek in " + request_.object->path());
  }

  void Work() {
    for (;;) {
      const size_t at = next_.fetch_add(1);
      if (at >= candidates_.size()) return;
      Status status = PublishBlock(candidates_[at]);
      if (status.ok()) continue;
      next_ = candidates_.size();
      MutexLock lock(mutex_);
      if (failure_.ok()) failure_ = status;
      return;
    }
  }

  Status PublishBlock(uint64_t index) {
    const uint64_t start = index * kBlockBytes;
    const uint32_t length = LengthOf(index);
    auto row = current_.find(index);
    const bool has_row = row != current_.end();
    F3_ASSIGN_OR_RETURN(uint64_t data, Seek(start, SEEK_DATA));
    if (data >= start + length) {
      if (has_row) Drop(index);
      return Status();
    }
    F3_ASSIGN_OR_RETURN(hwalloc::Buffer buffer, buffers_->Allocate(length, kBufferTimeoutMicros));
    F3_RETURN_IF_ERROR(Read(start, buffer.span()));
    if (AllZero(buffer.span())) {
      if (has_row) Drop(index);
      return Status();
    }
    const uint32_t crc = Crc32c(buffer.span());
    // Only a block that nobody is known to have written is compared: a checksum may collide.
    if (!request_.dirty && has_row && row->second.crc == crc && row->second.length == length) {
      return Status();
    }
    const BlockName name{ino_, index, request_.generation};
    F3_RETURN_IF_ERROR(store_->Put(name, buffer.span()));
    MutexLock lock(mutex_);
    result_.changed.push_back({index, request_.generation, crc, length});
    result_.written_bytes += length;
    return Status();
  }

  void Drop(uint64_t index) {
    MutexLock lock(mutex_);
    result_.dropped.push_back(index);
  }

  Status Read(uint64_t offset, std::span<std::byte> into) const {
    F3_ASSIGN_OR_RETURN(size_t bytes, ReadObject(*request_.object, offset, into));
    return bytes < into.size() ? Shorter() : Status();
  }

  static bool AllZero(std::span<const std::byte> bytes) {
    return bytes[0] == std::byte{0} &&
           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
  }

  DurableStore* const store_;
  hwalloc::BufferArena* const buffers_;
  const PublishRequest& request_;
  const Ino ino_;
  std::map<uint64_t, DurableBlock> current_;
  std::vector<uint64_t> candidates_;
  std::atomic<size_t> next_{0};
  Mutex mutex_;
  Status failure_ F3_GUARDED_BY(mutex_);
  PublishResult result_ F3_GUARDED_BY(mutex_);
};

}  // namespace

Result<PublishResult> PublishObject(DurableStore* store, hwalloc::BufferArena* buffers,
                                    const PublishRequest& request) {
  return Publish(store, buffers, request).Run();
}

Result<GcResult> CollectGarbage(DurableStore* store, const LiveBlocks& live) {
  GcResult result;
  Status failure;
  Status status = store->ForEach([&](const BlockName& name, uint64_t bytes) {
    if (name.generation > live.horizon) {
      ++result.kept_blocks;
      return true;
    }
    auto is_live = live.is_live(name);
    if (is_live.ok() && *is_live) {
      ++result.kept_blocks;
      return true;
    }
    failure = is_live.ok() ? store->Remove(name) : is_live.status();
    if (!failure.ok()) return false;
    ++result.removed_blocks;
    result.removed_bytes += bytes;
    return true;
  });
  F3_RETURN_IF_ERROR(failure);
  F3_RETURN_IF_ERROR(status);
  return result;
}

}  // namespace f3::storage
