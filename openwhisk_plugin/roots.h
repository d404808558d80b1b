// Roots: the FUSE mounts that sandboxes have clones of, one for each distinct (volume, subtree,
// mode, hints that concern files, namespace and action) in use on this node. Thread-safe. Owns its
// mounts: Clear, and the destructor, take them away.
//
// A root that nobody uses any more stays for kKeepMicros, at most kKeepCount of them: a sandbox is
// often followed by another of the same action.
#ifndef F3_OPENWHISK_PLUGIN_ROOTS_H_
#define F3_OPENWHISK_PLUGIN_ROOTS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "common/mutex.h"
#include "common/status.h"
#include "fs_client/node_agent.h"
#include "openwhisk_plugin/hints.h"

namespace f3::openwhisk {

struct RootSpec {
  std::string volume;
  std::string subtree;
  bool read_only = false;
  std::vector<std::pair<std::string, meta::FileClass>> class_rules;
  bool follow = false;
  uint64_t ttl_s = 0;
  // Whose references open as files in it: what its sandboxes' XDT sockets are opened for.
  std::string name_space, action;
  bool operator==(const RootSpec&) const = default;
};

// The root of one mount of an action, for calls of this namespace and workflow (which is used when
// the mount's lifetime is the workflow's).
RootSpec MakeRootSpec(const MountHint& mount, const Hints& hints, const std::string& name_space,
                      const std::string& action, const std::string& workflow);
// 32 hexadecimal digits that differ when any field does.
std::string RootKey(const RootSpec& spec);

class Roots {
 public:
  struct Options {
    std::string dir;  // each root is mounted at DIR/KEY
    // As NodeAgent's.
    std::function<Status(const fs::MountOptions&)> mount;
    std::function<Status(const std::string&)> unmount;
    // Makes the subtree in its volume.
    std::function<Status(const RootSpec&)> make_subtree;
    Clock* clock = Clock::Real();
  };
  static constexpr int64_t kKeepMicros = 60'000'000;
  static constexpr size_t kKeepCount = 8;

  explicit Roots(Options options) : options_(std::move(options)) {}
  ~Roots() { Clear(); }
  Roots(const Roots&) = delete;
  Roots& operator=(const Roots&) = delete;

  // Makes the directory of roots and takes away what an earlier agent left mounted there.
  Status Start();
  // Mounts it unless it is there, and counts one user more; returns its key. Errors of the two
  // functions above.
  Result<std::string> Acquire(const RootSpec& spec);
  // One user more of a root that has one.
  void Retain(const std::string& key);
  void Release(const std::string& key);
  std::string DirOf(const std::string& key) const { return options_.dir + "/" + key; }

  // Unmounts what has been unused for long enough.
  void Sweep();
  // Unmounts at once what is unused of this subtree: it is about to be removed.
  void Drop(const std::string& subtree);
  // Unmounts everything. Users' clones give ENOTCONN from then on.
  void Clear();

 private:
  struct Root {
    RootSpec spec;
    int users = 0;
    bool ready = false;  // false: being mounted or unmounted by some thread, which signals
    int64_t unused_since_micros = 0;
  };
  Status MountRoot(const std::string& key, const RootSpec& spec);
  void UnmountRoot(const std::string& key);
  // Of what is unused: the key that `wanted` says yes to first.
  void UnmountWhere(const std::function<bool(const Root&)>& wanted);

  const Options options_;
  Mutex mutex_;
  CondVar changed_;
  std::map<std::string, Root> roots_ F3_GUARDED_BY(mutex_);
};

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_ROOTS_H_
