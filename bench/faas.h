// The parts of `f3 bench faas`. Each adds its comparisons to `report` and its figures to
// `report->extra`. Used by one thread.
#ifndef F3_BENCH_FAAS_H_
#define F3_BENCH_FAAS_H_

#include "bench/bench.h"
#include "common/status.h"

namespace f3::bench {

// Two Python actions, one after the other, that hand over a payload: as JSON, as a durable file, as
// an ephemeral one, by reference; on one node and between two. Needs two nodes.
Status MeasureChains(const Options& options, Report* report);

// Sandboxes of the first node made and called with F3 and without: cold, warm; and f3-runc against
// runc alone.
Status MeasureStarts(const Options& options, Report* report);

}  // namespace f3::bench

#endif  // F3_BENCH_FAAS_H_
