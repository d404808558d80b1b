// f3 up: a cluster on this machine. f3 supervise: the process that keeps it running.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>

#include "cli/cluster.h"
#include "cli/commands.h"
#include "cli/exit_codes.h"
#include "cli/lifecycle.h"
#include "cli/network.h"
#include "cli/process.h"
#include "cli/progress.h"
#include "cli/settings.h"
#include "cli/supervisor.h"
#include "cli/table.h"
#include "common/log.h"
#include "common/units.h"
#include "openwhisk_plugin/names.h"

namespace f3::cli {
namespace {

constexpr int64_t kUpTimeoutMicros = 90'000'000;
constexpr uint64_t kMinMemoryBytes = 8ull << 20;
constexpr uint64_t kMinDiskBytes = 64ull << 20;

struct UpOptions {
  std::string dir;
  uint64_t nodes = 0;  // 0: 3, or as it was
  uint64_t memory_bytes = 0;
  uint64_t disk_bytes = 0;
  int64_t delay_micros = -1;
  std::vector<std::string> openwhisk_allow;
  bool no_netns = false;
  bool no_passthrough = false;
  Settings settings;
};

uint64_t MachineMemoryBytes() {
  return static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
         static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

// A quarter of the machine for all memory tiers together, each between 64 MiB and 1 GiB.
uint64_t DefaultMemoryBytes(size_t nodes) {
  return std::clamp<uint64_t>(MachineMemoryBytes() / 4 / nodes, 64ull << 20, 1ull << 30);
}

Status CheckMachine() {
  if (::geteuid() != 0) {
    return Status::NotPermitted(
        "mounting needs root; run it with sudo, or `f3 doctor` for details");
  }
  if (::access("/dev/fuse", R_OK | W_OK) != 0) {
    return Status::NoDevice(
        "/dev/fuse is missing: load the module (modprobe fuse), or give the "
        "container --device /dev/fuse");
  }
  return Status();
}

// A first plan, or the present one changed by flags.
Result<ClusterLayout> Plan(const std::string& dir, const UpOptions& options, bool running) {
  auto loaded = ClusterLayout::Load(dir);
  if (!loaded.ok() && !loaded.status().Is(Code::kNotFound)) return loaded.status();
  ClusterLayout layout;
  bool fresh = !loaded.ok();
  if (fresh) {
    bool namespaces = !options.no_netns;
    if (namespaces) {
      Status probe = ProbeNamespaces();
      if (!probe.ok()) {
        std::fprintf(stderr,
                     "Network namespaces are not to be had here (%s);\n"
                     "all nodes share this machine's loopback addresses instead.\n",
                     probe.message().c_str());
        namespaces = false;
      }
    }
    int nodes = static_cast<int>(options.nodes == 0 ? 3 : options.nodes);
    layout = PlanCluster(dir, nodes, namespaces);
    layout.memory_bytes = DefaultMemoryBytes(layout.nodes.size());
  } else {
    layout = std::move(loaded).value();
    if (options.nodes != 0 && options.nodes < layout.nodes.size()) {
      return Status::InvalidArgument(
          "the cluster has " + std::to_string(layout.nodes.size()) +
          " nodes and up only adds; `f3 node drain` first, or destroy it");
    }
    if (running) {
      bool changed =
          (options.nodes != 0 && options.nodes != layout.nodes.size()) ||
          (options.memory_bytes != 0 && options.memory_bytes != layout.memory_bytes) ||
          (options.disk_bytes != 0 && options.disk_bytes != layout.disk_bytes) ||
          (options.delay_micros >= 0 && options.delay_micros != layout.delay_micros) ||
          (!options.openwhisk_allow.empty() && options.openwhisk_allow != layout.openwhisk_allow);
      if (changed) {
        return Status::InvalidArgument("the cluster runs with other settings; `f3 down` first");
      }
      return layout;
    }
    if (options.nodes > layout.nodes.size()) {
      layout.nodes =
          PlanCluster(dir, static_cast<int>(options.nodes), !layout.bridge.empty()).nodes;
    }
  }
  if (options.memory_bytes != 0) layout.memory_bytes = options.memory_bytes;
  if (options.disk_bytes != 0) layout.disk_bytes = options.disk_bytes;
  if (options.delay_micros >= 0) layout.delay_micros = options.delay_micros;
  if (!options.openwhisk_allow.empty()) layout.openwhisk_allow = options.openwhisk_allow;
  F3_RETURN_IF_ERROR(openwhisk::VolumePolicy::Parse(layout.openwhisk_allow).status());
  if (fresh || options.no_passthrough) layout.passthrough = !options.no_passthrough;
  if (layout.memory_bytes > MachineMemoryBytes()) {
    return Status::InvalidArgument("--memory " + FormatBytes(layout.memory_bytes) +
                                   " is more than this machine has");
  }
  std::error_code error;
  bool network_there =
      !layout.bridge.empty() && std::filesystem::exists("/sys/class/net/" + layout.bridge, error);
  if (!network_there || layout.metadata.empty()) F3_RETURN_IF_ERROR(ChooseAddresses(&layout));
  return layout;
}

void PrintCluster(const ClusterLayout& layout) {
  Table table({"node", "mount", "address", "memory tier", "network"});
  for (const auto& node : layout.nodes) {
    table.Add({node.name, layout.mount(node), node.address, FormatBytes(layout.memory_bytes),
               node.netns.empty() ? "loopback" : node.netns});
  }
  std::printf("\n%s\n", table.ToString().c_str());
  std::string first = layout.mount(layout.nodes.front());
  std::string last = layout.mount(layout.nodes.back());
  std::printf("Metadata server %s, secret %s, logs in %s\n\n", layout.metadata.c_str(),
              layout.run("secret").c_str(), layout.run("").c_str());
  std::printf("Next:\n");
  std::printf("  mkdir %s/fast && setfattr -n user.f3.class -v ephemeral %s/fast\n", first.c_str(),
              first.c_str());
  std::printf("  echo hello > %s/fast/a && cat %s/fast/a\n", first.c_str(), last.c_str());
  std::string dir = layout.dir == "/var/lib/f3" ? "" : " --dir " + layout.dir;
  std::printf("  f3 stat %s/fast/a;  f3 status%s;  f3 down%s\n", last.c_str(), dir.c_str(),
              dir.c_str());
}

bool AllUsable(const ClusterLayout& layout) {
  return std::all_of(layout.nodes.begin(), layout.nodes.end(),
                     [&](const ClusterNode& node) { return IsUsable(layout, node); });
}

Status Up(UpOptions* options) {
  F3_RETURN_IF_ERROR(options->settings.ApplyFlags());
  F3_RETURN_IF_ERROR(CheckMachine());
  std::string dir = ClusterDir(options->dir);
  if (dir.size() > 80) {
    return Status::NameTooLong(dir + " is too long a name for sockets below it; use a shorter one");
  }
  std::error_code error;
  std::filesystem::create_directories(dir + "/run", error);
  if (error) return Status::FromErrno(error.value(), "make " + dir + "/run");
  F3_ASSIGN_OR_RETURN(OperationLock lock, OperationLock::Take(dir));

  std::vector<Daemon> living = FindDaemons(dir + "/run");
  bool supervised = std::any_of(living.begin(), living.end(),
                                [](const Daemon& d) { return d.name == "supervise"; });
  F3_ASSIGN_OR_RETURN(std::optional<OperationLock> network, OperationLock::AwaitNetwork());
  F3_ASSIGN_OR_RETURN(ClusterLayout layout, Plan(dir, *options, !living.empty()));
  if (supervised && AllUsable(layout)) {
    std::printf("The cluster at %s is already running.\n", dir.c_str());
    PrintCluster(layout);
    return Status();
  }
  if (!living.empty()) {
    std::fprintf(stderr, "The cluster at %s is running in part; starting what is missing.\n",
                 dir.c_str());
  }
  F3_RETURN_IF_ERROR(layout.Save());
  Progress progress("Starting " + std::to_string(layout.nodes.size()) + " nodes", 0);
  uint64_t step = 0;
  Say say = [&](const std::string& what) { progress.Update(++step, what); };
  Status status = PrepareCluster(layout, say);
  network.reset();
  if (status.ok()) status = StartSupervisor(layout);
  if (status.ok()) status = AwaitCluster(layout, kUpTimeoutMicros, say);
  if (!status.ok()) {
    progress.Done("failed");
    if (living.empty()) {
      // Nothing ran before, so nothing is left running; data and logs stay.
      Say quiet = [](const std::string&) {};
      StopDaemons(layout, true, quiet).PermitUnchecked();
      ReleaseSystem(layout, true, quiet).PermitUnchecked();
    }
    return status;
  }
  progress.Done("usable");
  PrintCluster(layout);
  return Status();
}

int Supervise(const std::string& config) {
  Status status = InitLog("supervise", "info", "");
  auto layout =
      status.ok()
          ? ClusterLayout::Load(std::filesystem::path(config).parent_path().parent_path().string())
          : Result<ClusterLayout>(status);
  if (!layout.ok()) return Report("supervise", layout.status());
  if (::chdir("/") != 0) return kExitFailure;
  status = Supervisor(std::move(layout).value()).Run();
  if (!status.ok()) spdlog::error("{}", status.message());
  return Report("supervise", status);
}

}  // namespace

void AddUp(CLI::App* app, int* exit_code) {
  auto options = std::make_shared<UpOptions>();
  CLI::App* command = app->add_subcommand(
      "up",
      "Start a cluster on this machine\n"
      "Starts a metadata server and N node agents, each in a network namespace of its own, under a "
      "supervisor that restarts them, and mounts the file system at DIR/n1 ... DIR/nN. Returns "
      "when "
      "every mount is usable. Repeating it starts what is missing.");
  AddDirFlag(command, &options->dir);
  constexpr uint64_t kMax = 1ull << 60;
  Settings& settings = options->settings;
  settings.Number("nodes", &options->nodes, 1, kMaxNodes, "How many nodes (default: 3)");
  settings.Bytes("memory", &options->memory_bytes, kMinMemoryBytes, kMax,
                 "Memory tier of each node, for example 256M (default: from the machine's memory)");
  settings.Bytes("disk", &options->disk_bytes, kMinDiskBytes, kMax,
                 "Disk tier of each node (default: what its file system has)");
  settings.Micros("delay", &options->delay_micros, 0, 10'000'000,
                  "Delay each transfer between nodes by this much, for example 2ms");
  settings.Texts("openwhisk_allow", &options->openwhisk_allow,
                 "Volumes that sandboxes of an OpenWhisk namespace may use besides `default` and "
                 "the one of its name: NAMESPACE=VOLUME,... (* for every namespace)");
  settings.Flag("no_netns", &options->no_netns, "Loopback addresses instead of network namespaces");
  settings.Flag("no_passthrough", &options->no_passthrough,
                "Serve all reads and writes through the agents");
  settings.AddFlags(command);
  AddExamples(
      command,
      {{"f3 up", "three nodes at /var/lib/f3/n1, n2, n3"},
       {"f3 up --dir /tmp/f3 --nodes 2 --memory 512M", "two nodes with larger memory tiers"},
       {"f3 down; f3 up", "stop, and start again with the same data and settings"}});
  command->callback([options, exit_code] { *exit_code = Report("up", Up(options.get())); });
}

void AddSupervise(CLI::App* app, int* exit_code) {
  auto config = std::make_shared<std::string>();
  CLI::App* command = app->add_subcommand("supervise", "Keep a cluster's daemons running");
  command->group("");  // started by `f3 up`
  command->add_option("--config", *config, "DIR/run/cluster.toml")->required();
  command->callback([config, exit_code] { *exit_code = Supervise(*config); });
}

}  // namespace f3::cli
