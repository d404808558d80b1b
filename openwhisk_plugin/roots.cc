#include "openwhisk_plugin/roots.h"

#include <sodium.h>
#include <spdlog/spdlog.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "common/mount_table.h"
#include "openwhisk_plugin/names.h"

namespace f3::openwhisk {
namespace {

constexpr size_t kKeyBytes = 16;

// Fields with their lengths before them: no two specs have the same text.
void Add(std::string* text, const std::string& field) {
  *text += std::to_string(field.size()) + ":" + field;
}

}  // namespace

RootSpec MakeRootSpec(const MountHint& mount, const Hints& hints, const std::string& name_space,
                      const std::string& action, const std::string& workflow) {
  RootSpec spec;
  spec.volume = mount.volume;
  spec.subtree = mount.lifetime == Lifetime::kNamespace ? NamespaceSubtree(name_space)
                                                        : WorkflowSubtree(name_space, workflow);
  spec.read_only = mount.read_only;
  // Nothing is made in a read-only mount, so that these hints make no difference there.
  if (!mount.read_only) {
    for (const std::string& glob : hints.outputs) {
      spec.class_rules.emplace_back(glob, meta::CLASS_DURABLE);
    }
    spec.class_rules.insert(spec.class_rules.end(), hints.classes.begin(), hints.classes.end());
    spec.ttl_s = hints.ttl_s.value_or(0);
  }
  spec.follow = hints.follow.value_or(false);
  spec.name_space = name_space;
  spec.action = action;
  return spec;
}

std::string RootKey(const RootSpec& spec) {
  std::string text;
  Add(&text, spec.volume);
  Add(&text, spec.subtree);
  Add(&text, spec.read_only ? "ro" : "rw");
  Add(&text, spec.follow ? "follow" : "");
  Add(&text, std::to_string(spec.ttl_s));
  Add(&text, spec.name_space);
  Add(&text, spec.action);
  for (const auto& [glob, file_class] : spec.class_rules) {
    Add(&text, glob);
    Add(&text, std::to_string(static_cast<int>(file_class)));
  }
  unsigned char hash[kKeyBytes];
  ::crypto_generichash(hash, sizeof(hash), reinterpret_cast<const unsigned char*>(text.data()),
                       text.size(), nullptr, 0);
  char hex[2 * kKeyBytes + 1];
  ::sodium_bin2hex(hex, sizeof(hex), hash, sizeof(hash));
  return hex;
}

Status Roots::Start() {
  std::error_code error;
  F3_RETURN_IF_ERROR(DetachF3Below(options_.dir));
  std::filesystem::create_directories(options_.dir, error);
  if (error) return Status::FromErrno(error.value(), "make the directory " + options_.dir);
  for (const auto& entry : std::filesystem::directory_iterator(options_.dir, error)) {
    // Empty directories, now that nothing is mounted; anything else is not ours.
    ::rmdir(entry.path().c_str());
  }
  return Status();
}

Status Roots::MountRoot(const std::string& key, const RootSpec& spec) {
  F3_RETURN_IF_ERROR(options_.make_subtree(spec));
  const std::string dir = DirOf(key);
  std::error_code error;
  std::filesystem::create_directories(dir, error);
  if (error) return Status::FromErrno(error.value(), "make the directory " + dir);
  fs::MountOptions mount;
  mount.volume = spec.volume;
  mount.subtree = spec.subtree;
  mount.dir = dir;
  mount.read_only = spec.read_only;
  mount.class_rules = spec.class_rules;
  mount.follow = spec.follow;
  mount.ttl_s = spec.ttl_s;
  mount.scope = {spec.name_space, spec.action};
  Status mounted = options_.mount(mount);
  if (!mounted.ok()) {
    ::rmdir(dir.c_str());
    return mounted;
  }
  // What a sandbox mounts in its clone must not appear here.
  if (::mount(nullptr, dir.c_str(), nullptr, MS_PRIVATE, nullptr) != 0) {
    spdlog::debug("{} stays as its parent propagates", dir);
  }
  return Status();
}

void Roots::UnmountRoot(const std::string& key) {
  const std::string dir = DirOf(key);
  Status unmounted = options_.unmount(dir);
  if (!unmounted.ok() && !unmounted.Is(Code::kNotFound)) {
    spdlog::warn("unmounting {}: {}", dir, unmounted.message());
  }
  ::rmdir(dir.c_str());
}

Result<std::string> Roots::Acquire(const RootSpec& spec) {
  const std::string key = RootKey(spec);
  {
    MutexLock lock(mutex_);
    for (;;) {
      auto at = roots_.find(key);
      if (at == roots_.end()) break;
      if (at->second.ready) {
        ++at->second.users;
        return key;
      }
      changed_.Wait(mutex_);
    }
    roots_[key].spec = spec;
  }
  Status mounted = MountRoot(key, spec);
  MutexLock lock(mutex_);
  changed_.SignalAll();
  if (!mounted.ok()) {
    roots_.erase(key);
    return mounted;
  }
  Root& root = roots_[key];
  root.ready = true;
  root.users = 1;
  return key;
}

void Roots::Retain(const std::string& key) {
  MutexLock lock(mutex_);
  ++roots_[key].users;
}

void Roots::Release(const std::string& key) {
  MutexLock lock(mutex_);
  auto at = roots_.find(key);
  if (at == roots_.end() || --at->second.users > 0) return;
  at->second.unused_since_micros = options_.clock->MonotonicMicros();
}

void Roots::UnmountWhere(const std::function<bool(const Root&)>& wanted) {
  for (;;) {
    std::string key;
    {
      MutexLock lock(mutex_);
      for (auto& [name, root] : roots_) {
        if (!root.ready || root.users > 0 || !wanted(root)) continue;
        key = name;
        root.ready = false;
        break;
      }
    }
    if (key.empty()) return;
    UnmountRoot(key);
    MutexLock lock(mutex_);
    roots_.erase(key);
    changed_.SignalAll();
  }
}

void Roots::Sweep() {
  int64_t unused_before = options_.clock->MonotonicMicros() - kKeepMicros;
  {
    // The most recent ones may stay.
    MutexLock lock(mutex_);
    std::vector<int64_t> since;
    for (const auto& [key, root] : roots_) {
      if (root.ready && root.users == 0) since.push_back(root.unused_since_micros);
    }
    if (since.size() > kKeepCount) {
      std::sort(since.rbegin(), since.rend());
      unused_before = std::max(unused_before, since[kKeepCount]);
    }
  }
  UnmountWhere([&](const Root& root) { return root.unused_since_micros <= unused_before; });
}

void Roots::Drop(const std::string& subtree) {
  UnmountWhere([&](const Root& root) { return root.spec.subtree == subtree; });
}

void Roots::Clear() {
  {
    MutexLock lock(mutex_);
    for (auto& [key, root] : roots_) root.users = 0;
  }
  UnmountWhere([](const Root&) { return true; });
}

}  // namespace f3::openwhisk
