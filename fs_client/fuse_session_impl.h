// FuseImpl: the parts of a FuseSession: fuse_session.cc (mount, threads), fuse_init.cc (what is
// agreed with the kernel), fuse_reply.cc (replies), fuse_notify.cc (cache notices), and the
// operations: fuse_names.cc, fuse_attrs.cc, fuse_files.cc, fuse_dirs.cc, fuse_locks.cc,
// fuse_xattrs.cc, fuse_references.cc.
//
// libfuse mounts and parses requests. Replies are written by us, because what passthrough needs is
// not in Debian 12's libfuse. Lock order: none of the mutexes here is held while another is taken
// or while anything outside this class is called, but for guard_, which is held while a reply is
// written.
#ifndef F3_FS_CLIENT_FUSE_SESSION_IMPL_H_
#define F3_FS_CLIENT_FUSE_SESSION_IMPL_H_

// Before any libfuse header.
#define FUSE_USE_VERSION 314
#include <fuse3/fuse_lowlevel.h>

#include <array>
#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "common/executor.h"
#include "common/mutex.h"
#include "common/unique_fd.h"
#include "fs_client/class_rules.h"
#include "fs_client/fresh_attrs.h"
#include "fs_client/fuse_kernel.h"
#include "fs_client/fuse_session.h"
#include "fs_client/grant_guard.h"
#include "fs_client/inode_table.h"
#include "fs_client/reference_dir.h"

namespace f3::fs {

class FuseImpl;

// One mapped buffer that a request is read into; writes keep it until they are done.
struct RequestBuffer {
  std::unique_ptr<std::byte[]> bytes;
};

// One request of the kernel; answered exactly once (with EIO when it is dropped). Any thread.
class FuseRequest {
 public:
  // `req` is null for requests that libfuse does not know.
  FuseRequest(FuseImpl* fs, fuse_req_t req, const fuse_in_header& header, uint32_t umask,
              bool kill_suid);
  ~FuseRequest();
  FuseRequest(const FuseRequest&) = delete;

  void Error(int err);
  void Error(const Status& status) { Error(status.Errno()); }
  void Ok() { Error(0); }
  // Errno of writing the reply: ENOENT when the kernel has given up the request.
  int Send(const void* body, size_t size, const void* more = nullptr, size_t more_size = 0);

  FuseImpl* fs() const { return fs_; }
  fuse_req_t req() const { return req_; }
  uint64_t since() const { return since_; }
  int32_t pid() const { return pid_; }
  const meta::Caller& caller() const { return caller_; }
  uint64_t node() const { return node_; }
  // The caller may not keep setuid and setgid of what this request changes.
  bool kill_suid() const { return kill_suid_; }

 private:
  int Write(int err, const void* body, size_t size, const void* more, size_t more_size);

  FuseImpl* const fs_;
  fuse_req_t req_;
  const uint64_t unique_;
  const uint64_t since_;
  int32_t pid_ = 0;
  const uint64_t node_;
  const bool kill_suid_;
  meta::Caller caller_;
  bool answered_ = false;
};
using ReqRef = std::shared_ptr<FuseRequest>;

// An open directory: the page of entries that the kernel is reading, and how to find others.
struct DirHandle {
  Ino ino = 0;
  Mutex mutex;
  struct Page {
    uint64_t first = 0;  // cookie of its first entry
    bool plus = false;
    bool last = false;
    uint64_t since = 0;
    std::vector<meta::DirEntry> entries;
    Ino parent = 0;  // of the directory
  };
  std::shared_ptr<const Page> page F3_GUARDED_BY(mutex);
  std::shared_ptr<const Page> before F3_GUARDED_BY(mutex);
  // By cookie: the name after which a page begins.
  std::map<uint64_t, std::string> starts F3_GUARDED_BY(mutex);
};

class FuseImpl : public FuseSession {
 public:
  explicit FuseImpl(const Options& options);
  ~FuseImpl() override { Unmount(); }

  Status Start();

  const std::string& dir() const override { return options_.mount.dir; }
  uint32_t number() const override { return options_.number; }
  void Unmount() override;
  void OnInvalidate(const meta::Invalidate& invalidate, std::function<void()> done) override;
  void OnLockAvailable(Ino ino) override;
  void DropCaches() override;
  std::map<std::string, uint64_t> Requests() const override;

  void InvalidateInode(Ino ino, bool data, uint64_t offset, uint64_t length,
                       std::function<void()> done) override;
  bool passthrough() const override { return passthrough_; }
  Result<int32_t> OpenBacking(int fd) override;
  void CloseBacking(int32_t backing_id) override;

