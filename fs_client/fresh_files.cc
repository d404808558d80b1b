#include "fs_client/fresh_files.h"

#include <linux/fuse.h>

namespace f3::fs {

bool FreshFiles::Keeps(uint32_t opcode) {
  switch (opcode) {
    case FUSE_GETATTR:
    case FUSE_GETXATTR:
    case FUSE_READ:
    case FUSE_WRITE:
    case FUSE_LOOKUP:
    case FUSE_CREATE:
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
      return true;
    default:
      return false;
  }
}

bool FreshFiles::ChangesOthers(uint32_t opcode) {
  return opcode == FUSE_UNLINK || opcode == FUSE_RENAME || opcode == FUSE_RENAME2 ||
         opcode == FUSE_LINK;
}

void FreshFiles::Add(const meta::Attr& attr) {
  MutexLock lock(mutex_);
  if (files_.size() >= kMost) files_.clear();
  files_[attr.ino()] = attr;
}

std::optional<meta::Attr> FreshFiles::Find(Ino ino) const {
  MutexLock lock(mutex_);
  auto found = files_.find(ino);
  if (found == files_.end()) return std::nullopt;
  return found->second;
}

void FreshFiles::Drop(Ino ino) {
  MutexLock lock(mutex_);
  files_.erase(ino);
}

void FreshFiles::Clear() {
  MutexLock lock(mutex_);
  files_.clear();
}

}  // namespace f3::fs
