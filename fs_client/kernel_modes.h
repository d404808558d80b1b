// KernelModes: which handles of one kernel inode may exist side by side.
//
// The kernel lets passthrough handles of an inode share one backing id and keeps them apart from
// handles with cached pages; handles with plain direct I/O are no hindrance to cached ones, but
// not allowed beside passthrough. This class says how a further handle has to be opened, given
// those that live. One per open inode (file); kernel inodes are named by mount and node id.
// Not thread-safe: guarded by the mutex of the open inode.
#ifndef F3_FS_CLIENT_KERNEL_MODES_H_
#define F3_FS_CLIENT_KERNEL_MODES_H_

#include <cstdint>
#include <map>
#include <set>
#include <utility>

#include "common/status.h"
#include "fs_client/kernel_cache.h"

namespace f3::fs {

// How the kernel serves a handle.
enum class ServeMode : uint8_t {
  kPassthrough,        // reads, writes and mappings go to the backing file
  kPassthroughDirect,  // reads and writes come to the daemon, mappings use the backing file
  kCached,             // pages in the kernel, filled and written through the daemon
  kDirect,             // everything comes to the daemon, no shared mappings
  kInternal,           // no kernel handle: opened by the file layer itself
};

class KernelModes {
 public:
  using Key = std::pair<KernelCache*, uint64_t>;  // mount, node id

  struct Answer {
    ServeMode mode = ServeMode::kCached;
    int32_t backing_id = 0;  // to share; 0 with kPassthrough: one has to be registered
  };

  // What a handle that wants `wanted` gets. `content` identifies what it reads and writes;
  // `passthrough_able` says that the content is a whole local file. Stale: what lives shows another
  // content, and cannot be made to show this one.
  Result<Answer> Resolve(const Key& key, ServeMode wanted, const void* content,
                         bool passthrough_able) const;
  // Counts a handle opened as `mode`.
  void Add(const Key& key, ServeMode mode, const void* content, int32_t backing_id);
  // Takes it out again; returns the backing id to close when it was the last of its kind, else 0.
  int32_t Remove(const Key& key, ServeMode mode);
  // The daemon serves handles that were not passthrough from another content from now on.
  void SwitchCached(const void* content);
  // Mounts with live handles, and whether one of these may have pages in the kernel.
  std::map<KernelCache*, bool> Mounts() const;
  bool has_passthrough() const;

 private:
  struct Node {
    int32_t backing_id = 0;         // of the passthrough handles
    const void* backing = nullptr;  // their content
    uint32_t passthrough = 0;
    const void* cached = nullptr;  // content of the cached handles
    uint32_t cached_opens = 0;
    uint32_t direct_opens = 0;
  };
  std::map<Key, Node> nodes_;
};

}  // namespace f3::fs

#endif  // F3_FS_CLIENT_KERNEL_MODES_H_
