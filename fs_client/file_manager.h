// FileManager: open regular files of one node agent, whichever mount they were opened through.
//
// Decides at open how a handle is served (passthrough, cached through the daemon, direct to the
// home), keeps the local object of each open inode, publishes what was written, follows writers,
// and is the home's side of remote writes (storage::HomeListener). It knows nothing of libfuse:
// the FUSE session (fs_client/fuse_*.cc) turns its answers into replies.
//
// Thread-safe. Calls that may wait for the network or for another process take a callback, which
// runs exactly once, on any thread, possibly before the call returns.
#ifndef F3_FS_CLIENT_FILE_MANAGER_H_
#define F3_FS_CLIENT_FILE_MANAGER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/ids.h"
#include "common/status.h"
#include "fs_client/kernel_cache.h"
#include "fs_client/process_probe.h"
#include "metadata/client.h"
#include "storage_nodes/data_server.h"
#include "storage_nodes/durable_store.h"
#include "storage_nodes/fetcher.h"
#include "storage_nodes/object_store.h"

namespace f3::fs {

// Names one open handle; the FUSE file handle is this number.
using HandleId = uint64_t;

struct OpenRequest {
  Ino ino = 0;
  uint64_t node_id = 0;  // the kernel's inode: modes of handles of one node id depend on each other
  KernelCache* kernel = nullptr;  // of the mount
  int flags = 0;                  // as open(2)
  int32_t pid = 0;                // of the caller, for follow
  meta::Caller caller;
};

// How the kernel is to treat the handle.
struct OpenOutcome {
  HandleId handle = 0;
  bool direct_io = false;
  bool keep_cache = false;
  int32_t backing_id = 0;  // > 0: passthrough
};

class FileManager : public storage::HomeListener {
 public:
  struct Options {
    meta::MetaClient* meta = nullptr;
    storage::ObjectStore* objects = nullptr;
    storage::DurableStore* durable = nullptr;
    storage::Fetcher* fetcher = nullptr;
    xdt::TransferEngine* engine = nullptr;
    hwalloc::BufferArena* buffers = nullptr;
    Clock* clock = Clock::Real();
    int64_t data_timeout_micros = 10'000'000;  // of one read or write that needs another node
    // After each publish and when a writer opens, which the metadata server tells to other nodes at
    // most: mounts of this node, but for `except` (may be null), drop the attributes that they
    // cached before `done`. Null: there are none.
    std::function<void(Ino, KernelCache* except, std::function<void()> done)> attr_changed;
    ProcessProbe* probe = ProcessProbe::Real();
    int threads = 4;         // for publishing, loading blocks and other work that blocks
    bool background = true;  // false: a test calls RunDue after it has advanced its clock
  };
  // Becomes the object store's eviction listener. Shutdown comes before the destructor, which calls
  // it; the parts outlive it.
  static std::unique_ptr<FileManager> Create(const Options& options);

  using Done = std::function<void(Status)>;
  using OpenDone = std::function<void(Result<OpenOutcome>)>;
  using ReadDone = std::function<void(Result<size_t>)>;
  using WriteDone = std::function<void(Result<size_t>)>;
  using SeekDone = std::function<void(Result<uint64_t>)>;

  // Opens an existing file. Stale: the kernel must look the name up again (a newer version lies
  // behind a live passthrough handle of this node id); the second attempt has a new node id.
  virtual void Open(const OpenRequest& request, OpenDone done) = 0;
  // The same for a file that the metadata server has just created and opened (Create).
  virtual void OpenCreated(const OpenRequest& request, const meta::Attr& attr,
                           const meta::OpenReply& open, OpenDone done) = 0;

