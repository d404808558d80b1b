#include "openwhisk_plugin/gateway/cgroup.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <vector>

namespace f3::openwhisk {
namespace {

namespace fs = std::filesystem;
constexpr const char kBase[] = "/sys/fs/cgroup";
constexpr const char kParent[] = "f3-sandboxes";
constexpr int kEndTries = 100;
constexpr int kEndTryMillis = 2;

// Where the container's groups may be: in each hierarchy of version 1, and in that of version 2.
std::vector<fs::path> GroupsOf(const std::string& id) {
  std::vector<fs::path> groups = {fs::path(kBase) / kParent / id};
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(kBase, error)) {
    if (!entry.is_directory(error) || entry.is_symlink(error)) continue;
    groups.push_back(entry.path() / kParent / id);
  }
  return groups;
}

std::vector<pid_t> ProcessesOf(const fs::path& group) {
  std::ifstream in(group / "cgroup.procs");
  std::vector<pid_t> pids;
  pid_t pid = 0;
  while (in >> pid) pids.push_back(pid);
  return pids;
}

// The number after `name` in a file of "NAME NUMBER" lines; 0 when it is not there.
uint64_t Counter(const fs::path& file, const std::string& name) {
  std::ifstream in(file);
  std::string key;
  uint64_t value = 0;
  while (in >> key >> value) {
    if (key == name) return value;
  }
  return 0;
}

}  // namespace

std::string GroupPath(const std::string& id) { return "/" + std::string(kParent) + "/" + id; }

bool IsInGroup(pid_t pid, const std::string& id) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/cgroup");
  for (std::string line; std::getline(in, line);) {
    if (line.ends_with(":" + GroupPath(id))) return true;
  }
  return false;
}

uint64_t OutOfMemoryKills(const std::string& id) {
  const fs::path base(kBase);
  const uint64_t version1 =
      Counter(base / "memory" / kParent / id / "memory.oom_control", "oom_kill");
  return version1 != 0 ? version1 : Counter(base / kParent / id / "memory.events", "oom_kill");
}

bool CanLimitSwap() {
  std::error_code error;
  return fs::exists(fs::path(kBase) / "memory/memory.memsw.limit_in_bytes", error) ||
         fs::exists(fs::path(kBase) / "cgroup.controllers", error);
}

void KillGroups(const std::string& id) {
  const auto groups = GroupsOf(id);
  for (const auto& group : groups) {
    for (const pid_t pid : ProcessesOf(group)) ::kill(pid, SIGKILL);
    // Frozen processes die once they are thawed.
    std::error_code error;
    if (fs::exists(group / "freezer.state", error)) {
      std::ofstream(group / "freezer.state") << "THAWED";
    } else if (fs::exists(group / "cgroup.freeze", error)) {
      std::ofstream(group / "cgroup.freeze") << "0";
    }
  }
  const auto busy = [](const fs::path& group) { return !ProcessesOf(group).empty(); };
  for (int i = 0; i < kEndTries && std::any_of(groups.begin(), groups.end(), busy); ++i) {
    ::poll(nullptr, 0, kEndTryMillis);  // nothing tells when a group is empty, in both versions
  }
}

void RemoveGroups(const std::string& id) {
  // One whose last process is still ending stays, and is removed by the next call.
  for (const auto& group : GroupsOf(id)) ::rmdir(group.c_str());
}

}  // namespace f3::openwhisk
