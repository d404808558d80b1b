// meta: small files by one thread: create + write 4 KiB + close, stat, readdir, unlink; and what
// each costs in calls from the kernel to the agent.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <iterator>

#include "bench/bench.h"
#include "common/unique_fd.h"

namespace f3::bench {
namespace {

// What is done to each file, in this order.
constexpr const char* kSteps[] = {"create + write 4 KiB + close", "stat", "readdir, per entry",
                                  "unlink"};
constexpr size_t kStepCount = std::size(kSteps);
constexpr size_t kReaddir = 2;                 // of these
using Rates = std::array<double, kStepCount>;  // per second
constexpr int kListings = 10;                  // of the whole directory

// The agent's counts of FUSE requests by name.
std::map<std::string, uint64_t> Upcalls(const Options& options) {
  std::map<std::string, uint64_t> counts;
  const nlohmann::json status = AgentStatus(options.layout, 0);
  const nlohmann::json upcalls = status.value("upcalls", nlohmann::json::object());
  for (const auto& [name, count] : upcalls.items()) {
    if (count.is_number_unsigned()) counts[name] = count.get<uint64_t>();
  }
  return counts;
}

void AddDifference(const std::map<std::string, uint64_t>& before,
                   const std::map<std::string, uint64_t>& after, int operations,
                   nlohmann::json* out) {
  for (const auto& [name, count] : after) {
    auto it = before.find(name);
    uint64_t grown = count - (it == before.end() ? 0 : it->second);
    if (grown > 0) (*out)[name] = static_cast<double>(grown) / operations;
  }
}

Status Create(const std::string& path, const std::vector<char>& content) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0644));
  if (!fd.valid()) return Status::FromErrno(errno, "create " + path);
  const ssize_t written = ::write(fd.get(), content.data(), content.size());
  if (::close(fd.Release()) != 0 || written != static_cast<ssize_t>(content.size())) {
    return Status::FromErrno(errno, "write " + path);
  }
  return Status();
}

Status List(const std::string& dir, int files) {
  for (int listing = 0; listing < kListings; ++listing) {
    DIR* stream = ::opendir(dir.c_str());
    if (stream == nullptr) return Status::FromErrno(errno, "list " + dir);
    int seen = 0;
    while (::readdir(stream) != nullptr) ++seen;
    ::closedir(stream);
    if (seen != files + 2) return Status::Corruption(dir + " has not the files that were made");
  }
  return Status();
}

Result<Rates> Run(const Options& options, const std::string& dir, int files,
                  nlohmann::json* upcalls) {
  const std::vector<char> content(4096, 'm');
  const auto for_all = [&](const std::function<Status(const std::string&)>& body) -> Status {
    for (int i = 0; i < files; ++i) F3_RETURN_IF_ERROR(body(dir + "/f" + std::to_string(i)));
    return Status();
  };
  const std::function<Status()> bodies[kStepCount] = {
      [&] { return for_all([&](const std::string& path) { return Create(path, content); }); },
      [&] {
        return for_all([](const std::string& path) {
          struct stat attributes;
          if (::stat(path.c_str(), &attributes) == 0) return Status();
          return Status::FromErrno(errno, "stat " + path);
        });
      },
      [&] { return List(dir, files); },
      [&] {
        return for_all([](const std::string& path) {
          if (::unlink(path.c_str()) == 0) return Status();
          return Status::FromErrno(errno, "unlink " + path);
        });
      },
  };
  Rates rates{};
  for (size_t step = 0; step < kStepCount; ++step) {
    const int operations = step == kReaddir ? files * kListings : files;
    std::map<std::string, uint64_t> before;
    if (upcalls != nullptr) before = Upcalls(options);
    F3_ASSIGN_OR_RETURN(double seconds, Time(bodies[step]));
    if (upcalls != nullptr) {
      AddDifference(before, Upcalls(options), operations, &(*upcalls)[kSteps[step]]);
    }
    rates[step] = operations / seconds;
  }
  return rates;
}

}  // namespace

Result<Report> RunMeta(const Options& options) {
  constexpr int kFiles = 2000;
  int runs = options.runs == 0 ? 5 : options.runs;
  F3_ASSIGN_OR_RETURN(WorkDirs dirs, WorkDirs::Make(options.layout));
  std::vector<std::pair<std::string, std::string>> others = {
      {"the tier's directory", dirs.Native("meta")}};
  if (!options.against.empty()) {
    others.emplace_back(options.against,
                        options.against + "/f3-bench-" + std::to_string(::getpid()));
  }
  Report report{"meta", {}, {{"files", kFiles}, {"runs", runs}}};
  for (const auto& [label, dir] : others) {
    for (const char* what : kSteps) {
      report.measurements.push_back({what, "ops/s", label, {}, {}, false, 0});
    }
  }
  std::string mine = dirs.In(0, "meta");
  std::error_code error;
  nlohmann::json upcalls = nlohmann::json::object();
  Status status;
  for (int run = 0; run <= runs && status.ok(); ++run) {
    options.say("run " + std::to_string(run) + " of " + std::to_string(runs));
    std::filesystem::create_directory(mine, error);
    // The counting run is the one that warms up: asking for counts takes time.
    auto rates = Run(options, mine, kFiles, run == 0 ? &upcalls : nullptr);
    std::filesystem::remove(mine, error);
    if (!rates.ok()) return rates.status();
    for (size_t i = 0; i < others.size(); ++i) {
      std::filesystem::create_directory(others[i].second, error);
      auto theirs = Run(options, others[i].second, kFiles, nullptr);
      std::filesystem::remove_all(others[i].second, error);
      if (!theirs.ok()) {
        status = theirs.status();
        break;
      }
      if (run == 0) continue;
      for (size_t step = 0; step < kStepCount; ++step) {
        Measurement& m = report.measurements[i * kStepCount + step];
        m.f3.push_back((*rates)[step]);
        m.other.push_back((*theirs)[step]);
      }
    }
  }
  if (!status.ok()) return status;
  report.extra["upcalls_per_operation"] = upcalls;
  return report;
}

}  // namespace f3::bench
