#include "cli/lifecycle.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "cli/control.h"
#include "cli/mounts.h"
#include "cli/network.h"
#include "cli/process.h"
#include "common/clock.h"
#include "common/cluster_key.h"
#include "common/units.h"
#include "openwhisk_plugin/sandbox_dir.h"

namespace f3::cli {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kAgentStopMicros = 60'000'000;
constexpr int64_t kMetadataStopMicros = 30'000'000;
constexpr int64_t kHastyStopMicros = 5'000'000;
constexpr int64_t kCopyMicros = 600'000'000;
constexpr int64_t kSupervisorMicros = 2'000'000;  // it listens well within
// An agent that has ended this often while we wait will not come up by waiting longer.
constexpr int kHopelessRestarts = 4;

Status MakeDir(const std::string& path, mode_t mode) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return Status::FromErrno(error.value(), "make the directory " + path);
  fs::permissions(path, static_cast<fs::perms>(mode), error);
  return Status();
}

Status RemoveTree(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  return error ? Status::FromErrno(error.value(), "remove " + path) : Status();
}

std::string SavedMemory(const ClusterLayout& layout, const ClusterNode& node) {
  return layout.state(node) + "/memory.saved";
}

Status PrepareMemory(const ClusterLayout& layout, const ClusterNode& node) {
  std::string dir = layout.memory(node);
  if (MountAt(dir).type == "tmpfs") return Status();
  F3_RETURN_IF_ERROR(MakeDir(dir, 0700));
  F3_RETURN_IF_ERROR(MountTmpfs(dir, layout.memory_bytes, "f3-memory"));
  std::string saved = SavedMemory(layout, node);
  std::error_code error;
  if (!fs::exists(saved, error)) return Status();
  F3_RETURN_IF_ERROR(RunOrFail({"cp", "-a", "--sparse=always", saved + "/.", dir}, kCopyMicros));
  return RemoveTree(saved);
}

// The tmpfs goes away with the mount, so its content waits on disk: the tier keeps its identity,
// and objects that a killed agent did not spill are not lost.
Status SaveMemory(const ClusterLayout& layout, const ClusterNode& node) {
  std::string saved = SavedMemory(layout, node);
  std::string partial = saved + ".new";
  F3_RETURN_IF_ERROR(RemoveTree(partial));
  F3_RETURN_IF_ERROR(MakeDir(partial, 0700));
  F3_RETURN_IF_ERROR(
      RunOrFail({"cp", "-a", "--sparse=always", layout.memory(node) + "/.", partial}, kCopyMicros));
  F3_RETURN_IF_ERROR(RemoveTree(saved));
  std::error_code error;
  fs::rename(partial, saved, error);
  return error ? Status::FromErrno(error.value(), "rename " + partial) : Status();
}

}  // namespace

Result<OperationLock> OperationLock::Take(const std::string& dir) {
  OperationLock lock;
  std::string path = dir + "/run/op.lock";
  lock.fd_.Reset(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!lock.fd_.valid()) return Status::FromErrno(errno, "open " + path);
  if (::flock(lock.fd_.get(), LOCK_EX | LOCK_NB) != 0) {
    return Status::Busy("another f3 command is starting or stopping the cluster at " + dir);
  }
  return lock;
}

