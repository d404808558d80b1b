// f3 hwalloc: records what programs ask of their allocator, and models hardware that would serve
// it.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "cli/commands.h"
#include "cli/exit_codes.h"
#include "cli/hwalloc_report.h"
#include "cli/process.h"
#include "cli/progress.h"
#include "common/units.h"
#include "hwalloc/model/function_set.h"
#include "hwalloc/model/recorder.h"

namespace f3::cli {
namespace {

using nlohmann::json;

std::string BinDirectory() { return std::filesystem::path(SelfPath()).parent_path(); }
std::string LibraryDirectory() {
  return std::filesystem::path(BinDirectory()).parent_path() / "lib";
}

struct RecordFlags {
  std::string output;
  std::vector<std::string> command;
  uint64_t limit = hwmodel::kDefaultReferenceLimit;
};

Status Record(const RecordFlags& flags, int* exit_code) {
  hwmodel::RecordOptions options;
  options.command = flags.command;
  options.output = flags.output;
  options.libraries = LibraryDirectory();
  options.reference_limit = flags.limit;
  F3_ASSIGN_OR_RETURN(hwmodel::RecordSummary summary, hwmodel::RecordTrace(options));
  std::fprintf(stderr,
               "f3 hwalloc record: %s: %llu calls of the allocator, %llu references, %llu "
               "instructions, %s%s\n",
               flags.output.c_str(), static_cast<unsigned long long>(summary.calls),
               static_cast<unsigned long long>(summary.references),
               static_cast<unsigned long long>(summary.instructions),
               FormatBytes(summary.trace_bytes).c_str(),
               summary.references_cut ? "; --limit cut the references" : "");
  if (summary.exit_code != 0) {
    std::fprintf(stderr, "f3 hwalloc record: the program exited with %d\n", summary.exit_code);
    *exit_code = kExitFailure;
  }
  return Status();
}

void AddRecord(CLI::App* parent, int* exit_code) {
  auto flags = std::make_shared<RecordFlags>();
  CLI::App* command = parent->add_subcommand(
      "record",
      "Run a program in an emulator and record its allocations and memory references\n"
      "The program must be a dynamically linked x86-64 executable. It runs about thirty times "
      "slower than on its own; processes that it starts are not recorded.");
  command->add_option("-o,--output", flags->output, "The trace to write")
      ->required()
      ->type_name("TRACE");
  command->add_option("--limit", flags->limit, "References to record at most")
      ->type_name("N")
      ->capture_default_str();
  command->add_option("COMMAND", flags->command, "The program and its arguments, after --")
      ->required();
  AddExamples(
      command,
      {{"f3 hwalloc record -o /tmp/json.trace -- /usr/bin/python3 -c 'import json'",
        "a trace of Python's start"},
       {"f3 hwalloc record -o /tmp/ls.trace -- ls -l /usr", "programs are searched in PATH"}});
  command->callback([flags, exit_code] {
    *exit_code = kExitOk;
    Status status = Record(*flags, exit_code);
    if (!status.ok()) *exit_code = Report("hwalloc record", status);
  });
}

struct ModelFlags {
  std::vector<std::string> traces;
  bool json = false;
};

Status Model(const ModelFlags& flags) {
  json out = json::array();
  for (const auto& path : flags.traces) {
    F3_ASSIGN_OR_RETURN(hwmodel::Report report, hwmodel::ModelTrace(path));
    if (flags.json) {
      out.push_back(ModelJson(report));
      out.back()["trace"] = path;
    } else {
      std::printf("%s%s", &path == &flags.traces[0] ? "" : "\n", ModelText(path, report).c_str());
    }
  }
  if (flags.json) std::printf("%s\n", out.dump(2).c_str());
  return Status();
}

void AddModel(CLI::App* parent, int* exit_code) {
  auto flags = std::make_shared<ModelFlags>();
  CLI::App* command = parent->add_subcommand(
      "model",
      "Say what Memento's hardware would do for recorded programs\n"
      "All cycles are emulated ones, of the core in hwalloc/model/parameters.h; they are no "
      "measurement of this machine.");
  command->add_option("TRACE", flags->traces, "Traces of `f3 hwalloc record`")->required();
  AddJsonFlag(command, &flags->json);
  AddExamples(command, {{"f3 hwalloc model /tmp/json.trace", "tables"},
                        {"f3 hwalloc model --json a.trace b.trace", "an array, for scripts"}});
  command->callback([flags, exit_code] { *exit_code = Report("hwalloc model", Model(*flags)); });
}

struct TableFlags {
  std::string set;
  std::string traces;
  std::vector<std::string> only;
  bool json = false;
};

// Where the list of functions is: below this directory, or in the source tree of this build.
std::string DefaultSet() {
  const std::string name = "bench/functions/functions.txt";
  std::error_code error;
  if (std::filesystem::exists(name, error)) return name;
  return (std::filesystem::path(BinDirectory()) / "../../.." / name).lexically_normal();
}

Result<hwmodel::Report> ModelFunction(const hwmodel::Function& function, const std::string& trace,
                                      const std::string& directory) {
  std::error_code error;
  if (!std::filesystem::exists(trace, error)) {
    hwmodel::RecordOptions options;
    options.command = function.command;
    options.output = trace;
    options.directory = directory;
    options.libraries = LibraryDirectory();
    options.program_output = "/dev/null";
    F3_ASSIGN_OR_RETURN(hwmodel::RecordSummary summary, hwmodel::RecordTrace(options));
    if (summary.exit_code != 0) {
      std::filesystem::remove(trace, error);
      return Status::Io("the program exited with " + std::to_string(summary.exit_code));
    }
  }
  return hwmodel::ModelTrace(trace);
}

Result<std::vector<hwmodel::Function>> ChosenFunctions(const TableFlags& flags,
                                                       const std::string& set) {
  F3_ASSIGN_OR_RETURN(auto all, hwmodel::ReadFunctionSet(set, BinDirectory()));
  if (flags.only.empty()) return all;
  std::vector<hwmodel::Function> chosen;
  for (const auto& name : flags.only) {
    bool found = false;
    for (const auto& function : all) {
      if (function.name != name) continue;
      chosen.push_back(function);
      found = true;
    }
    if (!found) return Status::InvalidArgument(set + " has no function " + name);
  }
  return chosen;
}

// A directory for traces: the one named, or one of our own that is removed again.
class TraceDirectory {
 public:
  ~TraceDirectory() {
    std::error_code error;
    if (own_) std::filesystem::remove_all(path_, error);
  }
  Status Open(const std::string& named) {
    std::error_code error;
    path_ = std::filesystem::absolute(named, error);
    if (named.empty()) {
      std::string pattern = std::filesystem::temp_directory_path(error) / "f3-traces-XXXXXX";
      if (::mkdtemp(pattern.data()) == nullptr) return Status::FromErrno(errno, "make " + pattern);
      path_ = pattern;
      own_ = true;
    } else if (!std::filesystem::create_directories(path_, error) && error) {
      return Status::FromErrno(error.value(), "make " + path_);
    }
    return Status();
  }
  std::string File(const std::string& name) const { return path_ + "/" + name + ".trace"; }
  bool own() const { return own_; }

