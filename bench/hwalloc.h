// `f3 bench hwalloc`: programs under libhwalloc.so and under other allocators, by LD_PRELOAD. Needs
// no cluster. Used by one thread.
#ifndef F3_BENCH_HWALLOC_H_
#define F3_BENCH_HWALLOC_H_

#include <string>
#include <vector>

#include "bench/bench.h"
#include "common/status.h"

namespace f3::bench {

// One line of bench/functions/functions.txt: NAME LANGUAGE COMMAND…
struct TraceFunction {
  std::string name;
  std::string language;
  std::vector<std::string> command;
};

// Reads such a list. Empty lines and those that begin with # are skipped; a word that begins with
// "@bin/" names a program in `bin_dir`. NotFound when there is no such file, InvalidArgument with
// the line's number when one has fewer than three words.
Result<std::vector<TraceFunction>> ReadTraceFunctions(const std::string& file,
                                                      const std::string& bin_dir);

// The workloads of hwalloc_workloads, then the functions of `options.functions`. Peers that are not
// installed, and functions that do not run, are named in the report's "missing".
Result<Report> RunHwalloc(const Options& options);

}  // namespace f3::bench

#endif  // F3_BENCH_HWALLOC_H_
