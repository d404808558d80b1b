// Flush, fsync, release; sealing what is no longer written; giving opens back.
#include <fcntl.h>

#include <algorithm>

#include "fs_client/file_manager_impl.h"

namespace f3::fs {
namespace {

constexpr int64_t kFirstRetryMicros = 1'000;  // the closing thread is about to let go
constexpr int64_t kLastRetryMicros = 30'000'000;
constexpr int64_t kRemoteIdleMicros = 2'000'000;     // a peer that wrote is expected to write again
constexpr int64_t kVanishedKeptMicros = 60'000'000;  // followers elsewhere have to hear of it

int64_t Backoff(int attempts) {
  return std::min(kLastRetryMicros, kFirstRetryMicros << std::min(attempts, 15));
}

}  // namespace

void FileManagerImpl::Flush(HandleId id, int32_t pid, Done done) {
  HandleRef handle = FindHandle(id);
  if (handle == nullptr || !handle->writes) {
    done(Status());
    return;
  }
  if (handle->follow_writer) {
    // Death by a signal closes descriptors as close does. Judged at the last one: the process that
    // lives on with the same open file is the writer then.
    auto stat = options_.probe->Stat(pid);
    const bool dying = stat.ok() && stat->dying_from_signal;
    MutexLock lock(handle->inode->mutex);
    handle->vanished = dying;
  }
  SyncHandle(handle, /*fsync=*/false, std::move(done));
}

void FileManagerImpl::Fsync(HandleId id, bool /*data_only*/, Done done) {
  HandleRef handle = FindHandle(id);
  if (handle == nullptr) {
    done(Status::InvalidArgument("no such handle"));
    return;
  }
  SyncHandle(handle, /*fsync=*/true, std::move(done));
}

void FileManagerImpl::SyncHandle(const HandleRef& handle, bool fsync, Done done) {
  const InodeRef& inode = handle->inode;
  OnStrand(inode, [this, handle, inode, fsync, done = std::move(done)](Next next) {
    ContentRef content;
    bool expired = false, durable = false;
    {
      MutexLock lock(inode->mutex);
      content = handle->content;
      expired = handle->expired;
      durable = inode->file_class == meta::CLASS_DURABLE;
    }
    auto over = [inode, done, next](Status status) {
      // What the server would not take any more is an error of the device, for the caller.
      if (status.Is(Code::kStale)) {
        status = Status::Io("the file is written elsewhere now: " + status.message());
      }
      if (!status.ok()) {
        spdlog::warn("publishing inode {:x} failed: {}", inode->ino, status.ToString());
      }
      done(status);
      next();
    };
    if (expired) {
      over(handle->writes ? Status::Io("the session in which the file was opened is over")
                          : Status());
    } else if (handle->writes && content->home != nullptr) {
      SyncRemote(inode, content, over);
    } else if (handle->writes && Changed(inode, /*closing_handle=*/true)) {
      Publish(inode, 0, over);
    } else if (fsync && durable) {
      // Name, mode and so on of the file.
      meta::Request request;
      request.mutable_sync();
      CallMeta(std::move(request),
               [over](const Status& status, const meta::Reply&) { over(status); });
    } else {
      over(Status());
    }
  });
}

// The home publishes what came to it from here.
void FileManagerImpl::SyncRemote(const InodeRef& inode, const ContentRef& content, Done done) {
  uint64_t sent = 0;
  {
    MutexLock lock(inode->mutex);
    sent = inode->sent;
    if (inode->synced >= sent) sent = 0;
  }
  if (sent == 0) {
    done(Status());
    return;
  }
  auto token = in_flight_.Begin();
  content->home->Control(
      xdt::ControlOp::kSync, 0, 0, 0,
      [token, inode, sent, done = std::move(done)](const Result<xdt::ControlResult>& answer) {
        if (answer.ok()) {
          MutexLock lock(inode->mutex);
          inode->synced = std::max(inode->synced, sent);
        }
        done(answer.status());
      });
}

void FileManagerImpl::Release(HandleId id) {
  HandleRef handle;
  {
    MutexLock lock(mutex_);
    auto it = handles_.find(id);
    if (it == handles_.end()) return;
    handle = std::move(it->second);
    handles_.erase(it);
  }
  const InodeRef inode = handle->inode;
  int32_t backing_id = 0;
  bool last_writer = false, vanished = false, remember = false;
  bool counted = false;
  ContentRef content;
  {
    MutexLock lock(inode->mutex);
    inode->handles.erase(id);
    counted = handle->counted;
    backing_id = inode->modes.Remove({handle->kernel, handle->node_id}, handle->mode);
    content = std::move(handle->content);
    vanished = handle->vanished;
    if (handle->writes) {
      last_writer = --inode->writers == 0;
      if (handle->counted) ++inode->finishing[handle->incarnation];
    }
    remember = handle->mode == ServeMode::kCached && !inode->writing && !inode->revalidate &&
               content->home == nullptr;
  }
  if (backing_id != 0) handle->kernel->CloseBacking(backing_id);
  if (remember) RememberPages(*handle, *content);
  if (handle->follow_writer) {
    auto signature = SignatureOf(*content->object);
    inode->follow.WriterClosed(vanished, signature.ok() ? signature->size : 0);
    // Keeps the inode, and with it the knowledge, for a while.
    if (vanished) timers_.After(kVanishedKeptMicros, [inode] {});
  }
  if (!handle->writes) {
    if (counted) QueueClose(inode, handle->incarnation, 1, 0);
  } else if (last_writer) {
    OnStrand(inode, [this, inode](Next next) { FinishWriting(inode, std::move(next)); });
  } else {
    QueueFinished(inode);
  }
}

// After the last writer here: publishes what a mapping wrote since, seals, gives the opens back.
void FileManagerImpl::FinishWriting(const InodeRef& inode, Next next) {
  ContentRef content;
  bool others = false;
  {
    MutexLock lock(inode->mutex);
    content = inode->current;
    others = inode->writers > 0;
  }
  if (content != nullptr && content->home != nullptr) {
    SyncRemote(inode, content, [this, inode, next = std::move(next)](const Status& status) {
      if (!status.ok()) {
        spdlog::warn("the home of inode {:x} did not publish: {}", inode->ino, status.ToString());
      }
      QueueFinished(inode);
      next();
    });
    return;
  }
  if (others) {
    QueueFinished(inode);
    next();
    return;
  }
  Settle(inode, [this, inode, next = std::move(next)](const Status& status) {
    int attempts = 0;
    {
      MutexLock lock(inode->mutex);
      attempts = status.ok() ? (inode->settle_attempts = 0) : inode->settle_attempts++;
    }
    if (status.ok()) {
      QueueFinished(inode);
    } else {
      // Busy: a mapping still writes, or the kernel has not let the backing file go, as it does
      // after its release. Else the bytes are kept here until they can be published.
      if (!status.Is(Code::kBusy)) {
        spdlog::warn("inode {:x} is not published yet: {}", inode->ino, status.ToString());
      }
      ScheduleSettle(inode, Backoff(attempts));
    }
    next();
  });
}

void FileManagerImpl::ScheduleSettle(const InodeRef& inode, int64_t micros) {
  {
    MutexLock lock(inode->mutex);
    if (stopping_ || inode->settle_scheduled) return;
    inode->settle_scheduled = true;
  }
  timers_.After(micros, [this, inode] {
    int64_t idle = 0;
    {
      MutexLock lock(inode->mutex);
      inode->settle_scheduled = false;
      idle = options_.clock->MonotonicMicros() - inode->last_remote_micros;
    }
    if (idle < kRemoteIdleMicros) {
      ScheduleSettle(inode, kRemoteIdleMicros - idle);
      return;
    }
    OnStrand(inode, [this, inode](Next next) { FinishWriting(inode, std::move(next)); });
  });
}

// Publishes if anything changed and, when nobody writes any more, seals.
void FileManagerImpl::Settle(const InodeRef& inode, Done done) {
  ContentRef content;
  bool sealable = false, was_busy = false, escaped = false;
  uint32_t closing = 0;
  {
    MutexLock lock(inode->mutex);
    if (inode->writing) content = inode->current;
    sealable = inode->writers == 0;
    was_busy = inode->was_busy;
    escaped = inode->escaped;
    if (content != nullptr) {
      auto it = inode->finishing.find(content->key.incarnation);
      if (it != inode->finishing.end()) closing = it->second;
    }
  }
  if (content == nullptr || content->object == nullptr) {
    done(Status());
    return;
  }
  // A mapping that was there wrote without a trace; once it is gone the bytes are final.
  if (sealable && was_busy) {
    Status sealed = SealHome(inode, content);
    if (!sealed.ok()) {
      done(sealed);
      return;
    }
    MutexLock lock(inode->mutex);
    inode->writing = true;   // what is left is to publish it
    inode->settling = true;  // and nobody writes to a sealed object
    inode->unpublished = true;
    inode->was_busy = false;
    escaped = false;
  }
  auto seal = [this, inode, content, sealable, done](const Status& published) {
    if (published.Is(Code::kStale)) {
      GiveUp(inode, published);
      done(Status());
    } else if (!published.ok() || !sealable) {
      done(published);
    } else {
      done(SealHome(inode, content));
    }
  };
  if (!Changed(inode, /*closing_handle=*/false)) {
    seal(Status());
    return;
  }
  // One round trip for both, unless sealing may still fail.
  const bool close_too = sealable && !escaped && closing > 0;
  Publish(inode, close_too ? closing : 0,
          [inode, content, close_too, seal = std::move(seal)](const Status& status) {
            if (status.ok() && close_too) {
              MutexLock lock(inode->mutex);
              inode->finishing.erase(content->key.incarnation);
            }
            seal(status);
          });
}

Status FileManagerImpl::SealHome(const InodeRef& inode, const ContentRef& content) {
  Version version = 0;
  bool durable = false;
  {
    MutexLock lock(inode->mutex);
    if (inode->writers > 0) return Status();
    if (inode->remote_writes > 0) return Status::Busy("a peer writes the file");
    inode->settling = true;
    version = inode->version;
    durable = inode->file_class == meta::CLASS_DURABLE;
  }
  // What was only staged in parts is no copy.
  const bool partial = content->fill != nullptr && !content->fill->complete();
  Status status = partial ? options_.objects->Remove(content->key)
                          : content->object->Seal(
                                version, durable ? storage::Role::kCopy : storage::Role::kHome);
  {
    MutexLock lock(inode->mutex);
    inode->settling = false;
    if (status.ok() || status.Is(Code::kObjectMissing)) {
      status = Status();
      inode->writing = false;
      inode->escaped = inode->mapped = inode->published_mapped = false;
      inode->dirty = DirtyBlocks{};
      if (partial) {
        // Handles that read go on with the object that nobody else finds any more.
        inode->current = nullptr;
        inode->no_copy = content->key;
      } else if (inode->current == content) {
        auto sealed = std::make_shared<Content>(*content);
        sealed->version = version;
        sealed->fill = nullptr;
        inode->current = sealed;
      }
    } else if (status.Is(Code::kBusy)) {
      // Who could not map it has written nothing since: it is no other version.
      inode->was_busy |= inode->mapped;
    }
  }
  if (partial) DropHeld(content->key);
  return status;
}

// The server has another home for the file: what is here and unpublished is lost to it.
void FileManagerImpl::GiveUp(const InodeRef& inode, const Status& why) {
  ObjectKey key;
  {
    MutexLock lock(inode->mutex);
    if (!inode->writing || inode->current == nullptr) return;
    key = inode->current->key;
    inode->writing = inode->settling = false;
    inode->unpublished = false;
    inode->dirty = DirtyBlocks{};
    inode->current = nullptr;
    for (const auto& [id, handle] : inode->handles) {
      if (handle->writes) handle->expired = true;
    }
  }
  spdlog::warn("object {} is dropped: {}", ToString(key), why.ToString());
  DropHeld(key);
  options_.objects->Remove(key).PermitUnchecked();  // the next start sweeps it
}

void FileManagerImpl::QueueFinished(const InodeRef& inode) {
  {
    MutexLock lock(inode->mutex);
    for (const auto& [incarnation, writers] : inode->finishing) {
      inode->closing[incarnation].writers += writers;
    }
    inode->finishing.clear();
  }
  SendClose(inode);
}

void FileManagerImpl::QueueClose(const InodeRef& inode, Incarnation incarnation, uint32_t readers,
                                 uint32_t writers) {
  {
    MutexLock lock(inode->mutex);
    OpenCounts& counts = inode->closing[incarnation];
    counts.readers += readers;
    counts.writers += writers;
  }
  SendClose(inode);
}

// One call at a time; what is closed meanwhile goes with the next.
void FileManagerImpl::SendClose(const InodeRef& inode) {
  Incarnation incarnation = 0;
  OpenCounts counts;
  std::optional<ObjectKey> no_copy;
  {
    MutexLock lock(inode->mutex);
    if (inode->close_in_flight) return;
    while (!inode->closing.empty() && counts.none()) {
      auto first = inode->closing.begin();
      incarnation = first->first;
      // Counts of a session that is over ended with it.
      const OpenCounts& granted = inode->granted[incarnation];
      counts.readers = std::min(first->second.readers, granted.readers);
      counts.writers = std::min(first->second.writers, granted.writers);
      inode->closing.erase(first);
    }
    if (!counts.none()) {
      inode->close_in_flight = true;
    } else if (inode->finishing.empty()) {
      no_copy.swap(inode->no_copy);
    }
  }
  if (no_copy.has_value()) OnEvicted(*no_copy);
  if (counts.none()) return;
  meta::Request request;
  request.mutable_close()->set_ino(inode->ino);
  request.mutable_close()->set_incarnation(incarnation);
  request.mutable_close()->set_readers(counts.readers);
  request.mutable_close()->set_writers(counts.writers);
  CallMeta(std::move(request),
           [this, inode, incarnation, counts](const Status& status, const meta::Reply&) {
             if (!status.ok()) {
               spdlog::warn("close of inode {:x} failed: {}", inode->ino, status.ToString());
             }
             {
               MutexLock lock(inode->mutex);
               inode->close_in_flight = false;
               auto it = inode->granted.find(incarnation);
               if (it != inode->granted.end()) {
                 it->second.readers -= std::min(it->second.readers, counts.readers);
                 it->second.writers -= std::min(it->second.writers, counts.writers);
                 if (it->second.none()) inode->granted.erase(it);
               }
             }
             SendClose(inode);
           });
}

}  // namespace f3::fs
