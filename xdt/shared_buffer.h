// SharedBuffer: a piece of memory that processes share by descriptor and that nobody can change
// once it is sealed: a memfd of fixed size whose pages exist from the start, so that they are
// charged to this process and never to a sandbox that writes into them.
//
// The descriptor may be given to anybody at any time: its size is sealed when it is made. Before
// Seal its holders may write; from StartFilling on only this process can, through its own mapping.
// Not thread-safe but for fd, bytes and Read; whoever has a SharedBuffer owns it.
#ifndef F3_XDT_SHARED_BUFFER_H_
#define F3_XDT_SHARED_BUFFER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "common/status.h"
#include "common/unique_fd.h"

namespace f3::xdt {

class SharedBuffer {
 public:
  // What a buffer of so many bytes takes: whole pages, and whole huge pages where it has at least
  // 896 KiB of one, even if the system has small ones only.
  static uint64_t MemoryOf(uint64_t bytes);
  // REQUIRES: bytes > 0. NoMemory when there is none; else the system's error.
  static Result<std::unique_ptr<SharedBuffer>> Create(uint64_t bytes);
  ~SharedBuffer();
  SharedBuffer(const SharedBuffer&) = delete;
  SharedBuffer& operator=(const SharedBuffer&) = delete;

  int fd() const { return fd_.get(); }
  uint64_t bytes() const { return bytes_; }
  // Another descriptor of it; -1 when this process has too many.
  int CopyFd() const;

  // Whether Seal takes a few microseconds; with many pages it takes milliseconds.
  bool seals_at_once() const { return bytes_ <= (256u << 10) || huge_pages_; }
  // No more changes, by anybody. Busy while a writable mapping of it exists somewhere.
  Status Seal();
  // Writes its first bytes, which takes no mapping and its page faults, and seals it.
  // REQUIRES: bytes.size() <= bytes().
  Status Fill(std::span<const std::byte> bytes);
  // Maps it for writing by this process; from now on nobody else can map it so or write to it.
  Result<std::span<std::byte>> StartFilling();
  // Ends that and seals it.
  Status FinishFilling();
  // Copies a range; it lies within the buffer.
  Status Read(uint64_t offset, std::span<std::byte> into) const;

 private:
  SharedBuffer(UniqueFd fd, uint64_t bytes, bool huge_pages)
      : fd_(std::move(fd)), bytes_(bytes), huge_pages_(huge_pages) {}
  UniqueFd fd_;
  const uint64_t bytes_;
  const bool huge_pages_;
  void* mapping_ = nullptr;
};

}  // namespace f3::xdt

#endif  // F3_XDT_SHARED_BUFFER_H_
