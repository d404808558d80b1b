// f3 status and f3 top: nodes, tiers, use, health.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <thread>

#include "cli/commands.h"
#include "cli/inspect.h"
#include "cli/settings.h"
#include "cli/table.h"
#include "common/units.h"

namespace f3::cli {
namespace {

using nlohmann::json;

uint64_t Get(const json& usage, const char* key) {
  return usage.is_object() ? usage.value(key, uint64_t{0}) : 0;
}

std::string Health(const json& node) {
  if (node.contains("usable")) {
    if (node.value("usable", false)) return "usable";
    if (!node.value("up", false)) {
      std::string state = node.value("state", "");
      return "down" + (state.empty() || state == "running" ? "" : " (" + state + ")");
    }
    return node.value("mounted", false) ? "mount does not answer" : "not mounted";
  }
  return node.value("up", false) ? "up" : "down";
}

void Print(const json& status) {
  const json& metadata = status["metadata"];
  std::printf("Metadata server  %s  %s\n", metadata.value("address", "").c_str(),
              metadata.value("up", false) ? "up" : "DOWN");
  if (status.contains("supervisor") && !status["supervisor"].value("up", false)) {
    std::printf("Supervisor       not running; `f3 up --dir %s` starts it\n",
                status.value("dir", "").c_str());
  }
  Table table({"node", "state", "mount", "memory tier", "disk tier", "objects", "pulled", "served",
               "restarts"});
  for (const auto& node : status["nodes"]) {
    json usage = node.value("usage", json::object());
    uint64_t memory = Get(usage, "memory_capacity"), disk = Get(usage, "disk_capacity");
    table.Add(
        {node.value("name", ""), Health(node), node.value("mount", node.value("address", "")),
         memory == 0 ? "-" : Bar(Get(usage, "memory_used"), memory) + " of " + FormatBytes(memory),
         disk == 0 ? "-" : FormatBytes(Get(usage, "disk_used")) + " of " + FormatBytes(disk),
         std::to_string(Get(usage, "objects")), FormatBytes(Get(usage, "pulled_bytes")),
         FormatBytes(Get(usage, "served_bytes")), std::to_string(node.value("restarts", 0))});
  }
  std::printf(
      "\n%s\n%s\n", table.ToString().c_str(),
      status.value("healthy", false) ? "Healthy." : "NOT healthy; `f3 doctor` looks closer.");
}

Result<json> Gather(const Target& target) {
  if (!target.server.empty()) return ServerStatus(target);
  F3_ASSIGN_OR_RETURN(ClusterLayout layout, target.Layout());
  return ClusterStatus(layout);
}

Status ShowStatus(const Target& target, bool as_json) {
  F3_ASSIGN_OR_RETURN(json status, Gather(target));
  if (as_json) {
    std::printf("%s\n", status.dump(2).c_str());
  } else {
    Print(status);
  }
  return Status();
}

// Rates between two looks at the counters.
Status ShowTop(const Target& target, int64_t interval_micros, uint64_t rounds) {
  std::map<std::string, json> before;
  bool terminal = ::isatty(1) == 1;
  for (uint64_t round = 0; rounds == 0 || round <= rounds; ++round) {
    F3_ASSIGN_OR_RETURN(json status, Gather(target));
    Table table({"node", "state", "memory tier", "buffers", "pulled/s", "served/s", "local/s",
                 "durable read/s", "durable written/s"});
    for (const auto& node : status["nodes"]) {
      json usage = node.value("usage", json::object());
      json& last = before[node.value("name", "")];
      auto rate = [&](const char* key) {
        uint64_t now = Get(usage, key), then = Get(last, key);
        double seconds = static_cast<double>(interval_micros) / 1e6;
        return FormatBytes(
            now < then ? 0 : static_cast<uint64_t>(static_cast<double>(now - then) / seconds));
      };
      table.Add({node.value("name", ""), Health(node),
                 Bar(Get(usage, "memory_used"), Get(usage, "memory_capacity")),
                 Bar(Get(usage, "buffer_used"), Get(usage, "buffer_capacity")),
                 rate("pulled_bytes"), rate("served_bytes"), rate("local_bytes"),
                 rate("durable_read_bytes"), rate("durable_written_bytes")});
      last = usage;
    }
    if (round > 0) {
      std::printf("%s%s\n", terminal ? "\033[H\033[J" : "", table.ToString().c_str());
      std::fflush(stdout);
    }
    if (rounds == 0 || round < rounds) {
      std::this_thread::sleep_for(std::chrono::microseconds(interval_micros));
    }
  }
  return Status();
}

}  // namespace

void AddStatus(CLI::App* app, int* exit_code) {
  struct Options {
    Target target;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app->add_subcommand(
      "status",
      "Show nodes, tiers, use and health\n"
      "Asks the daemons' control sockets, so it answers while a mount does not. Counters are since "
      "each agent's start.");
  options->target.AddFlags(command);
  AddJsonFlag(command, &options->json);
  AddExamples(command, {{"f3 status --dir /tmp/f3", "a cluster of `f3 up`"},
                        {"f3 status --json | jq .healthy", "for scripts"},
                        {"f3 status --server 10.0.0.1:7600 --secret /etc/f3/secret",
                         "the nodes that a metadata server knows"}});
  command->callback([options, exit_code] {
    *exit_code = Report("status", ShowStatus(options->target, options->json));
  });
}

void AddTop(CLI::App* app, int* exit_code) {
  struct Options {
    Target target;
    Settings settings;
    int64_t interval_micros = 1'000'000;
    uint64_t rounds = 0;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app->add_subcommand("top", "Show what the nodes move, again and again");
  options->target.AddFlags(command);
  options->settings.Micros("interval", &options->interval_micros, 100'000, 3'600'000'000,
                           "Time between two looks (default: 1s)");
  options->settings.Number("rounds", &options->rounds, 1, 1'000'000, "End after so many");
  options->settings.AddFlags(command);
  AddExamples(command,
              {{"f3 top", "until Ctrl-C"}, {"f3 top --interval 5s --rounds 1", "one figure"}});
  command->callback([options, exit_code] {
    Status status = options->settings.ApplyFlags();
    if (status.ok()) status = ShowTop(options->target, options->interval_micros, options->rounds);
    *exit_code = Report("top", status);
  });
}

}  // namespace f3::cli
