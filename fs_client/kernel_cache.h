// KernelCache: what the file layer asks of the FUSE session. Thread-safe; none of these is called
// with a lock held that a FUSE request handler takes.
#ifndef F3_FS_CLIENT_KERNEL_CACHE_H_
#define F3_FS_CLIENT_KERNEL_CACHE_H_

#include <cstdint>
#include <functional>

#include "common/ids.h"
#include "common/status.h"

namespace f3::fs {

class KernelCache {
 public:
  virtual ~KernelCache() = default;
  // Of the mount among those of its agent, from 1: who holds leases (metadata.proto, Request).
  virtual uint32_t number() const = 0;
  // Drops cached attributes, and cached pages of [offset, offset + length) when `data` (length 0:
  // to the end), of every kernel inode of `ino`. Queued to the notification threads; `done` (may
  // be null) runs when the kernel has done it. Never blocks.
  virtual void InvalidateInode(Ino ino, bool data, uint64_t offset, uint64_t length,
                               std::function<void()> done) = 0;
  // True when files may be opened for passthrough on this mount.
  virtual bool passthrough() const = 0;
  // Registers `fd` as backing file; the id is valid until CloseBacking. NotSupported when the
  // kernel refuses (stacked file system, no privilege).
  virtual Result<int32_t> OpenBacking(int fd) = 0;
  virtual void CloseBacking(int32_t backing_id) = 0;
};

}  // namespace f3::fs

#endif  // F3_FS_CLIENT_KERNEL_CACHE_H_