 private:
  std::string path_;
  bool own_ = false;
};

Status RunTable(const TableFlags& flags) {
  std::string set = flags.set.empty() ? DefaultSet() : flags.set;
  F3_ASSIGN_OR_RETURN(auto functions, ChosenFunctions(flags, set));
  std::string directory = std::filesystem::path(set).parent_path();
  TraceDirectory traces;
  F3_RETURN_IF_ERROR(traces.Open(flags.traces));
  Progress progress("hwalloc table", functions.size(), flags.json);
  std::vector<ModelledFunction> modelled;
  for (const auto& function : functions) {
    progress.Update(modelled.size(), function.name);
    std::string trace = traces.File(function.name);
    auto report = ModelFunction(function, trace, directory);
    if (!report.ok()) return report.status().WithContext(function.name);
    std::error_code error;
    if (traces.own()) std::filesystem::remove(trace, error);
    modelled.push_back({function.name, function.language, std::move(*report)});
  }
  progress.Done(std::to_string(modelled.size()) + " functions");
  if (flags.json) {
    std::printf("%s\n", SetJson(modelled).dump(2).c_str());
  } else {
    std::printf("%s", SetText(modelled).c_str());
  }
  return Status();
}

void AddTable(CLI::App* parent, int* exit_code) {
  auto flags = std::make_shared<TableFlags>();
  CLI::App* command = parent->add_subcommand(
      "table",
      "Record and model a set of functions; print the results beside Memento's published ones\n"
      "Build the target bench_functions first: it makes the C++ functions and all inputs.");
  command->add_option("--set", flags->set, "The list of functions (default: bench/functions)")
      ->type_name("FILE");
  command
      ->add_option("--traces", flags->traces,
                   "Keep traces here, and use those that are here (default: none is kept)")
      ->type_name("DIR");
  command->add_option("--only", flags->only, "Only this function; may be repeated")
      ->type_name("NAME");
  AddJsonFlag(command, &flags->json);
  AddExamples(command, {{"f3 hwalloc table", "the whole set: some minutes"},
                        {"f3 hwalloc table --traces /tmp/traces --only json",
                         "one function, whose trace is kept"}});
  command->callback([flags, exit_code] { *exit_code = Report("hwalloc table", RunTable(*flags)); });
}

}  // namespace

void AddHwalloc(CLI::App* app, int* exit_code) {
  CLI::App* command =
      app->add_subcommand("hwalloc",
                          "Record programs' allocations and model hardware that would serve them\n"
                          "The hardware is Memento's (MICRO'23), emulated: an object table, a page "
                          "allocator and bypass "
                          "of main memory for new objects.");
  command->require_subcommand(1);
  AddRecord(command, exit_code);
  AddModel(command, exit_code);
  AddTable(command, exit_code);
  AddExamples(command, {{"f3 hwalloc record -o /tmp/ls.trace -- ls -l /usr", "record"},
                        {"f3 hwalloc model /tmp/ls.trace", "model"},
                        {"f3 hwalloc table", "the trace set, beside the paper's table"}});
}

}  // namespace f3::cli
