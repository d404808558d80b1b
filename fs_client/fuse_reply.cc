// Replies, and how long the kernel may keep what they say.
#include <sys/stat.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "fs_client/fuse_session_impl.h"

namespace f3::fs {
namespace {

// Until a notice takes it back.
constexpr uint64_t kLeaseSeconds = 3600;

void SetTime(int64_t ns, uint64_t* seconds, uint32_t* rest) {
  constexpr int64_t kSecond = 1'000'000'000;
  int64_t whole = ns / kSecond;
  int64_t part = ns % kSecond;
  if (part < 0) {
    part += kSecond;
    --whole;
  }
  *seconds = static_cast<uint64_t>(whole);
  *rest = static_cast<uint32_t>(part);
}

}  // namespace

FuseRequest::FuseRequest(FuseImpl* fs, fuse_req_t req, const fuse_in_header& header, uint32_t umask,
                         bool kill_suid)
    : fs_(fs),
      req_(req),
      unique_(header.unique),
      since_(fs->guard_.Now()),
      pid_(static_cast<int32_t>(header.pid)),
      node_(header.nodeid),
      kill_suid_(kill_suid) {
  caller_.set_uid(header.uid);
  caller_.set_gid(header.gid);
  caller_.set_umask(umask);
  MutexLock lock(fs_->mutex_);
  ++fs_->in_flight_;
}

FuseRequest::~FuseRequest() {
  if (!answered_) Error(EIO);
  MutexLock lock(fs_->mutex_);
  --fs_->in_flight_;
  fs_->idle_.SignalAll();
}

int FuseRequest::Write(int err, const void* body, size_t size, const void* more, size_t more_size) {
  if (answered_) return 0;
  answered_ = true;
  // Before the reply: the kernel may use the number again right after it.
  if (req_ != nullptr) fuse_reply_none(req_);
  req_ = nullptr;
  fuse_out_header header = {};
  header.len = static_cast<uint32_t>(sizeof(header) + size + more_size);
  header.error = -err;
  header.unique = unique_;
  iovec parts[3] = {{&header, sizeof(header)},
                    {const_cast<void*>(body), size},
                    {const_cast<void*>(more), more_size}};
  return ::writev(fs_->fd_, parts, more_size > 0 ? 3 : size > 0 ? 2 : 1) < 0 ? errno : 0;
}

void FuseRequest::Error(int err) {
  // A number that the kernel does not take is a fault of ours.
  if (err < 0 || err >= 512) err = EIO;
  Write(err, nullptr, 0, nullptr, 0);
}

int FuseRequest::Send(const void* body, size_t size, const void* more, size_t more_size) {
  return Write(0, body, size, more, more_size);
}

bool FuseImpl::May(Ino ino, bool granted, uint64_t since) const {
  return granted && guard_.Holds(ino, since);
}

uint64_t FuseImpl::AttrSeconds(const meta::Attr& attr, uint64_t since) {
  if (!May(attr.ino(), attr.cacheable(), since)) return 0;
  // The length of a file is what a dropped reply would do harm to.
  const bool settled = guard_.Settled(attr.ino(), options_.clock->MonotonicMicros());
  if (S_ISREG(attr.mode()) && !settled) return 0;
  nodes_->KeepAttr(attr.ino());
  return kLeaseSeconds;
}

void FuseImpl::FillAttr(const meta::Attr& attr, fuse_attr* out) const {
  *out = {};
  out->ino = attr.ino();
  out->size = attr.size();
  if (S_ISLNK(attr.mode()) || S_ISREG(attr.mode())) {
    out->blocks = (attr.allocated_bytes() + 511) / 512;
  }
  SetTime(attr.atime_ns(), &out->atime, &out->atimensec);
  SetTime(attr.mtime_ns(), &out->mtime, &out->mtimensec);
  SetTime(attr.ctime_ns(), &out->ctime, &out->ctimensec);
  out->mode = attr.mode();
  out->nlink = attr.nlink();
  out->uid = attr.uid();
  out->gid = attr.gid();
  out->rdev = attr.rdev();
  out->blksize = 4096;
}

void FuseImpl::FillEntry(const meta::Entry& entry, Ino parent, uint64_t since, bool overlaid,
                         fuse_entry_out* out) {
  *out = {};
  out->nodeid = nodes_->Remember(entry.attr().ino());
  const bool name = names_droppable_ && May(parent, entry.cacheable(), since);
  out->entry_valid = name ? kLeaseSeconds : 0;
  out->attr_valid = overlaid ? 0 : AttrSeconds(entry.attr(), since);
  FillAttr(entry.attr(), &out->attr);
}

void FuseImpl::ReplyAttr(const ReqRef& req, uint64_t node, meta::Attr attr) {
  auto shown = std::make_shared<meta::Attr>(std::move(attr));
  if (auto size = options_.files->OlderSize(*shown, node)) {
    // What this node's handles read; the kernel takes the length from here.
    shown->set_size(*size);
    shown->set_cacheable(false);
  }
  options_.files->OverlayAttr(shown.get(), [this, req, shown](bool uncacheable) {
    fuse_attr_out out = {};
    GrantGuard::Writing writing(&guard_);
    out.attr_valid = uncacheable ? 0 : AttrSeconds(*shown, req->since());
    FillAttr(*shown, &out.attr);
    req->Send(&out, sizeof(out));
  });
}

void FuseImpl::ReplyEntry(const ReqRef& req, Ino parent, meta::Entry entry) {
  auto shown = std::make_shared<meta::Entry>(std::move(entry));
  // A node whose handles keep older content shows that; who looks now gets another.
  for (uint64_t node : nodes_->NodesOf(shown->attr().ino())) {
    if (options_.files->OlderSize(shown->attr(), node)) nodes_->MakeAlias(node);
  }
  options_.files->OverlayAttr(shown->mutable_attr(), [this, req, parent, shown](bool uncacheable) {
    fuse_entry_out out;
    int error = 0;
    {
      GrantGuard::Writing writing(&guard_);
      FillEntry(*shown, parent, req->since(), uncacheable, &out);
      error = req->Send(&out, sizeof(out));
    }
    if (error != 0) Forget(out.nodeid, 1);
  });
}

void FuseImpl::ReplyAbsent(const ReqRef& req, Ino parent, bool cacheable) {
  GrantGuard::Writing writing(&guard_);
  if (!names_droppable_ || !May(parent, cacheable, req->since())) return req->Error(ENOENT);
  fuse_entry_out out = {};  // node 0: there is no such name
  out.entry_valid = kLeaseSeconds;
  req->Send(&out, sizeof(out));
}

kernel::OpenOut FuseImpl::OpenOutOf(const OpenOutcome& outcome) {
  kernel::OpenOut out;
  out.fh = outcome.handle;
  if (outcome.direct_io) out.open_flags |= FOPEN_DIRECT_IO | kernel::kOpenParallelDirectWrites;
  if (outcome.keep_cache) out.open_flags |= FOPEN_KEEP_CACHE;
  if (outcome.backing_id > 0) {
    out.open_flags |= kernel::kOpenPassthrough;
    out.backing_id = outcome.backing_id;
  }
  return out;
}

void FuseImpl::ReplyOpen(const ReqRef& req, uint64_t node, const Result<OpenOutcome>& outcome) {
  if (!outcome.ok()) {
    // The kernel looks the name up again, and finds the inode under another node.
    if (outcome.status().Is(Code::kStale)) nodes_->MakeAlias(node);
    return req->Error(outcome.status());
  }
  const kernel::OpenOut out = OpenOutOf(*outcome);
  {
    MutexLock lock(mutex_);
    handles_[outcome->handle] = outcome->direct_io;
  }
  if (req->Send(&out, sizeof(out)) == 0) return;
  {
    MutexLock lock(mutex_);
    if (handles_.erase(outcome->handle) == 0) return;
  }
  options_.files->Release(outcome->handle);
}

void FuseImpl::ReplyCreate(const ReqRef& req, Ino parent, const meta::Entry& entry,
                           const Result<OpenOutcome>& outcome) {
  if (!outcome.ok()) return req->Error(outcome.status());
  const kernel::OpenOut open = OpenOutOf(*outcome);
  {
    MutexLock lock(mutex_);
    handles_[outcome->handle] = outcome->direct_io;
  }
  fuse_entry_out out;
  int error = 0;
  {
    GrantGuard::Writing writing(&guard_);
    FillEntry(entry, parent, req->since(), true, &out);
    const meta::Attr& attr = entry.attr();
    if (May(attr.ino(), attr.cacheable(), req->since())) fresh_.AddMade(attr);
    error = req->Send(&out, sizeof(out), &open, sizeof(open));
  }
  if (error == 0) return;
  Forget(out.nodeid, 1);
  {
    MutexLock lock(mutex_);
    if (handles_.erase(outcome->handle) == 0) return;
  }
  options_.files->Release(outcome->handle);
}

}  // namespace f3::fs
