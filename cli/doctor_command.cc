// f3 doctor: what stands in the way on this machine, each with a next step.
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <set>

#include "cli/commands.h"
#include "cli/exit_codes.h"
#include "cli/inspect.h"
#include "cli/mounts.h"
#include "cli/network.h"
#include "cli/passthrough_probe.h"
#include "cli/process.h"
#include "cli/table.h"
#include "common/units.h"
#include "openwhisk_plugin/container_process.h"
#include "openwhisk_plugin/foreign_mounts.h"
#include "openwhisk_plugin/sandbox_dir.h"

namespace f3::cli {
namespace {

using nlohmann::json;

enum class Grade { kOk, kNote, kProblem };

struct Finding {
  std::string what;
  Grade grade = Grade::kOk;
  std::string detail;
  std::string next;
};

class Doctor {
 public:
  explicit Doctor(std::string dir) : dir_(std::move(dir)) {}
  std::vector<Finding> Examine();

 private:
  void Add(std::string what, Grade grade, std::string detail, std::string next = "") {
    findings_.push_back({std::move(what), grade, std::move(detail), std::move(next)});
  }
  void Machine();
  void Privileges();
  void Passthrough();
  void Programs();
  void Ports();
  void Clock();
  void Space();
  void Cluster();
  void LeftOvers();
  void Sandboxes();

