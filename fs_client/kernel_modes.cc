#include "fs_client/kernel_modes.h"

namespace f3::fs {

Result<KernelModes::Answer> KernelModes::Resolve(const Key& key, ServeMode wanted,
                                                 const void* content, bool passthrough_able) const {
  auto it = nodes_.find(key);
  if (wanted == ServeMode::kInternal || it == nodes_.end()) return Answer{wanted, 0};
  const Node& node = it->second;
  if (node.passthrough > 0) {
    if (node.backing != content || !passthrough_able) {
      return Status::Stale("another version of the file is open here; look it up again");
    }
    const bool plain = wanted == ServeMode::kPassthrough;
    return Answer{plain ? ServeMode::kPassthrough : ServeMode::kPassthroughDirect, node.backing_id};
  }
  const bool passthrough =
      wanted == ServeMode::kPassthrough || wanted == ServeMode::kPassthroughDirect;
  if (node.cached_opens > 0) {
    if (wanted == ServeMode::kDirect) return Answer{wanted, 0};
    if (node.cached != content) {
      return Status::Stale("another version of the file is open here; look it up again");
    }
    return Answer{wanted == ServeMode::kPassthroughDirect ? ServeMode::kDirect : ServeMode::kCached,
                  0};
  }
  // Plain direct handles would fail beside a backing file.
  if (node.direct_opens > 0 && passthrough) {
    return Answer{wanted == ServeMode::kPassthrough ? ServeMode::kCached : ServeMode::kDirect, 0};
  }
  return Answer{wanted, 0};
}

void KernelModes::Add(const Key& key, ServeMode mode, const void* content, int32_t backing_id) {
  if (mode == ServeMode::kInternal) return;
  Node& node = nodes_[key];
  switch (mode) {
    case ServeMode::kPassthrough:
    case ServeMode::kPassthroughDirect:
      node.backing_id = backing_id;
      node.backing = content;
      ++node.passthrough;
      break;
    case ServeMode::kCached:
      node.cached = content;
      ++node.cached_opens;
      break;
    default:
      ++node.direct_opens;
  }
}

int32_t KernelModes::Remove(const Key& key, ServeMode mode) {
  auto it = nodes_.find(key);
  if (mode == ServeMode::kInternal || it == nodes_.end()) return 0;
  Node& node = it->second;
  int32_t close = 0;
  switch (mode) {
    case ServeMode::kPassthrough:
    case ServeMode::kPassthroughDirect:
      if (--node.passthrough == 0) {
        close = node.backing_id;
        node.backing_id = 0;
        node.backing = nullptr;
      }
      break;
    case ServeMode::kCached:
      if (--node.cached_opens == 0) node.cached = nullptr;
      break;
    default:
      --node.direct_opens;
  }
  if (node.passthrough == 0 && node.cached_opens == 0 && node.direct_opens == 0) nodes_.erase(it);
  return close;
}

void KernelModes::SwitchCached(const void* content) {
  for (auto& [key, node] : nodes_) {
    if (node.cached_opens > 0) node.cached = content;
  }
}

std::map<KernelCache*, bool> KernelModes::Mounts() const {
  std::map<KernelCache*, bool> mounts;
  for (const auto& [key, node] : nodes_) {
    mounts[key.first] |= node.cached_opens > 0 || node.direct_opens > 0;
  }
  return mounts;
}

bool KernelModes::has_passthrough() const {
  for (const auto& [key, node] : nodes_) {
    if (node.passthrough > 0) return true;
  }
  return false;
}

}  // namespace f3::fs
