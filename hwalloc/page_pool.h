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
// Bound: used and ready together exceed the most that was ever used at once by at most
// kSlackUnits. Free pages that were not needed during a whole period of kDecayMillis are given
// back bit by bit.
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
constexpr int64_t kDecayMillis = 250;
constexpr uint32_t kDecayUnits = 128;  // at most so many are given back at one time

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
  // One unit that is ready, or none at all: the base is null when there is none.
  Run TakeReady();
  // Gives `count` runs of `units` back, under one lock. `now_millis`: any monotonic clock.
  void Give(char* const* bases, size_t count, uint32_t units, int64_t now_millis);
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

  void LockForFork() F3_ACQUIRE(lock_) { lock_.Acquire(); }
  void UnlockAfterFork() F3_RELEASE(lock_) { lock_.Release(); }

 private:
  struct Region;
  using Bits = uint64_t[kRegionUnits / 64];

  Run TakeReadyRun(uint32_t units) F3_REQUIRES(lock_);
  Run TakeIn(Region* region, uint32_t first, uint32_t units) F3_REQUIRES(lock_);
  Region* AddRegion() F3_REQUIRES(lock_);
  void GiveOne(char* base, uint32_t units) F3_REQUIRES(lock_);
  void Decay(int64_t now_millis) F3_REQUIRES(lock_);
  void HoldBound() F3_REQUIRES(lock_);
  uint64_t Return(uint64_t units) F3_REQUIRES(lock_);
  static uint32_t FindRun(const Bits& bits, uint32_t units);

  Lock lock_;
  Signal demand_;
  Region* first_ F3_GUARDED_BY(lock_) = nullptr;
  Region* last_ F3_GUARDED_BY(lock_) = nullptr;
  Usage usage_ F3_GUARDED_BY(lock_);
  uint64_t least_ready_ F3_GUARDED_BY(lock_) = 0;  // since the period began
  int64_t period_end_ F3_GUARDED_BY(lock_) = 0;
  bool demanded_ F3_GUARDED_BY(lock_) = false;
  bool stopped_ F3_GUARDED_BY(lock_) = false;
};

}  // namespace f3::hwalloc

#endif  // F3_HWALLOC_PAGE_POOL_H_
