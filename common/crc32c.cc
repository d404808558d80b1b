#include "common/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>

namespace f3 {

// isa-l takes and returns the register without RFC 3720's complements, and an int length.
uint32_t Crc32c(std::span<const std::byte> bytes, uint32_t crc) {
  constexpr size_t kMaxStep = size_t{1} << 30;
  uint32_t reg = ~crc;
  while (!bytes.empty()) {
    size_t step = std::min(bytes.size(), kMaxStep);
    // isa-l's parameter is not const but it only reads.
    auto* data = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(bytes.data()));
    reg = crc32_iscsi(data, static_cast<int>(step), reg);
    bytes = bytes.subspan(step);
  }
  return ~reg;
}

}  // namespace f3
