// The directories and notes of sandboxes on the host, below one directory (`sandboxes`, mode 0700):
//
//   roots/KEY             FUSE mounts of the agent, one per root (roots.h)
//   CONTAINER/run/        the XDT socket; in the container at /run/f3, read-only
//   CONTAINER/root/       empty: holds the place of /mnt/f3 in a container that nobody has
//                         attached yet; read-only there
//   CONTAINER/attached.json  what was asked, for the agent's next start
//   CONTAINER/binds.json  what f3-runc mounts when it creates the container
//   CONTAINER/created     made by f3-runc: the runtime is about to create the container
//
// f3-runc includes this header and links none of the code. Values; the functions are thread-safe.
#ifndef F3_OPENWHISK_PLUGIN_SANDBOX_DIR_H_
#define F3_OPENWHISK_PLUGIN_SANDBOX_DIR_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"

namespace f3::openwhisk {

inline constexpr const char kRootsDir[] = "roots";
inline constexpr const char kRunDir[] = "run";
inline constexpr const char kLateRootDir[] = "root";
inline constexpr const char kAttachedFile[] = "attached.json";
inline constexpr const char kBindsFile[] = "binds.json";
inline constexpr const char kCreatedFile[] = "created";
inline constexpr const char kSocketName[] = "xdt.sock";
// In the container.
inline constexpr const char kRunPath[] = "/run/f3";
inline constexpr const char kLateRootPath[] = "/mnt/f3";
inline constexpr const char kSocketPath[] = "/run/f3/xdt.sock";

// [A-Za-z0-9_.-]{1,128}, does not begin with '.', and is not the name of another directory there.
inline bool IsContainerId(std::string_view id) {
  if (id.empty() || id.size() > 128 || id[0] == '.' || id == kRootsDir) return false;
  for (const char c : id) {
    const bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '_' || c == '.' || c == '-';
    if (!good) return false;
  }
  return true;
}

// What one sandbox was attached for.
struct AttachNote {
  std::string container;
  std::string name_space;
  std::string action;
  std::string activation;
  std::string workflow;
  std::string annotations;
  std::string call_hints;
  pid_t pid = 0;         // of its init; 0: it was not created yet
  uint64_t started = 0;  // of that process (container_process.h), so that a reused id is not taken
  std::vector<std::string> paths;  // where mounts are in the container
  bool operator==(const AttachNote&) const = default;
};

// Replaces DIR/attached.json.
Status WriteNote(const std::string& dir, const AttachNote& note);
// NotFound when there is none; Corruption when it cannot be understood.
Result<AttachNote> ReadNote(const std::string& dir);

struct Bind {
  std::string source;  // on the host
  std::string destination;
};
// Replaces DIR/binds.json.
Status WriteBinds(const std::string& dir, const std::vector<Bind>& binds);

// The containers that have a directory below `sandboxes`; none when that is missing.
std::vector<std::string> ListSandboxDirs(const std::string& sandboxes);
// Makes DIR, DIR/run and DIR/root.
Status MakeSandboxDir(const std::string& dir);
// Removes it. Nothing is ever mounted below it.
Status RemoveSandboxDir(const std::string& dir);

// Takes F3 away from every living container that has a note below `sandboxes`, and unmounts the
// roots there, for commands that find no agent to do it. Notes stay. Goes on after a failure and
// returns the first.
Status ReleaseSandboxes(const std::string& sandboxes);

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_SANDBOX_DIR_H_
