// The allocator as functions: what malloc and the C++ operators are made of.
//
// They are here under names of their own, so that tests and the sanitizers' builds can use them
// beside the system's malloc. Thread-safe. Not for signal handlers, as malloc itself.
#ifndef F3_HWALLOC_ALLOCATOR_H_
#define F3_HWALLOC_ALLOCATOR_H_

#include <cstddef>

#include "hwalloc/heap.h"
#include "hwalloc/process.h"

namespace f3::hwalloc {

// ---- what the fast paths below fall back to ----
void* AllocateRest(size_t bytes);
void FreeRest(void* p);

// `bytes` (0 counts as 1) at a multiple of 16, or of 8 when it is 8 or less. Null and ENOMEM when
// there is no memory.
inline void* Allocate(size_t bytes) {
  if (bytes <= kMaxHardwareBytes) [[likely]] {
    uint32_t index = kMallocClasses[(bytes + kClassStep - 1) / kClassStep];
    Heap* heap = t_heap;
    void* p = heap->TryAllocate(index);
    if (p != nullptr) [[likely]]
      return p;
    if (heap->has_word(index)) return heap->AllocateSlow(index);
  }
  return AllocateRest(bytes);
}

// Frees what any of these functions returned; null is allowed. Keeps errno.
inline void Free(void* p) {
  const Unit* unit = UnitOf(p);
  Heap* heap = t_heap;
  if (unit != nullptr && unit->owner == heap) [[likely]]
    return heap->FreeLocal(unit, p);
  FreeRest(p);
}

// The same with zeroed bytes: `count` objects of `bytes` each. Null and ENOMEM on overflow as well.
void* AllocateZeroed(size_t count, size_t bytes);
// At a multiple of `alignment`. REQUIRES: it is a power of two.
void* AllocateAligned(size_t alignment, size_t bytes);
// As realloc: null `p` allocates; 0 `bytes` frees and returns null. On failure null and ENOMEM, and
// `p` stays.
void* Reallocate(void* p, size_t bytes);
// Bytes that may be used at `p`, at least what was asked for; 0 for null.
size_t UsableSize(const void* p);

}  // namespace f3::hwalloc

#endif  // F3_HWALLOC_ALLOCATOR_H_
