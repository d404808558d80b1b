#include "xdt/shared_buffer.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <utility>

#include "hwalloc/map_shared.h"

namespace f3::xdt {
namespace {

constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kHugePage = hwalloc::kHugePageBytes;
// So much of a huge page is worth a whole one: making and freeing small pages takes more time.
constexpr uint64_t kHugeRest = 896ull << 10;
constexpr int kMadviseCollapse = 25;  // Linux 6.1; not in the headers of Debian 12

Status NoMemory() { return Status::NoMemory("this machine has no memory left for a buffer"); }

// Makes what it can of the file of huge pages, whatever the machine's setting for shared memory is
// (MADV_COLLAPSE asks nobody): allocating, mapping, sealing and freeing take a small part of the
// time then. What it cannot is left to fallocate. True when it could.
bool AllocateHugePages(int fd, uint64_t bytes) {
  const uint64_t whole = SharedBuffer::MemoryOf(bytes) & ~(kHugePage - 1);
  if (whole == 0 || ::ftruncate(fd, static_cast<off_t>(bytes)) != 0) return false;
  // The kernel gathers what is there; of nothing it makes nothing.
  for (uint64_t at = 0; at < whole; at += kHugePage) {
    if (::fallocate(fd, 0, static_cast<off_t>(at), 1) != 0) return false;
  }
  void* mapped = hwalloc::MapShared(fd, whole);
  if (mapped == MAP_FAILED) return false;
  const bool all = ::madvise(mapped, whole, kMadviseCollapse) == 0;
  ::munmap(mapped, whole);
  return all;
}

}  // namespace

uint64_t SharedBuffer::MemoryOf(uint64_t bytes) {
  const uint64_t page = bytes % kHugePage >= kHugeRest ? kHugePage : kPageBytes;
  const uint64_t last = bytes % page;
  if (last == 0 || bytes > UINT64_MAX - page) return bytes;
  return bytes - last + page;
}

Result<std::unique_ptr<SharedBuffer>> SharedBuffer::Create(uint64_t bytes) {
  UniqueFd fd(::memfd_create("f3-xdt", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return Status::FromErrno(errno, "make a shared buffer");
  const bool huge_pages = AllocateHugePages(fd.get(), bytes);
  if (::fallocate(fd.get(), 0, 0, static_cast<off_t>(bytes)) != 0) {
    if (errno == ENOSPC || errno == ENOMEM) return NoMemory();
    return Status::FromErrno(errno, "allocate a shared buffer");
  }
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) != 0) {
    return Status::FromErrno(errno, "seal the size of a shared buffer");
  }
  return std::unique_ptr<SharedBuffer>(new SharedBuffer(std::move(fd), bytes, huge_pages));
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

Status SharedBuffer::Fill(std::span<const std::byte> bytes) {
  off_t at = 0;
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_.get(), bytes.data(), bytes.size(), at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status::FromErrno(errno, "write a shared buffer");
    bytes = bytes.subspan(static_cast<size_t>(n));
    at += n;
  }
  return Seal();
}

Result<std::span<std::byte>> SharedBuffer::StartFilling() {
  void* at = hwalloc::MapShared(fd_.get(), bytes_);
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