 private:
  friend class FuseRequest;
  friend struct FuseOps;
  using MetaDone = std::function<void(Status, meta::Reply)>;

  // fuse_session.cc
  Status CheckMountPoint() const;
  Status FindRoot();
  Status MountKernel();
  void Serve(int index);
  void WakeAll();  // ends the threads that serve
  void ServeOne(std::unique_ptr<RequestBuffer>* buffer, size_t size);
  void Ended();
  void ReleaseAll();
  std::unique_ptr<RequestBuffer> NewBuffer();
  void GiveBack(std::unique_ptr<RequestBuffer> buffer);
  // Takes over the buffer of the request that this thread is handling; null when too many are in
  // use: the caller then waits for the request's end.
  std::shared_ptr<RequestBuffer> KeepBuffer();
  ReqRef Begin(fuse_req_t req);
  void CallMeta(const ReqRef& req, meta::Request request, MetaDone done);
  OpenRequest Opener(const ReqRef& req, uint64_t node, int flags);

  // fuse_init.cc
  void Init(fuse_conn_info* conn);
  static ssize_t WriteHook(int fd, iovec* iov, int count, void* userdata);
  static ssize_t ReadHook(int fd, void* buf, size_t size, void* userdata);
  void PatchInit(kernel::InitOut* init);

  // fuse_reply.cc
  bool May(Ino ino, bool granted, uint64_t since) const;
  // How long the kernel may keep the attributes of a reply. Under a GrantGuard::Writing.
  uint64_t AttrSeconds(const meta::Attr& attr, uint64_t since);
  void FillAttr(const meta::Attr& attr, fuse_attr* out) const;
  void FillEntry(const meta::Entry& entry, Ino parent, uint64_t since, bool overlaid,
                 fuse_entry_out* out);
  void ReplyAttr(const ReqRef& req, uint64_t node, meta::Attr attr);
  void ReplyEntry(const ReqRef& req, Ino parent, meta::Entry entry);
  void ReplyAbsent(const ReqRef& req, Ino parent, bool cacheable);
  void ReplyOpen(const ReqRef& req, uint64_t node, const Result<OpenOutcome>& outcome);
  void ReplyCreate(const ReqRef& req, Ino parent, const meta::Entry& entry,
                   const Result<OpenOutcome>& outcome);
  static kernel::OpenOut OpenOutOf(const OpenOutcome& outcome);

  // fuse_notify.cc
  int Notify(int code, const void* body, size_t size, const void* more = nullptr,
             size_t more_size = 0);
  void NotifyInode(uint64_t node, int64_t offset, int64_t length);
  // No reply on its way grants anything of the inode any more. What it returns is for DropAttr, by
  // which the kernel forgets the attributes that it keeps.
  uint64_t BeginInvalidate(Ino ino);
  void DropAttr(Ino ino, uint64_t kept);
  void InvalidateItem(const meta::Invalidate::Item& item, uint64_t attr_kept);
  void InvalidateEntry(Ino parent, const std::string& name);
  bool DropAllNames();
  class Changing;  // an operation of ours that changes a directory is under way

  // fuse_names.cc
  void Lookup(const ReqRef& req, uint64_t parent, const char* name);
  void Forget(uint64_t node, uint64_t lookups);
  void Placed(const meta::Entry& entry, Ino parent, const std::string& name);
  // The kernel asks for the attributes of a directory that it has changed.
  void KeepDirectory(const ReqRef& req, const Changing& changing, const meta::Reply& reply);
  void SendForgets(std::vector<Ino> inos);
  // The mount is gone: nothing is cached any more.
  void GiveBackLeases();
  void MakeNode(const ReqRef& req, uint64_t parent, const char* name, uint32_t mode, uint32_t rdev,
                const char* target);
  void Remove(const ReqRef& req, uint64_t parent, const char* name, bool directory);
  void Rename(const ReqRef& req, uint64_t parent, std::string name, uint64_t new_parent,
              std::string new_name, unsigned flags, int attempt);
  void Link(const ReqRef& req, uint64_t node, uint64_t new_parent, const char* new_name);
  void Readlink(const ReqRef& req, uint64_t node);
  void Create(const ReqRef& req, uint64_t parent, std::string name, uint32_t mode, int flags,
              bool tmpfile);
  void CreateTmpfile(const fuse_in_header& header, const std::byte* body, size_t size);

