#include "cli/cluster.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "cli/settings.h"
#include "common/small_file.h"

namespace f3::cli {
namespace {

uint64_t Fnv1a(const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (unsigned char c : text) hash = (hash ^ c) * 0x100000001b3ull;
  return hash;
}

// A TOML basic string.
std::string Quote(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out.push_back('\\');
    out.push_back(c);
  }
  return out + "\"";
}

std::string QuoteAll(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts) out += (out.empty() ? "" : ", ") + Quote(text);
  return "[" + out + "]";
}

}  // namespace

std::string ShortHash(const std::string& text) {
  char out[8];
  std::snprintf(out, sizeof(out), "%06llx",
                static_cast<unsigned long long>(Fnv1a(text) >> 20 & 0xffffff));
  return out;
}

const ClusterNode* ClusterLayout::Find(const std::string& name) const {
  for (const auto& node : nodes) {
    if (node.name == name) return &node;
  }
  return nullptr;
}

std::string ClusterLayout::ToToml() const {
  std::string out =
      "# Written by `f3 up`; read by the other commands. Changing it changes nothing that runs.\n";
  out += "id = " + Quote(id) + "\n";
  out += "metadata = " + Quote(metadata) + "\n";
  out += "bridge = " + Quote(bridge) + "\n";
  out += std::string("passthrough = ") + (passthrough ? "true" : "false") + "\n";
  out += "memory = " + std::to_string(memory_bytes) + "\n";
  out += "disk = " + std::to_string(disk_bytes) + "\n";
  out += "delay_us = " + std::to_string(delay_micros) + "\n";
  out += "openwhisk_allow = " + QuoteAll(openwhisk_allow) + "\n";
  for (const auto& node : nodes) {
    out += "\n[[node]]\nname = " + Quote(node.name) + "\naddress = " + Quote(node.address) +
           "\nnetns = " + Quote(node.netns) + "\nlink = " + Quote(node.link) + "\n";
  }
  return out;
}

Result<ClusterLayout> ClusterLayout::FromToml(const std::string& text, const std::string& origin) {
  constexpr uint64_t kAny = 1ull << 62;
  ClusterLayout layout;
  uint64_t delay = 0;
  Settings node_settings;
  Settings settings;
  settings.Text("id", &layout.id, "");
  settings.Text("metadata", &layout.metadata, "");
  settings.Text("bridge", &layout.bridge, "");
  settings.Flag("passthrough", &layout.passthrough, "");
  settings.Number("memory", &layout.memory_bytes, 0, kAny, "");
  settings.Number("disk", &layout.disk_bytes, 0, kAny, "");
  settings.Number("delay_us", &delay, 0, kAny, "");
  settings.Texts("openwhisk_allow", &layout.openwhisk_allow, "");
  settings.Tables("node", [&]() {
    // References into the vector last until the next element, as the contract says.
    layout.nodes.emplace_back();
    ClusterNode* node = &layout.nodes.back();
    node_settings = Settings();
    node_settings.Text("name", &node->name, "");
    node_settings.Text("address", &node->address, "");
    node_settings.Text("netns", &node->netns, "");
    node_settings.Text("link", &node->link, "");
    return &node_settings;
  });
  F3_RETURN_IF_ERROR(settings.ApplyToml(text, origin));
  layout.delay_micros = static_cast<int64_t>(delay);
  if (layout.id.empty() || layout.nodes.empty()) {
    return Status::BadConfig(origin + " is not complete; run `f3 destroy` and `f3 up` again");
  }
  return layout;
}

Result<ClusterLayout> ClusterLayout::Load(const std::string& dir) {
  std::string path = dir + "/run/cluster.toml";
  auto text = ReadFile(path);
  if (!text.ok()) {
    return Status::NotFound("there is no cluster at " + dir + "; start one with `f3 up --dir " +
                            dir + "`, or name another directory with --dir or $F3_DIR");
  }
  F3_ASSIGN_OR_RETURN(ClusterLayout layout, FromToml(*text, path));
  layout.dir = dir;
  return layout;
}

Status ClusterLayout::Save() const { return WriteFile(run("cluster.toml"), ToToml()); }

Status ClusterLayout::WriteDaemonConfigs() const {
  std::string common = "secret = " + Quote(run("secret")) + "\nlog_level = \"info\"\n";
  F3_RETURN_IF_ERROR(WriteFile(run("meta.toml"), common + "listen = " + Quote(metadata) +
                                                     "\ndata = " + Quote(dir + "/meta") +
                                                     "\ncontrol = " + Quote(run("meta.sock")) +
                                                     "\n"));
  for (const auto& node : nodes) {
    std::string text = common;
    text += "name = " + Quote(node.name) + "\nmetadata = " + Quote(metadata) +
            "\nbind = " + Quote(node.address) + "\nstate = " + Quote(state(node)) +
            "\nmemory_dir = " + Quote(memory(node)) + "\nmemory = " + std::to_string(memory_bytes) +
            "\ndurable = " + Quote(dir + "/durable") +
            "\ncontrol = " + Quote(run(node.name + ".sock")) +
            "\nagent_socket = " + Quote(agent_socket(node)) +
            "\nsandboxes = " + Quote(sandboxes(node)) + "\n";
    if (!openwhisk_allow.empty()) text += "openwhisk_allow = " + QuoteAll(openwhisk_allow) + "\n";
    if (disk_bytes > 0) text += "disk = " + std::to_string(disk_bytes) + "\n";
    if (delay_micros > 0) text += "delay = \"" + std::to_string(delay_micros) + "us\"\n";
    text += "\n[[mount]]\nvolume = \"default\"\ndir = " + Quote(mount(node)) +
            "\npassthrough = " + (passthrough ? "true" : "false") + "\n";
    F3_RETURN_IF_ERROR(WriteFile(run(node.name + ".toml"), text));
  }
  return Status();
}

ClusterLayout PlanCluster(const std::string& dir, int nodes, bool namespaces) {
  ClusterLayout layout;
  layout.dir = dir;
  layout.id = ShortHash(dir);
  if (namespaces) layout.bridge = "f3b" + layout.id;
  for (int i = 1; i <= nodes; ++i) {
    ClusterNode node;
    node.name = "n" + std::to_string(i);
    if (namespaces) {
      node.netns = "f3-" + layout.id + "-" + node.name;
      node.link = "f3" + layout.id + "v" + std::to_string(i);
    }
    layout.nodes.push_back(node);
  }
  return layout;
}

std::string ClusterDir(const std::string& flag) {
  const char* environment = std::getenv("F3_DIR");
  std::string dir = !flag.empty() ? flag : environment != nullptr ? environment : "/var/lib/f3";
  std::error_code error;
  std::filesystem::path path = std::filesystem::weakly_canonical(dir, error);
  if (error) path = std::filesystem::absolute(dir, error).lexically_normal();
  std::string text = path.string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

}  // namespace f3::cli
