// FaultEnv: a file system in memory that knows what a power cut would leave of it.
//
// Contents are durable when WriteNewFile returns, names when their directory was synced. A test
// chooses a sync point at which the power goes (every later call fails), calls Crash() and looks
// at what is left. Calls can be made to fail, and the disk to fill. Thread-safe.
#ifndef F3_TESTS_COMMON_FAULT_ENV_H_
#define F3_TESTS_COMMON_FAULT_ENV_H_

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "common/env.h"
#include "common/mutex.h"

namespace f3 {

class FaultEnv : public Env {
 public:
  // The power goes in the nth sync from now (1: the next), which then has no effect but for half
  // of the bytes of a WriteNewFile. 0: never.
  void CutPowerAtSync(uint64_t nth) {
    MutexLock lock(mutex_);
    cut_at_ = nth == 0 ? 0 : syncs_ + nth;
  }
  // The nth call from now that changes something fails with `status`. 0: none.
  void FailCall(uint64_t nth, Status status) {
    MutexLock lock(mutex_);
    fail_at_ = nth == 0 ? 0 : changes_ + nth;
    fail_with_ = std::move(status);
  }
  // The most bytes that files may have together.
  void SetCapacity(uint64_t bytes) {
    MutexLock lock(mutex_);
    capacity_ = bytes;
  }
  // The power is gone and back: each name that was not synced is there or not, by `seed` (0: what
  // was not synced is gone; 1: everything is there).
  void Crash(uint64_t seed) {
    MutexLock lock(mutex_);
    std::mt19937_64 random(seed);
    Revert(*root_, seed, random);
    dead_ = false;
    cut_at_ = 0;
    fail_at_ = 0;
  }
  // Overwrites bytes of a file behind everybody's back.
  bool Corrupt(const std::string& path, size_t offset) {
    MutexLock lock(mutex_);
    NodeRef node = Find(path);
    if (node == nullptr || offset >= node->content.size()) return false;
    node->content[offset] ^= std::byte{0x40};
    return true;
  }
  bool dead() const {
    MutexLock lock(mutex_);
    return dead_;
  }
  uint64_t syncs() const {
    MutexLock lock(mutex_);
    return syncs_;
  }
  uint64_t changes() const {
    MutexLock lock(mutex_);
    return changes_;
  }
  uint64_t used_bytes() const {
    MutexLock lock(mutex_);
    return Bytes(*root_);
  }

  Status WriteNewFile(const std::string& path, std::span<const std::byte> bytes) override {
    MutexLock lock(mutex_);
    F3_RETURN_IF_ERROR(BeginChange(path));
    auto [parent, name] = Split(path);
    if (parent == nullptr) return Status::NotFound("create " + path);
    if (parent->live.contains(name)) return Status::Exists("create " + path);
    if (Bytes(*root_) + bytes.size() > capacity_) return Status::NoSpace("write " + path);
    auto node = std::make_shared<Node>();
    const bool cut = CutNow();
    node->content.assign(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(
                                                            cut ? bytes.size() / 2 : bytes.size()));
    parent->live[name] = node;
    return cut ? Dead(path) : Status();
  }

  Result<size_t> ReadFile(const std::string& path, uint64_t offset,
                          std::span<std::byte> into) override {
    MutexLock lock(mutex_);
    if (dead_) return Dead(path);
    NodeRef node = Find(path);
    if (node == nullptr) return Status::NotFound("read " + path);
    if (node->is_dir) return Status::IsDirectory("read " + path);
    const uint64_t size = node->content.size();
    const uint64_t start = std::min(offset, size);
    const size_t n = std::min<size_t>(into.size(), static_cast<size_t>(size - start));
    std::copy_n(node->content.begin() + static_cast<ptrdiff_t>(start), n, into.begin());
    return n;
  }

  Result<uint64_t> FileSize(const std::string& path) override {
    MutexLock lock(mutex_);
    if (dead_) return Dead(path);
    NodeRef node = Find(path);
    if (node == nullptr) return Status::NotFound("stat " + path);
    return static_cast<uint64_t>(node->content.size());
  }

  Status Rename(const std::string& from, const std::string& to) override {
    return Move(from, to, /*replace=*/true);
  }
  Status RenameNew(const std::string& from, const std::string& to) override {
    return Move(from, to, /*replace=*/false);
  }

  Status RemoveFile(const std::string& path) override {
    MutexLock lock(mutex_);
    F3_RETURN_IF_ERROR(BeginChange(path));
    auto [parent, name] = Split(path);
    if (parent == nullptr || parent->live.erase(name) == 0) {
      return Status::NotFound("remove " + path);
    }
    return Status();
  }

  Status RemoveDir(const std::string& path) override {
    MutexLock lock(mutex_);
    F3_RETURN_IF_ERROR(BeginChange(path));
    auto [parent, name] = Split(path);
    NodeRef node = Find(path);
    if (parent == nullptr || node == nullptr) return Status::NotFound("remove " + path);
    if (!node->live.empty()) return Status::NotEmpty("remove " + path);
    parent->live.erase(name);
    return Status();
  }

