// Coherence between nodes, drops, session events, and recovery after a start.
#include <algorithm>

#include "fs_client/file_manager_impl.h"

namespace f3::fs {
namespace {

constexpr int kInventoryPage = 1000;

bool ByDaemon(ServeMode mode) {
  return mode == ServeMode::kCached || mode == ServeMode::kDirect ||
         mode == ServeMode::kPassthroughDirect;
}

}  // namespace

void FileManagerImpl::AfterLock(Ino ino, Done done) {
  InodeRef inode = FindInode(ino);
  if (inode == nullptr) {
    done(Status());
    return;
  }
  OnStrand(inode, [this, inode, done = std::move(done)](Next next) {
    Revalidate(
        inode, /*lock_taken=*/true,
        [this, inode, done, next = std::move(next)](const Status& status, bool, Switch switched) {
          next();
          DropReplaced(inode, std::move(switched), [done, status] { done(status); });
        });
  });
}

void FileManagerImpl::DropReplaced(const InodeRef& inode, Switch switched,
                                   std::function<void()> done) {
  auto kept = std::make_shared<std::shared_ptr<void>>(std::move(switched.sizes_kept));
  InvalidateKernels(switched.stale_pages, inode->ino, 0, 0, [kept, done = std::move(done)] {
    kept->reset();
    if (done) done();
  });
}

// Makes handles that the daemon serves show the current content. Without a lock only as long as
// none of them has content that was replaced by truncation since: they keep what they opened.
// On the strand.
void FileManagerImpl::Revalidate(const InodeRef& inode, bool lock_taken, Switched done) {
  ContentRef content;
  {
    MutexLock lock(inode->mutex);
    // What is written here is current, and what is read at the home is not kept.
    for (const auto& [id, handle] : inode->handles) {
      if (!ByDaemon(handle->mode) || inode->writing) continue;
      const bool oldest = content == nullptr || handle->content->version < content->version;
      if (oldest) content = handle->content;
    }
    inode->revalidate = false;
  }
  if (content == nullptr || (content->home != nullptr && content->home_writable)) {
    done(Status(), true, {});
    return;
  }
  RunBlocking([this, inode, content, lock_taken, done = std::move(done)] {
    meta::Request request;
    request.mutable_location()->set_ino(inode->ino);
    request.mutable_location()->set_incarnation(content->key.incarnation);
    meta::Reply reply;
    Status status = options_.meta->Call(std::move(request), &reply);
    if (!status.ok()) {
      done(status, false, {});
      return;
    }
    const meta::OpenReply& open = reply.open();
    const bool same_object = open.incarnation() == content->key.incarnation;
    const bool same = same_object && reply.attr().version() == content->version;
    const bool to_home = lock_taken && open.written_elsewhere();
    const bool replaced =
        !same_object || (content->home == nullptr && content->version < reply.attr().replaced());
    if ((same && !to_home && content->home == nullptr) || (replaced && !lock_taken)) {
      done(Status(), !same, {});
      return;
    }
    Result<ContentRef> fresh = Status::Unavailable("the file's home is not known");
    for (const meta::Holder& holder : open.holders()) {
      if (!to_home || !holder.home() || holder.node() == options_.meta->node()) continue;
      auto remote = std::make_shared<Content>();
      remote->key = {inode->ino, open.incarnation()};
      remote->home = std::make_shared<RemoteFile>(RemoteParts(), remote->key, false, holder);
      fresh = ContentRef(remote);
    }
    if (!fresh.ok()) {
      auto rows = AllRows(inode->ino, open);
      fresh = rows.ok() ? PublishedContent(reply.attr(), open, *std::move(rows))
                        : Result<ContentRef>(rows.status());
    }
    if (!fresh.ok()) {
      done(fresh.status(), false, {});
      return;
    }
    done(Status(), true, SwitchHandles(inode, *fresh));
  });
}

void FileManagerImpl::OnContentInvalidated(Ino ino) {
  {
    MutexLock lock(mutex_);
    pages_.erase(ino);
  }
  InodeRef inode = FindInode(ino);
  if (inode == nullptr || stopping_) return;
  {
    MutexLock lock(inode->mutex);
    if (inode->writing || inode->revalidate) return;
    inode->revalidate = true;
  }
  ScheduleRevalidate(inode, 0);
}

// By itself, not with the next read: a read holds its page, and so must never wait for something
// that may wait for the metadata server. Repeatedly, because the notice comes before the change.
void FileManagerImpl::ScheduleRevalidate(const InodeRef& inode, int attempt) {
  if (attempt >= 3 || stopping_) return;
  constexpr int64_t kDelays[] = {20'000, 200'000, 2'000'000};
  timers_.After(kDelays[attempt], [this, attempt, weak = std::weak_ptr<OpenInode>(inode)] {
    InodeRef inode = weak.lock();
    if (inode == nullptr) return;
    OnStrand(inode, [this, inode, attempt](Next next) {
      Revalidate(inode, /*lock_taken=*/false,
                 [this, inode, attempt, next = std::move(next)](const Status& status, bool changed,
                                                                Switch switched) {
                   next();
                   if (!status.ok() || !changed) ScheduleRevalidate(inode, attempt + 1);
                   DropReplaced(inode, std::move(switched), nullptr);
                 });
    });
  });
}

void FileManagerImpl::OnWriterElsewhere(Ino ino) {
  // Remote writes take the kernel's pages away one by one; what is remembered beyond handles goes.
  MutexLock lock(mutex_);
  pages_.erase(ino);
}

void FileManagerImpl::OnDrop(const ObjectKey& key, Version version) {
  InodeRef inode = FindInode(key.ino);
  auto drop = [this, key, version] {
    auto object = options_.objects->Find(key);
    if (!object.ok()) return;
    const Version here = (*object)->info().version;
    object->reset();
    if (here > version) return;
    DropHeld(key);
    Status status = options_.objects->Remove(key);
    if (!status.ok()) {
      spdlog::warn("cannot drop object {}: {}", ToString(key), status.ToString());
    }
  };
  if (inode == nullptr) {
    drop();
    return;
  }
  OnStrand(inode, [inode, key, drop](const Next& next) {
    bool writing = false;
    {
      MutexLock lock(inode->mutex);
      const bool current = inode->current != nullptr && inode->current->key == key;
      writing = current && inode->writing;
      // Handles keep their bytes; the next open looks again.
      if (current && !writing) inode->current = nullptr;
    }
    if (!writing) drop();
    next();
  });
}

void FileManagerImpl::OnEvicted(const ObjectKey& key) {
  DropHeld(key);
  if (stopping_) return;
  meta::Request request;
  request.mutable_drop_copy()->set_ino(key.ino);
  request.mutable_drop_copy()->set_incarnation(key.incarnation);
  CallMeta(std::move(request), [key](const Status& status, const meta::Reply&) {
    // Readers that are sent here find nothing and try the next holder.
    if (!status.ok() && !status.Is(Code::kStale)) {
      spdlog::debug("dropped copy {} was not recorded: {}", ToString(key), status.ToString());
    }
  });
}

void FileManagerImpl::OnSessionExpired() {
  {
    MutexLock lock(mutex_);
    pages_.clear();
  }
  for (const InodeRef& inode : AllInodes()) {
    MutexLock lock(inode->mutex);
    for (const auto& [id, handle] : inode->handles) {
      handle->expired = true;
      handle->counted = false;
    }
    inode->granted.clear();
    inode->closing.clear();
    inode->finishing.clear();
  }
}

void FileManagerImpl::OnRegistered(NodeId, SessionId) {
  for (const InodeRef& inode : AllInodes()) {
    bool expired = false;
    {
      MutexLock lock(inode->mutex);
      for (const auto& [id, handle] : inode->handles) expired |= !handle->counted;
    }
    if (expired) Reopen(inode);
  }
}

void FileManagerImpl::Reopen(const InodeRef& inode) {
  OnStrand(inode, [this, inode](Next next) {
    RunBlocking([this, inode, next = std::move(next)] {
      Status status = ReopenBlocking(inode);
      if (!status.ok()) {
        spdlog::warn("inode {:x} is open here but not at the metadata server any more: {}",
                     inode->ino, status.ToString());
      }
      next();
    });
  });
}

// Handles live on if the file still has the content that they opened.
Status FileManagerImpl::ReopenBlocking(const InodeRef& inode) {
  meta::Request look;
  look.mutable_location()->set_ino(inode->ino);
  meta::Reply found;
  F3_RETURN_IF_ERROR(options_.meta->Call(std::move(look), &found));
  std::vector<HandleRef> handles;
  Version version = 0;
  bool writing = false;
  {
    MutexLock lock(inode->mutex);
    for (const auto& [id, handle] : inode->handles) {
      if (!handle->counted) handles.push_back(handle);
    }
    writing = inode->writing;
    version = inode->version;
  }
  if (writing && found.attr().version() != version) {
    GiveUp(inode, Status::Stale("it was written elsewhere while this node had no session"));
    return Status::Stale("it was written elsewhere meanwhile");
  }
  for (const HandleRef& handle : handles) {
    ContentRef content;
    {
      MutexLock lock(inode->mutex);
      content = handle->content;
    }
    const Incarnation wanted = content->key.incarnation;
    if (found.open().incarnation() != wanted) continue;
    meta::Request request;
    request.mutable_open()->set_ino(inode->ino);
    meta::OpenFlags* flags = request.mutable_open()->mutable_flags();
    flags->set_read(true);
    flags->set_write(handle->writes);
    flags->set_have_incarnation(content->object != nullptr ? wanted : 0);
    flags->set_have_version(version);
    meta::Reply reply;
    F3_RETURN_IF_ERROR(options_.meta->Call(std::move(request), &reply));
    const bool home_as_before =
        !handle->writes || (reply.open().role() == meta::ROLE_REMOTE) == (content->home != nullptr);
    const Incarnation got = reply.open().incarnation();
    const bool valid = got == wanted && home_as_before;
    {
      MutexLock lock(inode->mutex);
      OpenCounts& counts = inode->granted[got];
      ++(handle->writes ? counts.writers : counts.readers);
      if (valid) {
        handle->expired = false;
        handle->counted = true;
        handle->incarnation = got;
      }
    }
    if (!valid) QueueClose(inode, got, handle->writes ? 0 : 1, handle->writes ? 1 : 0);
    // The home moved to an object that is not here.
    if (got != wanted && reply.open().role() == meta::ROLE_HOME) OnEvicted({inode->ino, got});
  }
  return Status();
}

std::vector<meta::CloseOp> FileManagerImpl::OpenFiles() {
  std::vector<meta::CloseOp> open;
  for (const InodeRef& inode : AllInodes()) {
    MutexLock lock(inode->mutex);
    for (const auto& [incarnation, counts] : inode->granted) {
      if (counts.none()) continue;
      meta::CloseOp& op = open.emplace_back();
      op.set_ino(inode->ino);
      op.set_incarnation(incarnation);
      op.set_readers(counts.readers);
      op.set_writers(counts.writers);
    }
  }
  return open;
}

Status FileManagerImpl::Recover() {
  std::vector<storage::ObjectInfo> kept;
  for (const storage::ObjectInfo& info : options_.objects->List()) {
    if (info.role == storage::Role::kStaging || info.role == storage::Role::kFilling) {
      if (FindInode(info.key.ino) != nullptr) continue;  // of this start, not left by the last
      DropHeld(info.key);
      F3_RETURN_IF_ERROR(options_.objects->Remove(info.key));
    } else {
      kept.push_back(info);
    }
  }
  std::map<ObjectKey, bool> unwanted;
  size_t at = 0;
  do {
    meta::Request request;
    meta::InventoryOp* page = request.mutable_inventory();
    for (; at < kept.size() && page->items_size() < kInventoryPage; ++at) {
      meta::InventoryItem* item = page->add_items();
      item->set_ino(kept[at].key.ino);
      item->set_incarnation(kept[at].key.incarnation);
      item->set_version(kept[at].version);
      item->set_home(kept[at].role == storage::Role::kHome);
      item->set_writing(kept[at].writing);
    }
    page->set_last(at == kept.size());
    meta::Reply reply;
    F3_RETURN_IF_ERROR(options_.meta->Call(std::move(request), &reply));
    for (const meta::ObjectName& name : reply.unwanted()) {
      unwanted[{name.ino(), name.incarnation()}] = true;
    }
  } while (at < kept.size());
  for (const storage::ObjectInfo& info : kept) {
    // The server must hear of what is open, or take it for lost; its handles see to the rest.
    if (FindInode(info.key.ino) != nullptr) continue;
    if (unwanted.count(info.key) > 0) {
      DropHeld(info.key);
      F3_RETURN_IF_ERROR(options_.objects->Remove(info.key));
      continue;
    }
    if (!info.writing || info.role != storage::Role::kHome) continue;
    Status status = RecoverHome(info);
    if (!status.ok()) {
      spdlog::warn("object {}, which was being written, is not published: {}", ToString(info.key),
                   status.ToString());
    }
  }
  return Status();
}

// What the last start left half written becomes the content as it is.
Status FileManagerImpl::RecoverHome(const storage::ObjectInfo& info) {
  meta::Request look;
  look.mutable_location()->set_ino(info.key.ino);
  meta::Reply found;
  F3_RETURN_IF_ERROR(options_.meta->Call(std::move(look), &found));
  if (found.attr().file_class() == meta::CLASS_DURABLE) {
    DropHeld(info.key);
    return options_.objects->Remove(info.key);
  }
  F3_ASSIGN_OR_RETURN(auto object, options_.objects->Find(info.key));
  F3_ASSIGN_OR_RETURN(Signature now, SignatureOf(*object));
  meta::Request request;
  meta::PublishOp* op = request.mutable_publish();
  op->set_ino(info.key.ino);
  op->set_incarnation(info.key.incarnation);
  op->set_size(now.size);
  op->set_mtime_ns(now.mtime_ns);
  op->set_allocated_bytes(now.allocated_bytes);
  op->set_content_changed(true);
  meta::Reply reply;
  F3_RETURN_IF_ERROR(options_.meta->Call(std::move(request), &reply));
  Status sealed = object->Seal(reply.attr().version(), storage::Role::kHome);
  // A process that survived the agent may still have it mapped: the next open takes it over.
  return sealed.Is(Code::kBusy) ? object->SetPublished(reply.attr().version()) : sealed;
}

}  // namespace f3::fs
