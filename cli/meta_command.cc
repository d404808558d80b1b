// f3 meta: the metadata server as a daemon; backup and restore of its store.
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "cli/cluster.h"
#include "cli/commands.h"
#include "cli/control.h"
#include "cli/daemon.h"
#include "cli/daemon_config.h"
#include "common/log.h"
#include "metadata/kv_store.h"
#include "metadata/server.h"

namespace f3::cli {
namespace {

using nlohmann::json;

constexpr int64_t kBackupMicros = 600'000'000;

struct MetaOptions {
  std::string config_file;
  MetaConfig config;
  Settings settings;
};

Result<json> Answer(const json& request, const MetaConfig& config, meta::MetadataServer* server,
                    meta::KvStore* store) {
  std::string op = request["op"];
  if (op == "status") {
    return json{{"daemon", "meta"},
                {"address", server->address()},
                {"data", config.data},
                {"synced_sequence", store->synced_sequence()}};
  }
  if (op == "backup") {
    std::string file = request.value("file", "");
    if (file.empty() || file[0] != '/') {
      return Status::InvalidArgument("a backup goes to a file named by its absolute path");
    }
    F3_RETURN_IF_ERROR(store->Backup(file));
    return json{{"file", file}};
  }
  if (op == "stop") {
    WakeFromWait();
    return json{{"stopping", true}};
  }
  return Status::NotSupported("the metadata server does not know the request \"" + op + "\"");
}

Status Serve(MetaOptions* options) {
  MetaConfig& config = options->config;
  F3_RETURN_IF_ERROR(LoadSettings(options->config_file, &options->settings));
  F3_RETURN_IF_ERROR(config.Check());
  F3_RETURN_IF_ERROR(InitLog("meta", config.log_level, config.log));
  std::error_code error;
  if (config.create_secret && !std::filesystem::exists(config.secret, error)) {
    F3_RETURN_IF_ERROR(ClusterKey::CreateFile(config.secret));
  }
  F3_ASSIGN_OR_RETURN(ClusterKey key, ClusterKey::FromFile(config.secret));
  std::filesystem::create_directories(config.data, error);
  if (error) return Status::FromErrno(error.value(), "make " + config.data);
  BlockStopSignals();
  F3_ASSIGN_OR_RETURN(std::unique_ptr<meta::KvStore> store, meta::OpenLevelDbKvStore(config.data));
  // Lives as long as the server, which takes it over.
  meta::KvStore* raw_store = store.get();
  meta::MetadataServer::Options server_options;
  server_options.listen = config.listen;
  server_options.tls_cert_file = config.tls_cert;
  server_options.tls_key_file = config.tls_key;
  server_options.session_timeout_micros = config.session_timeout_micros;
  server_options.token_lifetime_micros = config.token_lifetime_micros;
  server_options.sync_interval_micros = config.sync_interval_micros;
  F3_ASSIGN_OR_RETURN(std::unique_ptr<meta::MetadataServer> server,
                      meta::MetadataServer::Start(server_options, key, std::move(store)));
  spdlog::info("listening at {}, data in {}", server->address(), config.data);
  std::unique_ptr<ControlThread> control;
  if (!config.control.empty()) {
    F3_ASSIGN_OR_RETURN(ControlListener listener, ControlListener::Listen(config.control));
    control = std::make_unique<ControlThread>(std::move(listener), [&](const json& request) {
      return Answer(request, config, server.get(), raw_store);
    });
  }
  WaitForStopSignal();
  spdlog::info("stopping");
  control.reset();
  server->Stop();
  return Status();
}

Status Backup(const std::string& dir_flag, const std::string& control, const std::string& file) {
  std::string socket = control.empty() ? ClusterDir(dir_flag) + "/run/meta.sock" : control;
  std::error_code error;
  std::string path = std::filesystem::absolute(file, error).string();
  F3_RETURN_IF_ERROR(
      AskControl(socket, {{"op", "backup"}, {"file", path}}, kBackupMicros).status());
  std::printf("The metadata, as of one moment, is in %s.\n", path.c_str());
  return Status();
}

Status Restore(const std::string& dir_flag, const std::string& data_flag, const std::string& file) {
  std::string data = data_flag.empty() ? ClusterDir(dir_flag) + "/meta" : data_flag;
  if (AskControl(ClusterDir(dir_flag) + "/run/meta.sock", {{"op", "status"}}, 3'000'000).ok() &&
      data_flag.empty()) {
    return Status::Busy("the metadata server runs; `f3 down` first");
  }
  std::error_code error;
  if (!std::filesystem::exists(file, error)) return Status::NotFound("there is no file " + file);
  // Beside the old store, so that a failure leaves that as it was.
  std::string fresh = data + ".restored";
  std::string old = data + ".before-restore";
  if (std::filesystem::exists(old, error)) {
    return Status::Exists(old + " is left of an earlier restore; remove it or move it away");
  }
  std::filesystem::remove_all(fresh, error);
  std::filesystem::create_directories(fresh, error);
  if (error) return Status::FromErrno(error.value(), "make " + fresh);
  {
    F3_ASSIGN_OR_RETURN(std::unique_ptr<meta::KvStore> store, meta::OpenLevelDbKvStore(fresh));
    F3_RETURN_IF_ERROR(meta::RestoreBackup(store.get(), file));
    F3_RETURN_IF_ERROR(store->Sync().status());
  }
  bool had_store = std::filesystem::exists(data, error);
  if (had_store) std::filesystem::rename(data, old, error);
  if (!error) std::filesystem::rename(fresh, data, error);
  if (error) return Status::FromErrno(error.value(), "put the restored store at " + data);
  std::printf(
      "Restored to %s.%s\nFiles written after the backup are gone from the namespace; "
      "`f3 fsck --repair` removes their blocks.\n",
      data.c_str(), had_store ? (" What was there is in " + old + ".").c_str() : "");
  return Status();
}

}  // namespace

void AddMeta(CLI::App* app, int* exit_code) {
  auto options = std::make_shared<MetaOptions>();
  CLI::App* command = app->add_subcommand(
      "meta",
      "Run the metadata server, or back up and restore its store\n"
      "Without a subcommand it serves until SIGTERM or SIGINT. Settings come from flags and from "
      "one "
      "TOML file, whose keys are the flags' names with underscores; flags win.");
  command->add_option("--config", options->config_file, "TOML file")->type_name("FILE");
  options->config.Declare(&options->settings);
  options->settings.AddFlags(command);
  AddExamples(command,
              {{"f3 meta --listen 10.0.0.1:7600 --data /var/lib/f3/meta --secret /etc/f3/secret",
                "serve; the agents of all nodes connect to it"},
               {"f3 meta --config /etc/f3/meta.toml", "the same from a file"},
               {"f3 meta backup /backup/meta.f3", "while the server runs"},
               {"f3 down; f3 meta restore /backup/meta.f3; f3 up", "go back to a backup"}});
  command->callback([command, options, exit_code] {
    if (!command->get_subcommands().empty()) return;
    *exit_code = Report("meta", Serve(options.get()));
  });

  struct StoreOptions {
    std::string dir, control, data, file;
  };
  auto store = std::make_shared<StoreOptions>();
  CLI::App* backup = command->add_subcommand("backup", "Write the metadata to a file");
  AddDirFlag(backup, &store->dir);
  backup->add_option("--control", store->control, "The server's control socket, instead of --dir");
  backup->add_option("FILE", store->file, "A new file")->required();
  AddExamples(backup,
              {{"f3 meta backup /backup/meta.f3", "all names and locations, no file content"}});
  backup->callback([store, exit_code] {
    *exit_code = Report("meta backup", Backup(store->dir, store->control, store->file));
  });
  CLI::App* restore = command->add_subcommand("restore", "Replace the metadata by a backup's");
  AddDirFlag(restore, &store->dir);
  restore->add_option("--data", store->data, "The store's directory, instead of --dir");
  restore->add_option("FILE", store->file, "Written by `f3 meta backup`")->required();
  AddExamples(restore, {{"f3 meta restore /backup/meta.f3", "the server must not be running"}});
  restore->callback([store, exit_code] {
    *exit_code = Report("meta restore", Restore(store->dir, store->data, store->file));
  });
}

}  // namespace f3::cli
