// What is agreed with the kernel at a mount's start, and backing files.
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "fs_client/fuse_session_impl.h"

namespace f3::fs {
namespace {

constexpr uint32_t kMaxBytes = 1u << 20;
constexpr unsigned kMaxBackground = 64;
// Backing files must not be stacked file systems themselves, so that others can stack on F3.
constexpr uint32_t kStackDepth = 1;

}  // namespace

void FuseImpl::Init(fuse_conn_info* conn) {
  // No FUSE_CAP_AUTO_INVAL_DATA, which drops pages whenever times change: invalidations say what
  // changed. No FUSE_CAP_WRITEBACK_CACHE: bytes of a write have to reach the daemon before write
  // returns, so that other handles see them (and the kernel has no passthrough with it).
  const unsigned wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS |
                          FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_DONT_MASK |
                          FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
                          FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_POSIX_ACL | FUSE_CAP_CACHE_SYMLINKS |
                          FUSE_CAP_ASYNC_DIO | FUSE_CAP_EXPLICIT_INVAL_DATA;
  conn->want = wanted & conn->capable;
  conn->max_write = kMaxBytes;
  conn->max_read = kMaxBytes;
  conn->max_readahead = kMaxBytes;
  conn->max_background = kMaxBackground;
  conn->congestion_threshold = kMaxBackground * 3 / 4;
  conn->time_gran = 1;
}

void FuseImpl::PatchInit(kernel::InitOut* init) {
  // Without it the kernel asks for security.capability before each write.
  init->flags |= FUSE_HANDLE_KILLPRIV_V2;
  const bool able = (init_flags2_ & kernel::kInitFlag2Passthrough) != 0;
  if (!options_.mount.passthrough || !able) return;
  init->flags |= FUSE_INIT_EXT;
  init->flags2 |= kernel::kInitFlag2Passthrough;
  init->max_stack_depth = kStackDepth;
  passthrough_ = true;
}

ssize_t FuseImpl::WriteHook(int fd, iovec* iov, int count, void* userdata) {
  auto* fs = static_cast<FuseImpl*>(userdata);
  fuse_out_header header;
  if (count == 2 && iov[0].iov_len == sizeof(header) && iov[1].iov_len == sizeof(kernel::InitOut)) {
    std::memcpy(&header, iov[0].iov_base, sizeof(header));
    if (header.error == 0 && header.unique == fs->init_unique_) {
      kernel::InitOut init;
      std::memcpy(&init, iov[1].iov_base, sizeof(init));
      fs->PatchInit(&init);
      std::memcpy(iov[1].iov_base, &init, sizeof(init));
      fs->init_unique_ = 0;
    }
  }
  return ::writev(fd, iov, count);
}

// Requests are read by Serve.
ssize_t FuseImpl::ReadHook(int fd, void* buf, size_t size, void*) { return ::read(fd, buf, size); }

Result<int32_t> FuseImpl::OpenBacking(int fd) {
  kernel::BackingMap map;
  map.fd = fd;
  const int id = ::ioctl(fd_, kernel::kBackingOpen, &map);
  if (id <= 0) {
    return Status::NotSupported(std::string("the kernel refuses a backing file: ") +
                                std::strerror(errno));
  }
  return id;
}

void FuseImpl::CloseBacking(int32_t backing_id) {
  uint32_t id = static_cast<uint32_t>(backing_id);
  ::ioctl(fd_, kernel::kBackingClose, &id);
}

}  // namespace f3::fs
