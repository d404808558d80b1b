// The implementation of FileManager.
//
//   file_manager.cc   creation, tables, shutdown, small helpers
//   file_open.cc      what an open is served from, and how the kernel is to treat it
//   file_content.cc   becoming the home; finding or fetching what a reader wants
//   file_data.cc      read, write, copy
//   file_ranges.cc    sizes, allocation, holes, times, attributes
//   file_publish.cc   publishing
//   file_close.cc     flush, fsync, release, sealing, giving back opens
//   file_home.cc      the home's side of remote requests
//   file_session.cc   coherence, drops, session events, recovery
//   file_convert.cc   change of class, prefetch
//
// Locks and order: see open_inode.h. mutex_ is a leaf: nothing is called with it held.
#ifndef F3_FS_CLIENT_FILE_MANAGER_IMPL_H_
#define F3_FS_CLIENT_FILE_MANAGER_IMPL_H_

#include <atomic>
#include <map>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/executor.h"
#include "common/log.h"
#include "common/timers.h"
#include "fs_client/file_manager.h"
#include "fs_client/open_inode.h"

namespace f3::fs {

// Counts what is under way, so that Shutdown can wait for it. Thread-safe.
class InFlight {
 public:
  // The operation is over when the last copy of the token is gone.
  std::shared_ptr<void> Begin();
  // False when `micros` passed first.
  bool AwaitNone(int64_t micros);

 private:
  Mutex mutex_;
  CondVar changed_;
  int count_ F3_GUARDED_BY(mutex_) = 0;
};

class FileManagerImpl : public FileManager {
 public:
  explicit FileManagerImpl(const Options& options);
  ~FileManagerImpl() override;

  void Open(const OpenRequest& request, OpenDone done) override;
  void OpenCreated(const OpenRequest& request, const meta::Attr& attr, const meta::OpenReply& open,
                   OpenDone done) override;
  void Read(HandleId handle, uint64_t offset, std::span<std::byte> into, ReadDone done) override;
  void Write(HandleId handle, uint64_t offset, std::span<const std::byte> from,
             WriteDone done) override;
  void Interrupt(HandleId handle) override;
  void Flush(HandleId handle, int32_t pid, Done done) override;
  void Fsync(HandleId handle, bool data_only, Done done) override;
  void Release(HandleId handle) override;
  void Allocate(HandleId handle, int mode, uint64_t offset, uint64_t length, Done done) override;
  void Seek(HandleId handle, uint64_t offset, int whence, SeekDone done) override;
  void CopyRange(HandleId in, uint64_t in_offset, HandleId out, uint64_t out_offset,
                 uint64_t length, WriteDone done) override;
  void SetSize(Ino ino, HandleId handle, const OpenRequest& opener, uint64_t size,
               Done done) override;
  void SetTimes(Ino ino, const int64_t* atime_ns, const int64_t* mtime_ns) override;
  void OverlayAttr(meta::Attr* attr, std::function<void(bool)> done) override;
  std::optional<uint64_t> OlderSize(const meta::Attr& attr, uint64_t node) override;
  void AfterLock(Ino ino, Done done) override;
  void Convert(Ino ino, meta::FileClass to, Done done) override;
  void Prefetch(Ino ino, Done done) override;

  void OnContentInvalidated(Ino ino) override;
  void OnDrop(const ObjectKey& object, Version version) override;
  void OnWriterElsewhere(Ino ino) override;
  void OnSessionExpired() override;
  void OnRegistered(NodeId node, SessionId session) override;
  std::vector<meta::CloseOp> OpenFiles() override;
  Status Recover() override;

  Counters counters() const override;
  size_t RunDue() override { return timers_.RunDue(); }
  bool AwaitIdle() override { return in_flight_.AwaitNone(20'000'000); }
  void Shutdown() override;

