#include "bench/hwalloc.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "cli/process.h"
#include "hwalloc/model/function_set.h"

namespace f3::bench {
namespace {

using nlohmann::json;

constexpr int64_t kPatienceMicros = 300'000'000;
constexpr int kRuns = 5;
// Targets: none above 1.02 of glibc's time; the allocation-heavy half at most 0.85 of it; on the
// whole no worse than the best peer.
constexpr double kNoneAbove = 1 / 1.02;
constexpr double kHeavyHalf = 1 / 0.85;

struct Allocator {
  std::string name;
  std::string library;  // "-": libc's own
};

struct Program {
  std::string name;
  std::string directory;  // that it runs in
  std::vector<std::string> command;
  bool is_function = false;
  double allocations_per_second = 0;
};

// Wall time counts; the processor's time is beside it, because it says more on a machine that has
// other things to do.
struct Cost {
  std::vector<double> seconds, cpu_seconds, megabytes;
};

// By program, then by allocator.
using Costs = std::map<std::string, std::map<std::string, Cost>>;

std::string BinDir() { return std::filesystem::path(cli::SelfPath()).parent_path().string(); }

// libhwalloc.so beside the binary's directory: build/release/{bin,lib}, or an installed tree.
std::string OurLibrary() {
  return (std::filesystem::path(BinDir()).parent_path() / "lib" / "libhwalloc.so").string();
}

std::vector<Allocator> Allocators(json* missing) {
  std::vector<Allocator> found = {{"hwalloc", OurLibrary()}, {"glibc", "-"}};
  const std::string directory = "/usr/lib/x86_64-linux-gnu/";
  for (const Allocator& peer :
       {Allocator{"mimalloc", "libmimalloc.so.2"}, Allocator{"jemalloc", "libjemalloc.so.2"},
        Allocator{"tcmalloc", "libtcmalloc_minimal.so.4"}}) {
    if (std::filesystem::exists(directory + peer.library)) {
      found.push_back({peer.name, directory + peer.library});
    } else {
      missing->push_back(peer.name + ": there is no " + directory + peer.library);
    }
  }
  return found;
}

struct RunCost {
  double seconds = 0;
  double cpu_seconds = 0;
  double megabytes = 0;
};

// One run of the program in a fresh process.
Result<RunCost> RunOnce(const Program& program, const std::string& library) {
  // In the program's directory; "env" also leaves out what would disturb.
  std::vector<std::string> argv = {
      "env",  "-C", program.directory, "-u", "HWALLOC_STATS", BinDir() + "/measure_process",
      library};
  argv.insert(argv.end(), program.command.begin(), program.command.end());
  F3_ASSIGN_OR_RETURN(cli::CommandResult result, cli::RunCommand(argv, kPatienceMicros));
  long long wall = 0, user = 0, system = 0, kib = 0;
  int status = -1;
  if (std::sscanf(result.out.c_str(), "%lld %lld %lld %lld %d", &wall, &user, &system, &kib,
                  &status) != 5 ||
      status != 0) {
    return Status::Io(program.name + " failed: " + result.err.substr(0, 300));
  }
  return RunCost{static_cast<double>(wall) / 1e6, static_cast<double>(user + system) / 1e6,
                 static_cast<double>(kib) / 1024};
}

// How many allocations one run makes, counted by the debug level.
Result<double> CountAllocations(const Program& program) {
  std::vector<std::string> argv = {"env",
                                   "-C",
                                   program.directory,
                                   "HWALLOC_DEBUG=1",
                                   "HWALLOC_STATS=1",
                                   "LD_PRELOAD=" + OurLibrary()};
  argv.insert(argv.end(), program.command.begin(), program.command.end());
  F3_ASSIGN_OR_RETURN(cli::CommandResult result, cli::RunCommand(argv, kPatienceMicros));
  const std::string label = " allocations=";
  size_t at = result.err.rfind(label);
  if (result.exit_code != 0 || at == std::string::npos) {
    return Status::Io(program.name + " failed in the debug level: " + result.err.substr(0, 300));
  }
  return std::strtod(result.err.c_str() + at + label.size(), nullptr);
}

std::vector<Program> Workloads(uint64_t scale) {
  std::vector<Program> programs;
  for (const char* name : {"function", "small", "nodes", "realloc", "larson", "pipe", "large"}) {
    programs.push_back({name, "/", {BinDir() + "/hwalloc_workloads", name, std::to_string(scale)}});
  }
  return programs;
}

std::vector<Program> Functions(const std::string& file, json* missing) {
  std::vector<Program> programs;
  auto functions = hwmodel::ReadFunctionSet(file, BinDir());
  if (!functions.ok()) {
    missing->push_back("functions: " + functions.status().message());
    return programs;
  }
  std::string directory = std::filesystem::path(file).parent_path().string();
  for (const hwmodel::Function& function : *functions) {
    Program program{function.name, directory, function.command, true};
    // One that cannot run at all, because its inputs were not made for example, is left out.
    auto once = RunOnce(program, "-");
    if (once.ok()) {
      programs.push_back(program);
    } else {
      missing->push_back(once.status().message());
    }
  }
  return programs;
}

// The geometric mean over programs of the medians.
double MeanOf(const Costs& costs, const std::vector<const Program*>& programs,
              const std::string& allocator, std::vector<double> Cost::*values) {
  double sum = 0;
  for (const Program* program : programs) {
    sum += std::log(std::max(Median(costs.at(program->name).at(allocator).*values), 1e-9));
  }
  return std::exp(sum / static_cast<double>(programs.size()));
}

void AddMeans(const std::string& what, const Costs& costs, const std::vector<Allocator>& allocators,
              const std::vector<const Program*>& programs, double time_target, double memory_target,
              Report* report) {
  if (programs.empty()) return;
  for (const Allocator& peer : allocators) {
    if (peer.name == "hwalloc") continue;
    auto add = [&](const char* label, const char* unit, std::vector<double> Cost::*values,
                   double wanted) {
      report->measurements.push_back({what + ": " + label,
                                      unit,
                                      peer.name,
                                      {MeanOf(costs, programs, "hwalloc", values)},
                                      {MeanOf(costs, programs, peer.name, values)},
                                      true,
                                      wanted});
    };
    add("run time", "s", &Cost::seconds, time_target);
    add("processor time", "s", &Cost::cpu_seconds, 0);
    add("peak memory", "MB", &Cost::megabytes, memory_target);
  }
}

void AddEach(const Costs& costs, const std::vector<Program>& programs, Report* report) {
  for (const Program& program : programs) {
    const auto& by_allocator = costs.at(program.name);
    const Cost& mine = by_allocator.at("hwalloc");
    const Cost& libc = by_allocator.at("glibc");
    std::string what = (program.is_function ? "function " : "workload ") + program.name;
    report->measurements.push_back({what + ": run time", "s", "glibc", mine.seconds, libc.seconds,
                                    true, program.is_function ? kNoneAbove : 0});
    report->measurements.push_back(
        {what + ": peak memory", "MB", "glibc", mine.megabytes, libc.megabytes, true, 0});
  }
}

// The half of the functions with the most allocations per second.
std::vector<const Program*> HeavyHalf(std::vector<const Program*> functions) {
  std::sort(functions.begin(), functions.end(), [](const Program* a, const Program* b) {
    return a->allocations_per_second > b->allocations_per_second;
  });
  functions.resize((functions.size() + 1) / 2);
  return functions;
}

json ToJson(const Costs& costs, const std::vector<Program>& programs) {
  json out = json::object();
  for (const Program& program : programs) {
    json& entry = out[program.name];
    entry["allocations_per_second"] = program.allocations_per_second;
    for (const auto& [allocator, cost] : costs.at(program.name)) {
      entry[allocator] = {{"seconds", cost.seconds},
                          {"cpu_seconds", cost.cpu_seconds},
                          {"megabytes", cost.megabytes}};
    }
  }
  return out;
}

}  // namespace

Result<Report> RunHwalloc(const Options& options) {
  int runs = options.runs == 0 ? kRuns : options.runs;
  json missing = json::array();
  if (!std::filesystem::exists(OurLibrary())) {
    return Status::NotFound("there is no " + OurLibrary() + "; build the target hwalloc");
  }
  std::vector<Allocator> allocators = Allocators(&missing);
  std::vector<Program> programs = Workloads(options.scale);
  for (Program& function : Functions(options.functions, &missing)) programs.push_back(function);
  Costs costs;
  for (int run = 0; run < runs; ++run) {
    for (const Program& program : programs) {
      options.say("run " + std::to_string(run + 1) + " of " + std::to_string(runs) + ", " +
                  program.name);
      // In turns, and each of them first once: what the machine does meanwhile hits all alike.
      for (size_t i = 0; i < allocators.size(); ++i) {
        const Allocator& allocator = allocators[(i + static_cast<size_t>(run)) % allocators.size()];
        F3_ASSIGN_OR_RETURN(RunCost cost, RunOnce(program, allocator.library));
        Cost& sum = costs[program.name][allocator.name];
        sum.seconds.push_back(cost.seconds);
        sum.cpu_seconds.push_back(cost.cpu_seconds);
        sum.megabytes.push_back(cost.megabytes);
      }
    }
  }
  std::vector<const Program*> workloads, functions;
  for (Program& program : programs) {
    (program.is_function ? functions : workloads).push_back(&program);
    if (!program.is_function) continue;
    auto allocations = CountAllocations(program);
    if (!allocations.ok()) {
      missing.push_back("allocations: " + allocations.status().message());
      continue;
    }
    program.allocations_per_second =
        *allocations / std::max(Median(costs[program.name]["glibc"].seconds), 1e-6);
  }
  Report report{"hwalloc", {}, {{"runs", runs}, {"scale", options.scale}, {"missing", missing}}};
  AddEach(costs, programs, &report);
  AddMeans("all workloads", costs, allocators, workloads, 0, 0, &report);
  AddMeans("all functions", costs, allocators, functions, 1, 1, &report);
  AddMeans("allocation-heavy half", costs, {{"glibc", "-"}}, HeavyHalf(functions), kHeavyHalf, 0,
           &report);
  report.extra["programs"] = ToJson(costs, programs);
  return report;
}

}  // namespace f3::bench
