// f3 volume: create and list volumes.
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "cli/call_meta.h"
#include "cli/commands.h"
#include "cli/target.h"

namespace f3::cli {
namespace {

Status Create(const Target& target, const std::string& name, uint32_t uid, uint32_t gid) {
  if (name.empty() || name.find('/') != std::string::npos) {
    return Status::InvalidArgument("a volume's name is not empty and has no slash");
  }
  F3_ASSIGN_OR_RETURN(auto client, target.Connect());
  meta::Request request;
  auto* op = request.mutable_create_volume();
  op->set_name(name);
  op->set_mode(S_IFDIR | 0755);
  op->set_uid(uid);
  op->set_gid(gid);
  F3_RETURN_IF_ERROR(CallMeta(client.get(), request).status());
  std::printf("Volume %s is there; mount it with `f3 mount HOST:PORT/%s DIR`.\n", name.c_str(),
              name.c_str());
  return Status();
}

Status List(const Target& target, bool as_json) {
  F3_ASSIGN_OR_RETURN(auto client, target.Connect());
  meta::Request request;
  request.mutable_list_volumes();
  F3_ASSIGN_OR_RETURN(meta::Reply reply, CallMeta(client.get(), request));
  nlohmann::json names = nlohmann::json::array();
  for (const auto& name : reply.names()) {
    names.push_back(name);
    if (!as_json) std::printf("%s\n", name.c_str());
  }
  if (as_json) std::printf("%s\n", names.dump().c_str());
  return Status();
}

}  // namespace

void AddVolume(CLI::App* app, int* exit_code) {
  struct Options {
    Target target;
    std::string name;
    uint32_t uid = 0, gid = 0;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app->add_subcommand(
      "volume",
      "Create and list volumes\nA volume is a tree of its own: no name of one is reachable "
      "from another. The first is called default.");
  command->require_subcommand(1);
  AddExamples(command,
              {{"f3 volume create team-a", "a new, empty volume"}, {"f3 volume list", ""}});
  CLI::App* create = command->add_subcommand("create", "Create a volume");
  options->target.AddFlags(create);
  create->add_option("NAME", options->name, "Its name")->required();
  create->add_option("--uid", options->uid, "Owner of its root directory (default: 0)");
  create->add_option("--gid", options->gid, "Group of its root directory (default: 0)");
  AddExamples(create, {{"f3 volume create team-a --uid 1000", "owned by user 1000"}});
  create->callback([options, exit_code] {
    *exit_code =
        Report("volume create", Create(options->target, options->name, options->uid, options->gid));
  });
  CLI::App* list = command->add_subcommand("list", "List volumes");
  options->target.AddFlags(list);
  AddJsonFlag(list, &options->json);
  AddExamples(list, {{"f3 volume list --dir /tmp/f3", "one name a line"}});
  list->callback([options, exit_code] {
    *exit_code = Report("volume list", List(options->target, options->json));
  });
}

}  // namespace f3::cli
