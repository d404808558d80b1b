// Attributes of inodes and of the file system.
#include <sys/stat.h>

#include <utility>

#include "fs_client/fuse_session_impl.h"

namespace f3::fs {
namespace {

constexpr size_t kMaxPlain = 65536;

int64_t Nanos(const timespec& time) { return time.tv_sec * 1'000'000'000 + time.tv_nsec; }

}  // namespace

void FuseImpl::GetAttr(const ReqRef& req, uint64_t node) {
  if (auto fresh = fresh_.Find(nodes_->ToIno(node))) return ReplyAttr(req, node, *fresh);
  meta::Request request;
  request.mutable_getattr()->set_ino(nodes_->ToIno(node));
  CallMeta(req, std::move(request), [this, req, node](const Status& status, meta::Reply reply) {
    if (!status.ok()) return req->Error(status);
    ReplyAttr(req, node, std::move(*reply.mutable_attr()));
  });
}

void FuseImpl::ClearSuid(const ReqRef& req, std::function<void(Status)> then) {
  const Ino ino = nodes_->ToIno(req->node());
  bool plain = !req->kill_suid();
  if (!plain) {
    MutexLock lock(mutex_);
    plain = plain_.contains(ino);
  }
  if (plain) return then(Status());
  meta::Request look;
  look.mutable_getattr()->set_ino(ino);
  CallMeta(req, std::move(look), [=, this](const Status& status, const meta::Reply& reply) {
    if (!status.ok()) return then(status);
    if ((reply.attr().mode() & (S_ISUID | S_ISGID)) == 0) {
      if (May(ino, reply.attr().cacheable(), req->since())) {
        MutexLock lock(mutex_);
        if (plain_.size() >= kMaxPlain) plain_.clear();
        plain_.insert(ino);
      }
      return then(Status());
    }
    meta::Request clear;
    clear.mutable_setattr()->set_ino(ino);
    clear.mutable_setattr()->set_kill_suid(true);
    CallMeta(req, std::move(clear),
             [then](const Status& cleared, const meta::Reply&) { then(cleared); });
  });
}

void FuseImpl::SetAttr(const ReqRef& req, uint64_t node, const struct stat& attr, int valid,
                       HandleId handle) {
  if ((valid & FUSE_SET_ATTR_SIZE) != 0) {
    const OpenRequest opener = Opener(req, node, O_WRONLY);
    options_.files->SetSize(nodes_->ToIno(node), handle, opener,
                            static_cast<uint64_t>(attr.st_size), [=, this](const Status& status) {
                              if (!status.ok()) return req->Error(status);
                              SetAttr(req, node, attr, valid & ~FUSE_SET_ATTR_SIZE, handle);
                            });
    return;
  }
  meta::Request request;
  meta::SetAttrOp* op = request.mutable_setattr();
  const Ino ino = nodes_->ToIno(node);
  op->set_ino(ino);
  bool any = false;
  if ((valid & FUSE_SET_ATTR_MODE) != 0) op->set_mode(attr.st_mode & 07777), any = true;
  if ((valid & FUSE_SET_ATTR_UID) != 0) op->set_uid(attr.st_uid), any = true;
  if ((valid & FUSE_SET_ATTR_GID) != 0) op->set_gid(attr.st_gid), any = true;
  const int64_t now = options_.clock->WallNanos();
  int64_t atime = Nanos(attr.st_atim), mtime = Nanos(attr.st_mtim);
  const bool set_atime = (valid & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW)) != 0;
  const bool set_mtime = (valid & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)) != 0;
  if ((valid & FUSE_SET_ATTR_ATIME_NOW) != 0) atime = now;
  if ((valid & FUSE_SET_ATTR_MTIME_NOW) != 0) mtime = now;
  if (set_atime) op->set_atime_ns(atime);
  if (set_mtime) op->set_mtime_ns(mtime);
  if (set_atime || set_mtime) {
    options_.files->SetTimes(ino, set_atime ? &atime : nullptr, set_mtime ? &mtime : nullptr);
    any = true;
  }
  if (req->kill_suid()) op->set_kill_suid(true), any = true;
  if (!any) return GetAttr(req, node);
  {
    MutexLock lock(mutex_);
    plain_.erase(ino);
  }
  CallMeta(req, std::move(request), [this, req, node](const Status& status, meta::Reply reply) {
    if (!status.ok()) return req->Error(status);
    ReplyAttr(req, node, std::move(*reply.mutable_attr()));
  });
}

void FuseImpl::StatFs(const ReqRef& req) {
  meta::Request request;
  request.mutable_statfs()->set_root(root_);
  CallMeta(req, std::move(request), [req](const Status& status, const meta::Reply& reply) {
    if (!status.ok()) return req->Error(status);
    constexpr uint32_t kUnit = 4096;
    fuse_statfs_out out = {};
    out.st.bsize = kUnit;
    out.st.frsize = kUnit;
    out.st.blocks = reply.statfs().capacity_bytes() / kUnit;
    out.st.bfree = reply.statfs().free_bytes() / kUnit;
    out.st.bavail = out.st.bfree;
    // Inodes are rows of the metadata server, which has no fixed number of them.
    out.st.files = 0;
    out.st.ffree = 0;
    out.st.namelen = kMaxNameBytes;
    req->Send(&out, sizeof(out));
  });
}

}  // namespace f3::fs