  // `into`/`from` stay valid until the callback.
  virtual void Read(HandleId handle, uint64_t offset, std::span<std::byte> into, ReadDone done) = 0;
  virtual void Write(HandleId handle, uint64_t offset, std::span<const std::byte> from,
                     WriteDone done) = 0;
  // Ends waits (follow) of this handle with Interrupted.
  virtual void Interrupt(HandleId handle) = 0;
  // close(2) of one descriptor: publishes what is unpublished, returns its error. `pid` is the
  // closing process: one that is dying from a signal counts as a vanished writer.
  virtual void Flush(HandleId handle, int32_t pid, Done done) = 0;
  virtual void Fsync(HandleId handle, bool data_only, Done done) = 0;
  // The last close. Never fails for the caller; what could not be published was reported by Flush.
  virtual void Release(HandleId handle) = 0;
  virtual void Allocate(HandleId handle, int mode, uint64_t offset, uint64_t length, Done done) = 0;
  // SEEK_DATA and SEEK_HOLE. NotFound at or past the end (ENXIO for the caller).
  virtual void Seek(HandleId handle, uint64_t offset, int whence, SeekDone done) = 0;
  // Copies within this node's objects where it can, else by reading and writing.
  virtual void CopyRange(HandleId in, uint64_t in_offset, HandleId out, uint64_t out_offset,
                         uint64_t length, WriteDone done) = 0;

  // truncate(2)/ftruncate(2): by handle when `handle` is not 0, else the file is opened for it.
  virtual void SetSize(Ino ino, HandleId handle, const OpenRequest& opener, uint64_t size,
                       Done done) = 0;
  // Applies explicit times to the object being written here, so that its fstat agrees.
  virtual void SetTimes(Ino ino, const int64_t* atime_ns, const int64_t* mtime_ns) = 0;
  // Replaces size, mtime and blocks by the local object's while this node writes the file (or asks
  // the home for them when a handle here writes remotely). Returns true when the attributes may
  // not be cached by the kernel.
  virtual void OverlayAttr(meta::Attr* attr, std::function<void(bool uncacheable)> done) = 0;
  // The length that handles of this kernel node read when it is not that of `attr`: they keep an
  // older version, which another node has replaced since.
  virtual std::optional<uint64_t> OlderSize(const meta::Attr& attr, uint64_t node) = 0;
  // Before the reply to a lock that was granted: see SEMANTICS.md, locks.
  virtual void AfterLock(Ino ino, Done done) = 0;
  // Makes the file's content local and publishes it in the other class.
  virtual void Convert(Ino ino, meta::FileClass to, Done done) = 0;
  // Pulls the whole content here, verified (f3 get, prefetch hints).
  virtual void Prefetch(Ino ino, Done done) = 0;

  // Session events.
  virtual void OnContentInvalidated(Ino ino) = 0;
  // The object is garbage if its version is at most `version`.
  virtual void OnDrop(const ObjectKey& object, Version version) = 0;
  virtual void OnWriterElsewhere(Ino ino) = 0;
  virtual void OnSessionExpired() = 0;
  virtual void OnRegistered(NodeId node, SessionId session) = 0;
  virtual std::vector<meta::CloseOp> OpenFiles() = 0;
  // After a start: objects left by the previous incarnation, for the server's inventory, and what
  // it says is unwanted removed; ephemeral homes that were being written are published as found.
  virtual Status Recover() = 0;

  struct Counters {
    uint64_t local_read_bytes = 0;  // served by the daemon from a local object
    uint64_t remote_write_bytes = 0;
    uint64_t durable_written_bytes = 0;
    uint64_t passthrough_opens = 0, cached_opens = 0, direct_opens = 0;
    uint64_t published_files = 0, publish_failures = 0;
  };
  virtual Counters counters() const = 0;
  // Runs what time has made due (see Options::background); returns how much that was.
  virtual size_t RunDue() = 0;
  // Waits until nothing but followers' reads is under way (for tests). False after 20 s.
  virtual bool AwaitIdle() = 0;
  // Publishes what it can, fails what waits, returns when no callback is left.
  virtual void Shutdown() = 0;
};

}  // namespace f3::fs

#endif  // F3_FS_CLIENT_FILE_MANAGER_H_
