// OpenInode: what this node knows of one regular file that is open here or being published.
//
// Lives as long as somebody refers to it: handles, tasks of its strand, timers, background fills.
//
// Two things order what happens to it. The *strand* runs one control operation at a time: open,
// publish, seal, truncate, convert, taking over as home. The *mutex* guards the fields; reads and
// writes of data take only that. Lock order: `mutex`, then FileManagerImpl::mutex_, then the locks
// of the object store. Nothing that may wait for another process (metadata server, peers, the
// kernel) is called with `mutex` held.
#ifndef F3_FS_CLIENT_OPEN_INODE_H_
#define F3_FS_CLIENT_OPEN_INODE_H_

#include <atomic>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include "common/ids.h"
#include "common/mutex.h"
#include "common/status.h"
#include "fs_client/file_manager.h"
#include "fs_client/follow.h"
#include "fs_client/kernel_modes.h"
#include "fs_client/remote_file.h"
#include "fs_client/staging_fill.h"
#include "fs_client/strand.h"
#include "storage_nodes/fetcher.h"
#include "storage_nodes/object_bytes.h"
#include "storage_nodes/object_store.h"

namespace f3::fs {

// What changes when somebody changes a file, without the daemon seeing it. Kernels since 6.13 make
// a time stamp that was looked at differ from the next; before, two changes within one clock tick
// (4 ms) look alike.
struct Signature {
  uint64_t size = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
  uint64_t allocated_bytes = 0;
  bool operator==(const Signature& other) const {
    return size == other.size && mtime_ns == other.mtime_ns && ctime_ns == other.ctime_ns;
  }
};
Result<Signature> SignatureOf(const storage::Object& object);

// Where a handle's bytes are. Immutable; shared by the handles on it. Exactly one of object, fetch,
// through and home is set, or none: the content is empty.
struct Content {
  ObjectKey key;
  Version version = 0;
  uint64_t size = 0;                        // of fetched content
  std::shared_ptr<storage::Object> object;  // here
  std::shared_ptr<StagingFill> fill;        // with object: published blocks that are not in it yet
  std::shared_ptr<storage::Fetch> fetch;    // on its way here
  // The background fill of `fetch` was begun.
  std::shared_ptr<std::atomic<bool>> fill_begun = std::make_shared<std::atomic<bool>>(false);
  std::optional<storage::FetchPlan> through;  // elsewhere, and there is no room for it here
  std::shared_ptr<RemoteFile> home;           // at its home, which may change it
  bool home_writable = false;                 // `home` has the right to write

  // A whole local file, which the kernel may use directly.
  bool whole() const { return object != nullptr && (fill == nullptr || fill->complete()); }
  // Handles with the same identity show the same bytes.
  const void* identity() const;
};
using ContentRef = std::shared_ptr<const Content>;

struct OpenInode;

// One open handle. The constant fields are set by Open; the others are guarded by inode->mutex.
struct Handle {
  HandleId id = 0;
  std::shared_ptr<OpenInode> inode;
  int flags = 0;
  bool writes = false;
  bool appends = false;
  bool nonroot = false;
  int32_t pid = 0;
  int32_t session = 0;  // process session of a follow writer
  KernelCache* kernel = nullptr;
  uint64_t node_id = 0;
  Incarnation incarnation = 0;  // as the metadata server counts it
  ServeMode mode = ServeMode::kInternal;
  bool follow_writer = false;  // its writes move the watermark

  ContentRef content;
  bool follows = false;  // reads wait for the writer
  uint64_t follow_epoch = 0;
  bool expired = false;   // its session is over, or its content was given up: EIO
  bool counted = true;    // by the metadata server, in this session
  bool vanished = false;  // flushed by a process that was dying from a signal
  uint64_t interrupts = 0;
  std::set<uint64_t> waits;  // of Follow
  uint64_t next_park = 1;    // parked reads at a remote home, ended by Interrupt
  std::map<uint64_t, std::function<void(Status)>> parked;
};
using HandleRef = std::shared_ptr<Handle>;

// Blocks of a durable file that may differ from the published rows.
struct DirtyBlocks {
  bool unknown = false;  // writes may have bypassed the daemon
  std::set<uint64_t> blocks;

