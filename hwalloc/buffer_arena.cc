#include "hwalloc/buffer_arena.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "hwalloc/map_shared.h"

namespace f3::hwalloc {
namespace {

constexpr int kClasses = std::countr_zero(BufferArena::kMaxBytes / BufferArena::kMinBytes) + 1;

constexpr size_t ClassBytes(int size_class) { return BufferArena::kMinBytes << size_class; }

int ClassFor(size_t bytes) {
  size_t rounded = std::bit_ceil(std::max(bytes, BufferArena::kMinBytes));
  return std::countr_zero(rounded / BufferArena::kMinBytes);
}

int64_t NowMicros() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

// A buddy allocator over chunks of kMaxBytes: a class without a free piece splits one of the next
// larger class, and freed pieces merge again, so that no class can hold the others' memory for
// good.
class BufferArena::Impl {
 public:
  Impl(int fd, std::byte* base, size_t bytes)
      : fd_(fd), base_(base), bytes_(bytes), free_class_(bytes / kMinBytes, kNotFree) {
    for (size_t at = 0; at < bytes; at += kMaxBytes) PushLocked(at, kClasses - 1);
  }
  ~Impl() {
    ::munmap(base_, bytes_);
    ::close(fd_);
  }

  // Null when there was no room for `timeout_micros`.
  std::byte* Take(int size_class, int64_t timeout_micros) {
    MutexLock lock(mutex_);
    size_t at = 0;
    if (!TakeLocked(size_class, &at)) {
      if (timeout_micros <= 0) return nullptr;
      ++waits_;
      int64_t deadline = NowMicros() + timeout_micros;
      while (!TakeLocked(size_class, &at)) {
        int64_t left = deadline - NowMicros();
        if (left <= 0) return nullptr;
        room_.WaitFor(mutex_, left);
      }
    }
    used_ += ClassBytes(size_class);
    return base_ + at;
  }

  void Give(std::byte* data, int size_class) {
    MutexLock lock(mutex_);
    used_ -= ClassBytes(size_class);
    auto at = static_cast<size_t>(data - base_);
    while (size_class < kClasses - 1) {
      size_t buddy = at ^ ClassBytes(size_class);
      if (free_class_[buddy / kMinBytes] != size_class) break;
      RemoveLocked(buddy, size_class);
      at = std::min(at, buddy);
      ++size_class;
    }
    PushLocked(at, size_class);
    // Waiters of different classes share the condition: the one that fits has to hear of it.
    room_.SignalAll();
  }

  std::span<std::byte> region() const { return {base_, bytes_}; }
  int memfd() const { return fd_; }
  Usage usage() const {
    MutexLock lock(mutex_);
    return {.capacity_bytes = bytes_, .used_bytes = used_, .waits = waits_};
  }

 private:
  static constexpr int8_t kNotFree = -1;

  bool TakeLocked(int size_class, size_t* at) F3_REQUIRES(mutex_) {
    int from = size_class;
    while (from < kClasses && free_[from].empty()) ++from;
    if (from == kClasses) return false;
    *at = free_[from].back();
    RemoveLocked(*at, from);
    for (; from > size_class; --from) PushLocked(*at + ClassBytes(from - 1), from - 1);
    return true;
  }
  void PushLocked(size_t at, int size_class) F3_REQUIRES(mutex_) {
    free_class_[at / kMinBytes] = static_cast<int8_t>(size_class);
    free_[size_class].push_back(at);
  }
  void RemoveLocked(size_t at, int size_class) F3_REQUIRES(mutex_) {
    free_class_[at / kMinBytes] = kNotFree;
    std::vector<size_t>& list = free_[size_class];
    if (list.back() == at) {
      list.pop_back();
      return;
    }
    std::erase(list, at);
  }

  const int fd_;
  std::byte* const base_;
  const size_t bytes_;
  mutable Mutex mutex_;
  CondVar room_;
  std::array<std::vector<size_t>, kClasses> free_ F3_GUARDED_BY(mutex_);  // offsets
  // By page: the class of the free piece that begins there.
  std::vector<int8_t> free_class_ F3_GUARDED_BY(mutex_);
  uint64_t used_ F3_GUARDED_BY(mutex_) = 0;
  uint64_t waits_ F3_GUARDED_BY(mutex_) = 0;
};

Buffer::Buffer(Buffer&& other) noexcept
    : arena_(std::exchange(other.arena_, nullptr)),
      data_(other.data_),
      size_(other.size_),
      size_class_(other.size_class_) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this == &other) return *this;
  if (arena_ != nullptr) arena_->Free(data_, size_class_);
  arena_ = std::exchange(other.arena_, nullptr);
  data_ = other.data_;
  size_ = other.size_;
  size_class_ = other.size_class_;
  return *this;
}

Buffer::~Buffer() {
  if (arena_ != nullptr) arena_->Free(data_, size_class_);
}

Result<std::unique_ptr<BufferArena>> BufferArena::Create(size_t capacity_bytes) {
  if (capacity_bytes == 0 || capacity_bytes > SIZE_MAX - kMaxBytes) {
    return Status(Code::kInvalidArgument, "a buffer arena needs a capacity of 1 byte or more");
  }
  size_t bytes = (capacity_bytes + kMaxBytes - 1) / kMaxBytes * kMaxBytes;
  int fd = ::memfd_create("f3-buffers", MFD_CLOEXEC);
  if (fd < 0) return Status::FromErrno(errno, "cannot create a memory file for buffers");
  if (::ftruncate(fd, static_cast<off_t>(bytes)) != 0) {
    Status status = Status::FromErrno(errno, "cannot size the memory file for buffers");
    ::close(fd);
    return status;
  }
  void* base = MapShared(fd, bytes);
  if (base == MAP_FAILED) {
    ::close(fd);
    return Status(Code::kNoMemory,
                  "cannot map " + std::to_string(bytes) + " bytes of buffers: give fewer");
  }
  // Where the system's setting for shared memory is "advise" or more; elsewhere this does nothing.
  ::madvise(base, bytes, MADV_HUGEPAGE);
  return std::unique_ptr<BufferArena>(
      new BufferArena(std::make_unique<Impl>(fd, static_cast<std::byte*>(base), bytes)));
}

BufferArena::BufferArena(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
BufferArena::~BufferArena() = default;

Result<Buffer> BufferArena::Allocate(size_t bytes, int64_t timeout_micros) {
  if (bytes == 0 || bytes > kMaxBytes) {
    return Status(Code::kInvalidArgument, "a buffer has 1 to " + std::to_string(kMaxBytes) +
                                              " bytes, not " + std::to_string(bytes));
  }
  int size_class = ClassFor(bytes);
  std::byte* data = impl_->Take(size_class, timeout_micros);
  if (data == nullptr) return Status(Code::kAgain, "every buffer is in use");
  Buffer buffer;
  buffer.arena_ = this;
  buffer.data_ = data;
  buffer.size_ = bytes;
  buffer.size_class_ = size_class;
  return buffer;
}

std::span<std::byte> BufferArena::region() const { return impl_->region(); }
int BufferArena::memfd() const { return impl_->memfd(); }
BufferArena::Usage BufferArena::usage() const { return impl_->usage(); }
void BufferArena::Free(std::byte* data, int size_class) { impl_->Give(data, size_class); }

}  // namespace f3::hwalloc
