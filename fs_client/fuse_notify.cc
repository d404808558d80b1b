// Notices to the kernel: what it must forget.
#include <spdlog/spdlog.h>
#include <sys/uio.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "fs_client/fuse_session_impl.h"

namespace f3::fs {

// Errno of the write: ENOENT when the kernel knows nothing of it, which is as good.
int FuseImpl::Notify(int code, const void* body, size_t size, const void* more, size_t more_size) {
  fuse_out_header header = {};
  header.len = static_cast<uint32_t>(sizeof(header) + size + more_size);
  header.error = code;
  iovec parts[3] = {{&header, sizeof(header)},
                    {const_cast<void*>(body), size},
                    {const_cast<void*>(more), more_size}};
  return ::writev(fd_, parts, more_size > 0 ? 3 : size > 0 ? 2 : 1) < 0 ? errno : 0;
}

bool FuseImpl::DropAllNames() { return Notify(kernel::kNotifyIncEpoch, nullptr, 0) == 0; }

// A negative offset drops attributes alone, which waits for nothing in the kernel.
void FuseImpl::NotifyInode(uint64_t node, int64_t offset, int64_t length) {
  fuse_notify_inval_inode_out out = {};
  out.ino = node;
  out.off = offset;
  out.len = length;
  Notify(FUSE_NOTIFY_INVAL_INODE, &out, sizeof(out));
}

void FuseImpl::InvalidateEntry(Ino parent, const std::string& name) {
  bool changing = false;
  {
    MutexLock lock(mutex_);
    changing = changing_.contains(parent);
  }
  // Dropping one name takes its directory's lock in the kernel, which an operation of ours may
  // hold while it waits for the node that waits for us. Dropping all of them takes none.
  if (changing && DropAllNames()) return;
  for (uint64_t node : nodes_->NodesOf(parent)) {
    fuse_notify_inval_entry_out out = {};
    out.parent = node;
    out.namelen = static_cast<uint32_t>(name.size());
    Notify(FUSE_NOTIFY_INVAL_ENTRY, &out, sizeof(out), name.c_str(), name.size() + 1);
  }
}

void FuseImpl::DropAttr(Ino ino, uint64_t kept) {
  if (kept == 0) return;
  for (uint64_t node : nodes_->NodesOf(ino)) NotifyInode(node, -1, 0);
  nodes_->AttrDropped(ino, kept);
}

void FuseImpl::InvalidateItem(const meta::Invalidate::Item& item, uint64_t attr_kept) {
  DropAttr(item.ino(), attr_kept);
  if (!item.name().empty() && names_droppable_) InvalidateEntry(item.ino(), item.name());
}

uint64_t FuseImpl::BeginInvalidate(Ino ino) {
  guard_.Invalidate(ino);
  const uint64_t kept = nodes_->AttrKept(ino);
  if (kept != 0) guard_.Noticed(ino, options_.clock->MonotonicMicros());
  return kept;
}

void FuseImpl::OnInvalidate(const meta::Invalidate& invalidate, std::function<void()> done) {
  std::vector<uint64_t> kept;
  bool anything = false;
  for (const auto& item : invalidate.items()) {
    kept.push_back(BeginInvalidate(item.ino()));
    anything |= kept.back() != 0 || !item.name().empty();
  }
  {
    MutexLock lock(mutex_);
    for (const auto& item : invalidate.items()) plain_.erase(item.ino());
  }
  for (const auto& item : invalidate.items()) fresh_.Drop(item.ino());
  if (!anything) return done();
  auto shared = std::make_shared<std::function<void()>>(std::move(done));
  const bool queued = notifiers_->TrySubmit([this, invalidate, kept, shared] {
    for (int i = 0; i < invalidate.items_size(); ++i) InvalidateItem(invalidate.items(i), kept[i]);
    (*shared)();
  });
  if (queued) return;
  // The mount is going away, or the kernel takes nothing for a long time.
  DropAllNames();
  for (const auto& item : invalidate.items()) {
    for (uint64_t node : nodes_->NodesOf(item.ino())) NotifyInode(node, -1, 0);
  }
  (*shared)();
}

void FuseImpl::InvalidateInode(Ino ino, bool data, uint64_t offset, uint64_t length,
                               std::function<void()> done) {
  const uint64_t kept = BeginInvalidate(ino);
  fresh_.Drop(ino);
  if (!data && kept == 0) {
    if (done) done();
    return;
  }
  auto shared = std::make_shared<std::function<void()>>(std::move(done));
  const bool queued = notifiers_->TrySubmit([this, ino, data, kept, offset, length, shared] {
    // A notice that drops pages drops the attributes as well.
    for (uint64_t node : nodes_->NodesOf(ino)) {
      NotifyInode(node, data ? static_cast<int64_t>(offset) : -1, static_cast<int64_t>(length));
    }
    nodes_->AttrDropped(ino, kept);
    if (*shared) (*shared)();
  });
  if (!queued && *shared) (*shared)();
}

void FuseImpl::DropCaches() {
  guard_.InvalidateAll();
  fresh_.Clear();
  {
    MutexLock lock(mutex_);
    plain_.clear();
  }
  DropAllNames();
  for (uint64_t node : nodes_->All()) NotifyInode(node, -1, 0);
  RetryAllLocks();
}

}  // namespace f3::fs