  // storage::HomeListener
  void AwaitBytes(const ObjectKey& key, uint64_t offset, int64_t deadline_micros,
                  std::function<void(Result<Progress>)> done) override;
  void RemoteWrite(std::shared_ptr<storage::Object> object, const xdt::WriteRequest& request,
                   std::span<const std::byte> bytes, xdt::RequestHandler::WriteDone done) override;
  void RemoteControl(std::shared_ptr<storage::Object> object, const xdt::ControlRequest& request,
                     xdt::RequestHandler::ControlDone done) override;

 private:
  using Next = Strand::Next;
  using Mounts = std::map<KernelCache*, bool>;  // whether pages, not only attributes, may be there
  using MetaDone = std::function<void(Status, meta::Reply)>;
  // Of content that handles showed before: the mounts whose pages have to go, and what keeps the
  // lengths as they were until then (OpenInode::shown_sizes). Let go without the inode's mutex.
  struct Switch {
    Mounts stale_pages;
    std::shared_ptr<void> sizes_kept;
  };
  struct OpenTask;
  using OpenTaskRef = std::shared_ptr<OpenTask>;

  // ---- file_manager.cc ----
  InodeRef InodeOf(Ino ino);              // made when there is none
  InodeRef FindInode(Ino ino);            // null when there is none
  HandleRef FindHandle(HandleId handle);  // null when there is none
  std::vector<InodeRef> AllInodes();
  void OnStrand(const InodeRef& inode, std::function<void(Next)> task);
  void CallMeta(meta::Request request, MetaDone done);
  // Runs `work`, which may block, on an executor thread; on this one when it is stopping or full.
  void RunBlocking(std::function<void()> work);
  ObjectKey Held(Ino ino);
  void SetHeld(const ObjectKey& key);
  void DropHeld(const ObjectKey& key);
  // Drops pages (and attributes) in the kernels of these mounts, then calls `done`.
  // Never awaited on a strand: it may have to wait for requests that wait for the strand.
  void InvalidateKernels(const Mounts& mounts, Ino ino, uint64_t offset, uint64_t length,
                         std::function<void()> done);
  // The same; the lengths are kept until then.
  void InvalidateAndShow(const Mounts& mounts, Ino ino, uint64_t offset, uint64_t length,
                         std::shared_ptr<void> sizes_kept, std::function<void()> done);
  RemoteFile::Parts RemoteParts();
  StagingFill::Parts FillParts();
  int64_t Deadline() const {
    return options_.clock->MonotonicMicros() + options_.data_timeout_micros;
  }
  // All rows of a file, of which a reply holds the first ones. Blocks.
  Result<std::vector<storage::DurableBlock>> AllRows(Ino ino, const meta::OpenReply& open);
  static std::vector<storage::DurableBlock> Rows(
      const google::protobuf::RepeatedPtrField<meta::Block>& blocks);

  // ---- file_open.cc ----
  void SendOpen(const OpenTaskRef& task);
  void Granted(const OpenTaskRef& task);
  void LoadRows(const OpenTaskRef& task, uint64_t first);
  void ResolveContent(const OpenTaskRef& task);
  void Admit(const OpenTaskRef& task);
  static bool ShowsVersion(const OpenInode& inode, const KernelModes::Key& key,
                           const Content& content) F3_REQUIRES(inode.mutex);
  Status ChooseMode(const OpenTaskRef& task, KernelModes::Answer* answer);
  void FailOpen(const OpenTaskRef& task, const Status& status);
  ServeMode Wanted(const OpenTask& task) const;
  bool KeepCache(const OpenTask& task, ServeMode mode, bool others_cached);
  void RememberPages(const Handle& handle, const Content& content);
  void OpenInternal(Ino ino, int flags, const meta::Caller& caller,
                    std::function<void(Result<HandleRef>)> done);

