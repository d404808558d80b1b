// Reading and writing through the daemon.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "fs_client/file_manager_impl.h"

namespace f3::fs {
namespace {

constexpr uint64_t kMaxCopyBytes = 64u << 20;     // of one CopyRange within the node
constexpr uint64_t kMaxCopyByReading = 8u << 20;  // of one CopyRange by reading and writing
constexpr uint64_t kCopyPieceBytes = 1u << 20;

Status BadHandle() { return Status::InvalidArgument("no such handle"); }

}  // namespace

Status FileManagerImpl::Usable(const HandleRef& handle, bool write, ContentRef* content) {
  if (handle == nullptr) return BadHandle();
  if (write && !handle->writes) {
    return Status::InvalidArgument("the handle was not opened for writing");
  }
  MutexLock lock(handle->inode->mutex);
  if (handle->expired) {
    return Status::Io("the session in which the file was opened is over; open it again");
  }
  *content = handle->content;
  return Status();
}

void FileManagerImpl::Read(HandleId id, uint64_t offset, std::span<std::byte> into, ReadDone done) {
  HandleRef handle = FindHandle(id);
  ContentRef content;
  Status usable = Usable(handle, false, &content);
  if (!usable.ok()) {
    done(usable);
    return;
  }
  const InodeRef& inode = handle->inode;
  bool follows = false;
  {
    MutexLock lock(inode->mutex);
    follows = handle->follows;
  }
  if (follows && content->object != nullptr) {
    ReadFollowing(handle, content, offset, into, std::move(done));
  } else if (follows && content->home != nullptr) {
    ReadFollowingRemote(handle, content, offset, into, std::move(done));
  } else {
    ReadContent(inode, content, offset, into, std::move(done));
  }
}

void FileManagerImpl::ReadContent(const InodeRef& inode, const ContentRef& content, uint64_t offset,
                                  std::span<std::byte> into, ReadDone done) {
  if (content->object != nullptr) {
    auto read = [this, content, offset, into, done](const Status& ready) {
      if (!ready.ok()) {
        done(ready);
        return;
      }
      auto n = ReadObject(*content->object, offset, into);
      if (n.ok()) local_read_bytes_ += *n;
      done(std::move(n));
    };
    if (content->fill != nullptr) {
      content->fill->Ensure(offset, into.size(), std::move(read));
    } else {
      read(Status());
    }
    return;
  }
  auto token = in_flight_.Begin();
  if (content->fetch != nullptr) {
    content->fetch->ReadAsync(
        offset, into, Deadline(),
        [token, done = std::move(done)](Result<size_t> n) { done(std::move(n)); });
    StartFill(inode, content, nullptr);
  } else if (content->through.has_value()) {
    options_.fetcher->ReadThrough(
        *content->through, offset, into, Deadline(),
        [token, done = std::move(done)](Result<size_t> n) { done(std::move(n)); });
  } else if (content->home != nullptr) {
    content->home->Read(offset, into, /*follow=*/false,
                        [token, done = std::move(done)](const Result<xdt::ReadResult>& read) {
                          if (read.ok()) {
                            done(static_cast<size_t>(read->length));
                          } else {
                            done(read.status());
                          }
                        });
  } else {
    done(size_t{0});
  }
}

// Bytes up to the watermark; at it, waits for more or for the writer's end.
void FileManagerImpl::ReadFollowing(const HandleRef& handle, const ContentRef& content,
                                    uint64_t offset, std::span<std::byte> into, ReadDone done) {
  const InodeRef& inode = handle->inode;
  uint64_t epoch = 0, interrupts = 0;
  {
    MutexLock lock(inode->mutex);
    epoch = handle->follow_epoch;
    interrupts = handle->interrupts;
  }
  const uint64_t wait = inode->follow.Await(
      offset, epoch, [this, content, offset, into, done](const Result<Follow::Progress>& progress) {
        if (!progress.ok()) {
          done(progress.status());
          return;
        }
        if (progress->readable_bytes <= offset) {
          done(size_t{0});
          return;
        }
        const size_t n = std::min<uint64_t>(into.size(), progress->readable_bytes - offset);
        auto read = ReadObject(*content->object, offset, into.first(n));
        if (read.ok()) local_read_bytes_ += *read;
        done(std::move(read));
      });
  if (wait == 0) return;
  bool interrupted = stopping_;
  {
    MutexLock lock(inode->mutex);
    interrupted |= handle->interrupts != interrupts;
    // Numbers of waits that are over do no harm; keep them few.
    if (handle->waits.size() > 64) handle->waits.clear();
    handle->waits.insert(wait);
  }
  if (interrupted) inode->follow.Cancel(wait, Status::Interrupted("the read was interrupted"));
}

namespace {

// A follower's read at a remote home. It may be interrupted while the transfer goes on, so the
// bytes arrive in a buffer of its own.
struct ParkedRead {
  Mutex mutex;
  bool over F3_GUARDED_BY(mutex) = false;
  std::vector<std::byte> bytes;
  std::span<std::byte> into;
  FileManager::ReadDone done;

