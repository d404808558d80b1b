// f3 node: the node agent as a daemon; and what operators do with nodes.
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <thread>

#include "cli/agent_control.h"
#include "cli/call_meta.h"
#include "cli/commands.h"
#include "cli/control.h"
#include "cli/daemon.h"
#include "cli/daemon_config.h"
#include "cli/drain.h"
#include "cli/lifecycle.h"
#include "cli/process.h"
#include "cli/progress.h"
#include "cli/target.h"
#include "common/log.h"
#include "common/units.h"
#include "fs_client/node_agent.h"
#include "openwhisk_plugin/agent_service.h"

namespace f3::cli {
namespace {

using nlohmann::json;

constexpr int64_t kStopMicros = 90'000'000;
constexpr int64_t kStartMicros = 60'000'000;

struct NodeOptions {
  std::string config_file;
  NodeConfig config;
  Settings settings;
};

// Lets `f3 stat PATH` find this agent by the mount alone. Best effort: without it such commands say
// that no daemon listens.
void PublishControlSocket(const fs::AgentOptions& agent, bool add) {
  if (agent.control_socket.empty()) return;
  for (const auto& mount : agent.mounts) {
    std::string dir = MountRunDir(mount.dir);
    std::string link = dir + "/node.sock";
    if (link == agent.control_socket) continue;
    std::error_code error;
    std::filesystem::remove(link, error);
    if (add) {
      std::filesystem::create_directories(dir, error);
      std::filesystem::create_symlink(agent.control_socket, link, error);
    } else {
      std::filesystem::remove(dir, error);
    }
  }
}

// Each buffer of a function is a descriptor of this process.
void RaiseFileLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// The API for sandboxes; null when it is not asked for.
Result<std::unique_ptr<openwhisk::AgentService>> ServeSandboxes(const NodeConfig& config,
                                                                const ClusterKey& key,
                                                                fs::NodeAgent* agent) {
  if (config.agent_socket.empty()) return std::unique_ptr<openwhisk::AgentService>();
  openwhisk::AgentService::Options options;
  options.socket = config.agent_socket;
  options.dir = config.sandboxes;
  options.metadata_server = config.agent.metadata_server;
  options.tls_ca_file = config.agent.tls_ca_file;
  options.allow = config.openwhisk_allow;
  // However many connections it makes, a sandbox leaves half of the pool to others.
  options.xdt_limit_bytes = config.agent.xdt_memory_bytes / 2;
  options.agent = agent;
  return openwhisk::AgentService::Start(options, key);
}

Status Serve(NodeOptions* options) {
  NodeConfig& config = options->config;
  F3_RETURN_IF_ERROR(LoadSettings(options->config_file, &options->settings));
  F3_RETURN_IF_ERROR(config.Check());
  F3_RETURN_IF_ERROR(InitLog(config.agent.name, config.log_level, config.log));
  F3_ASSIGN_OR_RETURN(ClusterKey key, ClusterKey::FromFile(config.secret));
  BlockStopSignals();
  RaiseFileLimit();
  F3_ASSIGN_OR_RETURN(std::unique_ptr<fs::NodeAgent> agent,
                      fs::NodeAgent::Start(config.agent, key));
  std::unique_ptr<ControlThread> control;
  if (!config.agent.control_socket.empty()) {
    F3_ASSIGN_OR_RETURN(ControlListener listener,
                        ControlListener::Listen(config.agent.control_socket));
    control = std::make_unique<ControlThread>(
        std::move(listener), [&agent, &config](const json& request) {
          return AnswerAgentControl(agent.get(), config.agent.metadata_server, request);
        });
  }
  F3_ASSIGN_OR_RETURN(auto sandboxes, ServeSandboxes(config, key, agent.get()));
  PublishControlSocket(config.agent, true);
  spdlog::info("node {} is up with {} mounts", config.agent.name, config.agent.mounts.size());
  // Ends with the last mount, when somebody unmounts it from outside.
  std::thread watcher([&agent] {
    agent->Wait();
    WakeFromWait();
  });
  WaitForStopSignal();
  spdlog::info("stopping");
  if (sandboxes != nullptr) sandboxes->Stop();
  control.reset();
  Status stopped = agent->Stop();
  watcher.join();
  PublishControlSocket(config.agent, false);
  if (!stopped.ok()) spdlog::error("{}", stopped.message());
  return stopped;
}

Status Forget(const Target& target, const std::string& name) {
  F3_ASSIGN_OR_RETURN(auto client, target.Connect());
  meta::Request request;
  request.mutable_forget_node()->set_name(name);
  F3_RETURN_IF_ERROR(CallMeta(client.get(), request).status());
  std::printf(
      "%s is forgotten. Ephemeral files that only it held are lost; files with a copy "
      "elsewhere live on there.\n",
      name.c_str());
  return Status();
}

Result<ClusterLayout> LayoutWith(const Target& target, const std::string& name) {
  F3_ASSIGN_OR_RETURN(ClusterLayout layout, target.Layout());
  if (layout.Find(name) == nullptr) {
    return Status::NotFound("the cluster at " + layout.dir + " has no node \"" + name + "\"");
  }
  return layout;
}

Status Drain(const Target& target, const std::string& name, const std::vector<std::string>& via) {
  std::vector<DrainTarget> targets;
  auto layout = target.Layout();
  if (layout.ok()) {
    for (const auto& node : layout->nodes) {
      if (node.name != name && IsUsable(*layout, node)) {
        targets.push_back({"default", layout->mount(node)});
      }
    }
  }
  for (const auto& text : via) {
    size_t colon = text.find(':');
    if (colon == std::string::npos) {
      return Status::InvalidArgument("--via " + text + " is not VOLUME:MOUNT");
    }
    targets.push_back({text.substr(0, colon), text.substr(colon + 1)});
  }
  if (targets.empty()) {
    return Status::Unavailable("no other node's mount is usable here; name one with --via");
  }
  F3_ASSIGN_OR_RETURN(auto client, target.Connect());
  Progress progress("Draining " + name, 0);
  uint64_t step = 0;
  auto result = DrainNode(client.get(), name, targets,
                          [&](const std::string& path) { progress.Update(++step, path); });
  if (!result.ok()) {
    progress.Done("failed");
    return result.status();
  }
  progress.Done("copied " + std::to_string(result->moved) + " of " + std::to_string(result->files) +
                " ephemeral files (" + FormatBytes(result->bytes) + ") to other nodes");
  if (result->stuck.empty()) return Status();
  for (const auto& line : result->stuck) std::fprintf(stderr, "  %s\n", line.c_str());
  return Status::Unavailable(std::to_string(result->stuck.size()) + " files are still on " + name +
                             " alone");
}

Status StartOrStop(const Target& target, const std::string& name, bool start) {
  F3_ASSIGN_OR_RETURN(ClusterLayout layout, LayoutWith(target, name));
  json request = {{"op", start ? "start_daemon" : "stop_daemon"}, {"name", name}};
  std::vector<Daemon> before = FindDaemons(layout.dir + "/run");
  F3_RETURN_IF_ERROR(AskControl(layout.run("supervise.sock"), request, 5'000'000).status());
  if (start) {
    Progress progress("Starting " + name, 0);
    ClusterLayout alone = layout;
    alone.nodes = {*layout.Find(name)};
    Status status = AwaitCluster(alone, kStartMicros, [](const std::string&) {});
    progress.Done(status.ok() ? "usable" : "failed");
    return status;
  }
  for (const auto& daemon : before) {
    if (daemon.name == name && !WaitForEnd(daemon.pidfd, kStopMicros)) {
      return Status::Timeout(name + " does not stop; see " + layout.run(name + ".log"));
    }
  }
  std::printf("%s is stopped; `f3 node start %s` starts it again.\n", name.c_str(), name.c_str());
  return Status();
}

struct NodeArgs {
  Target target;
  std::string name;
  std::vector<std::string> via;
};

CLI::App* AddOnNode(CLI::App* command, const char* name, const char* help, NodeArgs* args,
                    const std::vector<Example>& examples) {
  CLI::App* sub = command->add_subcommand(name, help);
  args->target.AddFlags(sub);
  sub->add_option("NAME", args->name, "The node, as `f3 status` shows it")->required();
  AddExamples(sub, examples);
  return sub;
}

}  // namespace

void AddNode(CLI::App* app, int* exit_code) {
  auto options = std::make_shared<NodeOptions>();
  CLI::App* command = app->add_subcommand(
      "node",
      "Run the node agent, or drain, forget, stop and start nodes\n"
      "Without a subcommand it is the agent of this host: tiers, data server and mounts, until "
      "SIGTERM or SIGINT. Settings come from flags and from one TOML file, whose keys are the "
      "flags' "
      "names with underscores and whose mounts are [[mount]] tables (volume, subtree, dir, "
      "read_only, allow_other, dev, suid, passthrough, class, tier, follow, ttl); flags win. It "
      "ends "
      "when the last of these mounts is unmounted.");
  command->add_option("--config", options->config_file, "TOML file")->type_name("FILE");
  options->config.Declare(&options->settings);
  options->settings.AddFlags(command);
  command->add_option("--mount", options->config.mount_flags,
                      "A mount, VOLUME[/SUBTREE]:DIR[:OPTIONS] with options as in `f3 mount -o`; "
                      "can be repeated");
  AddExamples(command,
              {{"f3 node --config /etc/f3/node.toml", "as a service"},
               {"f3 node --metadata 10.0.0.1:7600 --secret /etc/f3/secret --bind 10.0.0.2 \\\n"
                "      --state /var/lib/f3/state --durable /mnt/ceph/f3 --mount default:/mnt/f3",
                "all by flags"},
               {"f3 node drain n2; f3 node stop n2; f3 node forget n2", "take a node away"}});
  command->callback([command, options, exit_code] {
    if (!command->get_subcommands().empty()) return;
    *exit_code = Report("node", Serve(options.get()));
  });

  auto drain_args = std::make_shared<NodeArgs>();
  CLI::App* drain =
      AddOnNode(command, "drain", "Copy what only this node holds to other nodes", drain_args.get(),
                {{"f3 node drain n2", "before it is stopped for good"}});
  drain
      ->add_option("--via", drain_args->via,
                   "VOLUME:MOUNT, a mount of another node on this host that files are copied "
                   "through; can be repeated (default: the cluster's other nodes)")
      ->type_name("VOLUME:MOUNT");
  drain->callback([drain_args, exit_code] {
    *exit_code = Report("node drain", Drain(drain_args->target, drain_args->name, drain_args->via));
  });
  auto forget_args = std::make_shared<NodeArgs>();
  AddOnNode(command, "forget", "Declare that a node will not come back", forget_args.get(),
            {{"f3 node forget n2", "its ephemeral files without a copy become lost"}})
      ->callback([forget_args, exit_code] {
        *exit_code = Report("node forget", Forget(forget_args->target, forget_args->name));
      });
  for (bool start : {true, false}) {
    auto args = std::make_shared<NodeArgs>();
    const char* name = start ? "start" : "stop";
    AddOnNode(command, name,
              start ? "Start a node of `f3 up` that was stopped or has failed"
                    : "Stop a node of `f3 up` and keep it stopped",
              args.get(),
              {{start ? "f3 node start n2" : "f3 node stop n2",
                start ? "returns when its mount is usable" : "returns when it has stopped"}})
        ->callback([args, start, name, exit_code] {
          *exit_code =
              Report(std::string("node ") + name, StartOrStop(args->target, args->name, start));
        });
  }
}

}  // namespace f3::cli
