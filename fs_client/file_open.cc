// What an open is served from, and how the kernel is to treat it.
#include "fs_client/file_open.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

namespace f3::fs {
namespace {

constexpr uint32_t kRowsPerCall = 4096;
constexpr uint64_t kSmallBytes = 4u << 20;
constexpr size_t kMaxRememberedInodes = 1u << 16;

bool Reads(int flags) { return (flags & O_ACCMODE) != O_WRONLY; }
bool Writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY; }

}  // namespace

void FileManagerImpl::Open(const OpenRequest& request, OpenDone done) {
  auto task = std::make_shared<OpenTask>();
  task->request = request;
  task->inode = InodeOf(request.ino);
  task->writes = Writes(request.flags);
  task->done = [done = std::move(done)](Result<HandleRef> handle, const OpenOutcome& outcome) {
    if (handle.ok()) {
      done(outcome);
    } else {
      done(handle.status());
    }
  };
  OnStrand(task->inode, [this, task](Next next) {
    task->next = std::move(next);
    SendOpen(task);
  });
}

void FileManagerImpl::OpenCreated(const OpenRequest& request, const meta::Attr& attr,
                                  const meta::OpenReply& open, OpenDone done) {
  auto task = std::make_shared<OpenTask>();
  task->request = request;
  task->inode = InodeOf(request.ino);
  task->writes = Writes(request.flags);
  task->attr = attr;
  task->open = open;
  task->done = [done = std::move(done)](Result<HandleRef> handle, const OpenOutcome& outcome) {
    if (handle.ok()) {
      done(outcome);
    } else {
      done(handle.status());
    }
  };
  OnStrand(task->inode, [this, task](Next next) {
    task->next = std::move(next);
    Granted(task);
  });
}

void FileManagerImpl::OpenInternal(Ino ino, int flags, const meta::Caller& caller,
                                   std::function<void(Result<HandleRef>)> done) {
  auto task = std::make_shared<OpenTask>();
  task->request.ino = ino;
  task->request.flags = flags;
  task->request.caller = caller;
  task->internal = true;
  task->inode = InodeOf(ino);
  task->writes = Writes(flags);
  task->done = [done = std::move(done)](Result<HandleRef> handle, const OpenOutcome&) {
    done(std::move(handle));
  };
  OnStrand(task->inode, [this, task](Next next) {
    task->next = std::move(next);
    SendOpen(task);
  });
}

void FileManagerImpl::SendOpen(const OpenTaskRef& task) {
  if (stopping_) {
    FailOpen(task, Status::Io("the node agent stops"));
    return;
  }
  meta::Request request;
  *request.mutable_caller() = task->request.caller;
  request.mutable_open()->set_ino(task->request.ino);
  if (task->request.kernel != nullptr) request.set_mount(task->request.kernel->number());
  meta::OpenFlags* flags = request.mutable_open()->mutable_flags();
  flags->set_read(Reads(task->request.flags));
  flags->set_write(task->writes);
  flags->set_truncate(task->writes && (task->request.flags & O_TRUNC) != 0);
  const ObjectKey held = task->writes ? Held(task->request.ino) : ObjectKey{};
  if (held.ino != 0) {
    auto object = options_.objects->Find(held);
    if (object.ok()) {
      const storage::ObjectInfo info = (*object)->info();
      if (!info.writing) {
        flags->set_have_incarnation(held.incarnation);
        flags->set_have_version(info.version);
      }
    } else {
      DropHeld(held);
    }
  }
  CallMeta(std::move(request), [this, task](const Status& status, const meta::Reply& reply) {
    if (!status.ok()) {
      FailOpen(task, status);
      return;
    }
    task->attr = reply.attr();
    task->open = reply.open();
    Granted(task);
  });
}

// The metadata server counts the open from here on: every way out gives it back or keeps it.
void FileManagerImpl::Granted(const OpenTaskRef& task) {
  {
    MutexLock lock(task->inode->mutex);
    OpenCounts& counts = task->inode->granted[task->open.incarnation()];
    ++(task->writes ? counts.writers : counts.readers);
    task->inode->file_class = task->attr.file_class();
    task->inode->follow_asked = task->attr.follow();
  }
  task->counted = true;
  task->rows = Rows(task->open.blocks());
  if (!task->open.blocks_complete() && task->attr.file_class() == meta::CLASS_DURABLE) {
    LoadRows(task, task->rows.empty() ? 0 : task->rows.back().index + 1);
    return;
  }
  ResolveContent(task);
}

