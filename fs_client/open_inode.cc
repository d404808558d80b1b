#include "fs_client/open_inode.h"

#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>

namespace f3::fs {
namespace {

int64_t Nanos(const struct timespec& time) {
  return static_cast<int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

Result<Signature> SignatureOf(const storage::Object& object) {
  struct stat st;
  if (::fstat(object.fd(), &st) != 0) {
    return Status::FromErrno(errno, "stat object " + ToString(object.key()));
  }
  Signature signature;
  signature.size = static_cast<uint64_t>(st.st_size);
  signature.mtime_ns = Nanos(st.st_mtim);
  signature.ctime_ns = Nanos(st.st_ctim);
  signature.allocated_bytes = static_cast<uint64_t>(st.st_blocks) * 512;
  return signature;
}

const void* Content::identity() const {
  if (object != nullptr) return object.get();
  if (fetch != nullptr) return fetch->object().get();
  return this;
}

Result<size_t> ReadObject(const storage::Object& object, uint64_t offset,
                          std::span<std::byte> into) {
  size_t done = 0;
  while (done < into.size()) {
    const ssize_t n = ::pread(object.fd(), into.data() + done, into.size() - done,
                              static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status::FromErrno(errno, "read object " + ToString(object.key()));
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

Result<uint64_t> WriteObject(const storage::Object& object, uint64_t offset, bool append,
                             std::span<const std::byte> from) {
  size_t done = 0;
  while (done < from.size()) {
    struct iovec piece;
    piece.iov_base = const_cast<std::byte*>(from.data() + done);
    piece.iov_len = from.size() - done;
    // The offset is ignored with RWF_APPEND but must not be -1.
    const ssize_t n = ::pwritev2(object.fd(), &piece, 1,
                                 append ? 0 : static_cast<off_t>(offset + done),
                                 append ? RWF_APPEND : 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status::FromErrno(errno, "write object " + ToString(object.key()));
    if (n == 0) return Status::Io("object " + ToString(object.key()) + " takes no more bytes");
    done += static_cast<size_t>(n);
  }
  if (!append) return offset;
  // Only appenders run at once here, each knows at least that its bytes are before the end.
  struct stat st;
  if (::fstat(object.fd(), &st) != 0) {
    return Status::FromErrno(errno, "stat object " + ToString(object.key()));
  }
  return static_cast<uint64_t>(st.st_size) - from.size();
}

}  // namespace f3::fs
