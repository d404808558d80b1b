// f3 attach and f3 detach: F3 in a container, by hand or from a platform's scripts.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/cluster.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "openwhisk_plugin/agent_client.h"

namespace f3::cli {
namespace {

using nlohmann::json;

constexpr const char kOneMount[] = R"({"f3-mounts":[{}]})";

struct Where {
  std::string dir;
  std::string node;
  std::string socket;
};

// --socket, else the agent of --node (or of the first node) of the cluster at --dir.
Result<std::string> FindAgent(const Where& where) {
  if (!where.socket.empty()) return where.socket;
  F3_ASSIGN_OR_RETURN(ClusterLayout layout, ClusterLayout::Load(ClusterDir(where.dir)));
  const ClusterNode* node = where.node.empty() ? &layout.nodes.front() : layout.Find(where.node);
  if (node == nullptr) {
    return Status::NotFound("the cluster at " + layout.dir + " has no node \"" + where.node + "\"");
  }
  return layout.agent_socket(*node);
}

struct AttachArgs {
  Where where;
  std::string container, name_space, action, activation, workflow;
  std::string annotations = kOneMount;
  int pid = 0;
  bool json = false;
};

Status Attach(const AttachArgs& args) {
  F3_ASSIGN_OR_RETURN(std::string socket, FindAgent(args.where));
  openwhisk::AttachRequest request;
  request.set_container(args.container);
  request.set_namespace_(args.name_space);
  request.set_action(args.action);
  request.set_activation(args.activation);
  request.set_workflow(args.workflow);
  request.set_annotations(args.annotations);
  request.set_pid(args.pid);
  openwhisk::AttachReply reply;
  grpc::ClientContext context;
  openwhisk::PrepareCall(&context);
  F3_RETURN_IF_ERROR(openwhisk::FromGrpc(
      openwhisk::ConnectAgent(socket)->Attach(&context, request, &reply), socket));
  if (args.json) {
    json out = {{"container", args.container},
                {"xdt_socket", reply.xdt_socket()},
                {"micros", reply.micros()},
                {"mounts", json::array()}};
    for (const auto& mount : reply.mounts()) {
      out["mounts"].push_back(
          {{"path", mount.path()}, {"volume", mount.volume()}, {"read_only", mount.read_only()}});
    }
    std::printf("%s\n", out.dump(2).c_str());
    return Status();
  }
  Table table({"in the container", "volume", "mode"});
  for (const auto& mount : reply.mounts()) {
    table.Add({mount.path(), mount.volume(), mount.read_only() ? "ro" : "rw"});
  }
  table.Add({reply.xdt_socket(), "", "XDT"});
  std::printf("%s", table.ToString().c_str());
  return Status();
}

Status Detach(const Where& where, const std::string& container, bool as_json) {
  F3_ASSIGN_OR_RETURN(std::string socket, FindAgent(where));
  openwhisk::DetachRequest request;
  request.set_container(container);
  openwhisk::DetachReply reply;
  grpc::ClientContext context;
  openwhisk::PrepareCall(&context);
  F3_RETURN_IF_ERROR(openwhisk::FromGrpc(
      openwhisk::ConnectAgent(socket)->Detach(&context, request, &reply), socket));
  if (as_json) {
    std::printf("%s\n", json({{"container", container}}).dump(2).c_str());
  } else {
    std::printf("%s has nothing of F3 any more.\n", container.c_str());
  }
  return Status();
}

void AddWhere(CLI::App* command, Where* where) {
  AddDirFlag(command, &where->dir);
  command->add_option("--node", where->node, "The node of that cluster (default: its first)")
      ->type_name("NAME");
  command->add_option("--socket", where->socket, "An agent's socket, in place of --dir and --node")
      ->type_name("FILE");
}

}  // namespace

void AddAttach(CLI::App* app, int* exit_code) {
  auto args = std::make_shared<AttachArgs>();
  CLI::App* command = app->add_subcommand(
      "attach",
      "Give a container its mounts and its XDT socket\n"
      "The container may run or be paused; nothing in it takes part. One that does not exist yet "
      "is "
      "prepared, for f3-runc to mount when it creates it. Repeating it changes nothing.");
  AddWhere(command, &args->where);
  command->add_option("--container", args->container, "Id of docker or runc")
      ->type_name("ID")
      ->required();
  command->add_option("--namespace", args->name_space, "Whose files it sees")
      ->type_name("NS")
      ->required();
  command->add_option("--action", args->action, "NAME or PACKAGE/NAME")->type_name("ACTION");
  command->add_option("--activation", args->activation, "Id of the next activation")
      ->type_name("ID");
  command
      ->add_option("--workflow", args->workflow,
                   "Id of the workflow it belongs to (default: the activation)")
      ->type_name("ID");
  command
      ->add_option("--annotations", args->annotations,
                   std::string("f3-mounts and f3-hints as one JSON object (default: ") + kOneMount +
                       ", the volume default at /mnt/f3)")
      ->type_name("JSON");
  command
      ->add_option("--pid", args->pid,
                   "Process id of its init on this host (default: found by the id)")
      ->type_name("PID");
  AddJsonFlag(command, &args->json);
  AddExamples(
      command,
      {{"f3 attach --container $(docker ps -lq --no-trunc) --namespace guest", "/mnt/f3 appears"},
       {"f3 attach --container w1 --namespace guest --action resize \\\n"
        "      --annotations '{\"f3-mounts\":[{\"path\":\"/data\",\"mode\":\"ro\"}]}'",
        "read-only at /data"}});
  command->callback([args, exit_code] { *exit_code = Report("attach", Attach(*args)); });
}

void AddDetach(CLI::App* app, int* exit_code) {
  struct Args {
    Where where;
    std::string container;
    bool json = false;
  };
  auto args = std::make_shared<Args>();
  CLI::App* command =
      app->add_subcommand("detach",
                          "Take a container's mounts and its XDT socket away\n"
                          "Works for one that has ended or was never attached. What it has open "
                          "there stays usable until it closes it.");
  AddWhere(command, &args->where);
  command->add_option("--container", args->container, "As for attach")->type_name("ID")->required();
  AddJsonFlag(command, &args->json);
  AddExamples(command, {{"f3 detach --container w1", "nothing of F3 is left in it"}});
  command->callback([args, exit_code] {
    *exit_code = Report("detach", Detach(args->where, args->container, args->json));
  });
}

}  // namespace f3::cli