void FileManagerImpl::LoadRows(const OpenTaskRef& task, uint64_t first) {
  meta::Request request;
  request.mutable_block_map()->set_ino(task->request.ino);
  request.mutable_block_map()->set_first(first);
  request.mutable_block_map()->set_count(kRowsPerCall);
  CallMeta(std::move(request), [this, task](const Status& status, const meta::Reply& reply) {
    if (!status.ok()) {
      FailOpen(task, status);
      return;
    }
    auto more = Rows(reply.blocks());
    task->rows.insert(task->rows.end(), more.begin(), more.end());
    if (more.size() == kRowsPerCall) {
      LoadRows(task, task->rows.back().index + 1);
    } else {
      ResolveContent(task);
    }
  });
}

void FileManagerImpl::ResolveContent(const OpenTaskRef& task) {
  Result<ContentRef> content = Status::Internal("no content");
  if (!task->writes) {
    content = ReaderContent(task);
  } else if (task->open.role() == meta::ROLE_REMOTE) {
    content = RemoteContent(task);
  } else {
    content = BecomeHome(task);
  }
  if (!content.ok()) {
    FailOpen(task, content.status());
    return;
  }
  task->content = *content;
  if (task->writes) {
    // One node is POSIX: what was opened here before shows what is written here now.
    task->switched = SwitchHandles(task->inode, task->content);
  } else {
    MutexLock lock(task->inode->mutex);
    if (!task->inode->writing) task->inode->current = task->content;
  }
  // What this open has made is empty. ext4 writes a file that was truncated to the disk when it is
  // closed, however short it will live.
  const bool truncates = (task->request.flags & O_TRUNC) != 0 && !task->open.created();
  if (!task->writes || !truncates) {
    Admit(task);
    return;
  }
  if (task->content->home != nullptr) {
    {
      MutexLock lock(task->inode->mutex);
      ++task->inode->sent;
    }
    task->content->home->Control(xdt::ControlOp::kTruncate, 0, 0, 0,
                                 [this, task](const Result<xdt::ControlResult>& answer) {
                                   if (answer.ok()) {
                                     Admit(task);
                                   } else {
                                     FailOpen(task, answer.status());
                                   }
                                 });
    return;
  }
  // In place, also for those who have it open: truncation has been recorded with the open.
  TruncateHome(task->inode, task->content, 0, [this, task](const Status& status, Mounts mounts) {
    if (!status.ok()) {
      FailOpen(task, status);
      return;
    }
    task->switched.stale_pages.merge(mounts);
    // The kernel that opens cuts its own pages, and could not write dirty ones now.
    task->switched.stale_pages.erase(task->request.kernel);
    if (task->attr.file_class() == meta::CLASS_EPHEMERAL) {
      auto signature = SignatureOf(*task->content->object);
      MutexLock lock(task->inode->mutex);
      task->inode->version = task->attr.version();
      task->inode->published_size = 0;
      task->inode->unpublished = !signature.ok();
      if (signature.ok()) task->inode->published = *signature;
    }
    Admit(task);
  });
}

ServeMode FileManagerImpl::Wanted(const OpenTask& task) const {
  if (task.internal) return ServeMode::kInternal;
  const Content& content = *task.content;
  const bool whole = content.whole() && task.request.kernel->passthrough();
  if (content.home != nullptr) return ServeMode::kDirect;
  // The backing file system would ask for aligned requests.
  if ((task.request.flags & O_DIRECT) != 0) {
    return whole ? ServeMode::kPassthroughDirect : ServeMode::kDirect;
  }
  if (task.follows) return whole ? ServeMode::kPassthroughDirect : ServeMode::kDirect;
  if (!task.writes) return whole ? ServeMode::kPassthrough : ServeMode::kCached;
  // The kernel computes where an append goes from a size that may be old, so it must not keep the
  // page.
  const bool appends = (task.request.flags & O_APPEND) != 0;
  const ServeMode by_daemon = appends ? ServeMode::kDirect : ServeMode::kCached;
  if (task.attr.file_class() == meta::CLASS_EPHEMERAL) {
    // The watermark is what the daemon saw.
    if (task.attr.follow()) return whole ? ServeMode::kPassthroughDirect : ServeMode::kDirect;
    return whole ? ServeMode::kPassthrough : by_daemon;
  }
  const bool fresh = task.open.created() || (task.request.flags & O_TRUNC) != 0;
  const bool write_only = (task.request.flags & O_ACCMODE) == O_WRONLY;
  return whole && fresh && write_only ? ServeMode::kPassthrough : by_daemon;
}

