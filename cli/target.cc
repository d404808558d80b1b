#include "cli/target.h"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "cli/commands.h"
#include "cli/mounts.h"
#include "common/cluster_key.h"

namespace f3::cli {
namespace {
constexpr int64_t kCallMicros = 8'000'000;
}  // namespace

void Target::AddFlags(CLI::App* command) {
  AddDirFlag(command, &dir);
  command->add_option("--server", server, "The metadata server, when it is not of `f3 up`")
      ->type_name("HOST:PORT");
  command->add_option("--secret", secret, "File with the cluster's secret, with --server")
      ->type_name("FILE");
  command->add_option("--tls-ca", tls_ca, "Certificate authority of the server, with --server")
      ->type_name("FILE");
}

Result<ClusterLayout> Target::Layout() const {
  if (!server.empty()) return Status::NotFound("a cluster named by --server has no directory");
  return ClusterLayout::Load(ClusterDir(dir));
}

Result<std::unique_ptr<meta::MetaClient>> Target::Connect() const {
  meta::MetaClient::Options options;
  options.server = server;
  options.tls_ca_file = tls_ca;
  options.call_timeout_micros = kCallMicros;
  std::string secret_file = secret.empty() ? "/etc/f3/secret" : secret;
  if (server.empty()) {
    F3_ASSIGN_OR_RETURN(ClusterLayout layout, Layout());
    options.server = layout.metadata;
    if (secret.empty()) secret_file = layout.run("secret");
  }
  F3_ASSIGN_OR_RETURN(ClusterKey key, ClusterKey::FromFile(secret_file));
  return meta::MetaClient::Connect(options, key, nullptr);
}

std::string MountRunDir(const std::string& mount_point) {
  return "/run/f3/" + ShortHash(mount_point);
}

Result<PathLocation> LocatePath(const std::string& path) {
  std::error_code error;
  // Lexically only: resolving links would look into a mount that may be sick.
  std::filesystem::path absolute = std::filesystem::absolute(path, error).lexically_normal();
  PathLocation location;
  location.path = absolute.string();
  while (location.path.size() > 1 && location.path.back() == '/') location.path.pop_back();
  MountEntry mount = F3MountOf(location.path);
  if (mount.dir.empty()) {
    return Status::NotFound(path + " is in no F3 mount; `f3 status` lists them");
  }
  location.mount = mount.dir;
  location.inside = location.path == mount.dir ? "" : location.path.substr(mount.dir.size() + 1);
  std::filesystem::path dir(mount.dir);
  std::string of_cluster =
      (dir.parent_path() / "run" / (dir.filename().string() + ".sock")).string();
  location.control = std::filesystem::exists(of_cluster, error)
                         ? of_cluster
                         : MountRunDir(mount.dir) + "/node.sock";
  return location;
}

}  // namespace f3::cli
