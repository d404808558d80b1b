#include "cli/agent_control.h"

#include <algorithm>

namespace f3::cli {
namespace {

using nlohmann::json;

const char* Name(storage::Role role) {
  switch (role) {
    case storage::Role::kHome:
      return "home";
    case storage::Role::kStaging:
      return "staging";
    case storage::Role::kCopy:
      return "copy";
    default:
      return "filling";
  }
}

json XdtJson(const xdt::Broker::Counters& counters) {
  return {{"objects", counters.objects},
          {"connections", counters.connections},
          {"puts", counters.puts},
          {"gets", counters.gets},
          {"pulls", counters.pulls},
          {"refused", counters.refused},
          {"put_bytes", counters.put_bytes},
          {"got_bytes", counters.got_bytes},
          {"pulled_bytes", counters.pulled_bytes},
          {"served_bytes", counters.served_bytes},
          {"spilled_bytes", counters.spilled_bytes}};
}

json AgentStatus(fs::NodeAgent* agent, const std::string& metadata_server) {
  json out = {{"metadata_server", metadata_server},
              {"connected", agent->connected()},
              {"usage", UsageJson(agent->Usage())},
              {"upcalls", agent->Requests()},
              {"xdt", XdtJson(agent->XdtCounters())},
              {"mounts", json::array()},
              {"memory", json::array()}};
  for (const fs::MountOptions& mount : agent->Mounts()) {
    out["mounts"].push_back({{"dir", mount.dir},
                             {"volume", mount.volume},
                             {"subtree", mount.subtree},
                             {"read_only", mount.read_only},
                             {"passthrough", agent->Passthrough(mount.dir)}});
  }
  for (const storage::MemoryLedger::Line& line : agent->Memory()) {
    out["memory"].push_back({{"owner", line.owner},
                             {"granted_bytes", line.granted_bytes},
                             {"used_bytes", line.used_bytes}});
  }
  return out;
}

Result<json> VerifyObjects(fs::NodeAgent* agent, bool repair) {
  F3_ASSIGN_OR_RETURN(std::vector<std::string> problems, agent->Verify(repair));
  json out = {{"objects", agent->Usage().objects()}, {"problems", problems}};
  // A second look tells what the repair left.
  if (repair && !problems.empty()) {
    F3_ASSIGN_OR_RETURN(std::vector<std::string> left, agent->Verify(false));
    json repaired = json::array();
    for (const auto& problem : problems) {
      if (std::find(left.begin(), left.end(), problem) == left.end()) repaired.push_back(problem);
    }
    out["problems"] = left;
    out["repaired"] = repaired;
  }
  return out;
}

Result<json> DescribeObject(fs::NodeAgent* agent, const json& request) {
  const ObjectKey key = {request.value("ino", Ino{0}),
                         request.value("incarnation", Incarnation{0})};
  F3_ASSIGN_OR_RETURN(storage::ObjectInfo info, agent->FindObject(key));
  return json{{"role", Name(info.role)},
              {"tier", info.tier == storage::TierKind::kMemory ? "memory" : "disk"},
              {"version", info.version},
              {"size", info.size},
              {"allocated_bytes", info.allocated_bytes},
              {"writing", info.writing}};
}

// Opens or closes the socket of one sandbox.
Result<json> ChangeXdtSocket(fs::NodeAgent* agent, const json& request, bool open) {
  const std::string path = request.at("path");
  if (!open) {
    F3_RETURN_IF_ERROR(agent->CloseXdtSocket(path));
    return json{{"path", path}};
  }
  const xdt::Scope scope = {request.at("namespace"), request.value("action", "")};
  F3_RETURN_IF_ERROR(agent->OpenXdtSocket(path, scope, request.value("mode", mode_t{0600}),
                                          request.value("limit_bytes", uint64_t{0})));
  return json{{"path", path}};
}

}  // namespace

json UsageJson(const meta::NodeUsage& usage) {
  return {{"memory_used", usage.memory_used()},
          {"memory_capacity", usage.memory_capacity()},
          {"disk_used", usage.disk_used()},
          {"disk_capacity", usage.disk_capacity()},
          {"objects", usage.objects()},
          {"buffer_used", usage.buffer_used()},
          {"buffer_capacity", usage.buffer_capacity()},
          {"pulled_bytes", usage.pulled_bytes()},
          {"served_bytes", usage.served_bytes()},
          {"local_bytes", usage.local_bytes()},
          {"durable_read_bytes", usage.durable_read_bytes()},
          {"durable_written_bytes", usage.durable_written_bytes()}};
}

Result<json> AnswerAgentControl(fs::NodeAgent* agent, const std::string& metadata_server,
                                const json& request) {
  const std::string op = request.at("op");
  if (op == "status") return AgentStatus(agent, metadata_server);
  if (op == "verify") return VerifyObjects(agent, request.value("repair", false));
  if (op == "xdt_open") return ChangeXdtSocket(agent, request, true);
  if (op == "xdt_close") return ChangeXdtSocket(agent, request, false);
  if (op == "stat") return DescribeObject(agent, request);
  return Status::InvalidArgument("a node agent knows no operation \"" + op + "\"");
}

}  // namespace f3::cli
