#include "fs_client/class_rules.h"

#include <fnmatch.h>

namespace f3::fs {
namespace {

// Deeper than any path that the kernel takes (PATH_MAX); ends a ring that crossing renames could
// leave behind.
constexpr int kMaxDepth = 2048;

}  // namespace

ClassRules::ClassRules(const MountOptions& mount, Ino root) : mount_(mount), root_(root) {
  for (const auto& [glob, file_class] : mount.class_rules) {
    paths_ |= glob.find('/') != std::string::npos;
  }
}

meta::FileClass ClassRules::Of(Ino parent, const std::string& name) const {
  std::optional<std::string> path;
  if (paths_) {
    path = PathOf(parent);
    if (path) *path += name;
  }
  for (const auto& [glob, file_class] : mount_.class_rules) {
    const bool whole = glob.find('/') != std::string::npos;
    if (whole && !path) continue;
    const std::string& subject = whole ? *path : name;
    if (::fnmatch(glob.c_str(), subject.c_str(), FNM_PATHNAME) == 0) return file_class;
  }
  return mount_.file_class;
}

void ClassRules::Placed(Ino directory, Ino parent, const std::string& name) {
  if (!paths_ || directory == root_) return;
  MutexLock lock(mutex_);
  places_[directory] = {parent, name};
}

void ClassRules::Moved(Ino parent, const std::string& name, Ino new_parent,
                       const std::string& new_name) {
  if (!paths_) return;
  MutexLock lock(mutex_);
  for (auto& [ino, place] : places_) {
    if (place.parent != parent || place.name != name) continue;
    place = {new_parent, new_name};
    return;
  }
}

void ClassRules::Forgotten(Ino ino) {
  if (!paths_) return;
  MutexLock lock(mutex_);
  places_.erase(ino);
}

std::optional<std::string> ClassRules::PathOf(Ino directory) const {
  std::string path;
  MutexLock lock(mutex_);
  for (int depth = 0; directory != root_; ++depth) {
    auto place = places_.find(directory);
    if (place == places_.end() || depth == kMaxDepth) return std::nullopt;
    path.insert(0, place->second.name + "/");
    directory = place->second.parent;
  }
  return path;
}

}  // namespace f3::fs
