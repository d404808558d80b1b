#include "xdt/shared_buffer.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace f3::xdt {
namespace {

constexpr uint64_t kPageBytes = 4096;

}  // namespace

uint64_t SharedBuffer::MemoryOf(uint64_t bytes) {
  const uint64_t last = bytes % kPageBytes;
  if (last == 0 || bytes > UINT64_MAX - kPageBytes) return bytes;
  return bytes - last + kPageBytes;
}

Result<std::unique_ptr<SharedBuffer>> SharedBuffer::Create(uint64_t bytes) {
  UniqueFd fd(::memfd_create("f3-xdt", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return Status::FromErrno(errno, "make a shared buffer");
  if (::fallocate(fd.get(), 0, 0, static_cast<off_t>(bytes)) != 0) {
    if (errno == ENOSPC || errno == ENOMEM) {
      return Status::NoMemory("this machine has no memory left for a buffer");
    }
    return Status::FromErrno(errno, "allocate a shared buffer");
  }
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) != 0) {
    return Status::FromErrno(errno, "seal the size of a shared buffer");
  }
  return std::unique_ptr<SharedBuffer>(new SharedBuffer(std::move(fd), bytes));
}

SharedBuffer::~SharedBuffer() {
  if (mapping_ != nullptr) ::munmap(mapping_, bytes_);
}

int SharedBuffer::CopyFd() const { return ::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0); }

Status SharedBuffer::Seal() {
  if (::fcntl(fd_.get(), F_ADD_SEALS, F_SEAL_WRITE) == 0) return Status();
  if (errno == EBUSY) {
    return Status::Busy("the buffer is still mapped for writing, for example in a forked process");
  }
  return Status::FromErrno(errno, "seal a shared buffer");
}

Result<std::span<std::byte>> SharedBuffer::StartFilling() {
  void* at = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
  if (at == MAP_FAILED) return Status::FromErrno(errno, "map a shared buffer");
  mapping_ = at;
  if (::fcntl(fd_.get(), F_ADD_SEALS, F_SEAL_FUTURE_WRITE) != 0) {
    return Status::FromErrno(errno, "seal a shared buffer against others");
  }
  return std::span(static_cast<std::byte*>(at), bytes_);
}

Status SharedBuffer::FinishFilling() {
  ::munmap(std::exchange(mapping_, nullptr), bytes_);
  return Seal();
}

Status SharedBuffer::Read(uint64_t offset, std::span<std::byte> into) const {
  while (!into.empty()) {
    const ssize_t n = ::pread(fd_.get(), into.data(), into.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status::FromErrno(errno, "read a shared buffer");
    if (n == 0) return Status::Internal("a shared buffer is shorter than it was");
    into = into.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return Status();
}

}  // namespace f3::xdt
