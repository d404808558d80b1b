// Becoming the home of a file; finding or fetching what a reader wants. All of it on the strand.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "fs_client/file_open.h"

namespace f3::fs {
namespace {

bool Truncates(const OpenRequest& request) {
  return (request.flags & O_ACCMODE) != O_RDONLY && (request.flags & O_TRUNC) != 0;
}

// Copies a whole object within the node; shares blocks where the file system can.
Status CopyObject(const storage::Object& from, const storage::Object& to, uint64_t size) {
  off_t in = 0, out = 0;
  while (static_cast<uint64_t>(in) < size) {
    const ssize_t n =
        ::copy_file_range(from.read_fd(), &in, to.fd(), &out, size - static_cast<uint64_t>(in), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) break;
    if (n > 0) continue;
    if (errno != EXDEV && errno != EINVAL && errno != EOPNOTSUPP) {
      return Status::FromErrno(errno, "copy object " + ToString(from.key()));
    }
    std::vector<std::byte> piece(1u << 20);
    F3_ASSIGN_OR_RETURN(size_t got, ReadObject(from, static_cast<uint64_t>(in), piece));
    if (got == 0) break;
    F3_RETURN_IF_ERROR(
        WriteObject(to, static_cast<uint64_t>(out), false, std::span(piece).first(got)).status());
    in += static_cast<off_t>(got);
    out += static_cast<off_t>(got);
  }
  return Status();
}

}  // namespace

storage::TierKind FileManagerImpl::TierFor(const meta::Attr& attr) {
  const bool memory = attr.file_class() == meta::CLASS_EPHEMERAL &&
                      attr.tier() == meta::TIER_MEMORY &&
                      options_.objects->usage().memory_capacity > 0;
  return memory ? storage::TierKind::kMemory : storage::TierKind::kDisk;
}

// The object that this node, as home, writes to.
Result<std::shared_ptr<storage::Object>> FileManagerImpl::HomeObject(
    const OpenTaskRef& task, bool* begins_empty, std::shared_ptr<StagingFill>* fill) {
  const ObjectKey key{task->request.ino, task->open.incarnation()};
  const bool durable = task->attr.file_class() == meta::CLASS_DURABLE;
  const bool keeps_content = !Truncates(task->request) && task->attr.size() > 0;
  *begins_empty = false;
  auto found = options_.objects->Find(key);
  if (found.ok()) {
    const storage::ObjectInfo info = (*found)->info();
    const bool usable =
        info.role != storage::Role::kFilling &&
        (!durable || !keeps_content || (!info.writing && info.version == task->attr.version()));
    if (usable) return found;
    // A staging object of an earlier start, or a copy of another version: the blocks have it.
    F3_RETURN_IF_ERROR(options_.objects->Remove(key));
  }
  if (durable) {
    F3_ASSIGN_OR_RETURN(auto object, options_.objects->Create(key, storage::Role::kStaging,
                                                              storage::TierKind::kDisk, 0));
    *begins_empty = !keeps_content;
    if (!keeps_content) return object;
    if (::ftruncate(object->fd(), static_cast<off_t>(task->attr.size())) != 0) {
      return Status::FromErrno(errno, "stage object " + ToString(key));
    }
    *fill = std::make_shared<StagingFill>(FillParts(), object, task->attr.size(), task->rows);
    return object;
  }
  const ObjectKey source{key.ino, task->open.source_incarnation()};
  if (!keeps_content) {
    *begins_empty = true;
    return options_.objects->Create(key, storage::Role::kHome, TierFor(task->attr), 0);
  }
  if (source.incarnation == 0) {
    return Status::ObjectMissing("the bytes of inode " + std::to_string(key.ino) +
                                 " are not on this node, which is its home");
  }
  {
    MutexLock lock(task->inode->mutex);
    if (task->inode->handles.empty()) task->inode->current = nullptr;
  }
  Status moved = options_.objects->Rekey(source, key);
  if (moved.ok()) return options_.objects->Find(key);
  if (!moved.Is(Code::kBusy)) return moved;
  // Handles that are open here keep the old object.
  F3_ASSIGN_OR_RETURN(auto old, options_.objects->Find(source));
  F3_ASSIGN_OR_RETURN(auto object,
                      options_.objects->Create(key, storage::Role::kHome, TierFor(task->attr), 0));
  Status copied = CopyObject(*old, *object, task->attr.size());
  if (!copied.ok()) {
    options_.objects->Remove(key).PermitUnchecked();  // the copying error matters
    return copied;
  }
  options_.objects->Remove(source).PermitUnchecked();  // garbage; swept at the next start
  return object;
}

Result<ContentRef> FileManagerImpl::BecomeHome(const OpenTaskRef& task) {
  const ObjectKey key{task->request.ino, task->open.incarnation()};
  ContentRef current;
  {
    MutexLock lock(task->inode->mutex);
    if (task->inode->writing) current = task->inode->current;
  }
  if (current != nullptr && current->key == key) {
    // It may be sealed already, and not yet published.
    const bool durable = task->attr.file_class() == meta::CLASS_DURABLE;
    F3_RETURN_IF_ERROR(
        current->object->BeginWriting(durable ? storage::Role::kStaging : storage::Role::kHome));
    MutexLock lock(task->inode->mutex);
    task->inode->settling = false;
    return current;
  }
  auto content = std::make_shared<Content>();
  content->key = key;
  bool begins_empty = false;
  F3_ASSIGN_OR_RETURN(content->object, HomeObject(task, &begins_empty, &content->fill));
  const storage::ObjectInfo info = content->object->info();
  // What an earlier start of this node wrote and did not get to publish.
  const bool unpublished = !begins_empty && !Truncates(task->request) &&
                           task->attr.file_class() == meta::CLASS_EPHEMERAL && info.key == key &&
                           info.role == storage::Role::kHome &&
                           task->open.source_incarnation() == 0 &&
                           (info.version != task->attr.version() || info.size != task->attr.size());
  F3_RETURN_IF_ERROR(
      BeginWriting(task->inode, content, task->attr, std::move(task->rows), unpublished));
  return ContentRef(content);
}

Status FileManagerImpl::BeginWriting(const InodeRef& inode, const ContentRef& content,
                                     const meta::Attr& attr,
                                     std::vector<storage::DurableBlock> rows, bool unpublished) {
  const bool durable = attr.file_class() == meta::CLASS_DURABLE;
  F3_RETURN_IF_ERROR(
      content->object->BeginWriting(durable ? storage::Role::kStaging : storage::Role::kHome));
  // The server forgot a copy here of an older incarnation when it made this node the home.
  const ObjectKey older = Held(inode->ino);
  if (durable && older.ino != 0 && older.incarnation < content->key.incarnation) {
    options_.objects->Remove(older).PermitUnchecked();  // garbage; swept at the next start
  }
  SetHeld(content->key);
  F3_ASSIGN_OR_RETURN(Signature signature, SignatureOf(*content->object));
  MutexLock lock(inode->mutex);
  inode->file_class = attr.file_class();
  inode->follow_asked = attr.follow();
  inode->writing = true;
  inode->version = attr.version();
  inode->published_size = attr.size();
  inode->published = signature;
  inode->unpublished = unpublished;
  inode->escaped = inode->mapped = inode->published_mapped = inode->was_busy = false;
  inode->kill_suid = false;
  inode->dirty = DirtyBlocks{};
  inode->rows = std::move(rows);
  inode->rows_stale = false;
  inode->settle_attempts = 0;
  // An object that begins empty in place of published content.
  if (durable && signature.size < attr.size()) {
    for (const storage::DurableBlock& row : inode->rows) inode->dirty.blocks.insert(row.index);
  }
  return Status();
}

Result<ContentRef> FileManagerImpl::RemoteContent(const OpenTaskRef& task) {
  const ObjectKey key{task->request.ino, task->open.incarnation()};
  {
    MutexLock lock(task->inode->mutex);
    const ContentRef current = task->inode->current;
    if (current != nullptr && current->home != nullptr && current->key == key &&
        (current->home_writable || !task->writes)) {
      return current;
    }
  }
  for (const meta::Holder& holder : task->open.holders()) {
    if (!holder.home()) continue;
    auto content = std::make_shared<Content>();
    content->key = key;
    content->home = std::make_shared<RemoteFile>(RemoteParts(), key, task->writes, holder);
    content->home_writable = task->writes;
    return ContentRef(content);
  }
  return Status::Unavailable("the home of inode " + std::to_string(key.ino) + " is not known");
}

FileManagerImpl::Switch FileManagerImpl::SwitchHandles(const InodeRef& inode,
                                                       const ContentRef& content) {
  Switch out;
  std::map<uint64_t, uint64_t> sizes;
  MutexLock lock(inode->mutex);
  inode->current = content;
  for (const auto& [id, handle] : inode->handles) {
    if (handle->mode == ServeMode::kPassthrough || handle->mode == ServeMode::kInternal) continue;
    if (handle->content == content) continue;
    if (handle->content->identity() != content->identity()) {
      out.stale_pages[handle->kernel] = true;
      const bool in_place = handle->content->home != nullptr || inode->writing;
      if (handle->mode == ServeMode::kCached && !in_place) {
        sizes.emplace(handle->node_id, handle->content->size);
      }
    }
    handle->content = content;
  }
  inode->modes.SwitchCached(content->identity());
  if (!sizes.empty()) out.sizes_kept = KeepSizes(inode, std::move(sizes));
  return out;
}

std::shared_ptr<void> FileManagerImpl::KeepSizes(const InodeRef& inode,
                                                 std::map<uint64_t, uint64_t> sizes) {
  auto kept = inode->shown_sizes.insert(inode->shown_sizes.end(), std::move(sizes));
  return std::shared_ptr<void>(inode.get(), [inode, kept](void*) {
    MutexLock lock(inode->mutex);
    inode->shown_sizes.erase(kept);
  });
}

void FileManagerImpl::DropReplaced(const InodeRef& inode, Switch switched,
                                   std::function<void()> done) {
  InvalidateAndShow(switched.stale_pages, inode->ino, 0, 0, std::move(switched.sizes_kept),
                    std::move(done));
}

Result<ContentRef> FileManagerImpl::ReaderContent(const OpenTaskRef& task) {
  const InodeRef& inode = task->inode;
  const meta::Attr& attr = task->attr;
  const ObjectKey key{task->request.ino, task->open.incarnation()};
  const bool home_here = attr.home() != 0 && attr.home() == options_.meta->node();
  const bool may_follow =
      attr.follow() && attr.file_class() == meta::CLASS_EPHEMERAL && !task->internal;
  std::vector<HandleRef> follow_writers;
  ContentRef reuse;
  {
    MutexLock lock(inode->mutex);
    const ContentRef current = inode->current;
    if (current != nullptr && current->key == key) {
      // Being written here; written by this node at its home; or just this version.
      const bool remote_writer = current->home != nullptr && inode->writers > 0;
      const bool same_version = current->home == nullptr && current->version == attr.version() &&
                                !inode->revalidate && !home_here;
      if (inode->writing || remote_writer || same_version) reuse = current;
    }
    for (const auto& [id, handle] : inode->handles) {
      if (handle->follow_writer) follow_writers.push_back(handle);
    }
  }
  if (may_follow && !follow_writers.empty()) {
    task->follows =
        std::none_of(follow_writers.begin(), follow_writers.end(), [&](const HandleRef& writer) {
          return BelongTogether(options_.probe, task->request.pid, writer->pid, writer->session);
        });
  }
  if (reuse != nullptr) return reuse;
  if (may_follow && task->open.written_elsewhere() && !home_here) {
    task->follows = true;
    return RemoteContent(task);
  }
  auto content = PublishedContent(attr, task->open, std::move(task->rows));
  if (content.ok()) {
    MutexLock lock(inode->mutex);
    inode->revalidate = false;
  }
  return content;
}

// The current version, from the object that is here or from where it is.
Result<ContentRef> FileManagerImpl::PublishedContent(const meta::Attr& attr,
                                                     const meta::OpenReply& open,
                                                     std::vector<storage::DurableBlock> rows) {
  const bool home_here = attr.home() != 0 && attr.home() == options_.meta->node();
  auto content = std::make_shared<Content>();
  content->key = {attr.ino(), open.incarnation()};
  content->version = attr.version();
  content->size = attr.size();
  const ObjectKey& key = content->key;
  auto found =
      key.incarnation == 0
          ? Result<std::shared_ptr<storage::Object>>(Status::ObjectMissing("no object yet"))
          : options_.objects->Find(key);
  if (found.ok()) {
    const storage::ObjectInfo info = (*found)->info();
    const bool current_copy = !info.writing && info.version == attr.version();
    if ((home_here && info.role != storage::Role::kFilling) || current_copy) {
      content->object = *std::move(found);
      return ContentRef(content);
    }
    F3_RETURN_IF_ERROR(options_.objects->Remove(key));
    DropHeld(key);
  }
  if (attr.size() == 0) return ContentRef(content);
  F3_ASSIGN_OR_RETURN(storage::FetchPlan plan, PlanOf(attr, open));
  if (plan.durable) plan.blocks = std::move(rows);
  auto again = std::make_shared<storage::FetchPlan>(plan);
  plan.refresh = [this, again] { return RefreshPlan(*again); };
  if (key.incarnation != 0) {
    auto fetch = options_.fetcher->Start(plan, TierFor(attr));
    if (fetch.ok()) {
      content->fetch = *std::move(fetch);
      return ContentRef(content);
    }
    if (!fetch.status().Is(Code::kTierFull)) return fetch.status();
    spdlog::info("no room for a copy of object {}: it is read where it is", ToString(key));
  }
  content->through = std::move(plan);
  return ContentRef(content);
}

Result<storage::FetchPlan> FileManagerImpl::PlanOf(const meta::Attr& attr,
                                                   const meta::OpenReply& open) {
  storage::FetchPlan plan;
  plan.key = {attr.ino(), open.incarnation()};
  plan.version = attr.version();
  plan.size = attr.size();
  plan.durable = attr.file_class() == meta::CLASS_DURABLE;
  for (const meta::Holder& holder : open.holders()) {
    // The home of a durable file that is being written has other bytes than the published ones.
    const bool staging = plan.durable && holder.home() &&
                         (open.written_elsewhere() || attr.state() == meta::STATE_WRITING);
    if (!holder.up() || staging || holder.node() == options_.meta->node()) continue;
    plan.holders.push_back(
        {holder.name(), {holder.fabric_address(), holder.epoch()}, holder.token()});
  }
  if (!plan.durable && plan.holders.empty()) {
    const std::string name = "inode " + std::to_string(attr.ino());
    if (attr.state() == meta::STATE_LOST) {
      return Status::Lost("the bytes of " + name + " are gone with their node");
    }
    return Status::Unavailable("no node that holds " + name + " is up; it is back with its node");
  }
  return plan;
}

Result<storage::FetchPlan> FileManagerImpl::RefreshPlan(const storage::FetchPlan& plan) {
  meta::Request request;
  request.mutable_location()->set_ino(plan.key.ino);
  request.mutable_location()->set_incarnation(plan.key.incarnation);
  meta::Reply reply;
  F3_RETURN_IF_ERROR(options_.meta->Call(std::move(request), &reply));
  storage::FetchPlan fresh = plan;
  fresh.holders.clear();
  // A newer version has other holders; a durable file's blocks of this one are kept for us.
  if (reply.open().incarnation() != plan.key.incarnation ||
      reply.attr().version() != plan.version) {
    if (plan.durable) return fresh;
    if (reply.open().incarnation() != plan.key.incarnation) {
      return Status::Stale("the file's content was replaced while it was read");
    }
  }
  F3_ASSIGN_OR_RETURN(storage::FetchPlan located, PlanOf(reply.attr(), reply.open()));
  fresh.holders = std::move(located.holders);
  return fresh;
}

void FileManagerImpl::StartFill(const InodeRef& inode, const ContentRef& content,
                                std::function<void(Status)> done) {
  if (content->fill_begun->exchange(true)) {
    if (done) {
      content->fetch->EnsureAsync(0, content->size, Deadline() + 600'000'000, std::move(done));
    }
    return;
  }
  {
    // The fill goes on when the last handle is gone, and the next open finds it.
    MutexLock lock(mutex_);
    fills_[content->key] = {inode, content};
  }
  content->fetch->FillAsync(
      [this, key = content->key, done = std::move(done)](const Status& status, bool copy) {
        std::pair<InodeRef, ContentRef> fill;
        {
          MutexLock lock(mutex_);
          auto it = fills_.find(key);
          if (it != fills_.end()) {
            fill = std::move(it->second);
            fills_.erase(it);
          }
        }
        if (fill.first != nullptr) {
          auto whole = std::make_shared<Content>();
          whole->key = key;
          whole->version = fill.second->version;
          whole->size = fill.second->size;
          whole->object = fill.second->fetch->object();
          MutexLock lock(fill.first->mutex);
          // What failed, or changed while it was pulled, is nothing for the next open.
          if (fill.first->current == fill.second) fill.first->current = copy ? whole : nullptr;
        }
        if (copy && fill.second != nullptr) {
          SetHeld(key);
          ReportCopy(key, fill.second->version);
        }
        if (done) done(status);
      });
}

void FileManagerImpl::ReportCopy(const ObjectKey& key, Version version) {
  if (stopping_) return;
  meta::Request request;
  request.mutable_add_copy()->set_ino(key.ino);
  request.mutable_add_copy()->set_incarnation(key.incarnation);
  request.mutable_add_copy()->set_version(version);
  CallMeta(std::move(request), [key](const Status& status, const meta::Reply&) {
    // A newer version is there: the server drops the copy, or the next open does.
    if (!status.ok()) {
      spdlog::debug("copy {} was not recorded: {}", ToString(key), status.ToString());
    }
  });
}

}  // namespace f3::fs
