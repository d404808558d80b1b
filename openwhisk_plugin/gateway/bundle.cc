#include "openwhisk_plugin/gateway/bundle.h"

#include <map>

#include "openwhisk_plugin/gateway/cgroup.h"

namespace f3::openwhisk {
namespace {

using nlohmann::json;

constexpr uint64_t kMinMemoryBytes = 16ull << 20;
constexpr int kMaxProcesses = 1024;
constexpr int kMaxDescriptors = 1024;

json Mount(const char* destination, const char* type, const char* source,
           const std::vector<const char*>& options) {
  return {{"destination", destination}, {"type", type}, {"source", source}, {"options", options}};
}

json Mounts() {
  return json::array({
      Mount("/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}),
      Mount("/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=64k"}),
      Mount("/dev/pts", "devpts", "devpts",
            {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}),
      Mount("/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", "size=64m"}),
      Mount("/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"}),
      // Runtimes look there for how much memory they have.
      Mount("/sys/fs/cgroup", "cgroup", "cgroup", {"nosuid", "noexec", "nodev", "ro"}),
  });
}

json Process(const ContainerOptions& options, const std::vector<std::string>& command) {
  std::map<std::string, std::string> environment = {
      {"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
      {"HOME", "/root"},
      {"LANG", "C.UTF-8"},
  };
  for (const auto& [name, value] : options.environment) environment[name] = value;
  json settings = json::array();
  for (const auto& [name, value] : environment) settings.push_back(name + "=" + value);

  const json capabilities = {
      "CAP_CHOWN",       "CAP_DAC_OVERRIDE",     "CAP_FSETID",    "CAP_FOWNER",  "CAP_MKNOD",
      "CAP_SETGID",      "CAP_SETUID",           "CAP_SETFCAP",   "CAP_SETPCAP", "CAP_KILL",
      "CAP_AUDIT_WRITE", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT"};
  return {
      {"terminal", false},
      {"user", {{"uid", 0}, {"gid", 0}}},
      {"args", command},
      {"env", settings},
      {"cwd", "/"},
      {"capabilities",
       {{"bounding", capabilities}, {"effective", capabilities}, {"permitted", capabilities}}},
      {"rlimits",
       json::array(
           {{{"type", "RLIMIT_NOFILE"}, {"hard", kMaxDescriptors}, {"soft", kMaxDescriptors}}})},
      {"noNewPrivileges", true}};
}

json Resources(const ContainerOptions& options) {
  json memory = {{"limit", options.memory_bytes}};
  if (CanLimitSwap()) memory["swap"] = options.memory_bytes;  // of memory and swap together
  // Nothing but the usual harmless devices, which the runtime adds.
  return {{"devices", json::array({{{"allow", false}, {"access", "rwm"}}})},
          {"memory", memory},
          {"pids", {{"limit", kMaxProcesses}}}};
}

// Kernel interfaces without a namespace of their own, or that no function needs and that have been
// ways out of sandboxes. New user namespaces are among them: they give all capabilities back
// inside.
json Seccomp() {
  const json refused = {"acct",
                        "add_key",
                        "bpf",
                        "clock_adjtime",
                        "clock_settime",
                        "create_module",
                        "delete_module",
                        "finit_module",
                        "fsconfig",
                        "fsmount",
                        "fsopen",
                        "fspick",
                        "init_module",
                        "io_uring_enter",
                        "io_uring_register",
                        "io_uring_setup",
                        "ioperm",
                        "iopl",
                        "kcmp",
                        "kexec_file_load",
                        "kexec_load",
                        "keyctl",
                        "lookup_dcookie",
                        "mount",
                        "mount_setattr",
                        "move_mount",
                        "nfsservctl",
                        "open_by_handle_at",
                        "open_tree",
                        "perf_event_open",
                        "pivot_root",
                        "quotactl",
                        "quotactl_fd",
                        "reboot",
                        "request_key",
                        "setns",
                        "settimeofday",
                        "swapoff",
                        "swapon",
                        "syslog",
                        "umount2",
                        "unshare",
                        "userfaultfd",
                        "vhangup"};
  constexpr uint64_t kCloneNewUser = 0x10000000;
  constexpr int kNoSuchCall = 38;  // ENOSYS: C libraries then take clone, whose flags can be seen
  return {{"defaultAction", "SCMP_ACT_ALLOW"},
          {"architectures", {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"}},
          {"syscalls",
           json::array(
               {{{"names", refused}, {"action", "SCMP_ACT_ERRNO"}},
                {{"names", {"clone3"}}, {"action", "SCMP_ACT_ERRNO"}, {"errnoRet", kNoSuchCall}},
                {{"names", {"clone"}},
                 {"action", "SCMP_ACT_ERRNO"},
                 {"args", json::array({{{"index", 0},
                                        {"value", kCloneNewUser},
                                        {"valueTwo", kCloneNewUser},
                                        {"op", "SCMP_CMP_MASKED_EQ"}}})}}})}};
}

json Linux(const ContainerOptions& options) {
  json namespaces = json::array();
  for (const char* type : {"pid", "mount", "ipc", "uts", "network", "cgroup"}) {
    namespaces.push_back({{"type", type}});
  }
  return {{"cgroupsPath", GroupPath(options.id)},
          {"namespaces", namespaces},
          {"resources", Resources(options)},
          {"seccomp", Seccomp()},
          {"maskedPaths",
           {"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
            "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi",
            "/sys/firmware"}},
          {"readonlyPaths",
           {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}}};
}

}  // namespace

Result<std::vector<std::string>> CommandOfKind(const std::string& kind) {
  static const std::map<std::string, std::vector<std::string>> kCommands = {
      // -I -S would be faster, but hide the packages that actions import.
      {"python", {"/usr/bin/python3", "/usr/lib/f3/proxy.py"}},
      {"nodejs", {"/usr/bin/node", "/usr/lib/f3/proxy.js"}},
  };
  auto it = kCommands.find(kind.substr(0, kind.find(':')));
  if (it == kCommands.end()) {
    return Status::InvalidArgument("there is no runtime for the kind \"" + kind +
                                   "\"; there are python:… and nodejs:…");
  }
  return it->second;
}

Result<json> OciConfig(const ContainerOptions& options, const std::string& root) {
  F3_ASSIGN_OR_RETURN(const auto command, CommandOfKind(options.kind));
  if (options.memory_bytes < kMinMemoryBytes) {
    return Status::InvalidArgument("a sandbox needs 16 MiB of memory or more, not " +
                                   std::to_string(options.memory_bytes) + " bytes");
  }
  return json{{"ociVersion", "1.0.2"},
              {"process", Process(options, command)},
              {"root", {{"path", root}, {"readonly", false}}},
              {"hostname", "action"},
              {"mounts", Mounts()},
              {"linux", Linux(options)}};
}

}  // namespace f3::openwhisk
