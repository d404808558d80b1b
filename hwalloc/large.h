// Blocks larger than the largest class, or aligned to more than one: runs of units of the page
// pool, and above 16 MiB mappings of their own.
//
// What a free run keeps in pages is the pool's business, so these blocks are cached and decay as
// arenas do; mappings of their own go back to the system at once. Thread-safe; one block is
// reallocated and freed by one thread at a time.
#ifndef F3_HWALLOC_LARGE_H_
#define F3_HWALLOC_LARGE_H_

#include <cstddef>

#include "hwalloc/heap.h"

namespace f3::hwalloc {

// In front of the block's first byte, in the unit that HeaderOf finds.
struct LargeHeader {
  char* data;
  size_t usable_bytes;  // what was asked for, up to the end of its page
  char* run;            // units or mapping that it lies in
  size_t run_bytes;
  LargeHeader* next;  // the scope's list
  LargeHeader* previous;
};
static_assert(sizeof(LargeHeader) <= kLineBytes);

inline LargeHeader* LargeOf(const void* p) { return static_cast<LargeHeader*>(HeaderOf(p)); }

constexpr size_t kMaxLargeBytes = size_t{1} << 46;

// A block of `bytes` at a multiple of `alignment` (a power of two). `*zero` says whether its bytes
// read as zero. `spare`: address space behind it to grow into, where that is cheap. Null when there
// is no memory.
void* AllocateLarge(size_t bytes, size_t alignment, bool* zero, size_t spare = 0);
// Changes the size where the block lies, or by moving its pages. Null, and nothing changed, when
// neither is possible. Keeps an alignment of 16 only.
void* ReallocateLarge(LargeHeader* header, size_t bytes);
void FreeLarge(LargeHeader* header);

}  // namespace f3::hwalloc

#endif  // F3_HWALLOC_LARGE_H_
