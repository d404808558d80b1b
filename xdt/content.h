// Content: the bytes of one object on a node, which never change: in a string when they are few, in
// a sealed shared buffer, or in a file of the disk tier once they were spilled. Immutable after it
// was made; thread-safe. Memory is counted by the Share it holds for as long as it lives.
#ifndef F3_XDT_CONTENT_H_
#define F3_XDT_CONTENT_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "common/status.h"
#include "common/unique_fd.h"
#include "xdt/buffer_pool.h"
#include "xdt/shared_buffer.h"

namespace f3::xdt {

class Content {
 public:
  // Few bytes: at most XDT_INLINE_BYTES.
  Content(std::string bytes, BufferPool::Share share);
  // A sealed buffer, of which the first `bytes` count.
  Content(std::unique_ptr<SharedBuffer> buffer, uint64_t bytes, BufferPool::Share share);
  // A copy of `content` in a file without a name in `dir`; it holds no memory.
  static Result<std::shared_ptr<Content>> Spill(const Content& content, const std::string& dir);
  // The bytes of a file from `offset` on; it holds no memory.
  static std::shared_ptr<Content> OfFile(UniqueFd file, uint64_t offset, uint64_t bytes);
  // A copy in a sealed buffer. REQUIRES: share.bytes() is SharedBuffer::MemoryOf(content's bytes).
  static Result<std::shared_ptr<Content>> Load(const Content& content, BufferPool::Share share);

  uint64_t bytes() const { return bytes_; }
  bool is_inline() const { return buffer_ == nullptr && !file_.valid(); }
  bool spilled() const { return file_.valid(); }
  const std::string& inline_bytes() const { return inline_; }
  // Of the sealed buffer; -1 when there is none.
  int fd() const { return buffer_ == nullptr ? -1 : buffer_->fd(); }
  // REQUIRES: the range lies within.
  Status Read(uint64_t offset, std::span<std::byte> into) const;
  uint64_t memory_bytes() const { return share_.bytes(); }

 private:
  Content(UniqueFd file, uint64_t offset, uint64_t bytes)
      : file_(std::move(file)), file_offset_(offset), bytes_(bytes) {}

  BufferPool::Share share_;  // first: given back when the memory is free
  std::string inline_;
  std::unique_ptr<SharedBuffer> buffer_;
  UniqueFd file_;
  uint64_t file_offset_ = 0;
  uint64_t bytes_ = 0;
};
using ContentRef = std::shared_ptr<const Content>;

}  // namespace f3::xdt

#endif  // F3_XDT_CONTENT_H_
