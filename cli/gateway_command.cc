// f3 gateway: OpenWhisk's REST API as a daemon, and the keys of its namespaces.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <memory>

#include "cli/cluster.h"
#include "cli/commands.h"
#include "cli/daemon.h"
#include "cli/daemon_config.h"
#include "common/log.h"
#include "openwhisk_plugin/gateway/gateway.h"

namespace f3::cli {
namespace {

using openwhisk::EngineNode;

constexpr uint64_t kMiB = 1ull << 20;
constexpr int64_t kSecond = 1'000'000;
constexpr int64_t kDay = 24 * 3600 * kSecond;

struct GatewayConfig {
  std::string config_file;
  std::string dir;
  std::string listen = "127.0.0.1:3233";
  std::string data;
  std::string runtime;
  std::string rootfs = "/var/lib/f3/rootfs";
  std::string api_host;
  std::string prewarm;
  std::string log;
  std::string log_level = "info";
  std::string add_namespace;
  std::vector<std::string> node_flags;  // "NAME=SOCKET[,SANDBOXES]"
  uint64_t max_activations = 10'000;
  uint64_t max_queued = 256;
  uint64_t threads = 96;
  openwhisk::GatewayOptions gateway;
  Settings settings;
  std::unique_ptr<Settings> node_settings;  // of the last [[node]] table

  void Declare();
  Status Fill();