  // fuse_attrs.cc
  void GetAttr(const ReqRef& req, uint64_t node);
  // Takes setuid and setgid from an inode before the request changes it, where that has to be.
  void ClearSuid(const ReqRef& req, std::function<void(Status)> then);
  void SetAttr(const ReqRef& req, uint64_t node, const struct stat& attr, int valid,
               HandleId handle);
  void StatFs(const ReqRef& req);

  // fuse_files.cc
  void Open(const ReqRef& req, uint64_t node, int flags);
  void Read(const ReqRef& req, HandleId handle, size_t size, uint64_t offset);
  void StartRead(const ReqRef& req, HandleId handle, size_t size, uint64_t offset, bool counted);
  void ReadEnded(size_t size);
  void Write(const ReqRef& req, HandleId handle, const char* bytes, size_t size, uint64_t offset);
  void Flush(const ReqRef& req, uint64_t node, HandleId handle, uint64_t owner);
  void Release(const ReqRef& req, uint64_t node, HandleId handle, uint64_t owner, bool flock);
  void Copy(const ReqRef& req, HandleId in, uint64_t in_offset, HandleId out, uint64_t out_offset,
            size_t length);

  // fuse_dirs.cc
  void OpenDir(const ReqRef& req, uint64_t node);
  void ReadDir(const ReqRef& req, uint64_t handle, size_t size, uint64_t offset, bool plus);
  void ServePage(const ReqRef& req, const std::shared_ptr<DirHandle>& dir,
                 const std::shared_ptr<const DirHandle::Page>& page, size_t size, uint64_t offset,
                 bool plus);
  void FetchPage(const ReqRef& req, const std::shared_ptr<DirHandle>& dir, size_t size,
                 uint64_t offset, bool plus);
  void AddEntry(const DirHandle& dir, const DirHandle::Page& page, const meta::DirEntry& entry,
                uint64_t cookie, bool plus, std::string* out, std::vector<uint64_t>* counted);
  void ReleaseDir(const ReqRef& req, uint64_t handle);
  void SyncDir(const ReqRef& req);
  std::shared_ptr<DirHandle> FindDir(uint64_t handle);
  struct FixedName {
    const char* name;
    uint64_t ino;
  };
  // All entries of a directory that has always the same few directories.
  void ReplyFixedNames(const ReqRef& req, const std::vector<FixedName>& names, uint64_t offset,
                       bool plus);

  // fuse_locks.cc
  struct LockWait {
    uint64_t id = 0;
    ReqRef req;
    meta::Request request;
    uint64_t round = 0;  // of the inode's availability when it was last asked
    bool parked = false;
    bool interrupted = false;
  };
  void GetLock(const ReqRef& req, uint64_t node, uint64_t owner, struct flock lock);
  void SetLock(const ReqRef& req, uint64_t node, uint64_t owner, const struct flock& lock,
               bool wait);
  void Flock(const ReqRef& req, uint64_t node, uint64_t owner, int op);
  void SendLock(const ReqRef& req, meta::Request request, bool wait);
  void TryLock(const std::shared_ptr<LockWait>& lock);
  void LockAnswered(const std::shared_ptr<LockWait>& lock, const Status& status);
  void InterruptLock(uint64_t id);
  void RetryAllLocks();
  void ReleaseLocks(Ino ino, uint64_t owner, meta::LockKind kind, std::function<void()> done);

  // fuse_xattrs.cc
  void GetXattr(const ReqRef& req, uint64_t node, const char* name, size_t size);
  void ListXattr(const ReqRef& req, uint64_t node, size_t size);
  void SetXattr(const ReqRef& req, uint64_t node, const char* name, std::string value, int flags);
  void RemoveXattr(const ReqRef& req, uint64_t node, const char* name);
  void ReplyXattr(const ReqRef& req, const std::string& value, size_t size);

  // fuse_references.cc
  // False when the request is none for the directory of references.
  bool ServeReference(const fuse_in_header& header, const std::byte* body, size_t size);
  void FillAttr(const ReferenceDir::Node& node, fuse_attr* out) const;
  void ReplyEntry(const ReqRef& req, const Result<ReferenceDir::Node>& node);
  void OpenReference(const ReqRef& req, uint64_t unique, int flags);
  bool InterruptReference(uint64_t unique);
  void ReadReference(const ReqRef& req, const fuse_read_in& in);
  void SeekReference(const ReqRef& req, const fuse_lseek_in& in);
  void ListReferences(const ReqRef& req, const fuse_read_in& in, bool plus);

