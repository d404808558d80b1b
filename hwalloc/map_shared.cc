#include "hwalloc/map_shared.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace f3::hwalloc {

void* MapShared(int fd, size_t bytes) {
  constexpr int kProtection = PROT_READ | PROT_WRITE;
  if (bytes < kHugePageBytes) return ::mmap(nullptr, bytes, kProtection, MAP_SHARED, fd, 0);
  const size_t room = bytes + kHugePageBytes;
  void* reserved =
      ::mmap(nullptr, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return MAP_FAILED;
  const auto begin = reinterpret_cast<uintptr_t>(reserved);
  const uintptr_t at = (begin + kHugePageBytes - 1) & ~(kHugePageBytes - 1);
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t end = (at + bytes + page - 1) & ~(page - 1);
  void* mapped =
      ::mmap(reinterpret_cast<void*>(at), bytes, kProtection, MAP_SHARED | MAP_FIXED, fd, 0);
  if (mapped == MAP_FAILED) {
    ::munmap(reserved, room);
    return MAP_FAILED;
  }
  if (at > begin) ::munmap(reserved, at - begin);
  if (begin + room > end) ::munmap(reinterpret_cast<void*>(end), begin + room - end);
  return mapped;
}

}  // namespace f3::hwalloc
