// The mount table, and taking mounts away. Thread-safe. Nothing here touches a mounted file system:
// a dead mount must not hang the one who looks at it.
#ifndef F3_COMMON_MOUNT_TABLE_H_
#define F3_COMMON_MOUNT_TABLE_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"

namespace f3 {

struct MountEntry {
  uint64_t id = 0;   // of the mount, as in /proc/PID/fdinfo
  std::string dir;   // as the process that the table is of sees it
  std::string root;  // what of its file system is mounted there: "/", or a directory of it
  std::string type;  // "fuse.f3", "tmpfs" …
  std::string source;
  std::string device;  // "0:45"
};

// Parses the text of /proc/PID/mountinfo.
std::vector<MountEntry> ParseMountInfo(std::string_view text);
std::vector<MountEntry> ListMounts();
// What a process sees; empty when it is gone.
std::vector<MountEntry> ListMountsOf(pid_t pid);
// The last (visible) mount at exactly `dir`; an empty dir in the result when there is none.
MountEntry MountAt(const std::string& dir);
// The F3 mount that contains `path` (lexically absolute); empty dir when it is in none.
MountEntry F3MountOf(const std::string& path);
bool IsF3(const MountEntry& mount);

// Detaches what is mounted at `dir` when its type is wanted ("fuse" matches any FUSE type of F3).
// OK when nothing is mounted there. Busy mounts go once their users are done.
Status Detach(const std::string& dir, std::string_view type);
// Detaches every F3 mount at or below `dir`. Goes on after a failure and returns the first.
Status DetachF3Below(const std::string& dir);

}  // namespace f3

#endif  // F3_COMMON_MOUNT_TABLE_H_
