// The home's side of remote requests.
#include <unistd.h>

#include <algorithm>

#include "fs_client/file_manager_impl.h"

namespace f3::fs {
namespace {

constexpr int64_t kRemoteIdleMicros = 2'000'000;
// An answer has to reach the peer before its deadline.
constexpr int64_t kAnswerMarginMicros = 500'000;

}  // namespace

void FileManagerImpl::AwaitBytes(const ObjectKey& key, uint64_t offset, int64_t deadline_micros,
                                 std::function<void(Result<Progress>)> done) {
  InodeRef inode = FindInode(key.ino);
  bool followed = false;
  if (inode != nullptr) {
    MutexLock lock(inode->mutex);
    followed = inode->follow.has_writer() || inode->follow.vanished();
  }
  if (!followed) {
    auto object = options_.objects->Find(key);
    if (object.ok()) {
      done(Progress{(*object)->info().size, false});
    } else {
      done(object.status());
    }
    return;
  }
  const uint64_t wait = inode->follow.AwaitRemote(
      offset, [done = std::move(done)](const Result<Follow::Progress>& progress) {
        if (progress.ok()) {
          done(Progress{progress->readable_bytes, progress->writing});
        } else {
          done(progress.status());
        }
      });
  if (wait == 0) return;
  if (stopping_) {
    inode->follow.Cancel(wait, Status::Interrupted("the node agent stops"));
    return;
  }
  const int64_t now = options_.clock->MonotonicMicros();
  const int64_t margin = std::min(kAnswerMarginMicros, (deadline_micros - now) / 4);
  timers_.At(deadline_micros - margin, [inode, wait] { inode->follow.Cancel(wait, Status()); });
}

// Calls `then` when this node writes `object` as its home; with remote_writes counted up.
void FileManagerImpl::AsHome(std::shared_ptr<storage::Object> object,
                             std::function<void(Result<std::pair<InodeRef, ContentRef>>)> then) {
  InodeRef inode = InodeOf(object->key().ino);
  ContentRef content;
  auto ready = [this, inode, object]() -> ContentRef {
    MutexLock lock(inode->mutex);
    if (!inode->writing || inode->settling || inode->current == nullptr ||
        inode->current->object != object) {
      return nullptr;
    }
    ++inode->remote_writes;
    inode->last_remote_micros = options_.clock->MonotonicMicros();
    return inode->current;
  };
  content = ready();
  if (content != nullptr) {
    then(std::make_pair(inode, content));
    return;
  }
  OnStrand(inode, [this, inode, object, ready, then = std::move(then)](Next next) {
    PrepareHome(inode, object, [inode, ready, then, next = std::move(next)](const Status& status) {
      ContentRef prepared = status.ok() ? ready() : nullptr;
      next();
      if (prepared != nullptr) {
        then(std::make_pair(inode, prepared));
      } else {
        then(status.ok() ? Status::Stale("the file is written in another place now") : status);
      }
    });
  });
}

// A peer writes a file that nobody here has open for writing. On the strand.
void FileManagerImpl::PrepareHome(const InodeRef& inode, std::shared_ptr<storage::Object> object,
                                  Done done) {
  {
    MutexLock lock(inode->mutex);
    if (inode->writing) {
      done(Status());
      return;
    }
  }
  RunBlocking([this, inode, object, done = std::move(done)] {
    auto prepare = [&]() -> Status {
      const ObjectKey key = object->key();
      meta::Request request;
      request.mutable_location()->set_ino(key.ino);
      request.mutable_location()->set_incarnation(key.incarnation);
      meta::Reply reply;
      F3_RETURN_IF_ERROR(options_.meta->Call(std::move(request), &reply));
      const meta::Attr& attr = reply.attr();
      if (reply.open().incarnation() != key.incarnation || attr.home() != options_.meta->node()) {
        return Status::Stale("this node is not the home of inode " + std::to_string(key.ino));
      }
      const storage::ObjectInfo info = object->info();
      const bool durable = attr.file_class() == meta::CLASS_DURABLE;
      if (durable && info.version != attr.version()) {
        return Status::Stale("the object here is not the current version");
      }
      F3_ASSIGN_OR_RETURN(auto rows, AllRows(key.ino, reply.open()));
      auto content = std::make_shared<Content>();
      content->key = key;
      content->object = object;
      content->version = attr.version();
      F3_RETURN_IF_ERROR(BeginWriting(inode, content, attr, std::move(rows),
                                      !durable && info.version != attr.version()));
      SwitchHandles(inode, content);  // the same object: no pages change
      return Status();
    };
    done(prepare());
  });
}

void FileManagerImpl::EndRemoteWrite(const InodeRef& inode) {
  bool settle = false;
  {
    MutexLock lock(inode->mutex);
    --inode->remote_writes;
    inode->last_remote_micros = options_.clock->MonotonicMicros();
    settle = inode->writers == 0;
  }
  // Nobody here will close it, and the peer's close may not come.
  if (settle) ScheduleSettle(inode, kRemoteIdleMicros);
}

void FileManagerImpl::RemoteWrite(std::shared_ptr<storage::Object> object,
                                  const xdt::WriteRequest& request,
                                  std::span<const std::byte> bytes,
                                  xdt::RequestHandler::WriteDone done) {
  if (stopping_) {
    done(Status::Unavailable("the node agent stops"));
    return;
  }
  const uint64_t offset = request.offset;
  const bool append = request.append;
  AsHome(std::move(object), [this, offset, append, bytes, done = std::move(done)](
                                const Result<std::pair<InodeRef, ContentRef>>& home) {
    if (!home.ok()) {
      done(home.status());
      return;
    }
    const InodeRef inode = home->first;
    const ContentRef content = home->second;
    WriteHome(inode, nullptr, content, offset, append, bytes,
              [this, inode, content, done](const Result<uint64_t>& where) {
                EndRemoteWrite(inode);
                auto now = SignatureOf(*content->object);
                if (!where.ok() || !now.ok()) {
                  done(where.ok() ? now.status() : where.status());
                  return;
                }
                done(xdt::WriteResult{*where, now->size});
              });
  });
}

void FileManagerImpl::RemoteControl(std::shared_ptr<storage::Object> object,
                                    const xdt::ControlRequest& request,
                                    xdt::RequestHandler::ControlDone done) {
  if (stopping_) {
    done(Status::Unavailable("the node agent stops"));
    return;
  }
  auto answer = [object, done](const Status& status, uint64_t value, bool changed) {
    auto now = SignatureOf(*object);
    if (!status.ok() || !now.ok()) {
      done(status.ok() ? now.status() : status);
      return;
    }
    xdt::ControlResult result;
    result.value = value;
    result.object_bytes = now->size;
    // Of a file that is published as it is, the server knows the time better.
    result.mtime_ns = changed ? now->mtime_ns : 0;
    result.allocated_bytes = now->allocated_bytes;
    done(result);
  };
  InodeRef inode = InodeOf(object->key().ino);
  switch (request.op) {
    case xdt::ControlOp::kStat:
      answer(Status(), 0, Changed(inode, false));
      return;
    case xdt::ControlOp::kSync:
      OnStrand(inode, [this, inode, answer](Next next) {
        auto over = [answer, next = std::move(next)](const Status& status) {
          answer(status, 0, false);
          next();
        };
        if (Changed(inode, /*closing_handle=*/false)) {
          Publish(inode, 0, over);
        } else {
          over(Status());
        }
      });
      return;
    case xdt::ControlOp::kSeekData:
    case xdt::ControlOp::kSeekHole: {
      auto content = std::make_shared<Content>();
      {
        MutexLock lock(inode->mutex);
        if (inode->current != nullptr && inode->current->object == object) {
          *content = *inode->current;
        }
      }
      content->object = object;
      SeekLocal(
          content, request.a, request.op == xdt::ControlOp::kSeekData ? SEEK_DATA : SEEK_HOLE,
          [answer](const Result<uint64_t>& at) { answer(at.status(), at.ok() ? *at : 0, false); });
      return;
    }
    case xdt::ControlOp::kTruncate:
    case xdt::ControlOp::kAllocate:
      break;
    default:
      done(Status::NotSupported("an unknown operation"));
      return;
  }
  AsHome(object, [this, request, answer](const Result<std::pair<InodeRef, ContentRef>>& home) {
    if (!home.ok()) {
      answer(home.status(), 0, false);
      return;
    }
    const InodeRef inode = home->first;
    const ContentRef content = home->second;
    auto over = [this, inode, answer](const Status& status) {
      EndRemoteWrite(inode);
      answer(status, 0, true);
    };
    if (request.op == xdt::ControlOp::kAllocate) {
      AllocateHome(inode, content, static_cast<int>(request.c), request.a, request.b, over);
      return;
    }
    OnStrand(inode, [this, inode, content, size = request.a, over](Next next) {
      TruncateHome(inode, content, size,
                   [this, inode, size, over, next = std::move(next)](const Status& status,
                                                                     const Mounts& mounts) {
                     next();
                     InvalidateKernels(mounts, inode->ino, size, 0,
                                       [over, status] { over(status); });
                   });
    });
  });
}

}  // namespace f3::fs
