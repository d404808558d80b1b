// Change of class, and bringing content here ahead of use.
#include <fcntl.h>

#include "fs_client/file_manager_impl.h"
#include "storage_nodes/publisher.h"

namespace f3::fs {
namespace {

constexpr int kBusyAttempts = 20;
constexpr int64_t kBusyMicros = 100'000;

}  // namespace

void FileManagerImpl::Prefetch(Ino ino, Done done) {
  OpenInternal(ino, O_RDONLY, meta::Caller(),
               [this, done = std::move(done)](Result<HandleRef> opened) {
                 if (!opened.ok()) {
                   done(opened.status());
                   return;
                 }
                 HandleRef handle = *std::move(opened);
                 ContentRef content;
                 {
                   MutexLock lock(handle->inode->mutex);
                   content = handle->content;
                 }
                 auto over = [this, handle, done](const Status& status) {
                   Release(handle->id);
                   done(status);
                 };
                 if (content->fetch != nullptr) {
                   StartFill(handle->inode, content, over);
                 } else if (content->through.has_value()) {
                   over(Status::TierFull("there is no room on this node for a copy"));
                 } else {
                   over(Status());
                 }
               });
}

void FileManagerImpl::Convert(Ino ino, meta::FileClass to, Done done) {
  ConvertSoon(ino, to, 0, std::move(done));
}

// Closing on another node returns before that node's kernel has let go of the file.
void FileManagerImpl::ConvertSoon(Ino ino, meta::FileClass to, int attempt, Done done) {
  ConvertNow(ino, to, [this, ino, to, attempt, done = std::move(done)](const Status& status) {
    if (!status.Is(Code::kBusy) || attempt >= kBusyAttempts || stopping_) return done(status);
    timers_.After(kBusyMicros, [this, ino, to, attempt, done] {
      RunBlocking([this, ino, to, attempt, done] { ConvertSoon(ino, to, attempt + 1, done); });
    });
  });
}

void FileManagerImpl::ConvertNow(Ino ino, meta::FileClass to, Done done) {
  auto convert = [this, ino, to, done](const Status&) {
    // Fails at the open, with its own error, when the content could not be brought here.
    OpenInternal(ino, O_RDWR, meta::Caller(), [this, to, done](Result<HandleRef> opened) {
      if (!opened.ok()) {
        done(opened.status());
        return;
      }
      HandleRef handle = *std::move(opened);
      OnStrand(handle->inode, [this, handle, to, done](Next next) {
        auto over = [this, handle, done, next = std::move(next)](const Status& status) {
          next();
          Release(handle->id);
          done(status);
        };
        auto with_all = [this, handle, to, over](const Status& ready) {
          if (!ready.ok()) {
            over(ready);
            return;
          }
          RunBlocking([this, handle, to, over] { over(ConvertBlocking(handle, to)); });
        };
        ContentRef content;
        {
          MutexLock lock(handle->inode->mutex);
          content = handle->content;
        }
        if (content->fill != nullptr) {
          content->fill->Ensure(0, UINT64_MAX, with_all);
        } else {
          with_all(Status());
        }
      });
    });
  };
  // With a copy here the open makes this node the home.
  Prefetch(ino, convert);
}

Status FileManagerImpl::ConvertBlocking(const HandleRef& handle, meta::FileClass to) {
  const InodeRef& inode = handle->inode;
  ContentRef content;
  meta::FileClass from = meta::CLASS_UNSET;
  {
    MutexLock lock(inode->mutex);
    content = handle->content;
    from = inode->file_class;
  }
  if (from == to) return Status();
  if (content->object == nullptr) {
    return Status::Busy(
        "the file is open on another node; its class can be changed when it is not");
  }
  return to == meta::CLASS_DURABLE ? ToDurable(inode, content) : ToEphemeral(inode, content);
}

Status FileManagerImpl::ToDurable(const InodeRef& inode, const ContentRef& content) {
  F3_ASSIGN_OR_RETURN(Signature now, SignatureOf(*content->object));
  const bool changed = Changed(inode, /*closing_handle=*/true);
  meta::Request begin;
  begin.mutable_begin_publish()->set_ino(inode->ino);
  meta::Reply begun;
  F3_RETURN_IF_ERROR(options_.meta->Call(std::move(begin), &begun));
  storage::PublishRequest publish;
  publish.object = content->object;
  publish.size = now.size;
  publish.generation = begun.number();
  F3_ASSIGN_OR_RETURN(storage::PublishResult result,
                      storage::PublishObject(options_.durable, options_.buffers, publish));
  durable_written_bytes_ += result.written_bytes;
  meta::Request commit;
  meta::PublishOp* op = commit.mutable_publish();
  op->set_ino(inode->ino);
  op->set_incarnation(content->key.incarnation);
  op->set_size(now.size);
  op->set_mtime_ns(now.mtime_ns);
  op->set_allocated_bytes(now.allocated_bytes);
  op->set_generation(publish.generation);
  op->set_file_class(meta::CLASS_DURABLE);
  op->set_replace_blocks(true);
  op->set_content_changed(changed);
  op->set_sync(true);
  for (const storage::DurableBlock& block : result.changed) {
    meta::Block* out = op->add_changed();
    out->set_index(block.index);
    out->set_generation(block.generation);
    out->set_crc(block.crc);
    out->set_length(block.length);
  }
  meta::Reply reply;
  F3_RETURN_IF_ERROR(options_.meta->Call(std::move(commit), &reply));
  {
    MutexLock lock(inode->mutex);
    inode->file_class = meta::CLASS_DURABLE;
    inode->rows = std::move(result.changed);
    inode->dirty = DirtyBlocks{};
    // Handles that were opened while it was ephemeral write past the daemon.
    inode->dirty.unknown = inode->escaped;
  }
  Published(inode, content, now, reply.attr());
  return content->object->BeginWriting(storage::Role::kStaging);
}

Status FileManagerImpl::ToEphemeral(const InodeRef& inode, const ContentRef& content) {
  F3_ASSIGN_OR_RETURN(Signature now, SignatureOf(*content->object));
  const bool changed = Changed(inode, /*closing_handle=*/true);
  // From now on a restart keeps the object.
  F3_RETURN_IF_ERROR(content->object->BeginWriting(storage::Role::kHome));
  meta::Request commit;
  meta::PublishOp* op = commit.mutable_publish();
  op->set_ino(inode->ino);
  op->set_incarnation(content->key.incarnation);
  op->set_size(now.size);
  op->set_mtime_ns(now.mtime_ns);
  op->set_allocated_bytes(now.allocated_bytes);
  op->set_file_class(meta::CLASS_EPHEMERAL);
  op->set_content_changed(changed);
  op->set_sync(true);
  meta::Reply reply;
  F3_RETURN_IF_ERROR(options_.meta->Call(std::move(commit), &reply));
  {
    MutexLock lock(inode->mutex);
    inode->file_class = meta::CLASS_EPHEMERAL;
    inode->rows.clear();
    inode->dirty = DirtyBlocks{};
  }
  Published(inode, content, now, reply.attr());
  return Status();
}

}  // namespace f3::fs
