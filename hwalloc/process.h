// What a process has one of: the page pool, the list of heaps, settings and counters; and how
// threads get their heaps.
//
// These are globals because malloc has no other place for them. All are constant-initialised, so
// they work before any constructor has run and after the last destructor.
//
// Lock order: debug level, late heap, heaps, page pool. No lock is held while the program's code
// runs.
#ifndef F3_HWALLOC_PROCESS_H_
#define F3_HWALLOC_PROCESS_H_

#include <atomic>
#include <cstdint>

#include "hwalloc/heap.h"
#include "hwalloc/lock.h"
#include "hwalloc/page_pool.h"

namespace f3::hwalloc {

extern constinit PagePool g_pool;
inline PagePool& Pool() { return g_pool; }

// Heaps that are always empty: they say in which state a thread is.
extern constinit Heap g_new_thread;    // has not allocated yet
extern constinit Heap g_ended_thread;  // its destructors run; it shares the late heap
extern constinit Heap g_checked;       // the debug level serves it

// The heap of the calling thread, or one of the three above. In the static TLS block, so reading it
// is one instruction and never allocates.
extern __thread Heap* t_heap __attribute__((tls_model("initial-exec")));

// A slot of class `index` when the table's entry was empty. Null when the system has no memory.
// REQUIRES: the debug level is off.
void* AllocateFromThread(uint32_t index);
// A medium block of the calling thread's heap; as Heap::AllocateMedium.
void* AllocateMediumFromThread(size_t bytes, size_t alignment, bool* zero);

// Heaps whose threads have ended: takes what others freed meanwhile, and gives back what is empty.
void CollectWaiting();

// Gives back whatever the calling thread's heap, the waiting heaps and the pool do not need.
// Returns the units given back.
uint64_t TrimProcess();

// Milliseconds of a coarse monotonic clock. Not f3::Clock: nothing but libc may be linked here, and
// the decay that it drives is tested with times of the test's own.
int64_t NowMillis();

struct Counters {
  std::atomic<uint64_t> large_blocks = 0;  // allocated, ever
  std::atomic<uint64_t> heaps = 0;
};
extern constinit Counters g_counters;

// Reads the settings from the environment and acts on them: see README.md. Called once, by the
// shared library's constructor, which runs before libc knows the environment.
void StartProcess(char** environment);
// Ends the pool's thread and reports.
void EndProcess();
// Writes the statistics, if they were asked for. Also in a signal handler, which may end the
// process by _exit: nothing is written when it has interrupted the allocator.
void Report();
// One line about this process, to `fd`.
void WriteStatistics(int fd);

}  // namespace f3::hwalloc

#endif  // F3_HWALLOC_PROCESS_H_