 private:
  void DeclareLimits();
  Status FillNodes();
  Status FillContainers();
  Status FillPrewarm();
};

void GatewayConfig::Declare() {
  auto& engine = gateway.engine;
  settings.Text("listen", &listen, "HOST:PORT to listen at (default: 127.0.0.1:3233)");
  settings.Path("data", &data,
                "Directory of actions, packages, activations and containers; made when missing "
                "(default: DIR/gateway of the cluster)");
  settings.Path("auth", &gateway.auth_file,
                "File of lines UUID:KEY NAMESPACE, mode 0600 (default: DATA/keys)");
  settings.Text("runtime", &runtime,
                "OCI runtime that makes containers (default: f3-runc beside this program)");
  settings.Path("rootfs", &rootfs,
                "Root file system of containers, as scripts/make_rootfs.sh makes it (default: "
                "/var/lib/f3/rootfs)");
  settings.Text("api_host", &api_host,
                "What actions find in __OW_API_HOST (default: http://LISTEN)");
  settings.Choice(
      "placement", {"locate", "random", "hash"},
      [&engine](size_t i) { engine.policy = static_cast<openwhisk::PlacementPolicy>(i); },
      "locate: where data, warm containers and queues make it fastest; hash: as OpenWhisk's "
      "sharding balancer; random (default: locate)");
  settings.Text("prewarm", &prewarm,
                "KIND=N, separated by commas: containers of each node that wait for an action, for "
                "example python:3=1,nodejs:18=2");
  settings.Path("log", &log, "Log file (default: standard error)");
  settings.Choice(
      "log_level", {"trace", "debug", "info", "warn", "error"},
      [this](size_t i) {
        log_level = std::vector<std::string>{"trace", "debug", "info", "warn", "error"}[i];
      },
      "trace, debug, info, warn or error");
  settings.Tables("node", [this] {
    gateway.engine.nodes.emplace_back();
    EngineNode* node = &gateway.engine.nodes.back();
    node_settings = std::make_unique<Settings>();
    node_settings->Text("name", &node->name, "");
    node_settings->Path("agent_socket", &node->agent_socket, "");
    node_settings->Path("sandboxes", &node->sandbox_dir, "");
    return node_settings.get();
  });
  DeclareLimits();
}

void GatewayConfig::DeclareLimits() {
  auto& engine = gateway.engine;
  settings.Bytes("memory", &engine.invoker.memory_bytes, 128 * kMiB, 1ull << 50,
                 "Memory of each node for containers (default: 2G)");
  settings.Number("queue", &max_queued, 1, 100'000,
                  "Activations that may wait on each node; more are refused (default: 256)");
  settings.Micros("pause_grace", &engine.invoker.pause_grace_micros, 1000, kDay,
                  "A container that is idle for longer is paused (default: 10s)");
  settings.Micros("idle", &engine.invoker.idle_micros, 1000, kDay,
                  "A container that is idle for longer is removed (default: 10m)");
  settings.Number("invocations_per_minute", &engine.throttle.per_minute, 1, 10'000'000,
                  "Of each namespace (default: 6000)");
  settings.Number("concurrent_invocations", &engine.throttle.concurrent, 1, 100'000,
                  "Of each namespace (default: 200)");
  settings.Number("keep_activations", &max_activations, 1, 10'000'000,
                  "Records that are kept of each namespace (default: 10000)");
  settings.Micros("keep_for", &gateway.store.max_age_micros, kSecond, 3650 * kDay,
                  "How long records are kept (default: 168h)");
  settings.Number("http_threads", &threads, 2, 4096,
                  "Connections that are served at once, blocking calls among them (default: 96)");
}

// "NAME=SOCKET[,SANDBOXES]"; or the nodes of `f3 up`.
Status GatewayConfig::FillNodes() {
  auto& nodes = gateway.engine.nodes;
  for (const auto& text : node_flags) {
    size_t equals = text.find('=');
    if (equals == 0 || equals == std::string::npos) {
      return Status::BadConfig("--node " + text + " is not NAME=SOCKET[,SANDBOXES]");
    }
    size_t comma = text.find(',', equals);
    EngineNode node;
    node.name = text.substr(0, equals);
    node.agent_socket = text.substr(
        equals + 1, comma == std::string::npos ? std::string::npos : comma - equals - 1);
    if (comma != std::string::npos) node.sandbox_dir = text.substr(comma + 1);
    nodes.push_back(node);
  }
  if (nodes.empty()) {
    F3_ASSIGN_OR_RETURN(ClusterLayout layout, ClusterLayout::Load(ClusterDir(dir)));
    for (const auto& node : layout.nodes) {
      nodes.push_back({node.name, layout.agent_socket(node), layout.sandboxes(node)});
    }
    if (data.empty()) data = layout.dir + "/gateway";
  }
  for (const auto& node : nodes) {
    if (node.name.empty() || node.agent_socket.empty()) {
      return Status::BadConfig("a node needs a name and an agent_socket");
    }
  }
  return Status();
}

Status GatewayConfig::FillPrewarm() {
  size_t begin = 0;
  while (begin < prewarm.size()) {
    size_t end = std::min(prewarm.find(',', begin), prewarm.size());
    std::string item = prewarm.substr(begin, end - begin);
    begin = end + 1;
    size_t equals = item.rfind('=');
    std::string count = equals == std::string::npos ? "" : item.substr(equals + 1);
    auto kind = openwhisk::ResolveKind(item.substr(0, equals));
    if (count.empty() || count.size() > 3 ||
        count.find_first_not_of("0123456789") != std::string::npos || !kind.ok()) {
      return Status::BadConfig("prewarm: \"" + item + "\" is not KIND=N with a kind of " +
                               openwhisk::Kinds()[0] + " or " + openwhisk::Kinds()[1]);
    }
    gateway.engine.invoker.prewarm[*kind] = std::stoul(count);
  }
  return Status();
}

// The f3-runc that was built or installed with this program.
std::string RuntimeBeside() {
  std::error_code error;
  std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  std::filesystem::path beside = self.parent_path() / "f3-runc";
  return !error && std::filesystem::exists(beside, error) ? beside.string() : "f3-runc";
}

Status GatewayConfig::FillContainers() {
  auto& container = gateway.engine.invoker.container;
  std::error_code error;
  if (!std::filesystem::is_directory(rootfs, error)) {
    return Status::BadConfig("there is no root file system " + rootfs +
                             "; scripts/make_rootfs.sh makes one");
  }
  container.runtime = runtime.empty() ? RuntimeBeside() : runtime;
  container.rootfs = rootfs;
  container.state_dir = data + "/containers";
  container.environment["__OW_API_HOST"] = api_host.empty() ? "http://" + listen : api_host;
  std::filesystem::create_directories(container.state_dir, error);
  if (error) return Status::FromErrno(error.value(), "make " + container.state_dir);
  // Not the same after a restart: the agents may still know the earlier ones.
  char epoch[20];
  std::snprintf(epoch, sizeof(epoch), "%llx", static_cast<unsigned long long>(std::time(nullptr)));
  gateway.engine.invoker.id_prefix = "wsk" + ShortHash(data) + "-" + epoch;
  gateway.remove_leftovers = [container] {
    return openwhisk::DestroyLeftContainers(container.runtime, container.state_dir);
  };
  return Status();
}

Status GatewayConfig::Fill() {
  F3_RETURN_IF_ERROR(CheckHostPort(listen).WithContext("listen"));
  F3_RETURN_IF_ERROR(FillNodes());
  if (data.empty()) return Status::BadConfig("data is missing");
  if (gateway.auth_file.empty()) gateway.auth_file = data + "/keys";
  F3_RETURN_IF_ERROR(FillPrewarm());
  F3_RETURN_IF_ERROR(FillContainers());
  size_t colon = listen.rfind(':');
  gateway.http.host = listen.substr(0, colon);
  gateway.http.port = std::stoi(listen.substr(colon + 1));
  gateway.http.threads = static_cast<int>(threads);
  gateway.data_dir = data + "/store";
  gateway.store.max_activations = max_activations;
  gateway.engine.invoker.max_queued = max_queued;
  return Status();
}

// Makes the file where it will be looked for.
Status AddKey(GatewayConfig* config) {
  std::string file = config->gateway.auth_file;
  if (file.empty()) {
    std::string data = config->data.empty() ? ClusterDir(config->dir) + "/gateway" : config->data;
    file = data + "/keys";
  }
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(file).parent_path(), error);
  if (error) return Status::FromErrno(error.value(), "make the directory of " + file);
  F3_ASSIGN_OR_RETURN(std::string key, openwhisk::AddNamespace(file, config->add_namespace));
  std::printf("%s\n", key.c_str());
  return Status();
}

Status Run(GatewayConfig* config) {
  F3_RETURN_IF_ERROR(LoadSettings(config->config_file, &config->settings));
  if (!config->add_namespace.empty()) return AddKey(config);
  F3_RETURN_IF_ERROR(config->Fill());
  F3_RETURN_IF_ERROR(InitLog("gateway", config->log_level, config->log));
  BlockStopSignals();
  F3_ASSIGN_OR_RETURN(auto gateway,
                      openwhisk::Gateway::Start(config->gateway, &openwhisk::Container::Create));
  spdlog::info("listening at {}:{}, {} nodes, data in {}", config->gateway.http.host,
               gateway->port(), config->gateway.engine.nodes.size(), config->data);
  WaitForStopSignal();
  spdlog::info("stopping");
  gateway->Stop();
  return Status();
}

}  // namespace