  // True for the one caller who ends the read.
  bool End() {
    MutexLock lock(mutex);
    return !std::exchange(over, true);
  }
  bool ended() {
    MutexLock lock(mutex);
    return over;
  }
};

void FollowHome(const std::shared_ptr<ParkedRead>& parked, const ContentRef& content,
                uint64_t offset, const std::function<void()>& unpark) {
  content->home->Read(offset, parked->bytes, /*follow=*/true,
                      [parked, content, offset, unpark](const Result<xdt::ReadResult>& read) {
                        if (read.ok() && read->length == 0 && read->writing && !parked->ended()) {
                          FollowHome(parked, content, offset,
                                     unpark);  // nothing new within the timeout
                          return;
                        }
                        unpark();
                        if (!parked->End()) return;
                        if (!read.ok()) {
                          parked->done(read.status());
                          return;
                        }
                        const size_t n = std::min<size_t>(read->length, parked->into.size());
                        if (n > 0) memcpy(parked->into.data(), parked->bytes.data(), n);
                        parked->done(n);
                      });
}

}  // namespace

void FileManagerImpl::ReadFollowingRemote(const HandleRef& handle, const ContentRef& content,
                                          uint64_t offset, std::span<std::byte> into,
                                          ReadDone done) {
  auto parked = std::make_shared<ParkedRead>();
  parked->bytes.resize(std::min<size_t>(into.size(), xdt::kMaxTransferBytes));
  parked->into = into;
  parked->done = std::move(done);
  uint64_t number = 0;
  {
    MutexLock lock(handle->inode->mutex);
    number = handle->next_park++;
    handle->parked[number] = [parked](const Status& status) {
      if (parked->End()) parked->done(status);
    };
  }
  FollowHome(parked, content, offset, [handle, number] {
    MutexLock lock(handle->inode->mutex);
    handle->parked.erase(number);
  });
}

void FileManagerImpl::Interrupt(HandleId id) {
  HandleRef handle = FindHandle(id);
  if (handle == nullptr) return;
  const Status status = Status::Interrupted("the read was interrupted");
  std::set<uint64_t> waits;
  std::map<uint64_t, std::function<void(Status)>> parked;
  {
    MutexLock lock(handle->inode->mutex);
    ++handle->interrupts;
    waits.swap(handle->waits);
    parked.swap(handle->parked);
  }
  for (uint64_t wait : waits) handle->inode->follow.Cancel(wait, status);
  for (const auto& [number, end] : parked) end(status);
}

void FileManagerImpl::Write(HandleId id, uint64_t offset, std::span<const std::byte> from,
                            WriteDone done) {
  HandleRef handle = FindHandle(id);
  ContentRef content;
  Status usable = Usable(handle, true, &content);
  if (!usable.ok() || from.empty()) {
    done(usable.ok() ? Result<size_t>(size_t{0}) : usable);
    return;
  }
  const size_t length = from.size();
  if (content->home != nullptr) {
    {
      MutexLock lock(handle->inode->mutex);
      ++handle->inode->sent;
    }
    auto token = in_flight_.Begin();
    content->home->Write(
        offset, handle->appends, from,
        [this, token, length, done = std::move(done)](const Result<xdt::WriteResult>& wrote) {
          if (!wrote.ok()) {
            done(wrote.status());
            return;
          }
          remote_write_bytes_ += length;
          done(length);
        });
    return;
  }
  if (content->object == nullptr) {
    done(Status::Io("the file's bytes are not on this node"));
    return;
  }
  WriteHome(handle->inode, handle, content, offset, handle->appends, from,
            [length, done = std::move(done)](const Result<uint64_t>& where) {
              if (where.ok()) {
                done(length);
              } else {
                done(where.status());
              }
            });
}

// Of readers here, before a peer's write; they know no other length yet. Writers here do.
std::shared_ptr<void> FileManagerImpl::KeepReadersSizes(const InodeRef& inode,
                                                        const storage::Object& object) {
  std::map<uint64_t, uint64_t> sizes;
  MutexLock lock(inode->mutex);
  if (inode->writers > 0) return nullptr;
  for (const auto& [id, handle] : inode->handles) {
    if (handle->mode == ServeMode::kCached) sizes.emplace(handle->node_id, 0);
  }
  if (sizes.empty()) return nullptr;
  auto signature = SignatureOf(object);
  if (!signature.ok()) return nullptr;
  for (auto& [node, size] : sizes) size = signature->size;
  return KeepSizes(inode, std::move(sizes));
}

void FileManagerImpl::WriteHome(const InodeRef& inode, const HandleRef& handle,
                                const ContentRef& content, uint64_t offset, bool append,
                                std::span<const std::byte> from,
                                std::function<void(Result<uint64_t>)> done) {
  auto write = [this, inode, handle, content, offset, append, from,
                done = std::move(done)](const Status& ready) {
    if (!ready.ok()) {
      done(ready);
      return;
    }
    auto sizes_kept = handle == nullptr ? KeepReadersSizes(inode, *content->object) : nullptr;
    auto where = WriteObject(*content->object, offset, append, from);
    uint64_t begin = where.ok() ? *where : offset;
    if (!where.ok() && append) {
      auto signature = SignatureOf(*content->object);
      begin = signature.ok() && signature->size > from.size() ? signature->size - from.size() : 0;
    }
    Mounts mounts;
    {
      // After the write: a publish that runs meanwhile would take the mark and miss the bytes.
      MutexLock lock(inode->mutex);
      if (inode->file_class == meta::CLASS_DURABLE) inode->dirty.Add(begin, from.size());
      mounts = inode->modes.Mounts();
    }
    if (where.ok() && (handle == nullptr || handle->follow_writer)) {
      inode->follow.Wrote(begin, from.size());
    }
    // The mount that wrote knows; others, and all for a peer's write, may have old pages.
    if (handle != nullptr) {
      mounts.erase(handle->kernel);
      for (auto it = mounts.begin(); it != mounts.end();) it = it->second ? ++it : mounts.erase(it);
    }
    InvalidateAndShow(mounts, inode->ino, begin, from.size(), std::move(sizes_kept),
                      [where, done] { done(where); });
  };
  if (content->fill == nullptr) {
    write(Status());
    return;
  }
  uint64_t begin = offset, length = from.size();
  if (append) {
    auto signature = SignatureOf(*content->object);
    begin = signature.ok() && signature->size > 0 ? signature->size - 1 : 0;
    ++length;
  }
  content->fill->Ensure(begin, length, std::move(write));
}

void FileManagerImpl::CopyRange(HandleId in_id, uint64_t in_offset, HandleId out_id,
                                uint64_t out_offset, uint64_t length, WriteDone done) {
  HandleRef in = FindHandle(in_id), out = FindHandle(out_id);
  ContentRef from, to;
  Status usable = Usable(in, false, &from);
  if (usable.ok()) usable = Usable(out, true, &to);
  if (!usable.ok()) {
    done(usable);
    return;
  }
  if (!from->whole() || !to->whole()) {
    CopyByReading(in, in_offset, out, out_offset, length, std::move(done));
    return;
  }
  RunBlocking([this, in, out, from, to, in_offset, out_offset, length, done = std::move(done)] {
    off_t in_at = static_cast<off_t>(in_offset), out_at = static_cast<off_t>(out_offset);
    const uint64_t wanted = std::min(length, kMaxCopyBytes);
    uint64_t copied = 0;
    while (copied < wanted) {
      const ssize_t n = ::copy_file_range(from->object->read_fd(), &in_at, to->object->fd(),
                                          &out_at, wanted - copied, 0);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && copied == 0) {
        if (errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP) {
          CopyByReading(in, in_offset, out, out_offset, length, done);
        } else {
          done(Status::FromErrno(errno, "copy within the node"));
        }
        return;
      }
      if (n <= 0) break;
      copied += static_cast<uint64_t>(n);
    }
    Mounts mounts;
    {
      MutexLock lock(out->inode->mutex);
      if (out->inode->file_class == meta::CLASS_DURABLE) out->inode->dirty.Add(out_offset, copied);
      mounts = out->inode->modes.Mounts();
    }
    if (out->follow_writer) out->inode->follow.Wrote(out_offset, copied);
    mounts.erase(out->kernel);
    InvalidateKernels(mounts, out->inode->ino, out_offset, copied,
                      [done, copied] { done(static_cast<size_t>(copied)); });
  });
}

