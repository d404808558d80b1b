// Mapping shared memory so that huge pages can be used for it. Stateless; thread-safe.
#ifndef F3_HWALLOC_MAP_SHARED_H_
#define F3_HWALLOC_MAP_SHARED_H_

#include <cstddef>

namespace f3::hwalloc {

inline constexpr size_t kHugePageBytes = size_t{2} << 20;

// Maps `bytes` of a memory file for reading and writing, from a multiple of a huge page on when it
// has that many. MAP_FAILED and errno as mmap; unmapped by munmap.
void* MapShared(int fd, size_t bytes);

}  // namespace f3::hwalloc

#endif  // F3_HWALLOC_MAP_SHARED_H_