void AddGateway(CLI::App* app, int* exit_code) {
  auto config = std::make_shared<GatewayConfig>();
  CLI::App* command = app->add_subcommand(
      "gateway",
      "Serve OpenWhisk's REST API, running actions where their data is\n"
      "Actions, sequences, packages, activations and limits, for OpenWhisk's own clients; each "
      "node of the cluster runs containers. Serves until SIGTERM or SIGINT. In production Apache "
      "OpenWhisk does this job. Settings come from flags and from one TOML file, whose keys are "
      "the flags' names with underscores and whose nodes are [[node]] tables (name, agent_socket, "
      "sandboxes); flags win.");
  AddDirFlag(command, &config->dir);
  command->add_option("--config", config->config_file, "TOML file")->type_name("FILE");
  config->Declare();
  config->settings.AddFlags(command);
  command
      ->add_option("--node", config->node_flags,
                   "NAME=SOCKET[,SANDBOXES]: a node, its agent's socket and sandboxes directory; "
                   "can be repeated (default: the cluster's nodes)")
      ->type_name("NODE");
  command
      ->add_option("--add-namespace", config->add_namespace,
                   "Instead of serving, add a namespace to the keys file and print its key")
      ->type_name("NAME");
  AddExamples(command, {{"f3 gateway --add-namespace guest", "a key for OpenWhisk's clients"},
                        {"f3 up --nodes 3; f3 gateway", "serve at 127.0.0.1:3233"},
                        {"f3 gateway --prewarm python:3=1 --memory 4G",
                         "keep a Python container ready on each node"},
                        {"wsk --apihost http://127.0.0.1:3233 --auth KEY action list",
                         "what clients need"}});
  command->callback([config, exit_code] { *exit_code = Report("gateway", Run(config.get())); });
}

}  // namespace f3::cli
