// f3 locate: where a task that reads these files should run.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "cli/call_meta.h"
#include "cli/commands.h"
#include "cli/inspect.h"
#include "cli/table.h"
#include "common/units.h"

namespace f3::cli {
namespace {

using nlohmann::json;

Status Show(const std::vector<std::string>& paths, const Target& target, bool as_json) {
  meta::Request request;
  uint64_t total = 0;
  Subject subject;
  for (const auto& path : paths) {
    F3_ASSIGN_OR_RETURN(subject, ResolvePath(path, target));
    request.mutable_locate()->add_inos(subject.attr.ino());
    total += subject.attr.size();
  }
  F3_ASSIGN_OR_RETURN(meta::Reply reply, CallMeta(subject.client.get(), request));
  if (as_json) {
    json out = {{"total_bytes", total}, {"nodes", json::array()}};
    for (const auto& score : reply.located().scores()) {
      out["nodes"].push_back(
          {{"node", score.node()}, {"bytes", score.bytes()}, {"up", score.up()}});
    }
    std::printf("%s\n", out.dump(2).c_str());
    return Status();
  }
  Table table({"node", "holds", "of", "state"});
  for (const auto& score : reply.located().scores()) {
    table.Add(
        {score.node(), FormatBytes(score.bytes()), FormatBytes(total), score.up() ? "up" : "down"});
  }
  std::printf("%s", table.ToString().c_str());
  return Status();
}

}  // namespace

void AddLocate(CLI::App* app, int* exit_code) {
  struct Options {
    Target target;
    std::vector<std::string> paths;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app->add_subcommand("locate",
                                          "Rank nodes for a task that reads these files\n"
                                          "The node that holds most bytes of them comes first.");
  options->target.AddFlags(command);
  AddJsonFlag(command, &options->json);
  command->add_option("PATH", options->paths, "Paths in one volume")->required();
  AddExamples(command, {{"f3 locate /var/lib/f3/n1/part-*", "for people"},
                        {"f3 locate --json a b | jq -r '.nodes[0].node'", "for a scheduler"}});
  command->callback([options, exit_code] {
    *exit_code = Report("locate", Show(options->paths, options->target, options->json));
  });
}

}  // namespace f3::cli
