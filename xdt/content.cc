#include "xdt/content.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

namespace f3::xdt {
namespace {

constexpr size_t kCopyBytes = 1 << 20;

Status WriteAll(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status::FromErrno(errno, "spill a buffer to disk");
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return Status();
}

}  // namespace

Content::Content(std::string bytes, BufferPool::Share share)
    : share_(std::move(share)), inline_(std::move(bytes)), bytes_(inline_.size()) {}

Content::Content(std::unique_ptr<SharedBuffer> buffer, uint64_t bytes, BufferPool::Share share)
    : share_(std::move(share)), buffer_(std::move(buffer)), bytes_(bytes) {}

Result<std::shared_ptr<Content>> Content::Spill(const Content& content, const std::string& dir) {
  UniqueFd file(::open(dir.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!file.valid()) return Status::FromErrno(errno, "spill a buffer to " + dir);
  std::vector<std::byte> piece(std::min<uint64_t>(kCopyBytes, content.bytes()));
  for (uint64_t at = 0; at < content.bytes();) {
    const auto part =
        std::span(piece).first(std::min<uint64_t>(piece.size(), content.bytes() - at));
    F3_RETURN_IF_ERROR(content.Read(at, part));
    F3_RETURN_IF_ERROR(WriteAll(file.get(), part));
    at += part.size();
  }
  return OfFile(std::move(file), 0, content.bytes());
}

std::shared_ptr<Content> Content::OfFile(UniqueFd file, uint64_t offset, uint64_t bytes) {
  return std::shared_ptr<Content>(new Content(std::move(file), offset, bytes));
}

Result<std::shared_ptr<Content>> Content::Load(const Content& content, BufferPool::Share share) {
  F3_ASSIGN_OR_RETURN(auto buffer, SharedBuffer::Create(std::max<uint64_t>(content.bytes(), 1)));
  F3_ASSIGN_OR_RETURN(std::span<std::byte> into, buffer->StartFilling());
  F3_RETURN_IF_ERROR(content.Read(0, into.first(content.bytes())));
  F3_RETURN_IF_ERROR(buffer->FinishFilling());
  return std::make_shared<Content>(std::move(buffer), content.bytes(), std::move(share));
}

Status Content::Read(uint64_t offset, std::span<std::byte> into) const {
  if (buffer_ != nullptr) return buffer_->Read(offset, into);
  if (!file_.valid()) {
    if (!into.empty()) std::memcpy(into.data(), inline_.data() + offset, into.size());
    return Status();
  }
  offset += file_offset_;
  while (!into.empty()) {
    const ssize_t n = ::pread(file_.get(), into.data(), into.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status::FromErrno(errno, "read a spilled buffer");
    if (n == 0) return Status::Io("a spilled buffer is shorter than it was");
    into = into.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return Status();
}

}  // namespace f3::xdt
