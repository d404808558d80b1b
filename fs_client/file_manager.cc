#include <algorithm>

#include "fs_client/file_manager_impl.h"

namespace f3::fs {
namespace {

constexpr size_t kMaxQueued = 16384;
constexpr uint32_t kRowsPerCall = 4096;
constexpr int64_t kShutdownWaitMicros = 30'000'000;

}  // namespace

std::shared_ptr<void> InFlight::Begin() {
  {
    MutexLock lock(mutex_);
    ++count_;
  }
  return std::shared_ptr<void>(this, [](void* self) {
    auto* in_flight = static_cast<InFlight*>(self);
    MutexLock lock(in_flight->mutex_);
    if (--in_flight->count_ == 0) in_flight->changed_.SignalAll();
  });
}

bool InFlight::AwaitNone(int64_t micros) {
  const int64_t deadline = Clock::Real()->MonotonicMicros() + micros;
  MutexLock lock(mutex_);
  while (count_ > 0) {
    const int64_t left = deadline - Clock::Real()->MonotonicMicros();
    if (left <= 0) return false;
    changed_.WaitFor(mutex_, left);
  }
  return true;
}

std::unique_ptr<FileManager> FileManager::Create(const Options& options) {
  return std::make_unique<FileManagerImpl>(options);
}

FileManagerImpl::FileManagerImpl(const Options& options)
    : options_(options),
      timers_(options.clock, options.background),
      executor_("f3-file", options.threads, kMaxQueued) {
  for (const storage::ObjectInfo& info : options_.objects->List()) SetHeld(info.key);
  options_.objects->SetEvictionListener([this](const ObjectKey& key) { OnEvicted(key); });
}

FileManagerImpl::~FileManagerImpl() { Shutdown(); }

InodeRef FileManagerImpl::FindInode(Ino ino) {
  MutexLock lock(mutex_);
  auto it = inodes_.find(ino);
  return it == inodes_.end() ? nullptr : it->second.lock();
}

InodeRef FileManagerImpl::InodeOf(Ino ino) {
  MutexLock lock(mutex_);
  std::weak_ptr<OpenInode>& slot = inodes_[ino];
  InodeRef inode = slot.lock();
  if (inode != nullptr) return inode;
  // The table forgets the inode when the last reference goes; by then it may hold a successor.
  inode = InodeRef(new OpenInode(ino), [this](OpenInode* gone) {
    {
      MutexLock table_lock(mutex_);
      auto it = inodes_.find(gone->ino);
      if (it != inodes_.end() && it->second.expired()) inodes_.erase(it);
    }
    delete gone;
  });
  slot = inode;
  return inode;
}

HandleRef FileManagerImpl::FindHandle(HandleId handle) {
  MutexLock lock(mutex_);
  auto it = handles_.find(handle);
  return it == handles_.end() ? nullptr : it->second;
}

std::vector<InodeRef> FileManagerImpl::AllInodes() {
  std::vector<InodeRef> all;
  MutexLock lock(mutex_);
  for (const auto& [ino, weak] : inodes_) {
    InodeRef inode = weak.lock();
    if (inode != nullptr) all.push_back(std::move(inode));
  }
  return all;
}

void FileManagerImpl::OnStrand(const InodeRef& inode, std::function<void(Next)> task) {
  auto token = in_flight_.Begin();
  inode->strand.Post([inode, token, task = std::move(task)](Next next) {
    task([inode, token, next = std::move(next)] { next(); });
  });
}

void FileManagerImpl::CallMeta(meta::Request request, MetaDone done) {
  auto token = in_flight_.Begin();
  options_.meta->CallAsync(std::move(request),
                           [token, done = std::move(done)](Status status, meta::Reply reply) {
                             done(std::move(status), std::move(reply));
                           });
}

void FileManagerImpl::RunBlocking(std::function<void()> work) {
  auto token = in_flight_.Begin();
  auto shared = std::make_shared<std::function<void()>>(std::move(work));
  if (!executor_.Submit([token, shared] { (*shared)(); })) (*shared)();
}

ObjectKey FileManagerImpl::Held(Ino ino) {
  MutexLock lock(mutex_);
  auto it = held_.find(ino);
  return it == held_.end() ? ObjectKey{} : ObjectKey{ino, it->second};
}

void FileManagerImpl::SetHeld(const ObjectKey& key) {
  MutexLock lock(mutex_);
  Incarnation& newest = held_[key.ino];
  newest = std::max(newest, key.incarnation);
}

void FileManagerImpl::DropHeld(const ObjectKey& key) {
  MutexLock lock(mutex_);
  auto it = held_.find(key.ino);
  if (it != held_.end() && it->second == key.incarnation) held_.erase(it);
}

void FileManagerImpl::InvalidateKernels(const Mounts& mounts, Ino ino, uint64_t offset,
                                        uint64_t length, std::function<void()> done) {
  if (mounts.empty()) {
    if (done) done();
    return;
  }
  auto token = in_flight_.Begin();
  auto left = std::make_shared<std::atomic<size_t>>(mounts.size());
  for (const auto& [kernel, data] : mounts) {
    kernel->InvalidateInode(ino, data, offset, length, [token, left, done] {
      if (--*left == 0 && done) done();
    });
  }
}

void FileManagerImpl::InvalidateAndShow(const Mounts& mounts, Ino ino, uint64_t offset,
                                        uint64_t length, std::shared_ptr<void> sizes_kept,
                                        std::function<void()> done) {
  auto kept = std::make_shared<std::shared_ptr<void>>(std::move(sizes_kept));
  InvalidateKernels(mounts, ino, offset, length, [kept, done = std::move(done)] {
    kept->reset();
    if (done) done();
  });
}

RemoteFile::Parts FileManagerImpl::RemoteParts() {
  RemoteFile::Parts parts;
  parts.meta = options_.meta;
  parts.engine = options_.engine;
  parts.buffers = options_.buffers;
  parts.executor = &executor_;
  parts.clock = options_.clock;
  parts.timeout_micros = options_.data_timeout_micros;
  return parts;
}

StagingFill::Parts FileManagerImpl::FillParts() {
  return {options_.durable, options_.buffers, &executor_};
}

Result<std::vector<storage::DurableBlock>> FileManagerImpl::AllRows(Ino ino,
                                                                    const meta::OpenReply& open) {
  std::vector<storage::DurableBlock> rows = Rows(open.blocks());
  bool complete = open.blocks_complete();
  while (!complete) {
    meta::Request request;
    request.mutable_block_map()->set_ino(ino);
    request.mutable_block_map()->set_first(rows.empty() ? 0 : rows.back().index + 1);
    request.mutable_block_map()->set_count(kRowsPerCall);
    meta::Reply reply;
    F3_RETURN_IF_ERROR(options_.meta->Call(std::move(request), &reply));
    auto more = Rows(reply.blocks());
    complete = more.size() < kRowsPerCall;
    rows.insert(rows.end(), more.begin(), more.end());
  }
  return rows;
}

std::vector<storage::DurableBlock> FileManagerImpl::Rows(
    const google::protobuf::RepeatedPtrField<meta::Block>& blocks) {
  std::vector<storage::DurableBlock> rows;
  rows.reserve(static_cast<size_t>(blocks.size()));
  for (const meta::Block& block : blocks) {
    rows.push_back({block.index(), block.generation(), block.crc(), block.length()});
  }
  return rows;
}

FileManager::Counters FileManagerImpl::counters() const {
  Counters counters;
  counters.local_read_bytes = local_read_bytes_;
  counters.remote_write_bytes = remote_write_bytes_;
  counters.durable_written_bytes = durable_written_bytes_;
  counters.passthrough_opens = passthrough_opens_;
  counters.cached_opens = cached_opens_;
  counters.direct_opens = direct_opens_;
  counters.published_files = published_files_;
  counters.publish_failures = publish_failures_;
  return counters;
}

void FileManagerImpl::Shutdown() {
  if (stopping_.exchange(true)) return;
  options_.objects->SetEvictionListener(nullptr);
  // Waiting readers end, then every file that was written here gets a last publish.
  for (const InodeRef& inode : AllInodes()) {
    inode->follow.CancelAll(Status::Interrupted("the node agent stops"));
    std::vector<HandleId> ids;
    {
      MutexLock lock(inode->mutex);
      for (const auto& [id, handle] : inode->handles) ids.push_back(id);
    }
    for (HandleId id : ids) Interrupt(id);
    OnStrand(inode, [this, inode](const Next& next) { Settle(inode, [next](Status) { next(); }); });
  }
  if (!in_flight_.AwaitNone(kShutdownWaitMicros)) {
    spdlog::warn("the file layer stops although operations are still under way");
  }
  timers_.Shutdown();
  executor_.Shutdown();
  std::unordered_map<HandleId, HandleRef> handles;
  {
    MutexLock lock(mutex_);
    handles.swap(handles_);
  }
  // Handles and inodes refer to each other.
  for (const auto& [id, handle] : handles) {
    MutexLock lock(handle->inode->mutex);
    handle->inode->handles.clear();
    handle->inode->current = nullptr;
    handle->content = nullptr;
  }
}

}  // namespace f3::fs