  void Add(uint64_t offset, uint64_t length) {
    if (length == 0) return;
    for (uint64_t i = offset / kBlockBytes; i <= (offset + length - 1) / kBlockBytes; ++i) {
      blocks.insert(i);
    }
  }
  void Merge(const DirtyBlocks& other) {
    unknown |= other.unknown;
    blocks.insert(other.blocks.begin(), other.blocks.end());
  }
};

struct OpenCounts {
  uint32_t readers = 0;
  uint32_t writers = 0;
  bool none() const { return readers == 0 && writers == 0; }
};

struct OpenInode {
  explicit OpenInode(Ino number) : ino(number) {}

  const Ino ino;
  Strand strand;
  Follow follow;

  Mutex mutex;
  meta::FileClass file_class F3_GUARDED_BY(mutex) = meta::CLASS_UNSET;
  bool follow_asked F3_GUARDED_BY(mutex) = false;
  ContentRef current F3_GUARDED_BY(mutex);
  std::unordered_map<HandleId, HandleRef> handles F3_GUARDED_BY(mutex);
  KernelModes modes F3_GUARDED_BY(mutex);
  // What the kernel's inodes go on to show as the length while pages are being dropped, the least
  // of what each drop that is under way has for a node id. The kernel has filled the last page with
  // zeros: with a longer length it would show them.
  std::list<std::map<uint64_t, uint64_t>> shown_sizes F3_GUARDED_BY(mutex);
  int writers F3_GUARDED_BY(mutex) = 0;  // handles that write

  // This node is where the file is written: current->object may change. From the first writer
  // (here or remote) until the object is sealed.
  bool writing F3_GUARDED_BY(mutex) = false;
  Version version F3_GUARDED_BY(mutex) = 0;  // as last published
  uint64_t published_size F3_GUARDED_BY(mutex) = 0;
  Signature published F3_GUARDED_BY(mutex);
  bool unpublished F3_GUARDED_BY(mutex) = false;       // changed, whatever the signature says
  bool escaped F3_GUARDED_BY(mutex) = false;           // writable passthrough since the last Seal
  bool mapped F3_GUARDED_BY(mutex) = false;            // and of a kind that may be mapped writable
  bool published_mapped F3_GUARDED_BY(mutex) = false;  // published since it was
  bool was_busy F3_GUARDED_BY(mutex) = false;          // Seal may have found a mapping
  bool kill_suid F3_GUARDED_BY(mutex) = false;  // a write through passthrough has to clear it
  DirtyBlocks dirty F3_GUARDED_BY(mutex);
  std::vector<storage::DurableBlock> rows F3_GUARDED_BY(mutex);  // published blocks, by index
  bool rows_stale F3_GUARDED_BY(mutex) = false;  // a publish may or may not have happened
  int remote_writes F3_GUARDED_BY(mutex) = 0;    // being executed for peers
  int64_t last_remote_micros F3_GUARDED_BY(mutex) = 0;
  bool settling F3_GUARDED_BY(mutex) = false;  // being sealed: writes have to wait

  // Writes that went to a home elsewhere, and up to which the home has published.
  uint64_t sent F3_GUARDED_BY(mutex) = 0;
  uint64_t synced F3_GUARDED_BY(mutex) = 0;

  // Counts at the metadata server, by incarnation; what is to be given back; and writers whose
  // close waits until everything is published and sealed.
  std::map<Incarnation, OpenCounts> granted F3_GUARDED_BY(mutex);
  std::map<Incarnation, OpenCounts> closing F3_GUARDED_BY(mutex);
  std::map<Incarnation, uint32_t> finishing F3_GUARDED_BY(mutex);
  bool close_in_flight F3_GUARDED_BY(mutex) = false;
  // The close makes the server believe in a copy here, which there is not.
  std::optional<ObjectKey> no_copy F3_GUARDED_BY(mutex);
  int settle_attempts F3_GUARDED_BY(mutex) = 0;
  bool settle_scheduled F3_GUARDED_BY(mutex) = false;

  bool revalidate F3_GUARDED_BY(mutex) = false;  // content changed elsewhere: look before reading
};
using InodeRef = std::shared_ptr<OpenInode>;

}  // namespace f3::fs

#endif  // F3_FS_CLIENT_OPEN_INODE_H_
