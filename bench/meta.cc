// meta: small files by one thread: create + write 4 KiB + close, stat, unlink; and what each costs
// in calls from the kernel to the agent.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "bench/bench.h"
#include "common/unique_fd.h"

namespace f3::bench {
namespace {

struct Rates {
  double create = 0, stat = 0, unlink = 0;
};

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

Result<Rates> Run(const Options& options, const std::string& dir, int files,
                  nlohmann::json* upcalls) {
  std::vector<char> content(4096, 'm');
  auto name = [&](int i) { return dir + "/f" + std::to_string(i); };
  Rates rates;
  auto count = [&](const char* step, const std::function<Status()>& body) -> Result<double> {
    std::map<std::string, uint64_t> before;
    if (upcalls != nullptr) before = Upcalls(options);
    F3_ASSIGN_OR_RETURN(double seconds, Time(body));
    if (upcalls != nullptr) AddDifference(before, Upcalls(options), files, &(*upcalls)[step]);
    return files / seconds;
  };
  F3_ASSIGN_OR_RETURN(rates.create, count("create", [&]() -> Status {
                        for (int i = 0; i < files; ++i) {
                          int fd = ::open(name(i).c_str(), O_WRONLY | O_CREAT | O_EXCL, 0644);
                          if (fd < 0) return Status::FromErrno(errno, "create " + name(i));
                          bool wrote = ::write(fd, content.data(), content.size()) == 4096;
                          if (::close(fd) != 0 || !wrote) {
                            return Status::FromErrno(errno, "write " + name(i));
                          }
                        }
                        return Status();
                      }));
  F3_ASSIGN_OR_RETURN(rates.stat, count("stat", [&]() -> Status {
                        struct stat attributes;
                        for (int i = 0; i < files; ++i) {
                          if (::stat(name(i).c_str(), &attributes) != 0) {
                            return Status::FromErrno(errno, "stat " + name(i));
                          }
                        }
                        return Status();
                      }));
  F3_ASSIGN_OR_RETURN(rates.unlink, count("unlink", [&]() -> Status {
                        for (int i = 0; i < files; ++i) {
                          if (::unlink(name(i).c_str()) != 0) {
                            return Status::FromErrno(errno, "unlink " + name(i));
                          }
                        }
                        return Status();
                      }));
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
    for (const char* what : {"create + write 4 KiB + close", "stat", "unlink"}) {
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
      const double values[3][2] = {{rates->create, theirs->create},
                                   {rates->stat, theirs->stat},
                                   {rates->unlink, theirs->unlink}};
      for (size_t step = 0; step < 3; ++step) {
        report.measurements[i * 3 + step].f3.push_back(values[step][0]);
        report.measurements[i * 3 + step].other.push_back(values[step][1]);
      }
    }
  }
  if (!status.ok()) return status;
  report.extra["upcalls_per_operation"] = upcalls;
  return report;
}

}  // namespace f3::bench
