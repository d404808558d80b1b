// Publishing: making what was written here the file's content for everybody. On the strand.
#include <algorithm>

#include "fs_client/file_manager_impl.h"
#include "storage_nodes/publisher.h"

namespace f3::fs {

bool FileManagerImpl::Changed(const InodeRef& inode, bool closing_handle) {
  MutexLock lock(inode->mutex);
  if (!inode->writing || inode->current == nullptr || inode->current->object == nullptr) {
    return false;
  }
  auto now = SignatureOf(*inode->current->object);
  if (!now.ok() || inode->unpublished || !(*now == inode->published) ||
      now->size != inode->published_size) {
    return true;
  }
  // A store to a page that is mapped already changes no time stamp: on tmpfs none does, elsewhere
  // none after the first, which an earlier publish may have taken.
  const bool tmpfs = inode->current->object->tier() == storage::TierKind::kMemory;
  return closing_handle && inode->mapped && (tmpfs || inode->published_mapped);
}

// REQUIRES: Changed, else there is nothing to say.
void FileManagerImpl::Publish(const InodeRef& inode, uint32_t closing, Done done) {
  ContentRef content;
  bool durable = false;
  {
    MutexLock lock(inode->mutex);
    if (inode->writing) content = inode->current;
    durable = inode->file_class == meta::CLASS_DURABLE;
  }
  if (content == nullptr || content->object == nullptr) {
    done(Status());
    return;
  }
  // Before the bytes are looked at: what changes meanwhile makes the signature differ.
  auto now = SignatureOf(*content->object);
  if (!now.ok()) {
    done(now.status());
    return;
  }
  auto counted = [this, ino = inode->ino, done = std::move(done)](const Status& status) {
    ++(status.ok() ? published_files_ : publish_failures_);
    if (!status.ok() || !options_.attr_changed) return done(status);
    options_.attr_changed(ino, nullptr, [done, token = in_flight_.Begin()] { done(Status()); });
  };
  if (!durable) {
    PublishEphemeral(inode, content, *now, closing, std::move(counted));
    return;
  }
  RunBlocking([this, inode, content, now = *now, closing, counted = std::move(counted)] {
    counted(PublishDurable(inode, content, now, closing));
  });
}

void FileManagerImpl::PublishEphemeral(const InodeRef& inode, const ContentRef& content,
                                       const Signature& now, uint32_t closing, Done done) {
  meta::Request request;
  meta::PublishOp* op = request.mutable_publish();
  op->set_ino(inode->ino);
  op->set_incarnation(content->key.incarnation);
  op->set_size(now.size);
  op->set_mtime_ns(now.mtime_ns);
  op->set_allocated_bytes(now.allocated_bytes);
  op->set_content_changed(true);
  op->set_close_writers(closing);
  {
    MutexLock lock(inode->mutex);
    op->set_kill_suid(inode->kill_suid);
  }
  CallMeta(std::move(request), [this, inode, content, now, closing, done = std::move(done)](
                                   const Status& status, const meta::Reply& reply) {
    if (status.ok()) {
      if (closing > 0) {
        MutexLock lock(inode->mutex);
        OpenCounts& counts = inode->granted[content->key.incarnation];
        counts.writers -= std::min(counts.writers, closing);
      }
      Published(inode, content, now, reply.attr());
    }
    done(status);
  });
}

void FileManagerImpl::Published(const InodeRef& inode, const ContentRef& content,
                                const Signature& was, const meta::Attr& attr) {
  // A file that was unlinked and closed with this publish has no attributes any more.
  const bool known = attr.ino() != 0;
  {
    MutexLock lock(inode->mutex);
    if (known) inode->version = attr.version();
    inode->published = was;
    inode->published_size = was.size;
    inode->unpublished = false;
    inode->published_mapped = inode->mapped;
    inode->rows_stale = false;
  }
  if (!known) return;
  Status status = content->object->SetPublished(attr.version());
  if (!status.ok()) {
    spdlog::warn("cannot record that object {} is version {}: {}", ToString(content->key),
                 attr.version(), status.ToString());
  }
}

// What the server has, when it is not known whether the last publish arrived there.
Status FileManagerImpl::ReloadRows(const InodeRef& inode) {
  meta::Request request;
  request.mutable_location()->set_ino(inode->ino);
  meta::Reply reply;
  F3_RETURN_IF_ERROR(options_.meta->Call(std::move(request), &reply));
  F3_ASSIGN_OR_RETURN(auto rows, AllRows(inode->ino, reply.open()));
  MutexLock lock(inode->mutex);
  inode->rows = std::move(rows);
  inode->version = reply.attr().version();
  inode->rows_stale = false;
  return Status();
}

Status FileManagerImpl::PublishDurable(const InodeRef& inode, const ContentRef& content,
                                       const Signature& now, uint32_t closing) {
  bool rows_stale = false;
  {
    MutexLock lock(inode->mutex);
    rows_stale = inode->rows_stale;
  }
  if (rows_stale) F3_RETURN_IF_ERROR(ReloadRows(inode));
  meta::Request begin;
  begin.mutable_begin_publish()->set_ino(inode->ino);
  meta::Reply begun;
  F3_RETURN_IF_ERROR(options_.meta->Call(std::move(begin), &begun));

  storage::PublishRequest publish;
  publish.object = content->object;
  publish.size = now.size;
  publish.generation = begun.number();
  DirtyBlocks taken;
  bool kill_suid = false;
  {
    MutexLock lock(inode->mutex);
    publish.current = inode->rows;
    // Passthrough writers go on: what is unknown stays so until the object is sealed.
    taken = inode->dirty;
    inode->dirty.blocks.clear();
    kill_suid = inode->kill_suid;
  }
  if (!taken.unknown) {
    const uint64_t end = (now.size + kBlockBytes - 1) / kBlockBytes;
    publish.dirty.emplace(taken.blocks.begin(), taken.blocks.lower_bound(end));
  }
  auto put_back = [&] {
    MutexLock lock(inode->mutex);
    inode->dirty.Merge(taken);
  };
  auto result = storage::PublishObject(options_.durable, options_.buffers, publish);
  if (!result.ok()) {
    put_back();
    return result.status();
  }
  durable_written_bytes_ += result->written_bytes;

  meta::Request commit;
  meta::PublishOp* op = commit.mutable_publish();
  op->set_ino(inode->ino);
  op->set_incarnation(content->key.incarnation);
  op->set_size(now.size);
  op->set_mtime_ns(now.mtime_ns);
  op->set_allocated_bytes(now.allocated_bytes);
  op->set_generation(publish.generation);
  op->set_content_changed(true);
  op->set_sync(true);
  op->set_close_writers(closing);
  op->set_kill_suid(kill_suid);
  std::map<uint64_t, storage::DurableBlock> rows;
  for (const storage::DurableBlock& row : publish.current) rows[row.index] = row;
  for (const storage::DurableBlock& block : result->changed) {
    meta::Block* out = op->add_changed();
    out->set_index(block.index);
    out->set_generation(block.generation);
    out->set_crc(block.crc);
    out->set_length(block.length);
    rows[block.index] = block;
  }
  for (uint64_t index : result->dropped) {
    op->add_dropped(index);
    rows.erase(index);
  }
  rows.erase(rows.lower_bound((now.size + kBlockBytes - 1) / kBlockBytes), rows.end());
  meta::Reply reply;
  Status committed = options_.meta->Call(std::move(commit), &reply);
  if (!committed.ok()) {
    put_back();
    MutexLock lock(inode->mutex);
    inode->rows_stale = true;
    return committed;
  }
  {
    MutexLock lock(inode->mutex);
    inode->rows.clear();
    for (const auto& [index, row] : rows) inode->rows.push_back(row);
    if (closing > 0) {
      OpenCounts& counts = inode->granted[content->key.incarnation];
      counts.writers -= std::min(counts.writers, closing);
    }
  }
  Published(inode, content, now, reply.attr());
  return Status();
}

}  // namespace f3::fs
