// The directory of references: requests on its nodes, which libfuse's handlers never see. Whatever
// is not served here is refused: its node ids mean nothing elsewhere.
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "fs_client/fuse_session_impl.h"

namespace f3::fs {
namespace {

// Nothing of it changes but which names there are, and those are never kept.
constexpr uint64_t kForeverSeconds = 3600;
constexpr int64_t kSecond = 1'000'000'000;

// A part of the message; zeros where it is too short.
template <typename T>
T Parse(const std::byte* body, size_t size) {
  T in = {};
  if (size >= sizeof(in)) std::memcpy(&in, body, sizeof(in));
  return in;
}

std::string Text(const std::byte* body, size_t size) {
  const char* text = reinterpret_cast<const char*>(body);
  return std::string(text, ::strnlen(text, size));
}

// Locks keep writers away, and here is none; whoever wants to keep readers away cannot.
int LockError(const fuse_lk_in& in) { return in.lk.type == F_WRLCK ? ENOLCK : 0; }

}  // namespace

void FuseImpl::FillAttr(const ReferenceDir::Node& node, fuse_attr* out) const {
  *out = {};
  out->ino = node.id;
  out->size = node.bytes;
  out->blocks = (node.bytes + 511) / 512;
  out->atime = out->mtime = out->ctime = static_cast<uint64_t>(mounted_wall_ns_ / kSecond);
  out->mode = node.directory ? S_IFDIR | 0555 : S_IFREG | 0444;
  out->nlink = node.directory ? 2 : 1;
  out->blksize = 4096;
}

void FuseImpl::ReplyEntry(const ReqRef& req, const Result<ReferenceDir::Node>& node) {
  if (!node.ok()) return req->Error(node.status());
  fuse_entry_out out = {};
  out.nodeid = node->id;
  out.entry_valid = node->directory ? kForeverSeconds : 0;
  out.attr_valid = kForeverSeconds;
  FillAttr(*node, &out.attr);
  if (req->Send(&out, sizeof(out)) != 0) references_->Forget(node->id, 1);
}

void FuseImpl::OpenReference(const ReqRef& req, uint64_t unique, int flags) {
  {
    MutexLock lock(mutex_);
    reference_opens_[unique] = req;
  }
  references_->Open(req->node(), flags, [this, req, unique](const Result<OpenOutcome>& outcome) {
    bool interrupted = false;
    {
      // Who takes it out answers.
      MutexLock lock(mutex_);
      interrupted = reference_opens_.erase(unique) == 0;
    }
    if (!outcome.ok()) {
      if (!interrupted) req->Error(outcome.status());
      return;
    }
    kernel::OpenOut out = OpenOutOf(*outcome);
    out.open_flags |= FOPEN_NOFLUSH;
    if (interrupted || req->Send(&out, sizeof(out)) != 0) references_->Release(outcome->handle);
  });
}

bool FuseImpl::InterruptReference(uint64_t unique) {
  ReqRef req;
  {
    MutexLock lock(mutex_);
    auto found = reference_opens_.find(unique);
    if (found == reference_opens_.end()) return false;
    req = found->second.lock();
    reference_opens_.erase(found);
  }
  if (req != nullptr) req->Error(EINTR);
  return true;
}

void FuseImpl::ReadReference(const ReqRef& req, const fuse_read_in& in) {
  std::unique_ptr<std::byte[]> bytes(new std::byte[in.size]);
  auto read = references_->Read(in.fh, in.offset, std::span(bytes.get(), in.size));
  if (!read.ok()) return req->Error(read.status());
  req->Send(bytes.get(), *read);
}

void FuseImpl::SeekReference(const ReqRef& req, const fuse_lseek_in& in) {
  auto node = references_->Find(req->node());
  if (!node.ok()) return req->Error(node.status());
  if (in.offset >= node->bytes) return req->Error(ENXIO);
  fuse_lseek_out out = {};
  out.offset = in.whence == SEEK_HOLE ? node->bytes : in.offset;
  req->Send(&out, sizeof(out));
}

void FuseImpl::ListReferences(const ReqRef& req, const fuse_read_in& in, bool plus) {
  std::vector<FixedName> names = {{".", req->node()}, {"..", root_}};
  if (req->node() == ReferenceDir::kTopNode) {
    names.push_back({ReferenceDir::kRefName, ReferenceDir::kRefNode});
  } else {
    names[1].ino = ReferenceDir::kTopNode;
  }
  ReplyFixedNames(req, names, in.offset, plus);
}

bool FuseImpl::ServeReference(const fuse_in_header& header, const std::byte* body, size_t size) {
  if (header.opcode == FUSE_INTERRUPT) {
    return InterruptReference(Parse<fuse_interrupt_in>(body, size).unique);
  }
  if (!ReferenceDir::Owns(header.nodeid)) return false;
  if (header.opcode == FUSE_FORGET || header.opcode == FUSE_STATFS) return false;
  auto req = std::make_shared<FuseRequest>(this, nullptr, header, 0, /*kill_suid=*/false);
  switch (header.opcode) {
    case FUSE_LOOKUP:
      ReplyEntry(req, references_->Lookup(header.nodeid, Text(body, size)));
      break;
    case FUSE_GETATTR: {
      auto node = references_->Find(header.nodeid);
      if (!node.ok()) return req->Error(node.status()), true;
      fuse_attr_out out = {};
      out.attr_valid = kForeverSeconds;
      FillAttr(*node, &out.attr);
      req->Send(&out, sizeof(out));
      break;
    }
    case FUSE_OPEN:
      OpenReference(req, header.unique, static_cast<int>(Parse<fuse_open_in>(body, size).flags));
      break;
    case FUSE_READ:
      ReadReference(req, Parse<fuse_read_in>(body, size));
      break;
    case FUSE_RELEASE:
      references_->Release(Parse<fuse_release_in>(body, size).fh);
      req->Ok();
      break;
    case FUSE_LSEEK:
      SeekReference(req, Parse<fuse_lseek_in>(body, size));
      break;
    case FUSE_OPENDIR: {
      const kernel::OpenOut out;
      req->Send(&out, sizeof(out));
      break;
    }
    case FUSE_READDIR:
    case FUSE_READDIRPLUS:
      ListReferences(req, Parse<fuse_read_in>(body, size), header.opcode == FUSE_READDIRPLUS);
      break;
    case FUSE_GETLK: {
      const auto in = Parse<fuse_lk_in>(body, size);
      if (LockError(in) != 0) return req->Error(LockError(in)), true;
      fuse_lk_out out = {};
      out.lk.type = F_UNLCK;
      req->Send(&out, sizeof(out));
      break;
    }
    case FUSE_SETLK:
    case FUSE_SETLKW:
      req->Error(LockError(Parse<fuse_lk_in>(body, size)));
      break;
    case FUSE_FLUSH:
    case FUSE_FSYNC:
    case FUSE_RELEASEDIR:
    case FUSE_FSYNCDIR:
      req->Ok();
      break;
    case FUSE_GETXATTR:
      req->Error(ENODATA);
      break;
    case FUSE_LISTXATTR:
      ReplyXattr(req, "", Parse<fuse_getxattr_in>(body, size).size);
      break;
    case FUSE_COPY_FILE_RANGE:
      req->Error(EXDEV);  // the kernel then copies by itself
      break;
    case FUSE_SETATTR:
    case FUSE_SETXATTR:
    case FUSE_REMOVEXATTR:
    case FUSE_MKNOD:
    case FUSE_MKDIR:
    case FUSE_SYMLINK:
    case FUSE_LINK:
    case FUSE_UNLINK:
    case FUSE_RMDIR:
    case FUSE_RENAME:
    case FUSE_RENAME2:
    case FUSE_CREATE:
    case FUSE_TMPFILE:
    case FUSE_WRITE:
    case FUSE_FALLOCATE:
      req->Error(EROFS);
      break;
    default:
      req->Error(ENOSYS);
  }
  return true;
}

}  // namespace f3::fs