Result<OperationLock> OperationLock::AwaitNetwork() {
  constexpr char kPath[] = "/run/f3-network.lock";
  OperationLock lock;
  lock.fd_.Reset(::open(kPath, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock.fd_.valid()) return Status::FromErrno(errno, std::string("open ") + kPath);
  while (::flock(lock.fd_.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return Status::FromErrno(errno, std::string("lock ") + kPath);
  }
  return lock;
}

Status PrepareCluster(const ClusterLayout& layout, const Say& say) {
  say("directories");
  F3_RETURN_IF_ERROR(MakeDir(layout.dir + "/run", 0755));
  F3_RETURN_IF_ERROR(MakeDir(layout.dir + "/meta", 0700));
  F3_RETURN_IF_ERROR(MakeDir(layout.dir + "/durable", 0700));
  for (const auto& node : layout.nodes) {
    F3_RETURN_IF_ERROR(MakeDir(layout.state(node), 0700));
    // A dead mount cannot even be looked at; the supervisor mounts afresh.
    if (!IsUsable(layout, node)) F3_RETURN_IF_ERROR(Detach(layout.mount(node), "fuse"));
    if (MountAt(layout.mount(node)).dir.empty()) {
      F3_RETURN_IF_ERROR(MakeDir(layout.mount(node), 0755));
      std::error_code error;
      if (!fs::is_empty(layout.mount(node), error)) {
        return Status::NotEmpty(layout.mount(node) +
                                " is to be a mount point and has files in it; move them away");
      }
    }
  }
  std::error_code error;
  if (!fs::exists(layout.run("secret"), error)) {
    F3_RETURN_IF_ERROR(ClusterKey::CreateFile(layout.run("secret")));
  }
  F3_RETURN_IF_ERROR(layout.WriteDaemonConfigs());
  say(layout.bridge.empty() ? "addresses" : "network namespaces");
  F3_RETURN_IF_ERROR(EnsureNetwork(layout));
  say("memory tiers");
  for (const auto& node : layout.nodes) F3_RETURN_IF_ERROR(PrepareMemory(layout, node));
  return Status();
}

Status StartSupervisor(const ClusterLayout& layout) {
  auto reply = AskControl(layout.run("supervise.sock"), {{"op", "start_all"}}, 5'000'000);
  if (reply.ok()) return Status();
  SpawnOptions spawn;
  spawn.argv = {SelfPath(), "supervise", "--config", layout.run("cluster.toml")};
  spawn.log_file = layout.run("supervise.log");
  return Spawn(spawn).status();
}

bool IsUsable(const ClusterLayout& layout, const ClusterNode& node) {
  return IsF3(MountAt(layout.mount(node))) &&
         AskControl(layout.run(node.name + ".sock"), {{"op", "status"}}, 3'000'000).ok() &&
         Answers(layout.mount(node), 5'000'000);
}

Status AwaitCluster(const ClusterLayout& layout, int64_t timeout_micros, const Say& say) {
  int64_t deadline = Clock::Real()->MonotonicMicros() + timeout_micros;
  std::map<std::string, bool> usable;
  std::string missing = "supervise";
  std::map<std::string, int> restarts_before;
  while (true) {
    auto status = AskControl(layout.run("supervise.sock"), {{"op", "status"}}, 3'000'000);
    if (status.ok()) {
      for (const auto& daemon : (*status)["daemons"]) {
        std::string name = daemon.value("name", "");
        int restarts = daemon.value("restarts", 0);
        int before = restarts_before.emplace(name, restarts).first->second;
        if (restarts - before >= kHopelessRestarts || daemon.value("state", "") == "failed") {
          return Status::Unavailable(name + " does not start (" + daemon.value("last_end", "") +
                                     "); the end of " + layout.run(name + ".log") + ":\n" +
                                     LogTail(layout.run(name + ".log"), 8));
        }
      }
      missing.clear();
      if (!AskControl(layout.run("meta.sock"), {{"op", "status"}}, 3'000'000).ok())
        missing = "meta";
      for (const auto& node : layout.nodes) {
        if (!missing.empty()) break;
        if (!usable[node.name]) usable[node.name] = IsUsable(layout, node);
        if (!usable[node.name]) missing = node.name;
      }
      if (missing.empty()) return Status();
    } else if (Clock::Real()->MonotonicMicros() > deadline - timeout_micros + kSupervisorMicros &&
               FindDaemons(layout.dir + "/run").empty()) {
      return Status::Unavailable("the supervisor ended; the end of " + layout.run("supervise.log") +
                                 ":\n" + LogTail(layout.run("supervise.log"), 8));
    }
    say("waiting for " + missing);
    if (Clock::Real()->MonotonicMicros() > deadline) {
      return Status::Timeout(missing + " does not answer after " +
                             std::to_string(timeout_micros / 1'000'000) + " s; the end of " +
                             layout.run(missing + ".log") + ":\n" +
                             LogTail(layout.run(missing + ".log"), 8));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
  }
}

Status StopDaemons(const ClusterLayout& layout, bool keep_data, const Say& say) {
  std::string run_dir = layout.dir + "/run";
  for (auto& daemon : FindDaemons(run_dir)) {
    if (daemon.name != "supervise") continue;
    say("stopping agents and metadata server");
    // A supervisor waits for its agents; what is to be destroyed is not worth that.
    SignalProcess(daemon.pidfd, keep_data ? SIGTERM : SIGKILL).PermitUnchecked();
    if (!WaitForEnd(daemon.pidfd, 2 * kAgentStopMicros + kMetadataStopMicros)) {
      SignalProcess(daemon.pidfd, SIGKILL).PermitUnchecked();
      WaitForEnd(daemon.pidfd, 10'000'000);
    }
  }
  // What a supervisor that died has left: agents first, they need the metadata server to stop.
  std::vector<Daemon> left = FindDaemons(run_dir);
  for (const auto& daemon : left) {
    if (daemon.name != "meta") SignalProcess(daemon.pidfd, SIGTERM).PermitUnchecked();
  }
  for (const auto& daemon : left) {
    if (daemon.name == "meta") continue;
    say("stopping " + daemon.name);
    StopProcess(daemon, keep_data ? kAgentStopMicros : kHastyStopMicros);
  }
  for (const auto& daemon : left) {
    if (daemon.name == "meta")
      StopProcess(daemon, keep_data ? kMetadataStopMicros : kHastyStopMicros);
  }
  left = FindDaemons(run_dir);
  if (left.empty()) return Status();
  return Status::Busy(left[0].name + " (process " + std::to_string(left[0].pid) +
                      ") does not end; look at /proc/" + std::to_string(left[0].pid) + "/stack");
}

Status ReleaseSystem(const ClusterLayout& layout, bool keep_data, const Say& say) {
  Status first;
  auto keep = [&first](Status status) {
    if (first.ok()) first = std::move(status);
  };
  say("unmounting");
  for (const auto& node : layout.nodes) {
    // What an agent that was killed has left in containers.
    keep(openwhisk::ReleaseSandboxes(layout.sandboxes(node)));
    keep(Detach(layout.mount(node), "fuse"));
    if (MountAt(layout.memory(node)).type != "tmpfs") continue;
    if (keep_data) {
      Status saved = SaveMemory(layout, node);
      if (!saved.ok()) {
        keep(saved.WithContext("the memory tier of " + node.name + " stays mounted at " +
                               layout.memory(node)));
        continue;
      }
    }
    keep(Detach(layout.memory(node), "tmpfs"));
  }
  say("removing the network");
  keep(RemoveNetwork(layout));
  std::error_code error;
  std::vector<std::string> names = {"supervise", "meta"};
  for (const auto& node : layout.nodes) {
    names.push_back(node.name);
    fs::remove(layout.agent_socket(node), error);
  }
  for (const auto& name : names) {
    fs::remove(layout.run(name + ".sock"), error);
    fs::remove(layout.run(name + ".pid"), error);
  }
  return first;
}

Status RemoveFiles(const ClusterLayout& layout) {
  std::string below = layout.dir + "/";
  for (const auto& mount : ListMounts()) {
    if (mount.dir.compare(0, below.size(), below) == 0) {
      return Status::Busy(mount.dir + " is still mounted (" + mount.type +
                          "); unmount it and try again");
    }
  }
  F3_RETURN_IF_ERROR(RemoveTree(layout.dir + "/meta"));
  F3_RETURN_IF_ERROR(RemoveTree(layout.dir + "/durable"));
  std::error_code error;
  for (const auto& node : layout.nodes) {
    F3_RETURN_IF_ERROR(RemoveTree(layout.state(node)));
    fs::remove(layout.mount(node), error);  // a directory, empty: its files were in the mount
    if (error) return Status::FromErrno(error.value(), "remove " + layout.mount(node));
  }
  fs::remove(layout.dir + "/state", error);
  F3_RETURN_IF_ERROR(RemoveTree(layout.dir + "/run"));
  fs::remove(layout.dir, error);  // stays when other things are in it
  return Status();
}

std::string LogTail(const std::string& path, int lines) {
  std::ifstream in(path);
  std::vector<std::string> all;
  for (std::string line; std::getline(in, line);) {
    all.push_back(line);
    if (all.size() > static_cast<size_t>(lines)) all.erase(all.begin());
  }
  std::string text;
  for (const auto& line : all) text += "  " + line + "\n";
  return text.empty() ? "  (empty)" : text;
}

}  // namespace f3::cli
