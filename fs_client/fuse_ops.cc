#include "fs_client/fuse_ops.h"

#include <utility>

namespace f3::fs {
namespace {

FuseImpl* Fs(fuse_req_t req) { return static_cast<FuseImpl*>(fuse_req_userdata(req)); }

}  // namespace

// Handlers that libfuse calls; a friend of FuseImpl through FuseOps.
fuse_lowlevel_ops FuseOps::Table() {
  fuse_lowlevel_ops ops = {};
  ops.init = [](void* userdata, fuse_conn_info* conn) {
    static_cast<FuseImpl*>(userdata)->Init(conn);
  };
  ops.lookup = [](fuse_req_t req, fuse_ino_t parent, const char* name) {
    Fs(req)->Lookup(Fs(req)->Begin(req), parent, name);
  };
  ops.forget = [](fuse_req_t req, fuse_ino_t node, uint64_t lookups) {
    Fs(req)->Forget(node, lookups);
    fuse_reply_none(req);
  };
  ops.forget_multi = [](fuse_req_t req, size_t count, fuse_forget_data* forgets) {
    for (size_t i = 0; i < count; ++i) Fs(req)->Forget(forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(req);
  };
  ops.getattr = [](fuse_req_t req, fuse_ino_t node, fuse_file_info*) {
    Fs(req)->GetAttr(Fs(req)->Begin(req), node);
  };
  ops.setattr = [](fuse_req_t req, fuse_ino_t node, struct stat* attr, int valid,
                   fuse_file_info* file) {
    Fs(req)->SetAttr(Fs(req)->Begin(req), node, *attr, valid, file != nullptr ? file->fh : 0);
  };
  ops.readlink = [](fuse_req_t req, fuse_ino_t node) {
    Fs(req)->Readlink(Fs(req)->Begin(req), node);
  };
  ops.mknod = [](fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, dev_t rdev) {
    Fs(req)->MakeNode(Fs(req)->Begin(req), parent, name, mode, static_cast<uint32_t>(rdev), "");
  };
  ops.mkdir = [](fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) {
    Fs(req)->MakeNode(Fs(req)->Begin(req), parent, name, S_IFDIR | (mode & 07777), 0, "");
  };
  ops.symlink = [](fuse_req_t req, const char* target, fuse_ino_t parent, const char* name) {
    Fs(req)->MakeNode(Fs(req)->Begin(req), parent, name, S_IFLNK | 0777, 0, target);
  };
  ops.unlink = [](fuse_req_t req, fuse_ino_t parent, const char* name) {
    Fs(req)->Remove(Fs(req)->Begin(req), parent, name, false);
  };
  ops.rmdir = [](fuse_req_t req, fuse_ino_t parent, const char* name) {
    Fs(req)->Remove(Fs(req)->Begin(req), parent, name, true);
  };
  ops.rename = [](fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
                  const char* new_name, unsigned flags) {
    Fs(req)->Rename(Fs(req)->Begin(req), parent, name, new_parent, new_name, flags, 0);
  };
  ops.link = [](fuse_req_t req, fuse_ino_t node, fuse_ino_t new_parent, const char* new_name) {
    Fs(req)->Link(Fs(req)->Begin(req), node, new_parent, new_name);
  };
  ops.create = [](fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode,
                  fuse_file_info* file) {
    Fs(req)->Create(Fs(req)->Begin(req), parent, name, mode, file->flags, false);
  };
  ops.open = [](fuse_req_t req, fuse_ino_t node, fuse_file_info* file) {
    Fs(req)->Open(Fs(req)->Begin(req), node, file->flags);
  };
  ops.read = [](fuse_req_t req, fuse_ino_t, size_t size, off_t offset, fuse_file_info* file) {
    Fs(req)->Read(Fs(req)->Begin(req), file->fh, size, static_cast<uint64_t>(offset));
  };
  ops.write = [](fuse_req_t req, fuse_ino_t, const char* bytes, size_t size, off_t offset,
                 fuse_file_info* file) {
    Fs(req)->Write(Fs(req)->Begin(req), file->fh, bytes, size, static_cast<uint64_t>(offset));
  };
  ops.flush = [](fuse_req_t req, fuse_ino_t node, fuse_file_info* file) {
    Fs(req)->Flush(Fs(req)->Begin(req), node, file->fh, file->lock_owner);
  };
  ops.release = [](fuse_req_t req, fuse_ino_t node, fuse_file_info* file) {
    Fs(req)->Release(Fs(req)->Begin(req), node, file->fh, file->lock_owner,
                     file->flock_release != 0);
  };
  ops.fsync = [](fuse_req_t req, fuse_ino_t, int data_only, fuse_file_info* file) {
    FuseImpl* fs = Fs(req);
    ReqRef request = fs->Begin(req);
    fs->options_.files->Fsync(file->fh, data_only != 0,
                              [request](const Status& status) { request->Error(status); });
  };
  ops.opendir = [](fuse_req_t req, fuse_ino_t node, fuse_file_info*) {
    Fs(req)->OpenDir(Fs(req)->Begin(req), node);
  };
  ops.readdir = [](fuse_req_t req, fuse_ino_t, size_t size, off_t offset, fuse_file_info* file) {
    Fs(req)->ReadDir(Fs(req)->Begin(req), file->fh, size, static_cast<uint64_t>(offset), false);
  };
  ops.readdirplus = [](fuse_req_t req, fuse_ino_t, size_t size, off_t offset,
                       fuse_file_info* file) {
    Fs(req)->ReadDir(Fs(req)->Begin(req), file->fh, size, static_cast<uint64_t>(offset), true);
  };
  ops.releasedir = [](fuse_req_t req, fuse_ino_t, fuse_file_info* file) {
    Fs(req)->ReleaseDir(Fs(req)->Begin(req), file->fh);
  };
  ops.fsyncdir = [](fuse_req_t req, fuse_ino_t, int, fuse_file_info*) {
    Fs(req)->SyncDir(Fs(req)->Begin(req));
  };
  ops.statfs = [](fuse_req_t req, fuse_ino_t) { Fs(req)->StatFs(Fs(req)->Begin(req)); };
  ops.setxattr = [](fuse_req_t req, fuse_ino_t node, const char* name, const char* value,
                    size_t size, int flags) {
    Fs(req)->SetXattr(Fs(req)->Begin(req), node, name, std::string(value, size), flags);
  };
  ops.getxattr = [](fuse_req_t req, fuse_ino_t node, const char* name, size_t size) {
    Fs(req)->GetXattr(Fs(req)->Begin(req), node, name, size);
  };
  ops.listxattr = [](fuse_req_t req, fuse_ino_t node, size_t size) {
    Fs(req)->ListXattr(Fs(req)->Begin(req), node, size);
  };
  ops.removexattr = [](fuse_req_t req, fuse_ino_t node, const char* name) {
    Fs(req)->RemoveXattr(Fs(req)->Begin(req), node, name);
  };
  ops.getlk = [](fuse_req_t req, fuse_ino_t node, fuse_file_info* file, struct flock* lock) {
    Fs(req)->GetLock(Fs(req)->Begin(req), node, file->lock_owner, *lock);
  };
  ops.setlk = [](fuse_req_t req, fuse_ino_t node, fuse_file_info* file, struct flock* lock,
                 int wait) {
    Fs(req)->SetLock(Fs(req)->Begin(req), node, file->lock_owner, *lock, wait != 0);
  };
  ops.flock = [](fuse_req_t req, fuse_ino_t node, fuse_file_info* file, int op) {
    Fs(req)->Flock(Fs(req)->Begin(req), node, file->lock_owner, op);
  };
  ops.fallocate = [](fuse_req_t req, fuse_ino_t, int mode, off_t offset, off_t length,
                     fuse_file_info* file) {
    FuseImpl* fs = Fs(req);
    ReqRef request = fs->Begin(req);
    fs->options_.files->Allocate(file->fh, mode, static_cast<uint64_t>(offset),
                                 static_cast<uint64_t>(length),
                                 [request](const Status& status) { request->Error(status); });
  };
  ops.copy_file_range = [](fuse_req_t req, fuse_ino_t, off_t in_offset, fuse_file_info* in,
                           fuse_ino_t, off_t out_offset, fuse_file_info* out, size_t length, int) {
    Fs(req)->Copy(Fs(req)->Begin(req), in->fh, static_cast<uint64_t>(in_offset), out->fh,
                  static_cast<uint64_t>(out_offset), length);
  };
  ops.lseek = [](fuse_req_t req, fuse_ino_t, off_t offset, int whence, fuse_file_info* file) {
    FuseImpl* fs = Fs(req);
    ReqRef request = fs->Begin(req);
    fs->options_.files->Seek(file->fh, static_cast<uint64_t>(offset), whence,
                             [request](const Result<uint64_t>& at) {
                               if (!at.ok()) {
                                 const bool past = at.status().Is(Code::kNotFound);
                                 return past ? request->Error(ENXIO) : request->Error(at.status());
                               }
                               fuse_lseek_out out = {};
                               out.offset = *at;
                               request->Send(&out, sizeof(out));
                             });
  };
  return ops;
}

}  // namespace f3::fs