  const Options options_;
  const int64_t mounted_wall_ns_;
  const std::unique_ptr<ReferenceDir> references_;
  Ino root_ = 0;  // constant after FindRoot, as is nodes_
  std::unique_ptr<InodeTable> nodes_;
  std::unique_ptr<ClassRules> rules_;
  GrantGuard guard_;
  FreshAttrs fresh_;
  fuse_session* session_ = nullptr;  // constant while threads run
  // Likewise; owned by session_. -1 once that is gone: what the file layer still asks then fails.
  std::atomic<int> fd_{-1};
  UniqueFd wake_;    // readable: the threads end
  UniqueFd waiter_;  // epoll: requests, and wake_
  // Inodes that had neither setuid nor setgid, and whose attributes nobody has changed since.
  std::unordered_set<Ino> plain_ F3_GUARDED_BY(mutex_);
  std::array<std::atomic<uint64_t>, kernel::kMaxOpcode + 1> requests_{};
  std::atomic<bool> passthrough_{false};
  std::atomic<bool> names_droppable_{false};  // the kernel has kNotifyIncEpoch
  std::atomic<uint64_t> init_unique_{0};
  uint32_t init_flags2_ = 0;  // of the kernel; set before init_unique_
  std::vector<std::thread> threads_;
  std::thread ender_;
  std::unique_ptr<Executor> notifiers_;

  Mutex mutex_;
  CondVar idle_;
  size_t in_flight_ F3_GUARDED_BY(mutex_) = 0;
  size_t serving_ F3_GUARDED_BY(mutex_) = 0;
  bool unmounted_ F3_GUARDED_BY(mutex_) = false;
  bool ended_ F3_GUARDED_BY(mutex_) = false;  // by the kernel
  bool initialized_ F3_GUARDED_BY(mutex_) = false;
  std::unordered_map<HandleId, bool> handles_ F3_GUARDED_BY(mutex_);  // open; direct I/O
  std::unordered_map<uint64_t, std::shared_ptr<DirHandle>> dirs_ F3_GUARDED_BY(mutex_);
  uint64_t next_dir_ F3_GUARDED_BY(mutex_) = 1;
  // Opens of references that are under way, by the kernel's number of the request.
  std::unordered_map<uint64_t, std::weak_ptr<FuseRequest>> reference_opens_ F3_GUARDED_BY(mutex_);
  std::unordered_map<Ino, int> changing_ F3_GUARDED_BY(mutex_);  // directories
  std::vector<Ino> forgotten_ F3_GUARDED_BY(mutex_);

  Mutex buffers_mutex_;
  std::vector<std::unique_ptr<RequestBuffer>> free_buffers_ F3_GUARDED_BY(buffers_mutex_);
  size_t kept_buffers_ F3_GUARDED_BY(buffers_mutex_) = 0;

  struct WaitingRead {
    ReqRef req;
    HandleId handle = 0;
    size_t size = 0;
    uint64_t offset = 0;
  };
  Mutex reads_mutex_;
  size_t read_bytes_ F3_GUARDED_BY(reads_mutex_) = 0;
  std::deque<WaitingRead> waiting_reads_ F3_GUARDED_BY(reads_mutex_);

  Mutex locks_mutex_;
  uint64_t next_lock_ F3_GUARDED_BY(locks_mutex_) = 1;
  uint64_t lock_rounds_ F3_GUARDED_BY(locks_mutex_) = 1;
  std::unordered_map<Ino, uint64_t> lock_round_ F3_GUARDED_BY(locks_mutex_);  // of waiters' inodes
  std::map<uint64_t, std::shared_ptr<LockWait>> lock_waits_ F3_GUARDED_BY(locks_mutex_);
  // Owners that may hold fcntl locks, so that closing a file without any asks nobody.
  std::unordered_map<Ino, std::unordered_set<uint64_t>> lockers_ F3_GUARDED_BY(locks_mutex_);
};

// Marks a directory for InvalidateEntry while an operation on it, whose inode lock the kernel
// holds, waits for the metadata server.
class FuseImpl::Changing {
 public:
  Changing(FuseImpl* fs, Ino directory) : fs_(fs), directory_(directory), since_(fs->fresh_.Now()) {
    MutexLock lock(fs_->mutex_);
    ++fs_->changing_[directory_];
  }
  ~Changing() {
    MutexLock lock(fs_->mutex_);
    auto found = fs_->changing_.find(directory_);
    if (--found->second == 0) fs_->changing_.erase(found);
  }
  Changing(const Changing&) = delete;
  uint64_t since() const { return since_; }  // of FreshAttrs

 private:
  FuseImpl* const fs_;
  const Ino directory_;
  const uint64_t since_;
};

}  // namespace f3::fs

#endif  // F3_FS_CLIENT_FUSE_SESSION_IMPL_H_
