// f3 fsck: agreement between metadata, durable store and the nodes' objects.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "cli/commands.h"
#include "cli/consistency.h"
#include "cli/control.h"
#include "cli/exit_codes.h"
#include "cli/progress.h"
#include "cli/target.h"
#include "common/units.h"
#include "storage_nodes/durable_store.h"

namespace f3::cli {
namespace {

using nlohmann::json;
constexpr int64_t kVerifyMicros = 600'000'000;

struct Options {
  Target target;
  std::string durable;
  bool repair = false;
  bool json = false;
};

// Each agent reads its sealed objects and compares checksums.
void CheckNode(const std::string& name, const std::string& control, bool repair, Findings* report) {
  auto reply = AskControl(control, {{"op", "verify"}, {"repair", repair}}, kVerifyMicros);
  if (!reply.ok()) {
    report->problems.push_back("the objects of " + name +
                               " could not be checked: " + reply.status().message());
    return;
  }
  ++report->nodes_checked;
  report->objects += reply->value("objects", uint64_t{0});
  for (const auto& problem : reply->value("problems", json::array())) {
    std::string text = name + ": " + (problem.is_string() ? problem.get<std::string>() : "");
    report->problems.push_back(text);
  }
  for (const auto& fixed : reply->value("repaired", json::array())) {
    report->repaired.push_back(name + ": " + (fixed.is_string() ? fixed.get<std::string>() : ""));
  }
}

Status Check(const Options& options, Findings* report) {
  std::string durable = options.durable;
  std::vector<std::pair<std::string, std::string>> agents;
  auto layout = options.target.Layout();
  if (layout.ok()) {
    if (durable.empty()) durable = layout->dir + "/durable";
    for (const auto& node : layout->nodes) {
      agents.emplace_back(node.name, layout->run(node.name + ".sock"));
    }
  } else if (options.target.server.empty()) {
    return layout.status();
  }
  Progress progress("Checking", 0, options.json);
  F3_ASSIGN_OR_RETURN(auto client, options.target.Connect());
  uint64_t step = 0;
  F3_RETURN_IF_ERROR(
      CheckMetadata(client.get(), report, [&] { progress.Update(++step, "metadata"); }));
  if (durable.empty()) {
    report->problems.push_back("the durable store was not checked; name it with --durable DIR");
  } else {
    F3_ASSIGN_OR_RETURN(auto store, storage::DurableStore::OpenDirectory(durable, Env::Real()));
    F3_RETURN_IF_ERROR(CheckBlocks(client.get(), store.get(), options.repair, report,
                                   [&] { progress.Update(++step, "durable blocks"); }));
  }
  for (const auto& [name, control] : agents) {
    progress.Update(++step, "objects of " + name);
    CheckNode(name, control, options.repair, report);
  }
  progress.Done(report->problems.empty() ? "clean"
                                         : std::to_string(report->problems.size()) + " problems");
  return Status();
}

int Run(const Options& options) {
  Findings report;
  Status status = Check(options, &report);
  if (!status.ok()) return Report("fsck", status);
  if (options.json) {
    json out = {{"clean", report.problems.empty()}, {"problems", report.problems},
                {"repaired", report.repaired},      {"inodes", report.inodes},
                {"blocks", report.blocks},          {"block_bytes", report.block_bytes},
                {"objects", report.objects},        {"nodes_checked", report.nodes_checked}};
    std::printf("%s\n", out.dump(2, ' ', false, json::error_handler_t::replace).c_str());
  } else {
    for (const auto& text : report.repaired) std::printf("repaired: %s\n", text.c_str());
    for (const auto& text : report.problems) std::printf("problem:  %s\n", text.c_str());
    std::printf("%llu inodes, %llu blocks (%s), %llu objects on %llu nodes: %s\n",
                static_cast<unsigned long long>(report.inodes),
                static_cast<unsigned long long>(report.blocks),
                FormatBytes(report.block_bytes).c_str(),
                static_cast<unsigned long long>(report.objects),
                static_cast<unsigned long long>(report.nodes_checked),
                report.problems.empty() ? "clean"
                : options.repair        ? "what is left above cannot be repaired"
                                        : "`f3 fsck --repair` repairs what can be");
  }
  return report.problems.empty() ? kExitOk : kExitFailure;
}

}  // namespace

void AddFsck(CLI::App* app, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app->add_subcommand(
      "fsck",
      "Check that metadata, durable store and objects agree\n"
      "Reads every durable block and every sealed object and compares checksums; looks for "
      "dangling "
      "records and leaked blocks. May run while the cluster works. Exits with 1 when there are "
      "problems.");
  options->target.AddFlags(command);
  command->add_option("--durable", options->durable, "The durable store's directory")
      ->type_name("DIR");
  command->add_flag("--repair", options->repair,
                    "Remove leaked blocks and corrupted copies (a home or a durable block that is "
                    "corrupt cannot be repaired)");
  AddJsonFlag(command, &options->json);
  AddExamples(command,
              {{"f3 fsck", "look only"}, {"f3 fsck --repair --json", "repair, for scripts"}});
  command->callback([options, exit_code] { *exit_code = Run(*options); });
}

}  // namespace f3::cli
