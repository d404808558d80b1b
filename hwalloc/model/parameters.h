// Every number that the model of Memento's hardware rests on, with its source. Nothing else in
// hwalloc/model holds one. Sources:
//   [paper] Memento, MICRO'23, by a summary of it: the parameters of its platform.
//
//   [typical] Of server processors with caches of these sizes: manufacturers' optimisation guides
//   give 12 to 14 cycles for L2 and 40 to 50 for L3; DDR4-3200 answers in 60 to 80 ns.
//
//   [assumed] Ours, because no source gives it; README.md says what depends on it.
//
// Cycles are emulated ones, of the paper's 3 GHz core. Only constants.
#ifndef F3_HWALLOC_MODEL_PARAMETERS_H_
#define F3_HWALLOC_MODEL_PARAMETERS_H_

#include <cstdint>

#include "hwalloc/arena.h"

namespace f3::hwmodel {

// --- The core ------------------------------------------------------------------------------------
inline constexpr double kGigahertz = 3.0;         // [paper]
inline constexpr uint32_t kIssueWidth = 4;        // [paper]
inline constexpr uint32_t kReorderEntries = 256;  // [paper]
// Cycles of an instruction while all its data is in the first-level cache. [assumed]: half of the
// width is sustained.
inline constexpr double kCyclesPerInstruction = 0.5;
// The reorder buffer holds 64 cycles of work; half of it is taken to be independent of a load that
// is waited for, and so hides that much of its latency. [assumed]
inline constexpr uint32_t kHiddenCycles = kReorderEntries / kIssueWidth / 2;
// Misses that are under way at a time while the core stands still. [assumed], as is usual for
// server programs.
inline constexpr double kParallelMisses = 2;
// A store waits in the store buffer: a quarter of what a load would stall. [assumed]
inline constexpr double kStoreStallShare = 0.25;

// --- Caches and memory ---------------------------------------------------------------------------
inline constexpr uint32_t kLineShift = 6;  // 64-byte lines [typical]
struct CacheShape {
  uint32_t bytes;
  uint32_t ways;
  uint32_t latency_cycles;
};
// Sizes [paper], ways and latencies [typical]. The last level is one core's slice.
inline constexpr CacheShape kLevel1 = {32 << 10, 8, 4};
inline constexpr CacheShape kLevel2 = {256 << 10, 8, 14};
inline constexpr CacheShape kLevel3 = {2 << 20, 16, 44};
inline constexpr uint32_t kMemoryLatencyCycles = 210;  // 70 ns, DDR4-3200 [paper], [typical]

// --- Address translation -------------------------------------------------------------------------
inline constexpr uint32_t kPageShift = 12;
// Second-level TLB, 1536 entries in 12 ways [typical]; misses are walked by hardware.
inline constexpr uint32_t kTlbEntries = 1536;
inline constexpr uint32_t kTlbWays = 12;
inline constexpr uint32_t kWalkCycles = 30;  // upper levels cached [typical]

// --- The software baseline's page management -----------------------------------------------------
// What the kernel takes for one page: the fault with clearing, and giving it back, at unmap or
// exit; and for a call of mmap, munmap, brk, mremap or madvise. [typical]: reports for Linux 5 and
// 6 on bare machines give 0.5 to 1 us for a fault. f3_page_costs measures all three; a virtual
// machine whose kernel entries are intercepted gives ten times as much, and is not what the paper
// modelled.
inline constexpr uint32_t kFaultCycles = 2100;
inline constexpr uint32_t kPageFreeCycles = 300;
inline constexpr uint32_t kMappingCallCycles = 1500;
// The kernel clears a page with full-line stores, which need not read memory first. [assumed]
inline constexpr bool kClearingReadsMemory = false;

// --- The hardware --------------------------------------------------------------------------------
inline constexpr uint32_t kMaxObjectBytes = hwalloc::kMaxHardwareBytes;  // 512 [paper]
inline constexpr uint32_t kClasses = hwalloc::kHardwareClasses;  // of the object table: 64 [paper]
inline constexpr uint32_t kTableCycles = 2;                      // [paper]
// obj-alloc or obj-free, and the comparison with 512 and branch around it. [assumed]
inline constexpr uint32_t kOperationInstructions = 3;
// The "AAC" of the paper's summary, which does not expand the name: taken to hold, by class, where
// the next new arena begins. Direct-mapped, 1 cycle [paper]; what it holds is [assumed].
inline constexpr uint32_t kAacEntries = 32;
inline constexpr uint32_t kAacCycles = 1;
inline constexpr uint32_t kSlotsPerArena = 256;    // recalled from the paper
inline constexpr uint32_t kArenaHeaderBytes = 32;  // without the free bits: one line with them
// A recorded string function may read so far beyond the end of its object. [assumed]
inline constexpr uint32_t kOverReadBytes = 128;
inline constexpr uint32_t kArenaColours = 1;  // the paper's headers begin their arenas
// Bytes that clearing (calloc) and copying (realloc) move in a cycle: one 32-byte store. [typical]
inline constexpr uint32_t kCopyBytesPerCycle = 32;

// --- The hardware page allocator -----------------------------------------------------------------
// Taking a page from the pool during the walk, with writing its table entry: one access to the last
// level. [assumed]
inline constexpr uint32_t kPoolTakeCycles = 44;
// The pool's size is not known. [assumed]
inline constexpr uint32_t kPoolPages = 64;
// The operating system refills half a pool at a time, off the critical path. All of it is charged
// all the same: an interrupt and, for each page, an allocation in bulk. Nothing is cleared: lines
// are filled with zeros as they are touched. [assumed]
inline constexpr uint32_t kRefillCycles = 1500;
inline constexpr uint32_t kRefillPageCycles = 150;
// Giving a page back, at an arena's release or at exit, which frees arenas as a whole. [assumed]
inline constexpr uint32_t kPoolReturnCycles = 44;

// --- The paper's results -------------------------------------------------------------------------
// What the model's table is printed beside. A negative number: not known.
struct PaperFigures {
  double speedup = 0.16;
  double speedup_low = 0.08;
  double speedup_high = 0.28;
  double alloc_hit_rate = 0.998;
  double free_hit_rate = 0.83;
  double alloc_list_rate = 0.01;  // less than
  double free_list_rate = 0.006;  // less than
  double share_alloc = 0.33;
  double share_free = 0.32;
  double share_pages = 0.33;
  double share_bypass = 0.02;
  double traffic_saved = 0.30;
  double footprint_saved = 0.15;
  double fragmentation = 0.0368;
  double small_allocations = 0.93;
  double die_within_16 = 0.71;
  double live_to_exit = 0.27;
  double kernel_share_python = 0.52;
  double kernel_share_cpp = 0.04;
};
inline constexpr PaperFigures kPaper;

}  // namespace f3::hwmodel

#endif  // F3_HWALLOC_MODEL_PARAMETERS_H_
