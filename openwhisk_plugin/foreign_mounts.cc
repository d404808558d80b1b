#include "openwhisk_plugin/foreign_mounts.h"

#include <filesystem>
#include <set>
#include <system_error>

#include "common/mount_table.h"

namespace f3::openwhisk {

std::vector<ForeignMount> FindForeignMounts() {
  std::error_code error;
  std::set<std::string> here;
  for (const MountEntry& mount : ListMounts()) here.insert(mount.device);
  std::set<std::string> seen = {std::filesystem::read_symlink("/proc/self/ns/mnt", error).string()};
  std::vector<ForeignMount> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string space =
        std::filesystem::read_symlink(entry.path() / "ns/mnt", error).string();
    if (error || !seen.insert(space).second) continue;
    const pid_t pid = static_cast<pid_t>(std::stol(name));
    for (const MountEntry& mount : ListMountsOf(pid)) {
      if (IsF3(mount) && !here.contains(mount.device)) found.push_back({pid, mount.dir});
    }
  }
  return found;
}

}  // namespace f3::openwhisk