namespace {

struct CopyState {
  uint64_t in_offset = 0, out_offset = 0, left = 0;
  size_t copied = 0;
  std::vector<std::byte> piece;
  FileManager::WriteDone done;
};

}  // namespace

void FileManagerImpl::CopyByReading(const HandleRef& in, uint64_t in_offset, const HandleRef& out,
                                    uint64_t out_offset, uint64_t length, WriteDone done) {
  auto state = std::make_shared<CopyState>();
  state->in_offset = in_offset;
  state->out_offset = out_offset;
  state->left = std::min(length, kMaxCopyByReading);
  state->piece.resize(std::min(state->left, kCopyPieceBytes));
  state->done = std::move(done);
  auto step = std::make_shared<std::function<void()>>();
  // The step refers to itself while the copy runs; the end breaks the circle.
  auto end = [state, step](const Status& status) {
    auto keep = std::move(*step);
    *step = nullptr;
    if (!status.ok() && state->copied == 0) {
      state->done(status);
    } else {
      state->done(state->copied);
    }
  };
  *step = [this, in, out, state, step, end] {
    const size_t wanted = std::min<uint64_t>(state->left, state->piece.size());
    if (wanted == 0) {
      end(Status());
      return;
    }
    Read(in->id, state->in_offset, std::span(state->piece).first(wanted),
         [this, out, state, step, end](const Result<size_t>& read) {
           if (!read.ok() || *read == 0) {
             end(read.status());
             return;
           }
           const size_t n = *read;
           Write(out->id, state->out_offset, std::span<const std::byte>(state->piece).first(n),
                 [state, step, end, n](const Result<size_t>& wrote) {
                   if (!wrote.ok()) {
                     end(wrote.status());
                     return;
                   }
                   state->copied += n;
                   state->in_offset += n;
                   state->out_offset += n;
                   state->left -= n;
                   auto run = *step;
                   run();
                 });
         });
  };
  auto run = *step;
  run();
}

}  // namespace f3::fs
