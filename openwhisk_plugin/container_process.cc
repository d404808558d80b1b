#include "openwhisk_plugin/container_process.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <string_view>

namespace f3::openwhisk {
namespace {

std::string ProcPath(pid_t pid, const char* file) {
  return "/proc/" + std::to_string(pid) + "/" + file;
}

// State letter and start time of /proc/PID/stat; the start is 0 when the process is gone.
struct ProcStat {
  char state = 'X';
  uint64_t started = 0;
};

ProcStat ReadStat(pid_t pid) {
  std::ifstream in(ProcPath(pid, "stat"));
  std::string text;
  std::getline(in, text, '\0');
  ProcStat stat;
  const size_t end = text.rfind(')');  // the name before it may hold anything
  if (end == std::string::npos) return stat;
  std::istringstream words(text.substr(end + 1));
  std::string skipped;
  words >> stat.state;
  for (int field = 4; field < 22; ++field) words >> skipped;
  words >> stat.started;
  return stat;
}

bool SameFile(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// Whether one component of a control group's path is "ID" or "PREFIX-ID.scope".
std::string IdIn(std::string_view component, const std::set<std::string>& ids) {
  if (component.ends_with(".scope")) {
    component.remove_suffix(6);
    const size_t dash = component.find('-');
    if (dash != std::string_view::npos && ids.contains(std::string(component.substr(dash + 1)))) {
      return std::string(component.substr(dash + 1));
    }
  }
  return ids.contains(std::string(component)) ? std::string(component) : "";
}

std::string ContainerOf(pid_t pid, const std::set<std::string>& ids) {
  std::ifstream in(ProcPath(pid, "cgroup"));
  for (std::string line; std::getline(in, line);) {
    std::string_view rest = line;
    while (!rest.empty()) {
      const size_t slash = std::min(rest.find('/'), rest.size());
      std::string id = IdIn(rest.substr(0, slash), ids);
      if (!id.empty()) return id;
      rest.remove_prefix(std::min(slash + 1, rest.size()));
    }
  }
  return "";
}

// Null when the process is no container's, or has not got its own root directory yet.
Status CheckIsContainer(pid_t pid, const ContainerProcess& process) {
  struct stat own {
  }, its{};
  if (::stat("/proc/self/ns/mnt", &own) != 0 ||
      ::stat(ProcPath(pid, "ns/mnt").c_str(), &its) != 0) {
    return Status::NotFound("there is no process " + std::to_string(pid));
  }
  const bool shares_mounts = SameFile(own, its);
  if (::stat("/", &own) != 0 || ::fstat(process.root.get(), &its) != 0) {
    return Status::FromErrno(errno, "look at the root directory of process " + std::to_string(pid));
  }
  if (shares_mounts || SameFile(own, its)) {
    return Status::NotSupported("process " + std::to_string(pid) +
                                " is in no container: it has the " +
                                (shares_mounts ? "mounts" : "root directory") + " of this host");
  }
  return Status();
}

}  // namespace

UniqueFd OpenPidFd(pid_t pid) {
  // The C library's header declares no function that C++ could link.
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

Result<ContainerProcess> OpenContainer(pid_t pid) {
  const Status gone = Status::NotFound("there is no process " + std::to_string(pid));
  if (pid <= 0) return gone;
  ContainerProcess process;
  process.pid = pid;
  process.pidfd = OpenPidFd(pid);
  if (!process.pidfd.valid()) return gone;
  process.started = ReadStat(pid).started;
  process.root.Reset(::open(ProcPath(pid, "root").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  // Asked last: then all that was read above is of the process that the descriptor stands for.
  Status is_container = process.root.valid() ? CheckIsContainer(pid, process)
                                             : Status::NotSupported("cannot look into process " +
                                                                    std::to_string(pid) + ": " +
                                                                    std::strerror(errno));
  if (!IsAlive(process)) return gone;
  F3_RETURN_IF_ERROR(is_container);
  return process;
}

std::map<std::string, pid_t> FindContainers(const std::set<std::string>& ids) {
  std::map<std::string, pid_t> found;
  std::map<std::string, uint64_t> started;
  if (ids.empty()) return found;
  const std::unique_ptr<DIR, int (*)(DIR*)> proc(::opendir("/proc"), ::closedir);
  if (proc == nullptr) return found;
  while (const dirent* entry = ::readdir(proc.get())) {
    const std::string_view name = entry->d_name;
    pid_t pid = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error != std::errc() || end != name.data() + name.size()) continue;
    const std::string id = ContainerOf(pid, ids);
    if (id.empty()) continue;
    const ProcStat stat = ReadStat(pid);
    if (stat.started == 0 || stat.state == 'Z' || stat.state == 'X') continue;
    // The runtime's own helpers are in the group too, for a moment; what is no container yet is not
    // one. Of the others the first is the one that all end with.
    if (found.contains(id) && started[id] <= stat.started) continue;
    if (!OpenContainer(pid).ok()) continue;
    found[id] = pid;
    started[id] = stat.started;
  }
  return found;
}

bool IsAlive(pid_t pid, uint64_t started) {
  const ProcStat stat = ReadStat(pid);
  return stat.started == started && stat.state != 'Z' && stat.state != 'X';
}

bool IsAlive(const ContainerProcess& process) {
  pollfd wait = {process.pidfd.get(), POLLIN, 0};
  return ::poll(&wait, 1, 0) == 0;
}

}  // namespace f3::openwhisk
