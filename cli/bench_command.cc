// f3 bench: ratios against this machine's own file system and network, measured in one run.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "bench/bench.h"
#include "bench/hwalloc.h"
#include "bench/link.h"
#include "cli/commands.h"
#include "cli/lifecycle.h"
#include "cli/progress.h"
#include "cli/settings.h"
#include "cli/table.h"

namespace f3::cli {
namespace {

using nlohmann::json;

struct BenchOptions {
  std::string dir;
  std::string against;
  std::string functions = "bench/functions/functions.txt";
  std::string rootfs = "/var/lib/f3/rootfs";
  uint64_t bytes = 0;
  uint64_t runs = 0;
  uint64_t scale = 1;
  uint64_t warmup = 100;
  bool json = false;
  Settings settings;
};

using Workload = Result<bench::Report> (*)(const bench::Options&);

constexpr double kTail = 0.99;

double GigabytesPerSecond(const bench::Measurement& m, const std::vector<double>& micros) {
  return static_cast<double>(m.bytes) / bench::Median(micros) / 1e3;
}

std::string TargetOf(const bench::Measurement& m) {
  if (m.target == 0) return "-";
  return Short(m.target) + (m.Ratio() >= m.target ? " met" : " missed");
}

json ToJson(const bench::Report& report) {
  json out = {{"bench", report.name}, {"extra", report.extra}, {"results", json::array()}};
  for (const auto& m : report.measurements) {
    out["results"].push_back({{"what", m.what},
                              {"unit", m.unit},
                              {"against", m.against},
                              {"f3", m.f3},
                              {"other", m.other},
                              {"f3_median", bench::Median(m.f3)},
                              {"other_median", bench::Median(m.other)},
                              {"ratio", m.Ratio()},
                              {"target", m.target}});
    if (m.bytes == 0) continue;
    out["results"].back().update({{"bytes", m.bytes},
                                  {"f3_p99", bench::Percentile(m.f3, kTail)},
                                  {"other_p99", bench::Percentile(m.other, kTail)},
                                  {"f3_gb_per_s", GigabytesPerSecond(m, m.f3)},
                                  {"other_gb_per_s", GigabytesPerSecond(m, m.other)}});
  }
  return out;
}

// Of single values: how they are spread, and bytes over time.
Table LatencyTable(const bench::Report& report) {
  Table table({"what", "F3 p50", "p99", "GB/s", "against", "p50", "p99", "GB/s", "unit", "ratio",
               "target"});
  for (const auto& m : report.measurements) {
    const auto rate = [&m](const std::vector<double>& values) {
      return m.bytes == 0 ? "-" : fmt::format("{:.3g}", GigabytesPerSecond(m, values));
    };
    table.Add({m.what, Short(bench::Median(m.f3)), Short(bench::Percentile(m.f3, kTail)),
               rate(m.f3), m.against, Short(bench::Median(m.other)),
               Short(bench::Percentile(m.other, kTail)), rate(m.other), m.unit, Short(m.Ratio()),
               TargetOf(m)});
  }
  return table;
}

Table MedianTable(const bench::Report& report) {
  Table table({"what", "F3", "against", "other", "unit", "ratio", "target"});
  for (const auto& m : report.measurements) {
    table.Add({m.what, Short(bench::Median(m.f3)), m.against, Short(bench::Median(m.other)), m.unit,
               Short(m.Ratio()), TargetOf(m)});
  }
  return table;
}

void Print(const bench::Report& report) {
  const bool latency = std::any_of(report.measurements.begin(), report.measurements.end(),
                                   [](const auto& m) { return m.bytes > 0; });
  const Table table = latency ? LatencyTable(report) : MedianTable(report);
  std::printf("%s", table.ToString().c_str());
  for (const auto& what : report.extra.value("missing", json::array())) {
    std::printf("not measured: %s\n", what.get<std::string>().c_str());
  }
  for (const auto& line : report.extra.value("summary", json::array())) {
    std::printf("%s\n", line.get<std::string>().c_str());
  }
  if (!report.extra.contains("upcalls_per_operation")) return;
  std::printf("\nCalls from the kernel to the agent, per operation:\n");
  for (const auto& [step, counts] : report.extra["upcalls_per_operation"].items()) {
    std::string line;
    for (const auto& [name, count] : counts.items()) {
      line += "  " + name + " " + Short(count.get<double>());
    }
    std::printf("  %-28s%s\n", step.c_str(), line.empty() ? "  none" : line.c_str());
  }
}

// Measures, and prints what came out.
Status RunAndPrint(const BenchOptions& options, bench::Options bench_options, Workload workload,
                   const std::string& name) {
  bench_options.runs = static_cast<int>(options.runs);
  Progress progress("bench " + name, 0, options.json);
  uint64_t step = 0;
  bench_options.say = [&](const std::string& text) { progress.Update(++step, text); };
  auto report = workload(bench_options);
  progress.Done(report.ok() ? "measured" : "failed");
  if (!report.ok()) return report.status();
  if (options.json) {
    std::printf("%s\n", ToJson(*report).dump(2).c_str());
  } else {
    Print(*report);
  }
  return Status();
}

Status Run(const BenchOptions& options, Workload workload, const std::string& name) {
  bench::Options bench_options;
  F3_ASSIGN_OR_RETURN(bench_options.layout, ClusterLayout::Load(ClusterDir(options.dir)));
  for (const auto& node : bench_options.layout.nodes) {
    if (!IsUsable(bench_options.layout, node)) {
      return Status::Unavailable("node " + node.name + " is not usable; `f3 up` first");
    }
  }
  bench_options.bytes = options.bytes;
  bench_options.against = options.against;
  bench_options.rootfs = std::filesystem::absolute(options.rootfs).string();
  bench_options.warmup = static_cast<int>(options.warmup);
  return RunAndPrint(options, bench_options, workload, name);
}

// hwalloc needs no cluster, but programs to run.
void AddAllocators(CLI::App* command, int* exit_code) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* sub = command->add_subcommand(
      "hwalloc",
      "Programs under libhwalloc.so, glibc, mimalloc, jemalloc and tcmalloc: time and memory\n"
      "Every run is a fresh process. Needs no cluster. Build the target bench_functions first to "
      "have the functions measured as well.");
  options->settings.Number("runs", &options->runs, 1, 1000, "Runs of each program and allocator");
  options->settings.Number("scale", &options->scale, 1, 1000, "Work of the allocator workloads");
  options->settings.AddFlags(sub);
  sub->add_option("--functions", options->functions, "List of functions to run")
      ->type_name("FILE")
      ->capture_default_str();
  AddJsonFlag(sub, &options->json);
  AddExamples(sub, {{"f3 bench hwalloc", "in the source directory: workloads and functions"},
                    {"f3 bench hwalloc --runs 11 --json", "for scripts"}});
  sub->callback([options, exit_code] {
    Status status = options->settings.ApplyFlags();
    bench::Options bench_options;
    bench_options.functions = std::filesystem::absolute(options->functions).string();
    bench_options.scale = options->scale;
    if (status.ok()) status = RunAndPrint(*options, bench_options, bench::RunHwalloc, "hwalloc");
    *exit_code = Report("bench hwalloc", status);
  });
}

// What workloads start in the nodes' network namespaces.
void AddLinkProcesses(CLI::App* command, int* exit_code) {
  struct Ping {
    std::string bind, peer;
    uint64_t bytes = 0;
    int runs = 0;
  };
  auto ping = std::make_shared<Ping>();
  CLI::App* echo = command->add_subcommand("fabric-echo", "Answers over libfabric");
  echo->group("");
  echo->add_option("BIND", ping->bind)->required();
  echo->callback(
      [ping, exit_code] { *exit_code = Report("bench", bench::EchoOverFabric(ping->bind)); });
  CLI::App* ask = command->add_subcommand("fabric-ping", "Asks over libfabric");
  ask->group("");
  ask->add_option("BIND", ping->bind)->required();
  ask->add_option("PEER", ping->peer)->required();
  ask->add_option("BYTES", ping->bytes)->required();
  ask->add_option("RUNS", ping->runs)->required();
  ask->callback([ping, exit_code] {
    *exit_code =
        Report("bench", bench::PingOverFabric(ping->bind, ping->peer, ping->bytes, ping->runs));
  });
}

}  // namespace

