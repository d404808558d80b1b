// Sizes, allocation, holes, times, and attributes of files being written.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "fs_client/file_manager_impl.h"

namespace f3::fs {

// On the strand.
void FileManagerImpl::TruncateHome(const InodeRef& inode, const ContentRef& content, uint64_t size,
                                   std::function<void(Status, Mounts)> done) {
  auto truncate = [content, size]() -> Status {
    if (::ftruncate(content->object->fd(), static_cast<off_t>(size)) == 0) return Status();
    return Status::FromErrno(errno, "truncate object " + ToString(content->key));
  };
  auto finish = [inode, size, done = std::move(done)](const Status& status) {
    if (!status.ok()) {
      done(status, {});
      return;
    }
    Mounts mounts;
    {
      MutexLock lock(inode->mutex);
      for (const storage::DurableBlock& row : inode->rows) {
        if ((row.index + 1) * kBlockBytes > size) inode->dirty.blocks.insert(row.index);
      }
      mounts = inode->modes.Mounts();
    }
    inode->follow.Truncated(size);
    done(Status(), std::move(mounts));
  };
  if (content->fill != nullptr) {
    content->fill->Truncate(size, truncate, finish);
  } else {
    finish(truncate());
  }
}

void FileManagerImpl::SetSize(Ino ino, HandleId id, const OpenRequest& opener, uint64_t size,
                              Done done) {
  if (id != 0) {
    HandleRef handle = FindHandle(id);
    ContentRef content;
    Status usable = Usable(handle, true, &content);
    if (!usable.ok()) {
      done(usable);
      return;
    }
    SetSizeByHandle(handle, size, std::move(done));
    return;
  }
  // truncate(2) by name is an open, a truncation and a close.
  OpenInternal(ino, O_WRONLY | (size == 0 ? O_TRUNC : 0), opener.caller,
               [this, size, done = std::move(done)](Result<HandleRef> opened) {
                 if (!opened.ok()) {
                   done(opened.status());
                   return;
                 }
                 HandleRef handle = *std::move(opened);
                 SetSizeByHandle(handle, size, [this, handle, done](const Status& set) {
                   if (!set.ok()) {
                     Release(handle->id);
                     done(set);
                     return;
                   }
                   SyncHandle(handle, /*fsync=*/false, [this, handle, done](const Status& synced) {
                     Release(handle->id);
                     done(synced);
                   });
                 });
               });
}

void FileManagerImpl::SetSizeByHandle(const HandleRef& handle, uint64_t size, Done done) {
  const InodeRef& inode = handle->inode;
  ContentRef content;
  {
    MutexLock lock(inode->mutex);
    content = handle->content;
    if (content->home != nullptr) ++inode->sent;
  }
  if (content->home != nullptr) {
    auto token = in_flight_.Begin();
    content->home->Control(
        xdt::ControlOp::kTruncate, size, 0, 0,
        [token, done = std::move(done)](const Result<xdt::ControlResult>& answer) {
          done(answer.status());
        });
    return;
  }
  OnStrand(inode, [this, inode, handle, content, size, done = std::move(done)](Next next) {
    TruncateHome(
        inode, content, size,
        [this, inode, handle, size, done, next = std::move(next)](const Status& status,
                                                                  Mounts mounts) {
          // The kernel of the caller cuts its own pages, and could not write dirty ones now.
          mounts.erase(handle->kernel);
          auto over = [this, inode, size, done, next, mounts](const Status& result) {
            next();
            InvalidateKernels(mounts, inode->ino, size, 0, [done, result] { done(result); });
          };
          bool publish = false;
          {
            // No reader elsewhere shall be promised bytes that are not there any more.
            MutexLock lock(inode->mutex);
            publish = inode->file_class == meta::CLASS_EPHEMERAL && size < inode->published_size;
          }
          if (status.ok() && publish) {
            Publish(inode, 0, over);
          } else {
            over(status);
          }
        });
  });
}

void FileManagerImpl::Allocate(HandleId id, int mode, uint64_t offset, uint64_t length, Done done) {
  HandleRef handle = FindHandle(id);
  ContentRef content;
  Status usable = Usable(handle, true, &content);
  if (!usable.ok()) {
    done(usable);
    return;
  }
  if (content->home != nullptr) {
    {
      MutexLock lock(handle->inode->mutex);
      ++handle->inode->sent;
    }
    auto token = in_flight_.Begin();
    content->home->Control(
        xdt::ControlOp::kAllocate, offset, length, static_cast<uint32_t>(mode),
        [token, done = std::move(done)](const Result<xdt::ControlResult>& answer) {
          done(answer.status());
        });
    return;
  }
  AllocateHome(handle->inode, content, mode, offset, length, std::move(done));
}

void FileManagerImpl::AllocateHome(const InodeRef& inode, const ContentRef& content, int mode,
                                   uint64_t offset, uint64_t length, Done done) {
  constexpr int kKnown = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
  if ((mode & ~kKnown) != 0) {
    done(Status::NotSupported("this mode of fallocate"));
    return;
  }
  if (content->object == nullptr) {
    done(Status::Io("the file's bytes are not on this node"));
    return;
  }
  const bool erases = (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0;
  auto allocate = [this, inode, content, mode, offset, length, erases,
                   done = std::move(done)](const Status& ready) {
    if (!ready.ok()) {
      done(ready);
      return;
    }
    if (::fallocate(content->object->fd(), mode, static_cast<off_t>(offset),
                    static_cast<off_t>(length)) != 0) {
      done(errno == EOPNOTSUPP ? Status::NotSupported("this tier cannot do that fallocate")
                               : Status::FromErrno(errno, "allocate"));
      return;
    }
    Mounts mounts;
    {
      MutexLock lock(inode->mutex);
      if (erases && inode->file_class == meta::CLASS_DURABLE) inode->dirty.Add(offset, length);
      if (erases) mounts = inode->modes.Mounts();
    }
    if (erases) inode->follow.Wrote(offset, length);
    InvalidateKernels(mounts, inode->ino, offset, length, [done] { done(Status()); });
  };
  if (erases && content->fill != nullptr) {
    content->fill->Ensure(offset, length, std::move(allocate));
  } else {
    allocate(Status());
  }
}

void FileManagerImpl::Seek(HandleId id, uint64_t offset, int whence, SeekDone done) {
  HandleRef handle = FindHandle(id);
  ContentRef content;
  Status usable = Usable(handle, false, &content);
  if (!usable.ok() || (whence != SEEK_DATA && whence != SEEK_HOLE)) {
    done(usable.ok() ? Status::InvalidArgument("only SEEK_DATA and SEEK_HOLE come here") : usable);
    return;
  }
  if (content->home == nullptr) {
    SeekLocal(content, offset, whence, std::move(done));
    return;
  }
  auto token = in_flight_.Begin();
  content->home->Control(
      whence == SEEK_DATA ? xdt::ControlOp::kSeekData : xdt::ControlOp::kSeekHole, offset, 0, 0,
      [token, done = std::move(done)](const Result<xdt::ControlResult>& answer) {
        if (answer.ok()) {
          done(answer->value);
        } else {
          done(answer.status());
        }
      });
}

void FileManagerImpl::SeekLocal(const ContentRef& content, uint64_t offset, int whence,
                                SeekDone done) {
  const Status past_end = Status::NotFound("no data or hole from there on");
  if (content->object == nullptr) {
    // Content that is not here counts as data throughout.
    if (offset >= content->size) {
      done(past_end);
    } else {
      done(whence == SEEK_DATA ? offset : content->size);
    }
    return;
  }
  auto seek = [content, offset, whence, past_end, done = std::move(done)](const Status& ready) {
    if (!ready.ok()) {
      done(ready);
      return;
    }
    // Nobody uses the descriptor's position.
    const off_t at = ::lseek(content->object->read_fd(), static_cast<off_t>(offset), whence);
    if (at >= 0) {
      done(static_cast<uint64_t>(at));
    } else {
      done(errno == ENXIO ? past_end : Status::FromErrno(errno, "seek"));
    }
  };
  if (content->fill != nullptr) {
    content->fill->Ensure(offset, UINT64_MAX - offset, std::move(seek));
  } else {
    seek(Status());
  }
}

void FileManagerImpl::SetTimes(Ino ino, const int64_t* atime_ns, const int64_t* mtime_ns) {
  InodeRef inode = FindInode(ino);
  if (inode == nullptr) return;
  MutexLock lock(inode->mutex);
  if (!inode->writing || inode->current == nullptr || inode->current->object == nullptr) return;
  const storage::Object& object = *inode->current->object;
  auto before = SignatureOf(object);
  auto time = [](const int64_t* ns) {
    struct timespec spec = {0, UTIME_OMIT};
    if (ns != nullptr) {
      spec.tv_sec = *ns / 1'000'000'000;
      spec.tv_nsec = *ns % 1'000'000'000;
      if (spec.tv_nsec < 0) {
        spec.tv_nsec += 1'000'000'000;
        --spec.tv_sec;
      }
    }
    return spec;
  };
  const struct timespec times[2] = {time(atime_ns), time(mtime_ns)};
  if (::futimens(object.fd(), times) != 0) return;  // the times at the server are right anyway
  auto after = SignatureOf(object);
  if (before.ok() && after.ok() && *before == inode->published) inode->published = *after;
}

std::optional<uint64_t> FileManagerImpl::OlderSize(const meta::Attr& attr, uint64_t node) {
  InodeRef inode = FindInode(attr.ino());
  if (inode == nullptr) return std::nullopt;
  MutexLock lock(inode->mutex);
  std::optional<uint64_t> size;
  for (const auto& sizes : inode->shown_sizes) {
    if (auto shown = sizes.find(node); shown != sizes.end()) {
      size = std::min(size.value_or(shown->second), shown->second);
    }
  }
  if (size || inode->writing) return size;
  // The kernel has one length per node: that of the newest handle. Older ones may be closed
  // already.
  Version newest = 0;
  for (const auto& [id, handle] : inode->handles) {
    if (handle->node_id != node || handle->follows || handle->content == nullptr) continue;
    const Content& content = *handle->content;
    if (content.home != nullptr || content.version == attr.version()) return std::nullopt;
    // What a home holds changes in place.
    const bool in_place = content.object != nullptr &&
                          content.key.incarnation == attr.incarnation() &&
                          content.object->info().role != storage::Role::kCopy &&
                          content.object->info().role != storage::Role::kFilling;
    if (in_place) return std::nullopt;
    if (content.version < newest) continue;
    newest = content.version;
    size = content.size;
  }
  return size;
}

void FileManagerImpl::OverlayAttr(meta::Attr* attr, std::function<void(bool)> done) {
  InodeRef inode = FindInode(attr->ino());
  if (inode == nullptr) {
    done(false);
    return;
  }
  ContentRef content;
  bool writing = false, changed = false, open = false;
  Signature now;
  {
    MutexLock lock(inode->mutex);
    content = inode->current;
    open = !inode->handles.empty();
    writing = inode->writing && content != nullptr && content->object != nullptr;
    if (writing) {
      auto signature = SignatureOf(*content->object);
      if (signature.ok()) now = *signature;
      changed = signature.ok() && (inode->unpublished || !(now == inode->published) ||
                                   now.size != inode->published_size);
    }
  }
  if (writing) {
    if (changed) {
      attr->set_size(now.size);
      attr->set_mtime_ns(now.mtime_ns);
      attr->set_ctime_ns(std::max(attr->ctime_ns(), now.ctime_ns));
      attr->set_allocated_bytes(now.allocated_bytes);
    }
    done(true);
    return;
  }
  if (content == nullptr || content->home == nullptr || !open) {
    done(false);
    return;
  }
  auto token = in_flight_.Begin();
  content->home->Control(
      xdt::ControlOp::kStat, 0, 0, 0,
      [token, attr, done = std::move(done)](const Result<xdt::ControlResult>& answer) {
        if (answer.ok()) {
          attr->set_size(answer->object_bytes);
          attr->set_mtime_ns(std::max(attr->mtime_ns(), answer->mtime_ns));
          attr->set_allocated_bytes(answer->allocated_bytes);
        }
        done(true);
      });
}

}  // namespace f3::fs
