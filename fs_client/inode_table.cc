#include "fs_client/inode_table.h"

namespace f3::fs {

uint64_t InodeTable::Remember(Ino ino) {
  if (ino == root_) return kRootNode;
  MutexLock lock(mutex_);
  Entry& entry = entries_[ino];
  const uint64_t node = ino | entry.tag << kTagShift;
  ++entry.lookups[node];
  return node;
}

bool InodeTable::Forget(uint64_t node, uint64_t lookups) {
  if (node == kRootNode) return false;
  MutexLock lock(mutex_);
  auto entry = entries_.find(node & kInoMask);
  if (entry == entries_.end()) return false;
  auto count = entry->second.lookups.find(node);
  if (count == entry->second.lookups.end()) return false;
  if (count->second > lookups) {
    count->second -= lookups;
    return false;
  }
  entry->second.lookups.erase(count);
  if (!entry->second.lookups.empty()) return false;
  entries_.erase(entry);
  return true;
}

void InodeTable::MakeAlias(uint64_t node) {
  if (node == kRootNode) return;
  MutexLock lock(mutex_);
  Entry& entry = entries_[node & kInoMask];
  // Another open may have asked for it already.
  if (((node & kInoMask) | entry.tag << kTagShift) != node) return;
  entry.tag = (entry.tag + 1) % kTags;
}

std::vector<uint64_t> InodeTable::NodesOf(Ino ino) const {
  if (ino == root_) return {kRootNode};
  std::vector<uint64_t> nodes;
  MutexLock lock(mutex_);
  auto entry = entries_.find(ino);
  if (entry == entries_.end()) return nodes;
  for (const auto& [node, lookups] : entry->second.lookups) nodes.push_back(node);
  return nodes;
}

std::vector<uint64_t> InodeTable::All() const {
  std::vector<uint64_t> nodes = {kRootNode};
  MutexLock lock(mutex_);
  for (const auto& [ino, entry] : entries_) {
    for (const auto& [node, lookups] : entry.lookups) nodes.push_back(node);
  }
  return nodes;
}

void InodeTable::KeepAttr(Ino ino) {
  MutexLock lock(mutex_);
  if (ino == root_) {
    root_attr_kept_ = ++keeps_;
    return;
  }
  // What the kernel has forgotten, it keeps nothing of.
  auto entry = entries_.find(ino);
  if (entry != entries_.end()) entry->second.attr_kept = ++keeps_;
}

uint64_t InodeTable::AttrKept(Ino ino) const {
  MutexLock lock(mutex_);
  if (ino == root_) return root_attr_kept_;
  auto entry = entries_.find(ino);
  return entry == entries_.end() ? 0 : entry->second.attr_kept;
}

void InodeTable::AttrDropped(Ino ino, uint64_t kept) {
  MutexLock lock(mutex_);
  if (ino == root_) {
    if (root_attr_kept_ == kept) root_attr_kept_ = 0;
    return;
  }
  auto entry = entries_.find(ino);
  if (entry != entries_.end() && entry->second.attr_kept == kept) entry->second.attr_kept = 0;
}

bool InodeTable::Known(Ino ino) const {
  if (ino == root_) return true;
  MutexLock lock(mutex_);
  return entries_.contains(ino);
}

}  // namespace f3::fs
