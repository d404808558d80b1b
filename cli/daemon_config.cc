#include "cli/daemon_config.h"

#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <utility>

#include "cli/xdt_socket.h"

namespace f3::cli {
namespace {

constexpr uint64_t kMiB = 1ull << 20;
constexpr uint64_t kHuge = 1ull << 60;
constexpr int64_t kSecond = 1'000'000;

// What mount(8), fstab and systemd write for every file system.
bool IsForOthers(const std::string& option) {
  static const std::set<std::string> kSkipped = {
      "defaults",   "auto",     "noauto",     "user",     "nouser",     "users",
      "_netdev",    "nofail",   "rw",         "exec",     "async",      "atime",
      "noatime",    "relatime", "norelatime", "diratime", "nodiratime", "nostrictatime",
      "nolazytime", "silent",   "loud",       "nomand"};
  return kSkipped.count(option) > 0 || option.rfind("x-", 0) == 0 || option.rfind("X-", 0) == 0 ||
         option.rfind("comment=", 0) == 0;
}

void DeclareMount(Settings* settings, fs::MountOptions* mount) {
  settings->Text("volume", &mount->volume, "");
  settings->Text("subtree", &mount->subtree, "");
  settings->Path("dir", &mount->dir, "");
  settings->Flag("read_only", &mount->read_only, "");
  settings->Flag("allow_other", &mount->allow_other, "");
  settings->Flag("dev", &mount->dev, "");
  settings->Flag("suid", &mount->suid, "");
  settings->Flag("passthrough", &mount->passthrough, "");
  settings->Choice(
      "class", {"ephemeral", "durable"},
      [mount](size_t i) {
        mount->file_class = i == 0 ? meta::CLASS_EPHEMERAL : meta::CLASS_DURABLE;
      },
      "");
  settings->Choice(
      "tier", {"memory", "disk"},
      [mount](size_t i) { mount->tier = i == 0 ? meta::TIER_MEMORY : meta::TIER_DISK; }, "");
  settings->Flag("follow", &mount->follow, "");
  settings->Number("ttl", &mount->ttl_s, 0, 10ull * 365 * 86400, "");
}

Status NeedFile(const char* key, const std::string& path) {
  if (path.empty()) return Status::BadConfig(std::string(key) + " is missing");
  return Status();
}

}  // namespace

Status CheckHostPort(const std::string& text) {
  size_t colon = text.rfind(':');
  std::string port = colon == std::string::npos ? "" : text.substr(colon + 1);
  bool digits = !port.empty() && port.size() <= 5 &&
                port.find_first_not_of("0123456789") == std::string::npos;
  if (colon == 0 || !digits || std::stoul(port) > 65535) {
    return Status::BadConfig("\"" + text + "\" is not HOST:PORT");
  }
  return Status();
}

void MetaConfig::Declare(Settings* settings) {
  settings->Text("listen", &listen, "HOST:PORT to listen at (default: 127.0.0.1:7600)");
  settings->Path("data", &data, "Directory of the metadata store; made when it is missing");
  settings->Path("secret", &secret, "File with the cluster's secret (mode 0600)");
  settings->Flag("create_secret", &create_secret, "Make the secret file when it is missing");
  settings->Path("control", &control, "Control socket");
  settings->Path("log", &log, "Log file (default: standard error)");
  settings->Choice(
      "log_level", {"trace", "debug", "info", "warn", "error"},
      [this](size_t i) {
        log_level = std::vector<std::string>{"trace", "debug", "info", "warn", "error"}[i];
      },
      "trace, debug, info, warn or error");
  settings->Path("tls_cert", &tls_cert, "Certificate chain for TLS (PEM)");
  settings->Path("tls_key", &tls_key, "Its private key (PEM)");
  settings->Micros("session_timeout", &session_timeout_micros, kSecond, 3600 * kSecond,
                   "A node that is silent for longer is taken to be gone (default: 15s)");
  settings->Micros("token_lifetime", &token_lifetime_micros, kSecond, 24 * 3600 * kSecond,
                   "Lifetime of data tokens (default: 60s)");
  settings->Micros("sync_interval", &sync_interval_micros, 1000, 60 * kSecond,
                   "How often buffered metadata is synced (default: 1s)");
}

Status MetaConfig::Check() const {
  F3_RETURN_IF_ERROR(CheckHostPort(listen).WithContext("listen"));
  F3_RETURN_IF_ERROR(NeedFile("data", data));
  F3_RETURN_IF_ERROR(NeedFile("secret", secret));
  if (tls_cert.empty() != tls_key.empty()) {
    return Status::BadConfig("tls_cert and tls_key go together; one of them is missing");
  }
  if (token_lifetime_micros < session_timeout_micros) {
    return Status::BadConfig("token_lifetime must not be shorter than session_timeout");
  }
  return Status();
}

void NodeConfig::Declare(Settings* settings) {
  settings->Text("name", &agent.name, "The node's name (default: the host's)");
  settings->Text("metadata", &agent.metadata_server, "HOST:PORT of the metadata server");
  settings->Path("secret", &secret, "File with the cluster's secret");
  settings->Path("tls_ca", &agent.tls_ca_file,
                 "Certificate authority of the metadata server (PEM)");
  settings->Path("state", &agent.state_dir, "Directory of the disk tier and the catalogue");
  settings->Path("memory_dir", &agent.memory_dir, "A tmpfs of its own, for the memory tier");
  settings->Bytes("memory", &agent.memory_bytes, kMiB, kHuge, "Size of that tmpfs");
  settings->Bytes("disk", &agent.disk_bytes, 64 * kMiB, kHuge,
                  "Most that the disk tier may hold (default: what its file system has)");
  settings->Path("durable", &agent.durable_dir,
                 "Directory of the durable store, seen by all nodes");
  settings->Text("bind", &agent.bind_address, "IP address that other nodes reach this one at");
  settings->Path("control", &agent.control_socket, "Control socket");
  settings->Text("provider", &agent.fabric_provider, "libfabric provider (default: tcp;ofi_rxm)");
  settings->Bytes("buffers", &agent.buffer_bytes, 8 * kMiB, 64ull << 30,
                  "Registered transfer buffers (default: 64M)");
  settings->Micros("delay", &agent.injected_delay_micros, 0, 10 * kSecond,
                   "Delay each transfer by this much, for experiments");
  settings->Path("xdt", &agent.xdt_socket,
                 "Socket that functions pass values through (default: beside the control socket, "
                 "NAME.xdt.sock for NAME.sock)");
  settings->Text("xdt_namespace", &agent.xdt_namespace,
                 "Namespace of those who use that socket (default: default)");
  settings->Bytes("xdt_memory", &agent.xdt_memory_bytes, kMiB, kHuge,
                  "Most memory of such values (default: 512M)");
  settings->Flag("xdt_spill", &agent.xdt_spill,
                 "Move such values to the disk tier's file system when memory is short, instead of "
                 "making their senders wait");
  settings->Path("agent_socket", &agent_socket,
                 "Socket of the API that brings F3 into containers: f3 attach, gateway, OpenWhisk");
  settings->Path("sandboxes", &sandboxes,
                 "Directory of the containers' mounts and sockets (default: STATE/sandboxes)");
  settings->Texts("openwhisk_allow", &openwhisk_allow,
                  "Volumes that namespaces may use besides `default` and their own, "
                  "NAMESPACE=VOLUME,…; * is every namespace");
  settings->Path("log", &log, "Log file (default: standard error)");
  settings->Choice(
      "log_level", {"trace", "debug", "info", "warn", "error"},
      [this](size_t i) {
        log_level = std::vector<std::string>{"trace", "debug", "info", "warn", "error"}[i];
      },
      "trace, debug, info, warn or error");
  settings->Tables("mount", [this] {
    agent.mounts.emplace_back();
    mount_settings_ = std::make_unique<Settings>();
    DeclareMount(mount_settings_.get(), &agent.mounts.back());
    return mount_settings_.get();
  });
}

Status NodeConfig::Check() {
  for (const auto& text : mount_flags) {
    size_t first = text.find(':');
    if (first == std::string::npos) {
      return Status::BadConfig("--mount " + text + " is not VOLUME[/SUBTREE]:DIR[:OPTIONS]");
    }
    size_t second = text.find(':', first + 1);
    fs::MountOptions mount;
    F3_RETURN_IF_ERROR(ParseVolume(text.substr(0, first), &mount.volume, &mount.subtree));
    mount.dir = text.substr(first + 1, second == std::string::npos ? second : second - first - 1);
    if (second != std::string::npos) {
      Settings none;
      F3_RETURN_IF_ERROR(ApplyMountOptions(text.substr(second + 1), &mount, &none));
    }
    agent.mounts.push_back(mount);
  }
  mount_flags.clear();
  if (agent.name.empty()) {
    char host[256] = {};
    ::gethostname(host, sizeof(host) - 1);
    agent.name = host;
  }
  if (agent.name.find_first_of(" /\t\n") != std::string::npos || agent.name.size() > 63) {
    return Status::BadConfig("name \"" + agent.name + "\" has blanks or slashes or is too long");
  }
  F3_RETURN_IF_ERROR(CheckHostPort(agent.metadata_server).WithContext("metadata"));
  F3_RETURN_IF_ERROR(NeedFile("secret", secret));
  F3_RETURN_IF_ERROR(NeedFile("state", agent.state_dir));
  F3_RETURN_IF_ERROR(NeedFile("durable", agent.durable_dir));
  F3_RETURN_IF_ERROR(NeedFile("bind", agent.bind_address));
  if (agent.xdt_socket.empty() && !agent.control_socket.empty()) {
    // Not where no socket's path may be that long: then there is none unless it is named.
    const std::string beside = XdtSocketBeside(agent.control_socket);
    if (beside.size() < sizeof(sockaddr_un::sun_path)) agent.xdt_socket = beside;
  }
  if (sandboxes.empty() && !agent_socket.empty()) sandboxes = agent.state_dir + "/sandboxes";
  if (agent.xdt_namespace.empty()) return Status::BadConfig("xdt_namespace is empty");
  std::set<std::string> dirs;
  for (const auto& mount : agent.mounts) {
    if (mount.dir.empty()) return Status::BadConfig("a mount has no dir");
    if (mount.dir[0] != '/')
      return Status::BadConfig("mount dir " + mount.dir + " is not absolute");
    if (!dirs.insert(mount.dir).second) {
      return Status::BadConfig("two mounts have the dir " + mount.dir);
    }
  }
  return Status();
}

Status ApplyMountOptions(const std::string& list, fs::MountOptions* mount, Settings* others) {
  Settings known;
  DeclareMount(&known, mount);
  size_t at = 0;
  while (at <= list.size()) {
    size_t comma = std::min(list.find(',', at), list.size());
    std::string word = list.substr(at, comma - at);
    at = comma + 1;
    if (word.empty() || IsForOthers(word)) continue;
    size_t equals = word.find('=');
    std::string key = word.substr(0, equals);
    std::string value = equals == std::string::npos ? "true" : word.substr(equals + 1);
    if (key == "ro") key = "read_only";
    if (key.rfind("no", 0) == 0 && equals == std::string::npos && known.Has(key.substr(2))) {
      key = key.substr(2);
      value = "false";
    }
    // These are positional, not options.
    bool is_mount = known.Has(key) && key != "volume" && key != "subtree" && key != "dir";
    if (!is_mount && !others->Has(key)) {
      std::vector<std::string> names = known.keys();
      for (const auto& other : others->keys()) names.push_back(other);
      std::string near = Nearest(key, names);
      return Status::BadConfig("the mount option \"" + word + "\" is unknown" +
                               (near.empty() ? "" : "; did you mean \"" + near + "\"?"));
    }
    F3_RETURN_IF_ERROR(is_mount ? known.Set(key, value) : others->Set(key, value));
  }
  return Status();
}

Status ParseVolume(const std::string& text, std::string* volume, std::string* subtree) {
  size_t slash = text.find('/');
  *volume = text.substr(0, slash);
  *subtree = slash == std::string::npos ? "" : text.substr(slash + 1);
  while (!subtree->empty() && subtree->back() == '/') subtree->pop_back();
  if (volume->empty()) return Status::BadConfig("\"" + text + "\" names no volume");
  for (const auto& part : std::filesystem::path(*subtree)) {
    if (part == "..") return Status::BadConfig("\"" + text + "\": a subtree has no \"..\"");
  }
  return Status();
}

Result<MountSource> ParseMountSource(const std::string& text) {
  size_t slash = text.find('/');
  if (slash == std::string::npos) {
    return Status::BadConfig("\"" + text + "\" is not HOST:PORT/VOLUME[/SUBTREE]");
  }
  MountSource source;
  source.server = text.substr(0, slash);
  F3_RETURN_IF_ERROR(CheckHostPort(source.server));
  F3_RETURN_IF_ERROR(ParseVolume(text.substr(slash + 1), &source.volume, &source.subtree));
  return source;
}

}  // namespace f3::cli
