// The C entry points of libhwalloc.so: each replaces the one of the same name in libc.
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "hwalloc/allocator.h"
#include "hwalloc/debug.h"
#include "hwalloc/hwalloc.h"

using f3::hwalloc::Allocate;
using f3::hwalloc::AllocateAligned;
using f3::hwalloc::AllocateZeroed;
using f3::hwalloc::Free;
using f3::hwalloc::Reallocate;

#define HWALLOC_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

constexpr size_t kPage = 4096;

bool IsPowerOfTwo(size_t value) { return value != 0 && (value & (value - 1)) == 0; }

// As libc: what is no power of two is rounded up to one.
void* AllocateRoundedUp(size_t alignment, size_t bytes) {
  if (alignment > SIZE_MAX / 2 + 1) {
    errno = EINVAL;
    return nullptr;
  }
  size_t power = 16;
  while (power < alignment) power *= 2;
  return AllocateAligned(power, bytes);
}

struct MallInfo {  // struct mallinfo of <malloc.h>
  int arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};
struct MallInfo2 {
  size_t arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};

MallInfo2 Info() {
  f3::hwalloc::PagePool::Usage usage = f3::hwalloc::Pool().usage();
  MallInfo2 info{};
  info.uordblks = usage.used_units * f3::hwalloc::kUnitBytes;
  info.fordblks = usage.ready_units * f3::hwalloc::kUnitBytes;
  info.arena = info.uordblks + info.fordblks;
  info.keepcost = info.fordblks;
  return info;
}

__attribute__((constructor)) void Start(int, char**, char** environment) {
  f3::hwalloc::StartProcess(environment);
}
__attribute__((destructor)) void End() { f3::hwalloc::EndProcess(); }

}  // namespace

HWALLOC_EXPORT void* malloc(size_t bytes) { return Allocate(bytes); }
HWALLOC_EXPORT void free(void* p) { Free(p); }
HWALLOC_EXPORT void* calloc(size_t count, size_t bytes) { return AllocateZeroed(count, bytes); }
HWALLOC_EXPORT void* realloc(void* p, size_t bytes) { return Reallocate(p, bytes); }

HWALLOC_EXPORT void* reallocarray(void* p, size_t count, size_t bytes) {
  size_t total = 0;
  if (__builtin_mul_overflow(count, bytes, &total)) {
    errno = ENOMEM;
    return nullptr;
  }
  return Reallocate(p, total);
}

HWALLOC_EXPORT void* memalign(size_t alignment, size_t bytes) {
  return AllocateRoundedUp(alignment, bytes);
}

HWALLOC_EXPORT void* aligned_alloc(size_t alignment, size_t bytes) {
  return AllocateRoundedUp(alignment, bytes);
}

HWALLOC_EXPORT int posix_memalign(void** result, size_t alignment, size_t bytes) {
  if (!IsPowerOfTwo(alignment) || alignment % sizeof(void*) != 0) return EINVAL;
  int error = errno;  // not ours to set
  void* p = AllocateAligned(alignment, bytes);
  errno = error;
  if (p == nullptr) return ENOMEM;
  *result = p;
  return 0;
}

HWALLOC_EXPORT void* valloc(size_t bytes) { return AllocateAligned(kPage, bytes); }

HWALLOC_EXPORT void* pvalloc(size_t bytes) {
  if (bytes > SIZE_MAX - kPage) {
    errno = ENOMEM;
    return nullptr;
  }
  return AllocateAligned(kPage, bytes == 0 ? kPage : (bytes + kPage - 1) / kPage * kPage);
}

HWALLOC_EXPORT size_t malloc_usable_size(void* p) { return f3::hwalloc::UsableSize(p); }
HWALLOC_EXPORT int malloc_trim(size_t) { return f3::hwalloc::TrimProcess() > 0 ? 1 : 0; }

// There is nothing to tune: programs that ask are told that it was done.
HWALLOC_EXPORT int mallopt(int, int) { return 1; }

HWALLOC_EXPORT MallInfo2 mallinfo2() { return Info(); }

HWALLOC_EXPORT MallInfo mallinfo() {
  MallInfo2 info = Info();
  MallInfo narrow{};
  narrow.arena = static_cast<int>(info.arena);
  narrow.uordblks = static_cast<int>(info.uordblks);
  narrow.fordblks = static_cast<int>(info.fordblks);
  narrow.keepcost = static_cast<int>(info.keepcost);
  return narrow;
}

HWALLOC_EXPORT void malloc_stats() { f3::hwalloc::WriteStatistics(2); }

HWALLOC_EXPORT int malloc_info(int options, FILE* out) {
  if (options != 0) return EINVAL;
  MallInfo2 info = Info();
  std::fprintf(out,
               "<malloc version=\"1\">\n<system type=\"current\" size=\"%zu\"/>\n"
               "<total type=\"rest\" size=\"%zu\"/>\n</malloc>\n",
               info.arena, info.fordblks);
  return 0;
}

// Taken over for the statistics alone: a function's platform often ends it this way.
HWALLOC_EXPORT void _exit(int status) {
  f3::hwalloc::Report();
  for (;;) ::syscall(SYS_exit_group, status);
}

// Names by which some programs and libraries reach libc's functions past the ordinary ones.
HWALLOC_EXPORT void* __libc_malloc(size_t bytes) { return Allocate(bytes); }
HWALLOC_EXPORT void __libc_free(void* p) { Free(p); }
HWALLOC_EXPORT void cfree(void* p) { Free(p); }
HWALLOC_EXPORT void* __libc_calloc(size_t count, size_t bytes) {
  return AllocateZeroed(count, bytes);
}
HWALLOC_EXPORT void* __libc_realloc(void* p, size_t bytes) { return Reallocate(p, bytes); }
HWALLOC_EXPORT void* __libc_memalign(size_t alignment, size_t bytes) {
  return AllocateRoundedUp(alignment, bytes);
}
HWALLOC_EXPORT void* __libc_valloc(size_t bytes) { return valloc(bytes); }
HWALLOC_EXPORT void* __libc_pvalloc(size_t bytes) { return pvalloc(bytes); }
HWALLOC_EXPORT int __posix_memalign(void** result, size_t alignment, size_t bytes) {
  return posix_memalign(result, alignment, bytes);
}
