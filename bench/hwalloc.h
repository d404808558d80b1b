// `f3 bench hwalloc`: programs under libhwalloc.so and under other allocators, by LD_PRELOAD. Needs
// no cluster. Used by one thread.
#ifndef F3_BENCH_HWALLOC_H_
#define F3_BENCH_HWALLOC_H_

#include "bench/bench.h"
#include "common/status.h"

namespace f3::bench {

// The workloads of hwalloc_workloads, then the functions of `options.functions`. Peers that are not
// installed, and functions that do not run, are named in the report's "missing".
Result<Report> RunHwalloc(const Options& options);

}  // namespace f3::bench

#endif  // F3_BENCH_HWALLOC_H_
