// Sizes and durations as people write them. Thread-safe.
#ifndef F3_COMMON_UNITS_H_
#define F3_COMMON_UNITS_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "common/status.h"

namespace f3 {

// "4096", "64K", "64M", "1.5G", "2T" (powers of 1024; an optional "iB" or "B" follows) to bytes.
// InvalidArgument names the text and the form wanted.
Result<uint64_t> ParseBytes(std::string_view text);
// "512 B", "1.5 MiB" and so on.
std::string FormatBytes(uint64_t bytes);
// "250ms", "10s", "5m", "2h" to microseconds; a bare number is seconds.
Result<int64_t> ParseMicros(std::string_view text);

}  // namespace f3

#endif  // F3_COMMON_UNITS_H_
