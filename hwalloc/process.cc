#include "hwalloc/process.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <ctime>
#include <new>

#include "hwalloc/debug.h"
#include "hwalloc/fatal.h"

namespace f3::hwalloc {

constinit PagePool g_pool;
constinit Heap g_new_thread;
constinit Heap g_ended_thread;
constinit Heap g_checked;
constinit Counters g_counters;
__thread Heap* t_heap __attribute__((tls_model("initial-exec"))) = &g_new_thread;

namespace {

struct Heaps {
  Lock lock;
  Heap* all F3_GUARDED_BY(lock) = nullptr;
  Heap* waiting F3_GUARDED_BY(lock) = nullptr;  // without a thread
  std::atomic<uint32_t> waiting_count = 0;
  bool started F3_GUARDED_BY(lock) = false;
  pthread_key_t key F3_GUARDED_BY(lock) = 0;
  Heap first;  // a process with one thread needs no other memory for heaps
};
constinit Heaps g_heaps;

// For threads whose destructors run and which allocate once more.
struct Late {
  Lock lock;
  Heap heap F3_GUARDED_BY(lock);
};
constinit Late g_late;

constexpr uint32_t kPoolThreadUnits = kSlackUnits;
constinit pthread_t g_pool_thread{};
constinit bool g_pool_thread_runs = false;

void BeforeFork() F3_NO_THREAD_SAFETY_ANALYSIS {
  LockDebugForFork();
  g_late.lock.Acquire();
  g_heaps.lock.Acquire();
  g_pool.LockForFork();
}

// In both processes. In the child the heaps of the other threads are left as they are: their
// threads may have been anywhere. What lives in them stays readable and can be freed.
void AfterFork() F3_NO_THREAD_SAFETY_ANALYSIS {
  g_pool.UnlockAfterFork();
  g_heaps.lock.Release();
  g_late.lock.Release();
  UnlockDebugAfterFork();
}

void AfterForkInChild() {
  g_pool_thread_runs = false;
  AfterFork();
}

// The destructor of the thread's key.
void EndThread(void* value) {
  auto* heap = static_cast<Heap*>(value);
  t_heap = &g_ended_thread;
  heap->Flush();
  LockHolder hold(g_heaps.lock);
  heap->next_waiting = g_heaps.waiting;
  g_heaps.waiting = heap;
  g_heaps.waiting_count.fetch_add(1, std::memory_order_relaxed);
}

Heap* NewHeap() F3_REQUIRES(g_heaps.lock) {
  Heap* heap = nullptr;
  if (!g_heaps.started) {
    g_heaps.started = true;
    ::pthread_key_create(&g_heaps.key, EndThread);
    heap = &g_heaps.first;
  } else {
    void* memory =
        ::mmap(nullptr, sizeof(Heap), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    heap = new (memory) Heap;
  }
  heap->next_of_all = g_heaps.all;
  g_heaps.all = heap;
  g_counters.heaps.fetch_add(1, std::memory_order_relaxed);
  return heap;
}

Heap* StartThread() {
  Heap* heap = nullptr;
  pthread_key_t key = 0;
  bool first = false;
  {
    LockHolder hold(g_heaps.lock);
    first = !g_heaps.started;
    heap = g_heaps.waiting;
    if (heap != nullptr) {
      g_heaps.waiting = heap->next_waiting;
      g_heaps.waiting_count.fetch_sub(1, std::memory_order_relaxed);
    } else {
      heap = NewHeap();
    }
    key = g_heaps.key;
  }
  if (heap == nullptr) return nullptr;
  t_heap = heap;
  // Both may allocate, and can: the thread has its heap.
  if (first) ::pthread_atfork(BeforeFork, AfterFork, AfterForkInChild);
  ::pthread_setspecific(key, heap);
  return heap;
}

void* RunPoolThread(void*) {
  while (g_pool.WaitForDemand(kPoolThreadUnits)) g_pool.Prepare(kPoolThreadUnits);
  return nullptr;
}

void StartPoolThread() {
  // Signals are the program's business: none may be delivered here.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  g_pool_thread_runs = ::pthread_create(&g_pool_thread, nullptr, RunPoolThread, nullptr) == 0;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

// The setting's value; null when it is not set, or set to nothing or 0.
const char* Setting(char** environment, const char* name) {
  size_t length = std::strlen(name);
  for (char** at = environment; at != nullptr && *at != nullptr; ++at) {
    if (std::strncmp(*at, name, length) != 0 || (*at)[length] != '=') continue;
    const char* value = *at + length + 1;
    return *value == '\0' || std::strcmp(value, "0") == 0 ? nullptr : value;
  }
  return nullptr;
}

}  // namespace

void* AllocateMediumFromThread(size_t bytes, size_t alignment, bool* zero) {
  Heap* heap = t_heap == &g_new_thread ? StartThread() : t_heap;
  if (heap == nullptr) return nullptr;
  if (heap != &g_ended_thread) [[likely]]
    return heap->AllocateMedium(bytes, alignment, zero);
  LockHolder hold(g_late.lock);
  return g_late.heap.AllocateMedium(bytes, alignment, zero);
}

void* AllocateFromThread(uint32_t index) {
  Heap* heap = t_heap == &g_new_thread ? StartThread() : t_heap;
  if (heap == nullptr) return nullptr;
  if (heap != &g_ended_thread) [[likely]]
    return heap->AllocateSlow(index);
  LockHolder hold(g_late.lock);
  void* p = g_late.heap.TryAllocate(index);
  return p != nullptr ? p : g_late.heap.AllocateSlow(index);
}

void CollectWaiting() {
  if (g_heaps.waiting_count.load(std::memory_order_relaxed) == 0) return;
  LockHolder hold(g_heaps.lock);
  for (Heap* heap = g_heaps.waiting; heap != nullptr; heap = heap->next_waiting) {
    if (heap->has_remote()) heap->Flush();
  }
}

uint64_t TrimProcess() {
  Heap* heap = t_heap;
  if (heap != &g_new_thread && heap != &g_ended_thread && heap != &g_checked) heap->Flush();
  if (IsDebug()) DebugTrim();
  CollectWaiting();
  return g_pool.Trim();
}

int64_t NowMillis() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

void StartProcess(char** environment) {
  if (Setting(environment, "HWALLOC_DEBUG") != nullptr) StartDebug();
  if (Setting(environment, "HWALLOC_POOL_THREAD") != nullptr) StartPoolThread();
}

void EndProcess() {
  if (g_pool_thread_runs) {
    g_pool.Stop();
    ::pthread_join(g_pool_thread, nullptr);
  }
  Report();
}

void Report() {
  const char* where = Setting(environ, "HWALLOC_STATS");
  if (where == nullptr) return;
  if (!g_heaps.lock.IsFreeSoon() || !g_pool.IsFreeSoon() || !IsDebugFreeSoon()) return;
  if (std::strcmp(where, "1") == 0) return WriteStatistics(STDERR_FILENO);
  int fd = ::open(where, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) return;
  WriteStatistics(fd);
  ::close(fd);
}

void WriteStatistics(int fd) {
  uint64_t loads = 0;
  uint64_t arenas = 0;
  {
    LockHolder hold(g_heaps.lock);
    for (Heap* heap = g_heaps.all; heap != nullptr; heap = heap->next_of_all) {
      loads += heap->loads();
      arenas += heap->arenas();
    }
  }
  PagePool::Usage usage = g_pool.usage();
  constexpr uint64_t kKib = kUnitBytes / 1024;
  Line line;
  line.Text("hwalloc: pid=").Number(static_cast<unsigned long long>(::getpid()));
  line.Text(" heaps=").Number(g_counters.heaps.load(std::memory_order_relaxed));
  line.Text(" words=").Number(loads).Text(" arenas=").Number(arenas);
  line.Text(" large=").Number(g_counters.large_blocks.load(std::memory_order_relaxed));
  line.Text(" used_kib=").Number(usage.used_units * kKib);
  line.Text(" peak_kib=").Number(usage.peak_units * kKib);
  line.Text(" ready_kib=").Number(usage.ready_units * kKib);
  line.Text(" returned_kib=").Number(usage.returned_units * kKib);
  line.Text(IsDebug() ? " debug=1" : " debug=0");
  if (IsDebug()) line.Text(" allocations=").Number(DebugAllocations());
  line.Write(fd);
}

}  // namespace f3::hwalloc
