#include "fs_client/reference_dir.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

namespace f3::fs {
namespace {

Status Forgotten() { return Status::Stale("the file of a reference was forgotten"); }

}  // namespace

Result<ReferenceDir::Node> ReferenceDir::Lookup(uint64_t parent, const std::string& name) {
  // By "." the kernel finds again what it had forgotten, unless this has forgotten it too.
  if (name == "." && (parent == kTopNode || parent == kRefNode)) return Node{parent, true, 0};
  if (name == "." || name == "..") return Forgotten();
  if (parent == kTopNode && name == kRefName) return Node{kRefNode, true, 0};
  if (parent != kRefNode) return Status::NotFound("there is no " + name + " here");
  auto bytes = reader_->Check(name);
  if (bytes.status().Is(Code::kRefMalformed)) return Status::NotFound("the name is no reference");
  if (!bytes.ok()) return bytes.status();
  MutexLock lock(mutex_);
  FileRef& file = by_reference_[name];
  if (file == nullptr) {
    file = std::make_shared<File>(next_++, name, *bytes);
    by_node_[file->node] = file;
  }
  ++file->lookups;
  return Node{file->node, false, file->bytes};
}

Result<ReferenceDir::Node> ReferenceDir::Find(uint64_t node) const {
  if (node == kTopNode || node == kRefNode) return Node{node, true, 0};
  const FileRef file = FindFile(node);
  if (file == nullptr) return Forgotten();
  return Node{node, false, file->bytes};
}

ReferenceDir::FileRef ReferenceDir::FindFile(uint64_t node) const {
  MutexLock lock(mutex_);
  auto found = by_node_.find(node);
  return found == by_node_.end() ? nullptr : found->second;
}

void ReferenceDir::Forget(uint64_t node, uint64_t lookups) {
  MutexLock lock(mutex_);
  auto found = by_node_.find(node);
  if (found == by_node_.end()) return;
  File* file = found->second.get();
  file->lookups -= std::min(file->lookups, lookups);
  if (file->lookups > 0) return;
  by_reference_.erase(file->reference);
  by_node_.erase(found);
}

void ReferenceDir::Open(uint64_t node, int flags, OpenDone done) {
  if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0) {
    return done(Status::ReadOnly("what a reference names cannot be written"));
  }
  FileRef file = FindFile(node);
  if (file == nullptr) return done(Forgotten());
  reader_->Get(file->reference, kTimeoutMicros,
               [this, file, done = std::move(done)](Result<xdt::ContentRef> content) {
                 if (!content.ok()) return done(content.status());
                 done(AddHandle(file, std::move(content).value()));
               });
}

int32_t ReferenceDir::Back(const xdt::Content& content) {
  if (!kernel_->passthrough() || content.fd() < 0) return 0;
  // The kernel reads to the end of the backing file, which may be longer than the value.
  struct stat info {};
  if (::fstat(content.fd(), &info) != 0) return 0;
  if (static_cast<uint64_t>(info.st_size) != content.bytes()) return 0;
  auto id = kernel_->OpenBacking(content.fd());
  return id.ok() ? *id : 0;
}

void ReferenceDir::CloseBacking(int32_t backing_id) {
  if (backing_id > 0) kernel_->CloseBacking(backing_id);
}

OpenOutcome ReferenceDir::AddHandle(const FileRef& file, xdt::ContentRef content) {
  bool first = false;
  {
    MutexLock lock(mutex_);
    first = file->handles == 0;
  }
  int32_t backing_id = first ? Back(*content) : 0;
  OpenOutcome outcome;
  {
    MutexLock lock(mutex_);
    // All handles of one kernel inode have to be served alike; another may have been quicker.
    if (file->handles++ == 0) {
      file->content.swap(content);
      file->backing_id = std::exchange(backing_id, 0);
    }
    outcome.handle = next_handle_++;
    outcome.backing_id = file->backing_id;
    outcome.keep_cache = file->backing_id == 0;  // the bytes never change
    handles_[outcome.handle] = file;
  }
  CloseBacking(backing_id);
  return outcome;
}

Result<size_t> ReferenceDir::Read(HandleId handle, uint64_t offset,
                                  std::span<std::byte> into) const {
  xdt::ContentRef content;
  {
    MutexLock lock(mutex_);
    auto found = handles_.find(handle);
    if (found == handles_.end()) return Status::InvalidArgument("there is no such handle");
    content = found->second->content;
  }
  if (offset >= content->bytes()) return size_t{0};
  into = into.first(std::min<uint64_t>(into.size(), content->bytes() - offset));
  F3_RETURN_IF_ERROR(content->Read(offset, into));
  return into.size();
}

void ReferenceDir::Release(HandleId handle) {
  xdt::ContentRef content;  // goes without the lock
  int32_t backing_id = 0;
  {
    MutexLock lock(mutex_);
    auto found = handles_.find(handle);
    if (found == handles_.end()) return;
    File* file = found->second.get();
    if (--file->handles == 0) {
      content.swap(file->content);
      backing_id = std::exchange(file->backing_id, 0);
    }
    handles_.erase(found);
  }
  CloseBacking(backing_id);
}

void ReferenceDir::ReleaseAll() {
  std::unordered_map<HandleId, FileRef> handles;
  {
    MutexLock lock(mutex_);
    handles = handles_;
  }
  for (const auto& [handle, file] : handles) Release(handle);
}

}  // namespace f3::fs
