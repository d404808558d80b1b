// The mount table, and taking mounts away. Thread-safe. Nothing here touches a mounted file system
// unless it says so: a dead mount must not hang the command that looks at it.
#ifndef F3_CLI_MOUNTS_H_
#define F3_CLI_MOUNTS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"

namespace f3::cli {

struct MountEntry {
  std::string dir;
  std::string type;  // "fuse.f3", "tmpfs" …
  std::string source;
  std::string device;  // "0:45"
};

// Parses the text of /proc/PID/mountinfo.
std::vector<MountEntry> ParseMountInfo(std::string_view text);
std::vector<MountEntry> ListMounts();
// The last (visible) mount at exactly `dir`; an empty dir in the result when there is none.
MountEntry MountAt(const std::string& dir);
// The F3 mount that contains `path` (lexically absolute); empty dir when it is in none.
MountEntry F3MountOf(const std::string& path);
bool IsF3(const MountEntry& mount);

// Detaches what is mounted at `dir` when its type is wanted ("fuse" matches any FUSE type of F3).
// OK when nothing is mounted there. Busy mounts go once their users are done.
Status Detach(const std::string& dir, std::string_view type);
// Makes a tmpfs of `bytes` at `dir`, mode 0700.
Status MountTmpfs(const std::string& dir, uint64_t bytes, const std::string& source);
// Changes the flags of an F3 mount. NotFound when there is none at `dir`.
Status RemountF3(const std::string& dir, bool read_only, bool dev, bool suid);
// True when statfs of `dir` answers within the time; asked from a child, which is given up on when
// it hangs. Touches the mounted file system.
bool Answers(const std::string& dir, int64_t timeout_micros);

}  // namespace f3::cli

#endif  // F3_CLI_MOUNTS_H_