// Whether a handle of the kernel's inode shows the version that `content` is.
bool FileManagerImpl::ShowsVersion(const OpenInode& inode, const KernelModes::Key& key,
                                   const Content& content) {
  for (const auto& [id, handle] : inode.handles) {
    if (KernelModes::Key(handle->kernel, handle->node_id) != key) continue;
    if (handle->mode == ServeMode::kCached && handle->content->key == content.key &&
        handle->content->version == content.version) {
      return true;
    }
  }
  return false;
}

// Counts the handle in the same breath: a backing file that it is to share stays.
Status FileManagerImpl::ChooseMode(const OpenTaskRef& task, KernelModes::Answer* answer) {
  const KernelModes::Key key{task->request.kernel, task->request.node_id};
  const void* identity = task->content->identity();
  const ServeMode wanted = Wanted(*task);
  {
    MutexLock lock(task->inode->mutex);
    KernelModes& modes = task->inode->modes;
    auto resolved = modes.Resolve(key, wanted, identity, task->content->whole());
    // Fetched twice, because the home was not sealed yet and what was pulled could be no copy: the
    // pages are another's, but it is no other version that a new node would have to show.
    if (resolved.status().Is(Code::kStale) && ShowsVersion(*task->inode, key, *task->content)) {
      resolved = modes.Resolve(key, ServeMode::kDirect, identity, task->content->whole());
    }
    F3_ASSIGN_OR_RETURN(*answer, std::move(resolved));
    const bool passthrough =
        answer->mode == ServeMode::kPassthrough || answer->mode == ServeMode::kPassthroughDirect;
    if (!passthrough || answer->backing_id != 0) {
      modes.Add(key, answer->mode, identity, answer->backing_id);
      return Status();
    }
  }
  auto backing = task->request.kernel->OpenBacking(task->content->object->read_fd());
  if (backing.ok()) {
    answer->backing_id = *backing;
  } else {
    // The ordinary path does everything too, if slower.
    spdlog::debug("no passthrough for inode {:x}: {}", task->request.ino,
                  backing.status().ToString());
    const bool direct = answer->mode == ServeMode::kPassthroughDirect ||
                        (task->writes && (task->request.flags & O_APPEND) != 0);
    answer->mode = direct ? ServeMode::kDirect : ServeMode::kCached;
  }
  MutexLock lock(task->inode->mutex);
  task->inode->modes.Add(key, answer->mode, identity, answer->backing_id);
  return Status();
}

