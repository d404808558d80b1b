#include "cli/inspect.h"

#include <sys/stat.h>

#include <filesystem>
#include <utility>

#include "cli/agent_control.h"
#include "cli/call_meta.h"
#include "cli/control.h"
#include "cli/daemon_config.h"
#include "cli/lifecycle.h"
#include "cli/mounts.h"

namespace f3::cli {
namespace {

using nlohmann::json;

constexpr int64_t kAskMicros = 3'000'000;

std::string JoinPath(const std::string& a, const std::string& b) {
  if (a.empty() || b.empty()) return a + b;
  return a + "/" + b;
}

// Where the agent's configuration says that the mount's content comes from.
struct Origin {
  std::string server, secret, tls_ca, volume, subtree;
};

Result<Origin> FindOrigin(const PathLocation& location) {
  std::filesystem::path control(location.control);
  std::error_code error;
  if (std::filesystem::is_symlink(control, error)) {
    control = std::filesystem::read_symlink(control, error);
  }
  NodeConfig config;
  Settings settings;
  config.Declare(&settings);
  std::string file = std::filesystem::path(control).replace_extension(".toml").string();
  if (std::filesystem::exists(file, error) && settings.ApplyTomlFile(file).ok()) {
    for (const auto& mount : config.agent.mounts) {
      if (mount.dir != location.mount) continue;
      return Origin{config.agent.metadata_server, config.secret, config.agent.tls_ca_file,
                    mount.volume, mount.subtree};
    }
  }
  F3_ASSIGN_OR_RETURN(json status, AskControl(control.string(), {{"op", "status"}}, kAskMicros));
  for (const auto& mount : status.value("mounts", json::array())) {
    if (mount.value("dir", "") != location.mount) continue;
    return Origin{status.value("metadata_server", ""), "", "", mount.value("volume", ""),
                  mount.value("subtree", "")};
  }
  return Status::NotFound("the agent at " + control.string() + " does not know the mount " +
                          location.mount);
}

}  // namespace

std::string_view Name(meta::FileClass file_class) {
  if (file_class == meta::CLASS_EPHEMERAL) return "ephemeral";
  return file_class == meta::CLASS_DURABLE ? "durable" : "inherited";
}

std::string_view Name(meta::FileState state) {
  switch (state) {
    case meta::STATE_WRITING:
      return "writing";
    case meta::STATE_SEALED:
      return "sealed";
    case meta::STATE_LOST:
      return "lost";
    case meta::STATE_UNAVAILABLE:
      return "unavailable";
    default:
      return "";
  }
}

std::string_view Name(meta::Tier tier) {
  return tier == meta::TIER_MEMORY ? "memory" : tier == meta::TIER_DISK ? "disk" : "";
}

std::string FileType(uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return "file";
    case S_IFDIR:
      return "directory";
    case S_IFLNK:
      return "symlink";
    case S_IFIFO:
      return "fifo";
    case S_IFSOCK:
      return "socket";
    case S_IFBLK:
      return "block device";
    case S_IFCHR:
      return "character device";
    default:
      return "unknown";
  }
}

json ClusterStatus(const ClusterLayout& layout) {
  json out = {{"dir", layout.dir},
              {"id", layout.id},
              {"network", layout.bridge.empty() ? "loopback" : "namespaces"}};
  json daemons = json::object();
  auto supervisor = AskControl(layout.run("supervise.sock"), {{"op", "status"}}, kAskMicros);
  out["supervisor"] = {{"up", supervisor.ok()}};
  if (supervisor.ok()) {
    out["supervisor"]["pid"] = supervisor->value("pid", 0);
    for (auto& daemon : (*supervisor)["daemons"]) daemons[daemon.value("name", "")] = daemon;
  }
  auto meta = AskControl(layout.run("meta.sock"), {{"op", "status"}}, kAskMicros);
  json meta_daemon = daemons.value("meta", json::object());
  out["metadata"] = {{"address", layout.metadata},
                     {"up", meta.ok()},
                     {"pid", meta_daemon.value("pid", 0)},
                     {"restarts", meta_daemon.value("restarts", 0)}};
  bool healthy = supervisor.ok() && meta.ok();
  out["nodes"] = json::array();
  for (const auto& node : layout.nodes) {
    json daemon = daemons.value(node.name, json::object());
    json entry = {{"name", node.name},
                  {"address", node.address},
                  {"mount", layout.mount(node)},
                  {"state", daemon.value("state", supervisor.ok() ? "" : "unsupervised")},
                  {"pid", daemon.value("pid", 0)},
                  {"restarts", daemon.value("restarts", 0)},
                  {"last_end", daemon.value("last_end", "")}};
    auto agent = AskControl(layout.run(node.name + ".sock"), {{"op", "status"}}, kAskMicros);
    entry["up"] = agent.ok();
    if (agent.ok()) {
      entry["agent"] = *agent;
      entry["usage"] = agent->value("usage", json::object());
    } else {
      entry["problem"] = agent.status().message();
    }
    bool mounted = IsF3(MountAt(layout.mount(node)));
    bool usable = mounted && agent.ok() && Answers(layout.mount(node), kAskMicros);
    entry["mounted"] = mounted;
    entry["usable"] = usable;
    healthy = healthy && usable;
    out["nodes"].push_back(std::move(entry));
  }
  out["healthy"] = healthy;
  return out;
}

Result<json> ServerStatus(const Target& target) {
  F3_ASSIGN_OR_RETURN(auto client, target.Connect());
  meta::Request request;
  request.mutable_list_nodes();
  F3_ASSIGN_OR_RETURN(meta::Reply reply, CallMeta(client.get(), request));
  json out = {{"metadata", {{"address", target.server}, {"up", true}}}, {"nodes", json::array()}};
  bool healthy = true;
  for (const auto& node : reply.nodes()) {
    healthy = healthy && node.up();
    out["nodes"].push_back({{"name", node.name()},
                            {"id", node.id()},
                            {"up", node.up()},
                            {"address", node.fabric_address()},
                            {"epoch", node.epoch()},
                            {"last_seen_ns", node.last_seen_ns()},
                            {"usage", UsageJson(node.usage())}});
  }
  out["healthy"] = healthy;
  return out;
}

Result<Subject> ResolvePath(const std::string& path, const Target& target) {
  Subject subject;
  F3_ASSIGN_OR_RETURN(subject.location, LocatePath(path));
  F3_ASSIGN_OR_RETURN(Origin origin, FindOrigin(subject.location));
  Target server = target;
  server.dir.clear();
  if (server.server.empty()) server.server = origin.server;
  if (server.secret.empty()) server.secret = origin.secret;
  if (server.tls_ca.empty()) server.tls_ca = origin.tls_ca;
  F3_ASSIGN_OR_RETURN(subject.client, server.Connect());
  subject.volume = origin.volume;
  subject.inside = JoinPath(origin.subtree, subject.location.inside);
  meta::Request request;
  request.mutable_resolve()->set_volume(subject.volume);
  request.mutable_resolve()->set_path(subject.inside);
  auto reply = CallMeta(subject.client.get(), request);
  if (!reply.ok()) return reply.status().WithContext(path);
  subject.attr = reply->entry().attr();
  return subject;
}

}  // namespace f3::cli
