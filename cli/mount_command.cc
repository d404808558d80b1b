// f3 mount: one mount with an agent of its own in the background; also what mount(8) runs as
// mount.fuse.f3.
#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <sstream>
#include <thread>

#include "cli/cluster.h"
#include "cli/commands.h"
#include "cli/control.h"
#include "cli/daemon_config.h"
#include "cli/lifecycle.h"
#include "cli/mounts.h"
#include "cli/process.h"
#include "cli/progress.h"
#include "cli/target.h"
#include "common/clock.h"
#include "common/small_file.h"

namespace f3::cli {
namespace {

constexpr int64_t kMountMicros = 60'000'000;

struct MountArgs {
  std::string source;
  std::string dir;
  std::vector<std::string> options;  // -o, each a comma-separated list
  bool quiet = false;                // mount(8) prints for itself
};

// What of the options is the agent's and not the mount's.
struct AgentArgs {
  std::string secret = "/etc/f3/secret";
  std::string state, durable, memory_dir, name, bind, tls_ca, log;
  uint64_t memory = 0, disk = 0;
  bool remount = false;

  void Declare(Settings* settings) {
    settings->Path("secret", &secret, "");
    settings->Path("state", &state, "");
    settings->Path("durable", &durable, "");
    settings->Path("memory_dir", &memory_dir, "");
    settings->Bytes("memory", &memory, 1 << 20, 1ull << 60, "");
    settings->Bytes("disk", &disk, 64 << 20, 1ull << 60, "");
    settings->Text("name", &name, "");
    settings->Text("bind", &bind, "");
    settings->Path("tls_ca", &tls_ca, "");
    settings->Path("log", &log, "");
    settings->Flag("remount", &remount, "");
  }
};

// The address by which this host reaches the server: what other nodes reach it at.
Result<std::string> AddressTowards(const std::string& server) {
  size_t colon = server.rfind(':');
  addrinfo hints = {}, *found = nullptr;
  hints.ai_socktype = SOCK_DGRAM;
  int error = ::getaddrinfo(server.substr(0, colon).c_str(), server.substr(colon + 1).c_str(),
                            &hints, &found);
  if (error != 0) {
    return Status::Unavailable("the name of the metadata server " + server +
                               " cannot be resolved: " + ::gai_strerror(error));
  }
  std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, ::freeaddrinfo);
  UniqueFd fd(::socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_storage local = {};
  socklen_t length = sizeof(local);
  char host[256];
  if (::connect(fd.get(), found->ai_addr, found->ai_addrlen) != 0 ||
      ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&local), &length) != 0 ||
      ::getnameinfo(reinterpret_cast<sockaddr*>(&local), length, host, sizeof(host), nullptr, 0,
                    NI_NUMERICHOST) != 0) {
    return Status::Unavailable("there is no route to the metadata server " + server +
                               "; name this host's address with -o bind=ADDRESS");
  }
  return std::string(host);
}

std::string NodeToml(const MountSource& source, const fs::MountOptions& mount,
                     const AgentArgs& agent, const std::string& control) {
  std::ostringstream out;
  auto text = [&out](const char* key, const std::string& value) {
    if (!value.empty()) out << key << " = '" << value << "'\n";
  };
  auto flag = [&out](const char* key, bool value) {
    out << key << " = " << (value ? "true" : "false") << "\n";
  };
  text("name", agent.name);
  text("metadata", source.server);
  text("secret", agent.secret);
  text("tls_ca", agent.tls_ca);
  text("state", agent.state);
  text("memory_dir", agent.memory_dir);
  text("durable", agent.durable);
  text("bind", agent.bind);
  text("control", control);
  if (agent.memory > 0) out << "memory = " << agent.memory << "\n";
  if (agent.disk > 0) out << "disk = " << agent.disk << "\n";
  out << "\n[[mount]]\n";
  text("volume", source.volume);
  text("subtree", source.subtree);
  text("dir", mount.dir);
  flag("read_only", mount.read_only);
  flag("allow_other", mount.allow_other);
  flag("dev", mount.dev);
  flag("suid", mount.suid);
  flag("passthrough", mount.passthrough);
  flag("follow", mount.follow);
  if (mount.file_class != meta::CLASS_UNSET) {
    text("class", mount.file_class == meta::CLASS_EPHEMERAL ? "ephemeral" : "durable");
  }
  if (mount.tier != meta::TIER_UNSET) {
    text("tier", mount.tier == meta::TIER_MEMORY ? "memory" : "disk");
  }
  if (mount.ttl_s > 0) out << "ttl = " << mount.ttl_s << "\n";
  return out.str();
}

