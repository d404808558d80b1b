// BufferArena: the one pool of large I/O buffers of a process.
//
// A memfd-backed region of fixed size, mapped once, cut into power-of-two size classes. The
// transfer engine registers the region with the fabric once, through the callback, and never an
// object. Bounded: Allocate never grows the region, it waits or fails. Thread-safe. Buffers must
// be gone before the arena.
#ifndef F3_HWALLOC_BUFFER_ARENA_H_
#define F3_HWALLOC_BUFFER_ARENA_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "common/mutex.h"
#include "common/status.h"

namespace f3::hwalloc {

class BufferArena;

// Owns one piece of the arena; gives it back when destroyed. Movable, not thread-safe.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  bool valid() const { return arena_ != nullptr; }
  std::byte* data() const { return data_; }
  size_t size() const { return size_; }  // as asked for; the class behind it may be larger
  std::span<std::byte> span() const { return {data_, size_}; }

 private:
  friend class BufferArena;
  BufferArena* arena_ = nullptr;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
  int size_class_ = 0;
};

class BufferArena {
 public:
  struct Usage {
    uint64_t capacity_bytes = 0;
    uint64_t used_bytes = 0;  // of handed-out size classes
    uint64_t waits = 0;       // allocations that had to wait
  };

  static constexpr size_t kMinBytes = 4096;
  static constexpr size_t kMaxBytes = 4u << 20;

  // `capacity_bytes` is rounded up to a multiple of kMaxBytes. NoMemory when it cannot be mapped.
  static Result<std::unique_ptr<BufferArena>> Create(size_t capacity_bytes);
  ~BufferArena();

  // A buffer of `bytes` (1 … kMaxBytes). Waits up to `timeout_micros` for room, then Again.
  Result<Buffer> Allocate(size_t bytes, int64_t timeout_micros);

  // The whole region, for registration, and the memfd behind it.
  std::span<std::byte> region() const;
  int memfd() const;
  Usage usage() const;

 private:
  friend class Buffer;
  class Impl;
  explicit BufferArena(std::unique_ptr<Impl> impl);
  void Free(std::byte* data, int size_class);
  std::unique_ptr<Impl> impl_;
};

}  // namespace f3::hwalloc

#endif  // F3_HWALLOC_BUFFER_ARENA_H_
