#include "fs_client/fresh_attrs.h"

#include <linux/fuse.h>

namespace f3::fs {
namespace {

// Whether an inode of which the kernel asks this stays as it was made, or changed.
bool Keeps(uint32_t opcode) {
  switch (opcode) {
    case FUSE_GETATTR:
    case FUSE_GETXATTR:
    case FUSE_READ:
    case FUSE_WRITE:
    case FUSE_LOOKUP:
    case FUSE_INTERRUPT:
      return true;
    default:
      return false;
  }
}

// Whether the request changes an inode that it does not name.
bool ChangesOthers(uint32_t opcode) {
  return opcode == FUSE_UNLINK || opcode == FUSE_RMDIR || opcode == FUSE_RENAME ||
         opcode == FUSE_RENAME2 || opcode == FUSE_LINK;
}

}  // namespace

void FreshAttrs::Asked(uint32_t opcode, Ino ino) {
  if (Keeps(opcode)) return;
  if (ChangesOthers(opcode)) return Clear();
  Drop(ino);
}

void FreshAttrs::Add(const meta::Attr& attr, bool made) {
  if (known_.size() >= kMost) known_.clear();
  known_[attr.ino()] = {attr, made};
}

void FreshAttrs::AddMade(const meta::Attr& attr) {
  MutexLock lock(mutex_);
  Add(attr, true);
}

uint64_t FreshAttrs::Now() const {
  MutexLock lock(mutex_);
  return clock_;
}

void FreshAttrs::AddChanged(const meta::Attr& directory, uint64_t since) {
  MutexLock lock(mutex_);
  if (cleared_ > since || dropped_[directory.ino() % kSlots] > since) return;
  Add(directory, false);
}

std::optional<meta::Attr> FreshAttrs::Find(Ino ino) const {
  MutexLock lock(mutex_);
  auto found = known_.find(ino);
  if (found == known_.end()) return std::nullopt;
  return found->second.attr;
}

bool FreshAttrs::Made(Ino ino) const {
  MutexLock lock(mutex_);
  auto found = known_.find(ino);
  return found != known_.end() && found->second.made;
}

void FreshAttrs::Drop(Ino ino) {
  MutexLock lock(mutex_);
  dropped_[ino % kSlots] = ++clock_;
  known_.erase(ino);
}

void FreshAttrs::Clear() {
  MutexLock lock(mutex_);
  cleared_ = ++clock_;
  known_.clear();
}

}  // namespace f3::fs