  // ---- file_content.cc ---- (on the strand)
  Result<ContentRef> BecomeHome(const OpenTaskRef& task);
  Result<std::shared_ptr<storage::Object>> HomeObject(const OpenTaskRef& task, bool* begins_empty,
                                                      std::shared_ptr<StagingFill>* fill);
  Status BeginWriting(const InodeRef& inode, const ContentRef& content, const meta::Attr& attr,
                      std::vector<storage::DurableBlock> rows, bool unpublished);
  Result<ContentRef> RemoteContent(const OpenTaskRef& task);
  Result<ContentRef> ReaderContent(const OpenTaskRef& task);
  Result<ContentRef> PublishedContent(const meta::Attr& attr, const meta::OpenReply& open,
                                      std::vector<storage::DurableBlock> rows);
  Result<storage::FetchPlan> PlanOf(const meta::Attr& attr, const meta::OpenReply& open);
  Result<storage::FetchPlan> RefreshPlan(const storage::FetchPlan& plan);
  storage::TierKind TierFor(const meta::Attr& attr);
  void StartFill(const InodeRef& inode, const ContentRef& content,
                 std::function<void(Status)> done);
  void ReportCopy(const ObjectKey& key, Version version);
  // Handles of this node that the daemon serves show `content` from now on.
  Switch SwitchHandles(const InodeRef& inode, const ContentRef& content);
  // Keeps these lengths (OpenInode::shown_sizes) until what it returns is let go, without the
  // inode's mutex.
  std::shared_ptr<void> KeepSizes(const InodeRef& inode, std::map<uint64_t, uint64_t> sizes)
      F3_REQUIRES(inode->mutex);
  // Drops the pages that went with a switch, lets the lengths grow, then calls `done`.
  void DropReplaced(const InodeRef& inode, Switch switched, std::function<void()> done);

  // ---- file_data.cc ----
  void ReadFollowing(const HandleRef& handle, const ContentRef& content, uint64_t offset,
                     std::span<std::byte> into, ReadDone done);
  void ReadFollowingRemote(const HandleRef& handle, const ContentRef& content, uint64_t offset,
                           std::span<std::byte> into, ReadDone done);
  void ReadContent(const InodeRef& inode, const ContentRef& content, uint64_t offset,
                   std::span<std::byte> into, ReadDone done);
  std::shared_ptr<void> KeepReadersSizes(const InodeRef& inode, const storage::Object& object);
  void WriteHome(const InodeRef& inode, const HandleRef& handle, const ContentRef& content,
                 uint64_t offset, bool append, std::span<const std::byte> from,
                 std::function<void(Result<uint64_t>)> done);
  void CopyByReading(const HandleRef& in, uint64_t in_offset, const HandleRef& out,
                     uint64_t out_offset, uint64_t length, WriteDone done);
  // Status of using the handle for `write`: BadHandle, expired session.
  Status Usable(const HandleRef& handle, bool write, ContentRef* content);

  // ---- file_ranges.cc ----
  // `done` is given the mounts that may have pages past the new end.
  void TruncateHome(const InodeRef& inode, const ContentRef& content, uint64_t size,
                    std::function<void(Status, Mounts)> done);
  void AllocateHome(const InodeRef& inode, const ContentRef& content, int mode, uint64_t offset,
                    uint64_t length, Done done);
  void SeekLocal(const ContentRef& content, uint64_t offset, int whence, SeekDone done);
  void SetSizeByHandle(const HandleRef& handle, uint64_t size, Done done);

  // ---- file_publish.cc ---- (on the strand)
  // True when the object may differ from what was published last. `closing_handle`: stores through
  // a mapping, which leave no trace, count as well.
  bool Changed(const InodeRef& inode, bool closing_handle);
  // Publishes if something changed. `closing`: writers to give back with it.
  void Publish(const InodeRef& inode, uint32_t closing, Done done);
  void PublishEphemeral(const InodeRef& inode, const ContentRef& content, const Signature& now,
                        uint32_t closing, Done done);
  // Blocks: on an executor thread.
  Status PublishDurable(const InodeRef& inode, const ContentRef& content, const Signature& now,
                        uint32_t closing);
  Status ReloadRows(const InodeRef& inode);
  void Published(const InodeRef& inode, const ContentRef& content, const Signature& was,
                 const meta::Attr& attr);

