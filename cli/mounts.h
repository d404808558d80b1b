// Making and changing mounts; common/mount_table.h lists them. Thread-safe. Nothing here touches a
// mounted file system unless it says so: a dead mount must not hang the command that looks at it.
#ifndef F3_CLI_MOUNTS_H_
#define F3_CLI_MOUNTS_H_

#include <cstdint>
#include <string>

#include "common/mount_table.h"
#include "common/status.h"

namespace f3::cli {

// Makes a tmpfs of `bytes` at `dir`, mode 0700.
Status MountTmpfs(const std::string& dir, uint64_t bytes, const std::string& source);
// Changes the flags of an F3 mount. NotFound when there is none at `dir`.
Status RemountF3(const std::string& dir, bool read_only, bool dev, bool suid);
// True when statfs of `dir` answers within the time; asked from a child, which is given up on when
// it hangs. Touches the mounted file system.
bool Answers(const std::string& dir, int64_t timeout_micros);

}  // namespace f3::cli

#endif  // F3_CLI_MOUNTS_H_
