// The configuration of the two daemons, from flags and a TOML file, checked before anything starts.
// Values; not thread-safe.
#ifndef F3_CLI_DAEMON_CONFIG_H_
#define F3_CLI_DAEMON_CONFIG_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cli/settings.h"
#include "common/status.h"
#include "fs_client/node_agent.h"

namespace f3::cli {

struct MetaConfig {
  std::string listen = "127.0.0.1:7600";
  std::string data;
  std::string secret;
  bool create_secret = false;
  std::string control;
  std::string log;
  std::string log_level = "info";
  std::string tls_cert, tls_key;
  int64_t session_timeout_micros = 15'000'000;
  int64_t token_lifetime_micros = 60'000'000;
  int64_t sync_interval_micros = 1'000'000;

  void Declare(Settings* settings);
  // BadConfig names what is missing or does not fit together.
  Status Check() const;
};

struct NodeConfig {
  fs::AgentOptions agent;
  std::string secret;
  std::string log;
  std::string log_level = "info";
  std::vector<std::string> mount_flags;  // "VOLUME[/SUBTREE]:DIR[:OPTIONS]"
  // OpenWhisk: the local API (openwhisk_plugin/agent_service.h); none without the socket.
  std::string agent_socket;
  std::string sandboxes;
  std::vector<std::string> openwhisk_allow;  // "NAMESPACE=VOLUME"

  // `settings` holds references to this object.
  void Declare(Settings* settings);
  // Adds the mounts of `mount_flags`, then checks. Creates nothing.
  Status Check();

 private:
  std::unique_ptr<Settings> mount_settings_;  // of the last [[mount]] table
};

// "a,b=c" to settings: a word is a flag ("ro"), "nodev" turns "dev" off. Words that mount(8) or
// fstab use and that mean nothing here are skipped; an unknown one is BadConfig with its name.
Status ApplyMountOptions(const std::string& list, fs::MountOptions* mount, Settings* others);

// What "HOST:PORT/VOLUME[/SUBTREE]" names.
struct MountSource {
  std::string server;
  std::string volume;
  std::string subtree;
};
Result<MountSource> ParseMountSource(const std::string& text);
// "VOLUME[/SUBTREE]" into a mount.
Status ParseVolume(const std::string& text, std::string* volume, std::string* subtree);
// OK for "HOST:PORT".
Status CheckHostPort(const std::string& text);

}  // namespace f3::cli

#endif  // F3_CLI_DAEMON_CONFIG_H_