  // ---- file_close.cc ----
  void SyncHandle(const HandleRef& handle, bool fsync, Done done);
  void SyncRemote(const InodeRef& inode, const ContentRef& content, Done done);
  void FinishWriting(const InodeRef& inode, Next next);
  void Settle(const InodeRef& inode, Done done);
  Status SealHome(const InodeRef& inode, const ContentRef& content);
  void ScheduleSettle(const InodeRef& inode, int64_t micros);
  void GiveUp(const InodeRef& inode, const Status& why);
  void QueueClose(const InodeRef& inode, Incarnation incarnation, uint32_t readers,
                  uint32_t writers);
  void SendClose(const InodeRef& inode);
  void QueueFinished(const InodeRef& inode);

  // ---- file_home.cc ----
  void PrepareHome(const InodeRef& inode, std::shared_ptr<storage::Object> object, Done done);
  void AsHome(std::shared_ptr<storage::Object> object,
              std::function<void(Result<std::pair<InodeRef, ContentRef>>)> then);
  void EndRemoteWrite(const InodeRef& inode);

  // ---- file_session.cc ----
  // `done` is given whether anything had changed, and what DropReplaced needs.
  using Switched = std::function<void(Status, bool changed, Switch switched)>;
  void Revalidate(const InodeRef& inode, bool lock_taken, Switched done);
  void ScheduleRevalidate(const InodeRef& inode, int attempt);
  void Reopen(const InodeRef& inode);
  Status ReopenBlocking(const InodeRef& inode);
  Status RecoverHome(const storage::ObjectInfo& info);
  void OnEvicted(const ObjectKey& key);

  // ---- file_convert.cc ----
  void ConvertSoon(Ino ino, meta::FileClass to, int attempt, Done done);
  void ConvertNow(Ino ino, meta::FileClass to, Done done);
  Status ConvertBlocking(const HandleRef& handle, meta::FileClass to);
  Status ToDurable(const InodeRef& inode, const ContentRef& content);
  Status ToEphemeral(const InodeRef& inode, const ContentRef& content);

  const Options options_;
  InFlight in_flight_;
  Timers timers_;
  std::atomic<bool> stopping_{false};

  mutable Mutex mutex_;
  std::unordered_map<Ino, std::weak_ptr<OpenInode>> inodes_ F3_GUARDED_BY(mutex_);
  std::unordered_map<HandleId, HandleRef> handles_ F3_GUARDED_BY(mutex_);
  HandleId next_handle_ F3_GUARDED_BY(mutex_) = 1;
  // The newest object that this node holds of an inode: what an open for writing offers.
  std::unordered_map<Ino, Incarnation> held_ F3_GUARDED_BY(mutex_);
  // What the pages of a kernel inode show after its last cached handle was closed.
  struct Pages {
    ObjectKey key;
    Version version = 0;
  };
  std::unordered_map<Ino, std::map<KernelModes::Key, Pages>> pages_ F3_GUARDED_BY(mutex_);
  // Background fills under way.
  std::map<ObjectKey, std::pair<InodeRef, ContentRef>> fills_ F3_GUARDED_BY(mutex_);

  std::atomic<uint64_t> local_read_bytes_{0}, remote_write_bytes_{0}, durable_written_bytes_{0};
  std::atomic<uint64_t> passthrough_opens_{0}, cached_opens_{0}, direct_opens_{0};
  std::atomic<uint64_t> published_files_{0}, publish_failures_{0};

  Executor executor_;  // last: its threads use the rest
};

}  // namespace f3::fs

#endif  // F3_FS_CLIENT_FILE_MANAGER_IMPL_H_