void AddBench(CLI::App* app, int* exit_code) {
  CLI::App* command = app->add_subcommand(
      "bench",
      "Measure F3 against this machine's own file system and network\n"
      "Works on a running cluster of `f3 up`. Both sides take turns in one run; what counts is the "
      "ratio of the medians, since absolute figures depend on the machine.");
  command->require_subcommand(1);
  AddExamples(command,
              {{"f3 bench seq", "sequential data at the home"},
               {"f3 bench meta --json", "small files and calls to the agent, for scripts"}});
  struct Entry {
    const char* name;
    const char* help;
    Workload workload;
  };
  for (const Entry& entry :
       {Entry{"seq",
              "1 MiB sequential write, read and mmap at the home, against the tier's directory",
              bench::RunSeq},
        Entry{"rand", "4 KiB random read and write at the home, against the tier's directory",
              bench::RunRand},
        Entry{"meta", "Create, stat, list and unlink small files, against the tier's directory",
              bench::RunMeta},
        Entry{"pull", "First read of a file on another node, against iperf3", bench::RunPull},
        Entry{"follow", "A reader on another node that follows a writer", bench::RunFollow},
        Entry{"xdt", "A value from function to function by reference, against Redis and the link",
              bench::RunXdt},
        Entry{"patterns", "Scatter, gather and broadcast to 1 to 32 receivers, against Redis",
              bench::RunPatterns},
        Entry{"faas",
              "What F3 adds to sandboxes' starts; a payload from action to action, in every way",
              bench::RunFaas},
        Entry{"locality",
              "A workflow placed where its data is, against random placement and a hash",
              bench::RunLocality}}) {
    auto options = std::make_shared<BenchOptions>();
    CLI::App* sub = command->add_subcommand(entry.name, entry.help);
    AddDirFlag(sub, &options->dir);
    options->settings.Bytes("bytes", &options->bytes, 1 << 20, 1ull << 40, "Size of the files");
    options->settings.Number("runs", &options->runs, 1, 1000, "Runs of each side");
    const std::string name = entry.name;
    if (name == "faas") {
      options->settings.Number("warmup", &options->warmup, 0, 10'000,
                               "Chains of each size before those that count (default: 100)");
    }
    options->settings.AddFlags(sub);
    AddJsonFlag(sub, &options->json);
    if (name == "faas" || name == "locality") {
      sub->add_option("--rootfs", options->rootfs,
                      "Root file system of actions, as scripts/make_rootfs.sh makes it")
          ->type_name("DIR")
          ->capture_default_str();
    }
    if (name == "meta") {
      sub->add_option("--against", options->against,
                      "A directory of another file system to compare with as well")
          ->type_name("DIR");
    }
    std::string example = "f3 bench " + name + " --dir /tmp/f3 --json";
    sub->footer("Examples:\n  " + example + "\n      for scripts\n");
    sub->callback([options, entry, exit_code] {
      Status status = options->settings.ApplyFlags();
      if (status.ok()) status = Run(*options, entry.workload, entry.name);
      *exit_code = Report(std::string("bench ") + entry.name, status);
    });
  }
  AddAllocators(command, exit_code);
  AddLinkProcesses(command, exit_code);
  struct Reader {
    std::string path, report;
  };
  auto reader = std::make_shared<Reader>();
  CLI::App* read = command->add_subcommand("read-to-end", "The reader that follow starts");
  read->group("");
  read->add_option("PATH", reader->path)->required();
  read->add_option("REPORT", reader->report)->required();
  read->callback([reader, exit_code] {
    *exit_code = Report("bench", bench::ReadToEnd(reader->path, reader->report));
  });
}

}  // namespace f3::cli
