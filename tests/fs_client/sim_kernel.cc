// What the kernel does around the file layer: page cache, passthrough, invalidation.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "tests/fs_client/file_world.h"

namespace f3::fs::test {

Result<SimFileRef> SimKernel::Admit(const OpenOutcome& outcome, const OpenRequest& request) {
  auto file = std::make_shared<SimFile>();
  file->handle = outcome.handle;
  file->ino = request.ino;
  file->node_id = request.node_id;
  file->flags = request.flags;
  file->direct = outcome.direct_io;
  file->backing_id = outcome.backing_id;
  MutexLock lock(mutex_);
  Inode& inode = inodes_[request.node_id];
  inode.ino = request.ino;
  if (file->passthrough()) {
    if (outcome.keep_cache) return Status::Internal("kernel: passthrough with keep_cache: EINVAL");
    auto backing = backings_.find(outcome.backing_id);
    if (backing == backings_.end()) return Status::Internal("kernel: no such backing id: ENOENT");
    if (inode.backing_id != 0 && inode.backing_id != outcome.backing_id) {
      return Status::Internal("kernel: another backing file: EBUSY");
    }
    if (inode.io_mode > 0) return Status::Internal("kernel: cached opens are there: ETXTBSY");
    const std::string path = "/proc/self/fd/" + std::to_string(backing->second.get());
    file->backing.Reset(::open(path.c_str(), request.flags & (O_ACCMODE | O_APPEND)));
    if (!file->backing.valid()) return Status::FromErrno(errno, "open backing file");
    inode.backing_id = outcome.backing_id;
    --inode.io_mode;
  } else {
    if (inode.backing_id != 0) return Status::Internal("kernel: needs passthrough: EIO");
    if (!file->direct) {
      if (!outcome.keep_cache) inode.pages.clear();
      ++inode.io_mode;
    }
  }
  return file;
}

Result<SimFileRef> SimKernel::Open(Ino ino, int flags, int32_t pid) {
  for (int attempt = 0;; ++attempt) {
    OpenRequest request;
    request.ino = ino;
    request.kernel = this;
    request.flags = flags;
    request.pid = pid;
    {
      MutexLock lock(mutex_);
      uint64_t& id = node_ids_[ino];
      if (id == 0 || attempt > 0) id = next_node_id_++;
      request.node_id = id;
    }
    Waiter<Result<OpenOutcome>> waiter;
    node_->files()->Open(request, waiter.callback());
    auto outcome = waiter.Get();
    if (outcome.status().Is(Code::kStale) && attempt == 0) continue;
    if (!outcome.ok()) return outcome.status();
    return Admit(*outcome, request);
  }
}

Result<SimFileRef> SimKernel::Create(const std::string& name, int flags, meta::FileClass file_class,
                                     bool follow, meta::Tier tier, int32_t pid) {
  meta::Request create;
  meta::CreateOp* op = create.mutable_create();
  op->set_parent(2);
  op->set_name(name);
  op->set_mode(0644);
  op->set_hint_class(file_class);
  op->set_hint_tier(tier);
  op->set_hint_follow(follow);
  op->mutable_flags()->set_read((flags & O_ACCMODE) != O_WRONLY);
  op->mutable_flags()->set_write((flags & O_ACCMODE) != O_RDONLY);
  op->mutable_flags()->set_truncate((flags & O_TRUNC) != 0 && (flags & O_ACCMODE) != O_RDONLY);
  meta::Reply reply;
  F3_RETURN_IF_ERROR(node_->meta()->Call(create, &reply));
  OpenRequest request;
  request.ino = reply.entry().attr().ino();
  request.kernel = this;
  request.flags = flags;
  request.pid = pid;
  {
    MutexLock lock(mutex_);
    uint64_t& id = node_ids_[request.ino];
    if (id == 0) id = next_node_id_++;
    request.node_id = id;
  }
  Waiter<Result<OpenOutcome>> waiter;
  node_->files()->OpenCreated(request, reply.entry().attr(), reply.open(), waiter.callback());
  auto outcome = waiter.Get();
  if (!outcome.ok()) return outcome.status();
  return Admit(*outcome, request);
}

Result<std::string> SimKernel::Read(const SimFileRef& file, uint64_t offset, size_t length) {
  std::string bytes(length, '\0');
  if (file->passthrough() && !file->direct) {
    const ssize_t n =
        ::pread(file->backing.get(), bytes.data(), length, static_cast<off_t>(offset));
    if (n < 0) return Status::FromErrno(errno, "read");
    bytes.resize(static_cast<size_t>(n));
    return bytes;
  }
  if (file->direct) {
    Waiter<Result<size_t>> waiter;
    node_->files()->Read(file->handle, offset, std::as_writable_bytes(std::span(bytes)),
                         waiter.callback());
    auto n = waiter.Get();
    if (!n.ok()) return n.status();
    bytes.resize(*n);
    return bytes;
  }
  F3_ASSIGN_OR_RETURN(meta::Attr attr, Stat(file->ino));
  bytes.clear();
  const uint64_t end = std::min<uint64_t>(attr.size(), offset + length);
  for (uint64_t at = offset; at < end;) {
    const uint64_t page = at / kPage;
    std::string content;
    {
      MutexLock lock(mutex_);
      auto& pages = inodes_[file->node_id].pages;
      auto it = pages.find(page);
      if (it != pages.end()) content = it->second;
    }
    if (content.empty()) {
      content.assign(kPage, '\0');
      Waiter<Result<size_t>> waiter;
      node_->files()->Read(file->handle, page * kPage, std::as_writable_bytes(std::span(content)),
                           waiter.callback());
      auto n = waiter.Get();
      if (!n.ok()) return n.status();
      MutexLock lock(mutex_);
      inodes_[file->node_id].pages[page] = content;
    }
    const uint64_t n = std::min(end - at, kPage - at % kPage);
    bytes += content.substr(at % kPage, n);
    at += n;
  }
  return bytes;
}

Status SimKernel::Write(const SimFileRef& file, uint64_t offset, const std::string& bytes) {
  if (file->passthrough() && !file->direct) {
    const ssize_t n =
        (file->flags & O_APPEND) != 0
            ? ::write(file->backing.get(), bytes.data(), bytes.size())
            : ::pwrite(file->backing.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n != static_cast<ssize_t>(bytes.size())) return Status::FromErrno(errno, "write");
    return Status();
  }
  Waiter<Result<size_t>> waiter;
  node_->files()->Write(file->handle, offset, std::as_bytes(std::span(bytes)), waiter.callback());
  auto n = waiter.Get();
  if (!n.ok()) return n.status();
  // Written through: pages that are there show it.
  MutexLock lock(mutex_);
  auto& pages = inodes_[file->node_id].pages;
  for (size_t i = 0; i < bytes.size() && !pages.empty(); ++i) {
    auto it = pages.find((offset + i) / kPage);
    if (it != pages.end()) it->second[(offset + i) % kPage] = bytes[i];
  }
  return Status();
}

Status SimKernel::Fsync(const SimFileRef& file) {
  Waiter<Status> waiter;
  node_->files()->Fsync(file->handle, false, waiter.callback());
  return waiter.Get();
}

Status SimKernel::Flush(const SimFileRef& file, int32_t pid) {
  Waiter<Status> waiter;
  node_->files()->Flush(file->handle, pid, waiter.callback());
  return waiter.Get();
}

void SimKernel::Release(const SimFileRef& file) {
  {
    MutexLock lock(mutex_);
    Inode& inode = inodes_[file->node_id];
    if (file->passthrough()) {
      if (++inode.io_mode == 0) inode.backing_id = 0;
    } else if (!file->direct) {
      --inode.io_mode;
    }
  }
  file->backing.Reset();
  node_->files()->Release(file->handle);
}

Status SimKernel::Close(const SimFileRef& file, int32_t pid) {
  Status status = Flush(file, pid);
  Release(file);
  node_->Settle();
  return status;
}

Result<meta::Attr> SimKernel::Stat(Ino ino) {
  meta::Request request;
  request.mutable_getattr()->set_ino(ino);
  meta::Reply reply;
  F3_RETURN_IF_ERROR(node_->meta()->Call(request, &reply));
  auto attr = std::make_shared<meta::Attr>(reply.attr());
  Waiter<bool> waiter;
  node_->files()->OverlayAttr(attr.get(), waiter.callback());
  waiter.Get();
  return *attr;
}

Status SimKernel::Truncate(const SimFileRef& file, uint64_t size) {
  {
    MutexLock lock(mutex_);
    inodes_[file->node_id].pages.clear();
  }
  Waiter<Status> waiter;
  node_->files()->SetSize(file->ino, file->handle, OpenRequest(), size, waiter.callback());
  return waiter.Get();
}

Status SimKernel::TruncateByName(Ino ino, uint64_t size) {
  Waiter<Status> waiter;
  node_->files()->SetSize(ino, 0, OpenRequest(), size, waiter.callback());
  Status status = waiter.Get();
  node_->Settle();
  return status;
}

void SimKernel::InvalidateInode(Ino ino, bool data, uint64_t offset, uint64_t length,
                                std::function<void()> done) {
  if (before_invalidation) before_invalidation();
  {
    MutexLock lock(mutex_);
    ++invalidations_;
    for (auto& [id, inode] : inodes_) {
      if (inode.ino != ino || !data) continue;
      const uint64_t end = length == 0 ? UINT64_MAX : offset + length;
      for (auto it = inode.pages.begin(); it != inode.pages.end();) {
        const bool hit = it->first * kPage < end && (it->first + 1) * kPage > offset;
        it = hit ? inode.pages.erase(it) : std::next(it);
      }
    }
  }
  if (done) done();
}

Result<int32_t> SimKernel::OpenBacking(int fd) {
  if (refuse_backing) return Status::NotSupported("stacked file system");
  MutexLock lock(mutex_);
  const int32_t id = next_backing_++;
  backings_[id] = UniqueFd(::dup(fd));
  return id;
}

void SimKernel::CloseBacking(int32_t backing_id) {
  MutexLock lock(mutex_);
  backings_.erase(backing_id);
}

size_t SimKernel::open_backings() {
  MutexLock lock(mutex_);
  return backings_.size();
}

uint64_t SimKernel::invalidations() {
  MutexLock lock(mutex_);
  return invalidations_;
}

}  // namespace f3::fs::test
