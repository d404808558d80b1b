#include "fs_client/open_inode.h"

#include <sys/stat.h>

#include <cerrno>

namespace f3::fs {
namespace {

int64_t Nanos(const struct timespec& time) {
  return static_cast<int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

Result<Signature> SignatureOf(const storage::Object& object) {
  struct stat st;
  if (::fstat(object.read_fd(), &st) != 0) {
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

}  // namespace f3::fs
