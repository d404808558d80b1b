// Report: what the model says of one trace, from one replay on three machines: as recorded, with
// the hardware, and with the hardware but no bypass of main memory. All cycles are emulated.
// Values; thread-safe to read.
#ifndef F3_HWALLOC_MODEL_REPORT_H_
#define F3_HWALLOC_MODEL_REPORT_H_

#include <string>
#include <vector>

#include "common/status.h"
#include "hwalloc/model/characterise.h"
#include "hwalloc/model/machine.h"

namespace f3::hwmodel {

struct MachineReport {
  CycleParts cycles;
  MemoryCounts memory;
  uint64_t faults = 0;
  uint64_t peak_pages = 0;
};

// How the cycles saved divide; adds up to 1, parts may be negative.
struct SavedShares {
  double alloc = 0, free = 0, pages = 0, bypass = 0;
  double placement = 0;  // fewer or more stalls because objects lie elsewhere
};

struct Report {
  std::vector<std::string> command;
  Characterisation::Counts program;
  MachineReport software, hardware, without_bypass;
  HardwareCounts counts;
  uint64_t pool_pages_taken = 0, pool_refills = 0;

  // Ratios of 0 … 1, 0 where there is nothing to divide by; a speed-up of 0.16 is 16 %.
  double Speedup() const;
  double ManagementShare() const;  // of the software's cycles: allocator and pages
  double KernelShare() const;      // of these: pages
  SavedShares Shares() const;
  double AllocHitRate() const;
  double FreeHitRate() const;
  double AllocListRate() const;
  double FreeListRate() const;
  double TrafficSaved() const;
  double FootprintSaved() const;
  double Fragmentation() const;   // bytes lost to rounding up, of those given
  double ArenaOccupancy() const;  // live objects, of the arenas' pages, at the peak
};

// Replays the trace at `path`. Errors as ReplayTrace.
Result<Report> ModelTrace(const std::string& path);

}  // namespace f3::hwmodel

#endif  // F3_HWALLOC_MODEL_REPORT_H_
