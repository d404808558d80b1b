#include "cli/mounts.h"

#include <sys/mount.h>

#include <cerrno>

#include "cli/process.h"

namespace f3::cli {

Status MountTmpfs(const std::string& dir, uint64_t bytes, const std::string& source) {
  std::string options = "mode=0700,size=" + std::to_string(bytes);
  if (::mount(source.c_str(), dir.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, options.c_str()) != 0) {
    return Status::FromErrno(errno, "mount a tmpfs at " + dir);
  }
  return Status();
}

Status RemountF3(const std::string& dir, bool read_only, bool dev, bool suid) {
  if (!IsF3(MountAt(dir))) return Status::NotFound(dir + " is not an F3 mount");
  unsigned long flags = MS_REMOUNT;
  if (read_only) flags |= MS_RDONLY;
  if (!dev) flags |= MS_NODEV;
  if (!suid) flags |= MS_NOSUID;
  if (::mount(nullptr, dir.c_str(), nullptr, flags, nullptr) != 0) {
    return Status::FromErrno(errno, "remount " + dir);
  }
  return Status();
}

bool Answers(const std::string& dir, int64_t timeout_micros) {
  auto result = RunCommand({"stat", "-f", dir}, timeout_micros);
  return result.ok() && result->exit_code == 0;
}

}  // namespace f3::cli
