// PagePool: where arenas and large blocks get their units from, and give them back to.
//
// It stands for Memento's hardware page allocator: memory whose pages are there already is handed
// out first, pages are faulted in ahead of use in batches, and what is not used for a while goes
// back to the system. Address space comes from the system in regions of 32 MiB.
//
//   used    units handed out
//   ready   free units that have pages behind them
//   clean   free units without pages; their bytes read as zero
//
// Bounds: used and ready together exceed the most that was ever used at once by at most
// kSlackUnits. What is freed beyond a sixteenth of what is used goes back to the system at once,
// but for not more than kAtOnceUnits in a period of kDecayMillis; free pages that were not needed
// during a whole period go back by half.
//
// Thread-safe, one lock. Never returns address space. Not destructible in a useful way: the
// process's pool lives as long as the process; a test's pool keeps its address space.
#ifndef F3_HWALLOC_PAGE_POOL_H_
#define F3_HWALLOC_PAGE_POOL_H_

#include <cstddef>
#include <cstdint>

#include "hwalloc/arena.h"
#include "hwalloc/lock.h"
#include "hwalloc/unit.h"

namespace f3::hwalloc {

constexpr uint32_t kMaxRunUnits =
    kRegionUnits / 2;  // 16 MiB; larger blocks are mapped by themselves
constexpr uint32_t kSlackUnits = 16;
constexpr uint32_t kReadyUnits = 4;  // so many stay ready in any case
constexpr uint32_t kRunUnits = 8;    // up to so many are kept for runs, not cut up for arenas
constexpr int64_t kDecayMillis = 250;
constexpr uint32_t kAtOnceUnits = 48;  // of these, so many are given back at once in a period
constexpr uint32_t kDecayUnits = 128;  // and so many at its end

// Bytes at a multiple of 32 MiB, readable, writable and zero, with a table of units (unit.h) from
// byte 512 on. `bytes` is a multiple of the page size. Null when the system has none.
char* MapBlock(size_t bytes);
// REQUIRES: `base` came from MapBlock with `bytes`.
void UnmapBlock(char* base, size_t bytes);
// Grows or shrinks such a block, moving it when it must. Null, and the block unchanged, when the
// system refuses.
char* RemapBlock(char* base, size_t old_bytes, size_t new_bytes);
// Has the kernel back these bytes with pages now, in one call. Does nothing where it cannot.
void FaultIn(char* begin, size_t bytes);

class PagePool {
 public:
  struct Run {
    char* base = nullptr;  // null: the system has no memory
    bool clean = false;    // all of it reads as zero, and has no pages yet
  };
  struct Usage {
    uint64_t used_units = 0;
    uint64_t ready_units = 0;
    uint64_t peak_units = 0;      // the most that was used at once
    uint64_t returned_units = 0;  // given back to the system, ever
    uint64_t regions = 0;
  };

  constexpr PagePool() = default;
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

  // `units` neighbouring units (1 … kMaxRunUnits).
  Run Take(uint32_t units);
  // One ready unit for an arena, or none: the base is null. What large blocks gave back is left to
  // them, unless there is much of it: they need neighbouring units, and a use for all the pages.
  Run TakeReady();
  // One unit that is clean, or none at all.
  Run TakeClean();
  // Gives a run of `units` back. `now_millis`: any monotonic clock.
  void Give(char* base, uint32_t units, int64_t now_millis);
  // Gives `count` units of arenas back, under one lock.
  void GiveArenas(char* const* bases, size_t count, int64_t now_millis);
  // Takes the `more` units behind a run of `units` as well. False when they are not free;
  // `*clean` as in Run.
  bool Extend(char* base, uint32_t units, uint32_t more, bool* clean);
  // Faults in clean units until `target` are ready. Called off the critical path.
  void Prepare(uint32_t target);
  // Gives all ready units back to the system. Returns how many.
  uint64_t Trim();
  Usage usage();

  // Blocks until fewer than `target` units are ready, and Take has been called since the last
  // time, or Stop. False after Stop.
  bool WaitForDemand(uint32_t target);
  void Stop();

  bool IsFreeSoon() { return lock_.IsFreeSoon(); }  // as Lock's
  void LockForFork() F3_ACQUIRE(lock_) { lock_.Acquire(); }
  void UnlockAfterFork() F3_RELEASE(lock_) { lock_.Release(); }

 private:
  struct Region;
  using Bits = uint64_t[kRegionUnits / 64];

  Run TakeReadyRun(uint32_t units) F3_REQUIRES(lock_);
  Run TakeIn(Region* region, uint32_t first, uint32_t units) F3_REQUIRES(lock_);
  Region* AddRegion() F3_REQUIRES(lock_);
  void GiveBack(char* base, uint32_t units, bool arena) F3_REQUIRES(lock_);
  void Decay(int64_t now_millis) F3_REQUIRES(lock_);
  void HoldBound() F3_REQUIRES(lock_);
  void HoldReady() F3_REQUIRES(lock_);
  uint64_t Return(uint64_t units) F3_REQUIRES(lock_);
  static uint32_t FindRun(const Bits& bits, uint32_t units);
  static uint32_t FindClean(const Region* region);  // kNone when it has none

  Lock lock_;
  Signal demand_;
  Region* first_ F3_GUARDED_BY(lock_) = nullptr;
  Region* last_ F3_GUARDED_BY(lock_) = nullptr;
  Usage usage_ F3_GUARDED_BY(lock_);
  uint64_t least_ready_ F3_GUARDED_BY(lock_) = 0;  // since the period began
  int64_t period_end_ F3_GUARDED_BY(lock_) = 0;
  uint64_t reserve_ F3_GUARDED_BY(lock_) = 0;  // what Prepare was last told to keep ready
  uint64_t at_once_ F3_GUARDED_BY(lock_) = kAtOnceUnits;  // still, in this period
  bool demanded_ F3_GUARDED_BY(lock_) = false;
  bool stopped_ F3_GUARDED_BY(lock_) = false;
};

}  // namespace f3::hwalloc

#endif  // F3_HWALLOC_PAGE_POOL_H_