  Status MakeDirs(const std::string& path) override {
    MutexLock lock(mutex_);
    if (Find(path) != nullptr && !dead_) return Status();
    F3_RETURN_IF_ERROR(BeginChange(path));
    NodeRef node = root_;
    for (const std::string& part : Parts(path)) {
      NodeRef& child = node->live[part];
      if (child == nullptr) {
        child = std::make_shared<Node>();
        child->is_dir = true;
      }
      if (!child->is_dir) return Status::NotDirectory("make directory " + path);
      node = child;
    }
    return Status();
  }

  Status SyncDir(const std::string& path) override {
    MutexLock lock(mutex_);
    F3_RETURN_IF_ERROR(BeginChange(path));
    NodeRef node = Find(path);
    if (node == nullptr) return Status::NotFound("sync " + path);
    if (CutNow()) return Dead(path);
    node->durable = node->live;
    return Status();
  }

  Result<std::vector<std::string>> ListDir(const std::string& path) override {
    MutexLock lock(mutex_);
    if (dead_) return Dead(path);
    NodeRef node = Find(path);
    if (node == nullptr) return Status::NotFound("list " + path);
    std::vector<std::string> names;
    for (const auto& [name, child] : node->live) names.push_back(name);
    return names;
  }

 private:
  struct Node {
    bool is_dir = false;
    std::vector<std::byte> content;
    std::map<std::string, std::shared_ptr<Node>> live, durable;
  };
  using NodeRef = std::shared_ptr<Node>;

  static std::vector<std::string> Parts(const std::string& path) {
    std::vector<std::string> parts;
    for (size_t at = 0; at < path.size();) {
      const size_t end = std::min(path.find('/', at), path.size());
      if (end > at) parts.push_back(path.substr(at, end - at));
      at = end + 1;
    }
    return parts;
  }
  static Status Dead(const std::string& path) { return Status::Io(path + ": the power is gone"); }

  NodeRef Find(const std::string& path) const F3_REQUIRES(mutex_) {
    NodeRef node = root_;
    for (const std::string& part : Parts(path)) {
      auto it = node->live.find(part);
      if (it == node->live.end()) return nullptr;
      node = it->second;
    }
    return node;
  }
  std::pair<NodeRef, std::string> Split(const std::string& path) const F3_REQUIRES(mutex_) {
    const size_t slash = path.rfind('/');
    return {Find(path.substr(0, slash)), path.substr(slash + 1)};
  }
  Status BeginChange(const std::string& path) F3_REQUIRES(mutex_) {
    if (dead_) return Dead(path);
    if (++changes_ == fail_at_) return fail_with_;
    return Status();
  }
  bool CutNow() F3_REQUIRES(mutex_) {
    dead_ = ++syncs_ == cut_at_;
    return dead_;
  }
  Status Move(const std::string& from, const std::string& to, bool replace) {
    MutexLock lock(mutex_);
    F3_RETURN_IF_ERROR(BeginChange(from));
    auto [from_dir, from_name] = Split(from);
    auto [to_dir, to_name] = Split(to);
    NodeRef node = Find(from);
    if (node == nullptr || to_dir == nullptr) return Status::NotFound("rename " + from);
    if (!replace && to_dir->live.contains(to_name)) return Status::Exists("rename to " + to);
    from_dir->live.erase(from_name);
    to_dir->live[to_name] = node;
    return Status();
  }
  static void Revert(Node& node, uint64_t seed, std::mt19937_64& random) {
    std::map<std::string, NodeRef> left;
    std::map<std::string, NodeRef> names = node.live;
    names.insert(node.durable.begin(), node.durable.end());
    for (const auto& [name, ignored] : names) {
      const bool as_live = seed == 1 || (seed > 1 && random() % 2 == 0);
      const auto& from = as_live ? node.live : node.durable;
      auto it = from.find(name);
      if (it != from.end()) left[name] = it->second;
    }
    node.live = left;
    node.durable = left;
    for (auto& [name, child] : left) Revert(*child, seed, random);
  }
  static uint64_t Bytes(const Node& node) {
    uint64_t bytes = node.content.size();
    for (const auto& [name, child] : node.live) bytes += Bytes(*child);
    return bytes;
  }

  mutable Mutex mutex_;
  const NodeRef root_ = [] {
    auto root = std::make_shared<Node>();
    root->is_dir = true;
    return root;
  }();
  bool dead_ F3_GUARDED_BY(mutex_) = false;
  uint64_t syncs_ F3_GUARDED_BY(mutex_) = 0;
  uint64_t cut_at_ F3_GUARDED_BY(mutex_) = 0;
  uint64_t changes_ F3_GUARDED_BY(mutex_) = 0;
  uint64_t fail_at_ F3_GUARDED_BY(mutex_) = 0;
  Status fail_with_ F3_GUARDED_BY(mutex_);
  uint64_t capacity_ F3_GUARDED_BY(mutex_) = ~0ull;
};

}  // namespace f3

#endif  // F3_TESTS_COMMON_FAULT_ENV_H_
