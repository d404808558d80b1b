// What begins a trace file: the magic, then version and length of the command line as 4 bytes each,
// little-endian; the words of the command line, each followed by a zero byte; a zstd frame.
#ifndef F3_HWALLOC_MODEL_TRACE_FILE_H_
#define F3_HWALLOC_MODEL_TRACE_FILE_H_

#include <cstddef>
#include <string_view>

namespace f3::hwmodel {

inline constexpr std::string_view kTraceMagic = "F3HWTRCE";
inline constexpr size_t kTraceHeaderBytes = 16;

}  // namespace f3::hwmodel

#endif  // F3_HWALLOC_MODEL_TRACE_FILE_H_