  const std::string dir_;
  std::vector<Finding> findings_;
};

void Doctor::Machine() {
  Status fuse = ProbeFuseDevice();
  Add("/dev/fuse", fuse.ok() ? Grade::kOk : Grade::kProblem,
      fuse.ok() ? "can be opened" : fuse.message(),
      "modprobe fuse; in a container: --device /dev/fuse --cap-add SYS_ADMIN");
  utsname name = {};
  ::uname(&name);
  int major = 0, minor = 0;
  std::sscanf(name.release, "%d.%d", &major, &minor);
  bool recent = major > 6 || (major == 6 && minor >= 9);
  Add("kernel", recent ? Grade::kOk : Grade::kNote, name.release,
      "6.9 or later lets the kernel read and write tier files directly; it works without");
  rlimit limit = {};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  Add("open files", limit.rlim_max >= 4096 ? Grade::kOk : Grade::kNote,
      "limit " + std::to_string(limit.rlim_max), "ulimit -Hn 65536");
}

void Doctor::Privileges() {
  bool root = ::geteuid() == 0;
  Add("root", root ? Grade::kOk : Grade::kProblem, root ? "yes" : "no", "run it with sudo");
  Status namespaces = ProbeNamespaces();
  Add("network namespaces", namespaces.ok() ? Grade::kOk : Grade::kNote,
      namespaces.ok() ? "can be made" : namespaces.message(),
      "`f3 up --no-netns` uses loopback addresses instead");
}

void Doctor::Passthrough() {
  if (::geteuid() != 0) return;
  std::vector<std::string> dirs;
  auto layout = ClusterLayout::Load(dir_);
  std::error_code error;
  if (layout.ok()) {
    for (const auto& node : layout->nodes) {
      if (std::filesystem::is_directory(layout->state(node), error)) {
        dirs.push_back(layout->state(node));
      }
      if (MountAt(layout->memory(node)).type == "tmpfs") dirs.push_back(layout->memory(node));
    }
  }
  if (dirs.empty()) {
    std::filesystem::path near = dir_;
    while (!std::filesystem::is_directory(near, error) && near.has_relative_path()) {
      near = near.parent_path();
    }
    dirs.push_back(near.string());
  }
  std::set<std::string> devices;
  for (const auto& dir : dirs) {
    Status status = ProbePassthrough(dir);
    Add("passthrough", status.ok() ? Grade::kOk : Grade::kNote,
        status.ok() ? dir : status.message(), "reads and writes then go through the agent");
  }
}

void Doctor::Programs() {
  for (const auto& [program, use] : std::vector<std::pair<std::string, std::string>>{
           {"ip", "`f3 up` makes network namespaces with it (package iproute2)"},
           {"cp", "`f3 down` keeps memory tiers with it (package coreutils)"},
           {"ffmpeg", "`f3 demo` runs it (package ffmpeg)"},
           {"iperf3", "`f3 bench pull` compares with it (package iperf3)"}}) {
    auto found = RunCommand({"sh", "-c", "command -v " + program}, 5'000'000);
    bool there = found.ok() && found->exit_code == 0;
    bool needed = program == "ip" || program == "cp";
    Add(program,
        there    ? Grade::kOk
        : needed ? Grade::kProblem
                 : Grade::kNote,
        there ? "is installed" : "is missing", use);
  }
}

void Doctor::Ports() {
  if (ClusterLayout::Load(dir_).ok()) return;
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  int yes = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(kMetadataPort);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  bool free = ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  Add("port 7600", free ? Grade::kOk : Grade::kNote, free ? "is free" : "is in use on 127.0.0.1",
      "give `f3 meta` another with --listen");
}

void Doctor::Clock() {
  timex state = {};
  int result = ::adjtimex(&state);
  bool synced = result >= 0 && result != TIME_ERROR && (state.status & STA_UNSYNC) == 0;
  Add("clock", synced ? Grade::kOk : Grade::kNote,
      synced ? "is synchronised" : "is not synchronised by NTP",
      "matters with several hosts only: their clocks must agree within 2 s; install chrony");
}

void Doctor::Space() {
  std::filesystem::path near = dir_;
  std::error_code error;
  while (!std::filesystem::is_directory(near, error) && near.has_relative_path()) {
    near = near.parent_path();
  }
  struct statvfs space = {};
  if (::statvfs(near.c_str(), &space) != 0) return;
  uint64_t free = space.f_bavail * space.f_frsize, all = space.f_blocks * space.f_frsize;
  bool enough = free > (1ull << 30) && free > all / 20;
  Add("disk space", enough ? Grade::kOk : Grade::kProblem,
      FormatBytes(free) + " of " + FormatBytes(all) + " free at " + near.string(),
      "make room, or choose another --dir");
}

void Doctor::Cluster() {
  auto layout = ClusterLayout::Load(dir_);
  if (!layout.ok()) {
    bool absent = layout.status().Is(Code::kNotFound);
    Add("cluster", absent ? Grade::kOk : Grade::kProblem,
        absent ? "none at " + dir_ : layout.status().message(), "`f3 up` starts one");
    return;
  }
  if (FindDaemons(dir_ + "/run").empty()) {
    std::string left;
    for (const auto& node : layout->nodes) {
      if (!MountAt(layout->mount(node)).dir.empty()) left = layout->mount(node);
    }
    Add("cluster", left.empty() ? Grade::kOk : Grade::kProblem,
        left.empty() ? "is down" : "is dead, and " + left + " is still mounted",
        "`f3 up --dir " + dir_ + "` starts it, `f3 down` cleans up");
    return;
  }
  json status = ClusterStatus(*layout);
  if (!status["supervisor"].value("up", false)) {
    Add("supervisor", Grade::kProblem, "does not run; nothing restarts what dies",
        "`f3 up --dir " + dir_ + "`");
  }
  if (!status["metadata"].value("up", false)) {
    Add("metadata server", Grade::kProblem, "does not answer", "see " + layout->run("meta.log"));
  }
  for (const auto& node : status["nodes"]) {
    std::string name = node.value("name", "");
    bool usable = node.value("usable", false);
    std::string detail = usable                    ? "usable at " + node.value("mount", "")
                         : node.value("up", false) ? "agent answers, mount does not"
                                                   : node.value("problem", "");
    if (node.value("restarts", 0) > 0) {
      detail += ", restarted " + std::to_string(node.value("restarts", 0)) +
                " times (last: " + node.value("last_end", "") + ")";
    }
    Add("node " + name,
        !usable                         ? Grade::kProblem
        : node.value("restarts", 0) > 0 ? Grade::kNote
                                        : Grade::kOk,
        detail, "see " + layout->run(name + ".log") + "; `f3 node start " + name + "`");
  }
}

// The directories of clusters that have a living daemon.
std::set<std::string> LivingClusters() {
  std::set<std::string> dirs;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    std::string text = entry.path().filename();
    if (text.find_first_not_of("0123456789") != std::string::npos) continue;
    std::vector<std::string> argv = CommandLine(std::atoi(text.c_str()));
    if (argv.size() < 4 || std::filesystem::path(argv[0]).filename() != "f3") continue;
    for (const auto& word : argv) {
      std::filesystem::path path(word);
      if (path.extension() == ".toml" && path.parent_path().filename() == "run") {
        dirs.insert(path.parent_path().parent_path().string());
      }
    }
  }
  return dirs;
}

void Doctor::LeftOvers() {
  std::set<std::string> living_ids;
  for (const auto& dir : LivingClusters()) {
    living_ids.insert(ShortHash(dir));
    std::error_code error;
    if (!std::filesystem::exists(dir + "/run/cluster.toml", error)) {
      Add("left-over daemons", Grade::kProblem, "daemons of " + dir + " run, its files are gone",
          "end them: pgrep -af " + dir);
    }
  }
  size_t before = findings_.size();
  for (const auto& mount : ListMounts()) {
    if (IsF3(mount) && !Answers(mount.dir, 3'000'000)) {
      Add("left-over mount", Grade::kProblem, mount.dir + " does not answer",
          "umount -l " + mount.dir);
    }
  }
  std::string own = ShortHash(dir_);
  for (const auto& name : ListNamespaces()) {
    std::string id = name.substr(3, 6);
    if (name.rfind("f3-probe", 0) == 0 || (!living_ids.count(id) && id != own)) {
      Add("left-over namespace", Grade::kNote, name + " belongs to no running cluster",
          "`f3 destroy` with that cluster's --dir, or: ip netns del " + name);
    }
  }
  for (const auto& name : ListBridges()) {
    std::string id = name.substr(3, 6);
    if (!living_ids.count(id) && id != own) {
      Add("left-over bridge", Grade::kNote, name + " belongs to no running cluster",
          "`f3 destroy` with that cluster's --dir, or: ip link del " + name);
    }
  }
  if (findings_.size() == before) Add("left-overs", Grade::kOk, "none of dead clusters");
}

// What agents that were killed have left of containers, and in them.
void Doctor::Sandboxes() {
  size_t before = findings_.size();
  auto layout = ClusterLayout::Load(dir_);
  const std::vector<ClusterNode> none;
  for (const auto& node : layout.ok() ? layout->nodes : none) {
    const std::string sandboxes = layout->sandboxes(node);
    for (const auto& id : openwhisk::ListSandboxDirs(sandboxes)) {
      auto note = openwhisk::ReadNote(sandboxes + "/" + id);
      if (note.status().Is(Code::kNotFound)) continue;  // nobody has attached it
      if (note.ok() && (note->pid == 0 || openwhisk::IsAlive(note->pid, note->started))) continue;
      Add("left-over sandbox", Grade::kProblem,
          note.ok() ? "container " + id + " has ended and is still attached to " + node.name
                    : note.status().message(),
          "`f3 node start " + node.name + "`, its agent removes it; or: rm -r " + sandboxes + "/" +
              id);
    }
  }
  for (const auto& mount : openwhisk::FindForeignMounts()) {
    const std::string pid = std::to_string(mount.pid);
    if (Answers("/proc/" + pid + "/root" + mount.path, 3'000'000)) continue;
    Add("left-over mount", Grade::kProblem,
        mount.path + " in the container of process " + pid + " does not answer",
        "start its node's agent again, or: nsenter -t " + pid + " -m umount -l " + mount.path);
  }
  if (findings_.size() == before) Add("sandboxes", Grade::kOk, "none left over");
}

std::vector<Finding> Doctor::Examine() {
  Machine();
  Privileges();
  Passthrough();
  Programs();
  Ports();
  Clock();
  Space();
  Cluster();
  LeftOvers();
  Sandboxes();
  return findings_;
}

int Run(const std::string& dir, bool as_json) {
  std::vector<Finding> findings = Doctor(ClusterDir(dir)).Examine();
  static constexpr const char* kGrades[] = {"ok", "note", "problem"};
  int problems = 0;
  json out = json::array();
  Table table({"", "what", "found"});
  for (const auto& finding : findings) {
    bool bad = finding.grade != Grade::kOk;
    problems += finding.grade == Grade::kProblem ? 1 : 0;
    out.push_back({{"what", finding.what},
                   {"grade", kGrades[static_cast<int>(finding.grade)]},
                   {"found", finding.detail},
                   {"next", bad ? finding.next : ""}});
    table.Add({kGrades[static_cast<int>(finding.grade)], finding.what, finding.detail});
    if (bad && !finding.next.empty()) table.Add({"", "", "→ " + finding.next});
  }
  if (as_json) {
    std::printf("%s\n", out.dump(2, ' ', false, json::error_handler_t::replace).c_str());
  } else {
    std::printf("%s\n%s\n", table.ToString().c_str(),
                problems == 0 ? "Nothing stands in the way."
                              : (std::to_string(problems) + " problems.").c_str());
  }
  return problems == 0 ? kExitOk : kExitFailure;
}

}  // namespace

void AddDoctor(CLI::App* app, int* exit_code) {
  struct Options {
    std::string dir;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app->add_subcommand(
      "doctor",
      "Look for what stands in the way, and say what to do\n"
      "Checks /dev/fuse, kernel, privileges, passthrough for each tier directory, programs, ports, "
      "clock, disk space, the cluster at --dir, and what dead clusters, agents and containers have "
      "left. Changes nothing. "
      "Exits with 1 when there is a problem.");
  AddDirFlag(command, &options->dir);
  AddJsonFlag(command, &options->json);
  AddExamples(command, {{"f3 doctor", "when something does not work"},
                        {"f3 doctor --json | jq '.[] | select(.grade != \"ok\")'", "for scripts"}});
  command->callback([options, exit_code] { *exit_code = Run(options->dir, options->json); });
}

}  // namespace f3::cli
