// CRC32C (Castagnoli) as in RFC 3720: Crc32c("123456789") == 0xE3069283. Thread-safe.
#ifndef F3_COMMON_CRC32C_H_
#define F3_COMMON_CRC32C_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace f3 {

// Of `bytes`; with `crc` the checksum of what came before, of the concatenation.
uint32_t Crc32c(std::span<const std::byte> bytes, uint32_t crc = 0);

}  // namespace f3

#endif  // F3_COMMON_CRC32C_H_