// Returns when the mount is usable, or with the end of the agent's log.
Status AwaitMount(const std::string& dir, const std::string& control, const std::string& log,
                  pid_t pid) {
  UniqueFd pidfd = OpenPidFd(pid);
  int64_t deadline = Clock::Real()->MonotonicMicros() + kMountMicros;
  while (Clock::Real()->MonotonicMicros() < deadline) {
    if (IsF3(MountAt(dir)) && AskControl(control, {{"op", "status"}}, 3'000'000).ok()) {
      return Status();
    }
    if (!pidfd.valid() || WaitForEnd(pidfd, 30'000)) {
      return Status::Unavailable("the agent for " + dir + " ended; the end of " + log + ":\n" +
                                 LogTail(log, 8));
    }
  }
  return Status::Timeout("the mount " + dir + " is not usable after " +
                         std::to_string(kMountMicros / 1'000'000) + " s; see " + log);
}

Status Mount(const MountArgs& args) {
  fs::MountOptions mount;
  AgentArgs agent;
  Settings agent_settings;
  agent.Declare(&agent_settings);
  for (const auto& list : args.options) {
    F3_RETURN_IF_ERROR(ApplyMountOptions(list, &mount, &agent_settings));
  }
  std::error_code error;
  std::filesystem::path path = std::filesystem::absolute(args.dir, error).lexically_normal();
  if (!agent.remount) path = std::filesystem::weakly_canonical(path, error);
  mount.dir = path.string();
  while (mount.dir.size() > 1 && mount.dir.back() == '/') mount.dir.pop_back();
  if (agent.remount) return RemountF3(mount.dir, mount.read_only, mount.dev, mount.suid);

  F3_ASSIGN_OR_RETURN(MountSource source, ParseMountSource(args.source));
  if (::geteuid() != 0) return Status::NotPermitted("mounting needs root; run it with sudo");
  if (agent.durable.empty()) {
    return Status::BadConfig("-o durable=DIR is missing: the durable store, which every node sees");
  }
  if (IsF3(MountAt(mount.dir))) return Status::Busy(mount.dir + " is an F3 mount already");
  if (!std::filesystem::is_directory(mount.dir, error)) {
    return Status::NotFound("there is no directory " + mount.dir + " to mount at");
  }
  std::string id = ShortHash(mount.dir);
  if (agent.name.empty()) {
    char host[64] = {};
    ::gethostname(host, sizeof(host) - 1);
    agent.name = std::string(host) + "-" + id;
  }
  if (agent.state.empty()) agent.state = "/var/lib/f3/mounts/" + id;
  if (agent.bind.empty()) {
    F3_ASSIGN_OR_RETURN(agent.bind, AddressTowards(source.server));
  }
  std::string run = MountRunDir(mount.dir);
  std::filesystem::create_directories(run, error);
  std::filesystem::create_directories(agent.state, error);
  if (error) return Status::FromErrno(error.value(), "make " + agent.state);
  SpawnOptions spawn;
  spawn.argv = {SelfPath(), "node", "--config", run + "/node.toml"};
  spawn.log_file = agent.log.empty() ? run + "/node.log" : agent.log;
  spawn.pid_file = run + "/node.pid";
  std::string control = run + "/node.sock";
  F3_RETURN_IF_ERROR(WriteFile(run + "/node.toml", NodeToml(source, mount, agent, control)));
  Progress progress("Mounting " + mount.dir, 0, args.quiet);
  F3_ASSIGN_OR_RETURN(pid_t pid, Spawn(spawn));
  Status status = AwaitMount(mount.dir, control, spawn.log_file, pid);
  progress.Done(status.ok() ? "usable" : "failed");
  if (!status.ok() && status.Is(Code::kTimeout)) {
    for (const auto& daemon : FindDaemons(run)) StopProcess(daemon, 10'000'000);
  }
  return status;
}

}  // namespace

void AddMount(CLI::App* app, int* exit_code) {
  auto args = std::make_shared<MountArgs>();
  CLI::App* command = app->add_subcommand(
      "mount",
      "Mount a volume or a part of it\n"
      "Starts an agent in the background and returns when the mount is usable. `umount DIR` ends "
      "the "
      "agent. Options: ro, allow_other, dev, suid, class=ephemeral|durable, tier=memory|disk, "
      "follow, "
      "ttl=SECONDS, nopassthrough; and for the agent secret=FILE (default /etc/f3/secret), "
      "durable=DIR (required), state=DIR (default below /var/lib/f3/mounts), memory_dir=DIR, "
      "memory=SIZE, disk=SIZE, name=NAME, bind=ADDRESS, tls_ca=FILE, log=FILE; remount with ro or "
      "rw. "
      "Its socket and log are in /run/f3. With mount.fuse.f3 installed (scripts/install.sh) "
      "`mount -t fuse.f3` and /etc/fstab take the same.");
  command->add_option("SOURCE", args->source, "HOST:PORT/VOLUME[/SUBTREE]")->required();
  command->add_option("DIR", args->dir, "An existing directory")->required();
  command->add_option("-o", args->options, "Options, separated by commas; can be repeated")
      ->type_name("OPTIONS")
      ->take_all();
  // What mount(8) passes to its helpers.
  bool* ignored = &args->quiet;
  for (const char* name : {"-s", "-n", "-v", "-f"}) command->add_flag(name, *ignored)->group("");
  auto type = std::make_shared<std::string>();
  command->add_option("-t", *type)->group("");
  AddExamples(command, {{"f3 mount 10.0.0.1:7600/default /mnt/f3 -o durable=/mnt/ceph/f3",
                         "the whole volume"},
                        {"f3 mount 10.0.0.1:7600/default/in /mnt/in -o ro,durable=/mnt/ceph/f3",
                         "a directory of it, read-only"},
                        {"mount -t fuse.f3 10.0.0.1:7600/default /mnt/f3 -o durable=/mnt/ceph/f3",
                         "through mount(8)"},
                        {"mount -o remount,ro /mnt/f3", "no more changes"}});
  command->callback([args, type, exit_code] { *exit_code = Report("mount", Mount(*args)); });
}

}  // namespace f3::cli