void FileManagerImpl::Admit(const OpenTaskRef& task) {
  const InodeRef& inode = task->inode;
  KernelModes::Answer answer;
  Status chosen = ChooseMode(task, &answer);
  if (!chosen.ok()) {
    FailOpen(task, chosen);
    return;
  }
  auto handle = std::make_shared<Handle>();
  handle->inode = inode;
  handle->flags = task->request.flags;
  handle->writes = task->writes;
  handle->appends = task->writes && (task->request.flags & O_APPEND) != 0;
  handle->nonroot = task->request.caller.uid() != 0;
  handle->pid = task->request.pid;
  handle->kernel = task->request.kernel;
  handle->node_id = task->request.node_id;
  handle->incarnation = task->open.incarnation();
  handle->mode = answer.mode;
  handle->content = task->content;
  handle->follows = task->follows;
  handle->follow_epoch = inode->follow.epoch();
  const bool home_writer = task->writes && task->content->object != nullptr;
  handle->follow_writer = home_writer && task->attr.follow() &&
                          task->attr.file_class() == meta::CLASS_EPHEMERAL &&
                          (task->request.flags & O_ACCMODE) == O_WRONLY;
  if (handle->follow_writer) {
    auto stat = options_.probe->Stat(handle->pid);
    if (stat.ok()) handle->session = stat->session;
    auto signature = SignatureOf(*task->content->object);
    inode->follow.WriterOpened(signature.ok() ? signature->size : 0);
  }
  {
    MutexLock lock(mutex_);
    handle->id = next_handle_++;
    handles_[handle->id] = handle;
  }
  const KernelModes::Key key{handle->kernel, handle->node_id};
  const bool passthrough =
      answer.mode == ServeMode::kPassthrough || answer.mode == ServeMode::kPassthroughDirect;
  OpenOutcome outcome;
  outcome.handle = handle->id;
  outcome.backing_id = passthrough ? answer.backing_id : 0;
  outcome.direct_io =
      answer.mode == ServeMode::kDirect || answer.mode == ServeMode::kPassthroughDirect;
  bool others_cached = false;
  {
    MutexLock lock(inode->mutex);
    for (const auto& [id, other] : inode->handles) {
      others_cached |= other->mode == ServeMode::kCached && other->kernel == handle->kernel &&
                       other->node_id == handle->node_id;
    }
    inode->handles[handle->id] = handle;
    if (task->writes) ++inode->writers;
    // Through the backing file a writer changes what the daemon does not see: everything, or by a
    // shared mapping.
    const bool maps = (task->request.flags & O_ACCMODE) == O_RDWR;
    if (home_writer && (answer.mode == ServeMode::kPassthrough || (passthrough && maps))) {
      inode->escaped = true;
      inode->mapped |= maps;
      if (inode->file_class == meta::CLASS_DURABLE) inode->dirty.unknown = true;
      if (handle->nonroot && (task->attr.mode() & (S_ISUID | S_ISGID)) != 0) {
        inode->kill_suid = true;
      }
    }
  }
  outcome.keep_cache = KeepCache(*task, answer.mode, others_cached);
  // What is fetched in one go is worth having before the source changes.
  if (!task->writes && task->content->fetch != nullptr && task->content->size <= kSmallBytes) {
    StartFill(inode, task->content, nullptr);
  }
  if (answer.mode == ServeMode::kPassthrough) {
    ++passthrough_opens_;
  } else if (answer.mode == ServeMode::kCached) {
    ++cached_opens_;
  } else if (answer.mode != ServeMode::kInternal) {
    ++direct_opens_;
  }
  task->next();
  std::function<void()> done = [task, handle, outcome] { task->done(handle, outcome); };
  if (task->writes && handle->kernel != nullptr && options_.attr_changed) {
    // Its own kernel sees what it writes, those of other mounts here ask from now on.
    done = [this, done = std::move(done), kernel = handle->kernel, ino = inode->ino] {
      options_.attr_changed(ino, kernel, [done, token = in_flight_.Begin()] { done(); });
    };
  }
  DropReplaced(inode, std::move(task->switched), std::move(done));
}

void FileManagerImpl::FailOpen(const OpenTaskRef& task, const Status& status) {
  if (task->counted && !task->writes) {
    QueueClose(task->inode, task->open.incarnation(), 1, 0);
  } else if (task->counted) {
    // This node may have become the home: leave it in order.
    {
      MutexLock lock(task->inode->mutex);
      ++task->inode->finishing[task->open.incarnation()];
    }
    OnStrand(task->inode,
             [this, inode = task->inode](Next next) { FinishWriting(inode, std::move(next)); });
  }
  task->next();
  DropReplaced(task->inode, std::move(task->switched),
               [task, status] { task->done(status, OpenOutcome{}); });
}

bool FileManagerImpl::KeepCache(const OpenTask& task, ServeMode mode, bool others_cached) {
  if (mode != ServeMode::kCached) return false;
  if (others_cached) return true;  // they show the same content
  {
    MutexLock lock(task.inode->mutex);
    if (task.inode->writing) return false;
  }
  MutexLock lock(mutex_);
  auto it = pages_.find(task.request.ino);
  if (it == pages_.end()) return false;
  auto pages = it->second.find({task.request.kernel, task.request.node_id});
  return pages != it->second.end() && pages->second.key == task.content->key &&
         pages->second.version == task.content->version;
}

void FileManagerImpl::RememberPages(const Handle& handle, const Content& content) {
  MutexLock lock(mutex_);
  if (pages_.size() >= kMaxRememberedInodes) pages_.clear();
  pages_[handle.inode->ino][{handle.kernel, handle.node_id}] = {content.key, content.version};
}

}  // namespace f3::fs
