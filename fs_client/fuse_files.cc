// Open files: the kernel's side of FileManager.
#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "fs_client/fuse_session_impl.h"

namespace f3::fs {
namespace {

// Bytes of read replies under way at once; reads of direct handles, which may wait for a writer
// and are as many as processes that read, are not counted.
constexpr size_t kMaxReadBytes = 16u << 20;

HandleId ToHandle(void* data) { return reinterpret_cast<uintptr_t>(data); }

}  // namespace

void FuseImpl::Open(const ReqRef& req, uint64_t node, int flags) {
  ClearSuid(req, [this, req, node, flags](const Status& cleared) {
    if (!cleared.ok()) return req->Error(cleared);
    options_.files->Open(
        Opener(req, node, flags),
        [this, req, node](const Result<OpenOutcome>& outcome) { ReplyOpen(req, node, outcome); });
  });
}

void FuseImpl::Read(const ReqRef& req, HandleId handle, size_t size, uint64_t offset) {
  bool direct = false;
  {
    MutexLock lock(mutex_);
    auto found = handles_.find(handle);
    direct = found != handles_.end() && found->second;
  }
  if (direct) {
    // A reader that waits for a writer can be interrupted.
    fuse_req_interrupt_func(
        req->req(),
        [](fuse_req_t interrupted, void* data) {
          static_cast<FuseImpl*>(fuse_req_userdata(interrupted))
              ->options_.files->Interrupt(ToHandle(data));
        },
        reinterpret_cast<void*>(static_cast<uintptr_t>(handle)));
    return StartRead(req, handle, size, offset, false);
  }
  {
    MutexLock lock(reads_mutex_);
    if (read_bytes_ != 0 && read_bytes_ + size > kMaxReadBytes) {
      waiting_reads_.push_back({req, handle, size, offset});
      return;
    }
    read_bytes_ += size;
  }
  StartRead(req, handle, size, offset, true);
}

void FuseImpl::StartRead(const ReqRef& req, HandleId handle, size_t size, uint64_t offset,
                         bool counted) {
  auto bytes = std::shared_ptr<std::byte[]>(new std::byte[size]);
  std::span<std::byte> into(bytes.get(), size);
  options_.files->Read(
      handle, offset, into, [this, req, bytes, size, counted](const Result<size_t>& read) {
        if (read.ok()) {
          req->Send(bytes.get(), *read);
        } else if (read.status().Is(Code::kTimeout) || read.status().Is(Code::kAgain)) {
          req->Error(EIO);  // all that read(2) knows of bytes that do not come
        } else {
          req->Error(read.status());
        }
        if (counted) ReadEnded(size);
      });
}

void FuseImpl::ReadEnded(size_t size) {
  for (;;) {
    WaitingRead next;
    {
      MutexLock lock(reads_mutex_);
      read_bytes_ -= size;
      size = 0;
      if (waiting_reads_.empty()) return;
      const size_t wanted = waiting_reads_.front().size;
      if (read_bytes_ != 0 && read_bytes_ + wanted > kMaxReadBytes) return;
      next = std::move(waiting_reads_.front());
      waiting_reads_.pop_front();
      read_bytes_ += wanted;
    }
    StartRead(next.req, next.handle, next.size, next.offset, true);
  }
}

void FuseImpl::Write(const ReqRef& req, HandleId handle, const char* bytes, size_t size,
                     uint64_t offset) {
  struct Wait {
    Mutex mutex;
    CondVar ended;
    bool done F3_GUARDED_BY(mutex) = false;
  };
  std::shared_ptr<RequestBuffer> buffer = KeepBuffer();
  // Too many writes are under way: this one's thread takes no further request until it is done.
  std::shared_ptr<Wait> wait = buffer == nullptr ? std::make_shared<Wait>() : nullptr;
  std::span<const std::byte> from(reinterpret_cast<const std::byte*>(bytes), size);
  auto over = [req, buffer, wait](const Result<size_t>& written) {
    if (written.ok()) {
      fuse_write_out out = {};
      out.size = static_cast<uint32_t>(*written);
      req->Send(&out, sizeof(out));
    } else {
      req->Error(written.status());
    }
    if (wait == nullptr) return;
    MutexLock lock(wait->mutex);
    wait->done = true;
    wait->ended.SignalAll();
  };
  ClearSuid(req, [this, handle, offset, from, over](const Status& cleared) {
    if (!cleared.ok()) return over(cleared);
    options_.files->Write(handle, offset, from, over);
  });
  if (wait == nullptr) return;
  MutexLock lock(wait->mutex);
  while (!wait->done) wait->ended.Wait(wait->mutex);
}

void FuseImpl::Flush(const ReqRef& req, uint64_t node, HandleId handle, uint64_t owner) {
  const Ino ino = nodes_->ToIno(node);
  options_.files->Flush(handle, req->pid(), [this, req, ino, owner](const Status& status) {
    // After the publish, so that whoever takes the lock next sees what was written under it.
    ReleaseLocks(ino, owner, meta::LOCK_FCNTL, [req, status] { req->Error(status); });
  });
}

void FuseImpl::Release(const ReqRef& req, uint64_t node, HandleId handle, uint64_t owner,
                       bool flock) {
  {
    MutexLock lock(mutex_);
    handles_.erase(handle);
  }
  options_.files->Release(handle);
  if (!flock) return req->Ok();
  ReleaseLocks(nodes_->ToIno(node), owner, meta::LOCK_FLOCK, [req] { req->Ok(); });
}

void FuseImpl::Copy(const ReqRef& req, HandleId in, uint64_t in_offset, HandleId out,
                    uint64_t out_offset, size_t length) {
  options_.files->CopyRange(in, in_offset, out, out_offset, length,
                            [req](const Result<size_t>& copied) {
                              if (!copied.ok()) return req->Error(copied.status());
                              fuse_write_out reply = {};
                              reply.size = static_cast<uint32_t>(*copied);
                              req->Send(&reply, sizeof(reply));
                            });
}

}  // namespace f3::fs
