// Workloads behind `f3 bench`: each measures F3 and something to compare with in turns, in one run,
// and reports medians and their ratio. Used by one thread; a workload may start threads and
// processes of its own and ends them.
#ifndef F3_BENCH_BENCH_H_
#define F3_BENCH_BENCH_H_

#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/cluster.h"
#include "common/status.h"

namespace f3::bench {

struct Options {
  cli::ClusterLayout layout;  // of a running cluster
  uint64_t bytes = 0;         // size of the files; 0: the workload's own
  int runs = 0;               // of each side; 0: the workload's own
  std::string against;        // meta: a directory of another file system, as well
  std::string functions;      // hwalloc: the list of functions
  uint64_t scale = 1;         // hwalloc: of its workloads
  std::function<void(const std::string&)> say = [](const std::string&) {};
  std::string rootfs;  // faas, locality: root file system of actions
  int warmup = 0;      // faas: chains before those that count, of each size
};

// One comparison.
struct Measurement {
  std::string what;               // "1 MiB sequential read"
  std::string unit;               // "MB/s", "ops/s", "us", "s"
  std::string against;            // "the tier's directory"
  std::vector<double> f3, other;  // one value a run
  bool less_is_better = false;
  double target = 0;  // of the ratio; 0: none
  // That a run moves in so many microseconds; 0: latency and rate are not what this is about.
  size_t bytes = 0;
  // How F3 compares: above 1 is better than the other side.
  double Ratio() const;
};

struct Report {
  std::string name;
  std::vector<Measurement> measurements;
  nlohmann::json extra = nlohmann::json::object();  // counts and settings
};

double Median(std::vector<double> values);
// The value that `part` (0 to 1) of all, at least one, are not above.
double Percentile(std::vector<double> values, double part);

Result<Report> RunSeq(const Options& options);
Result<Report> RunRand(const Options& options);
Result<Report> RunMeta(const Options& options);
Result<Report> RunPull(const Options& options);
Result<Report> RunFollow(const Options& options);
Result<Report> RunXdt(const Options& options);
Result<Report> RunPatterns(const Options& options);
Result<Report> RunFaas(const Options& options);
Result<Report> RunLocality(const Options& options);
// What follow's reader process runs: reads `path` to its end, then writes when that was and how
// many bytes there were to `report`.
Status ReadToEnd(const std::string& path, const std::string& report);

// ---- shared by the workloads ----

// Directories of one run, removed when it ends: in the mount of a node (ephemeral class), and
// beside the objects of that node's disk tier.
class WorkDirs {
 public:
  static Result<WorkDirs> Make(const cli::ClusterLayout& layout, bool follow = false);
  ~WorkDirs();
  WorkDirs(WorkDirs&& other) noexcept;
  WorkDirs& operator=(WorkDirs&&) = delete;
  // In the mount of node `i` (from 0).
  std::string In(size_t node, const std::string& file) const;
  std::string Native(const std::string& file) const;

 private:
  WorkDirs() = default;
  std::vector<std::string> mounts_;
  std::string native_;
  std::string name_;
};

// "1 KB", "100 MB".
std::string SizeName(size_t bytes);
// Seconds that `body` takes.
Result<double> Time(const std::function<Status()>& body);
Status WriteSequential(const std::string& path, uint64_t bytes, size_t block);
Status ReadSequential(const std::string& path, uint64_t bytes, size_t block);
// Counters of a node's agent, from its control socket; empty when it has none.
nlohmann::json AgentStatus(const cli::ClusterLayout& layout, size_t node);

}  // namespace f3::bench

#endif  // F3_BENCH_BENCH_H_
