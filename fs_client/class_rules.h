// ClassRules: which class a mount's hints give a new name, by MountOptions::class_rules.
//
// The kernel names directories by inode, so globs with a '/' need the way from the root: it is
// remembered for the directories that the kernel knows, and only when such a glob is there.
// Thread-safe.
#ifndef F3_FS_CLIENT_CLASS_RULES_H_
#define F3_FS_CLIENT_CLASS_RULES_H_

#include <optional>
#include <string>
#include <unordered_map>

#include "common/ids.h"
#include "common/mutex.h"
#include "fs_client/node_agent.h"

namespace f3::fs {

class ClassRules {
 public:
  ClassRules(const MountOptions& mount, Ino root);

  // Of a file `name` in directory `parent`: the first rule that fits, else the mount's class.
  meta::FileClass Of(Ino parent, const std::string& name) const;

  // A directory's name, as replies and renames tell it.
  void Placed(Ino directory, Ino parent, const std::string& name);
  // What was at (parent, name), if it is a known directory, is now at (new_parent, new_name).
  void Moved(Ino parent, const std::string& name, Ino new_parent, const std::string& new_name);
  void Forgotten(Ino ino);

 private:
  struct Place {
    Ino parent = 0;
    std::string name;
  };

  // "a/b/" of a directory; none when part of the way is not known (an inode found by handle).
  std::optional<std::string> PathOf(Ino directory) const;

  const MountOptions& mount_;
  const Ino root_;
  bool paths_ = false;  // whether a glob has a '/'
  mutable Mutex mutex_;
  std::unordered_map<Ino, Place> places_ F3_GUARDED_BY(mutex_);
};

}  // namespace f3::fs

#endif  // F3_FS_CLIENT_CLASS_RULES_H_
