// f3 fsck: agreement between metadata, durable store and the nodes' objects.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <memory>
#include <set>

#include "cli/commands.h"
#include "cli/control.h"
#include "cli/exit_codes.h"
#include "cli/progress.h"
#include "cli/target.h"
#include "common/units.h"
#include "storage_nodes/durable_store.h"

namespace f3::cli {
namespace {

using nlohmann::json;
using storage::BlockName;

constexpr uint32_t kPageItems = 1000;
constexpr int64_t kVerifyMicros = 600'000'000;

struct Findings {
  std::vector<std::string> problems;  // each a sentence
  std::vector<std::string> repaired;
  uint64_t inodes = 0, blocks = 0, block_bytes = 0, objects = 0, nodes_checked = 0;
};

struct Options {
  Target target;
  std::string durable;
  bool repair = false;
  bool json = false;
};

// Runs a scan page by page.
Status Scan(meta::MetaClient* client, meta::ScanKind kind,
            const std::function<void(const meta::ScanReply&)>& page) {
  std::string after;
  while (true) {
    meta::Request request;
    request.mutable_scan()->set_kind(kind);
    request.mutable_scan()->set_max_items(kPageItems);
    request.mutable_scan()->set_after(after);
    F3_ASSIGN_OR_RETURN(meta::Reply reply, CallMeta(client, request));
    page(reply.scan());
    if (reply.scan().next().empty()) return Status();
    if (reply.scan().next() == after) return Status::Internal("a scan does not advance");
    after = reply.scan().next();
  }
}

std::string Describe(const BlockName& name) {
  return "block " + std::to_string(name.index) + " of inode " + std::to_string(name.ino);
}

// The order matters while files are being written: what is stored is listed first, then intents,
// then rows. A block that was put before the list is then named by its intent or by its row, unless
// a later publish has already replaced it.
Status CheckBlocks(meta::MetaClient* client, storage::DurableStore* store, bool repair,
                   Findings* report, Progress* progress) {
  std::map<BlockName, uint64_t> stored;
  F3_RETURN_IF_ERROR(store->ForEach([&](const BlockName& name, uint64_t bytes) {
    stored[name] = bytes;
    report->block_bytes += bytes;
    return true;
  }));
  std::set<std::pair<Ino, Generation>> intents;
  F3_RETURN_IF_ERROR(Scan(client, meta::SCAN_INTENTS, [&](const meta::ScanReply& page) {
    for (const auto& row : page.blocks()) intents.insert({row.ino(), row.block().generation()});
  }));
  std::map<BlockName, meta::Block> rows;
  F3_RETURN_IF_ERROR(Scan(client, meta::SCAN_BLOCKS, [&](const meta::ScanReply& page) {
    for (const auto& row : page.blocks()) {
      rows[{row.ino(), row.block().index(), row.block().generation()}] = row.block();
    }
  }));
  report->blocks = rows.size();
  std::vector<std::byte> buffer(kBlockBytes);
  uint64_t done = 0;
  for (const auto& [name, block] : rows) {
    progress->Update(++done, "durable blocks");
    Status status =
        store->Get(name, block.length(), block.crc(), 0, std::span(buffer).first(block.length()));
    if (status.ok()) continue;
    // Published or removed since the rows were read?
    meta::Request request;
    request.mutable_block_map()->set_ino(name.ino);
    request.mutable_block_map()->set_first(name.index);
    request.mutable_block_map()->set_count(1);
    auto now = CallMeta(client, request);
    bool still =
        now.ok() && now->blocks_size() == 1 && now->blocks(0).generation() == name.generation;
    if (still) {
      report->problems.push_back(Describe(name) +
                                 (status.Is(Code::kNotFound) ? " is missing" : " is corrupt") +
                                 ": " + status.message());
    }
  }
  for (const auto& [name, bytes] : stored) {
    if (rows.count(name) || intents.count({name.ino, name.generation})) continue;
    std::string text = Describe(name) + ", generation " + std::to_string(name.generation) + " (" +
                       FormatBytes(bytes) + ") is leaked: no file has it";
    if (repair) {
      F3_RETURN_IF_ERROR(store->Remove(name));
      report->repaired.push_back(text + "; removed");
    } else {
      report->problems.push_back(text);
    }
  }
  return Status();
}

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
  F3_RETURN_IF_ERROR(Scan(client.get(), meta::SCAN_CHECK, [&](const meta::ScanReply& page) {
    progress.Update(++step, "metadata");
    report->inodes += page.checked();
    for (const auto& problem : page.problems()) report->problems.push_back(problem);
  }));
  if (durable.empty()) {
    report->problems.push_back("the durable store was not checked; name it with --durable DIR");
  } else {
    F3_ASSIGN_OR_RETURN(auto store, storage::DurableStore::OpenDirectory(durable, Env::Real()));
    F3_RETURN_IF_ERROR(CheckBlocks(client.get(), store.get(), options.repair, report, &progress));
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
