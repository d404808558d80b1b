// The subdirectories that an object tier and a durable store spread their files over, by inode
// number. Few: they are made and listed at every start, and the file systems below keep large
// directories well. More than one, since adding a name takes the directory's lock. Pure.
#ifndef F3_STORAGE_NODES_FAN_OUT_H_
#define F3_STORAGE_NODES_FAN_OUT_H_

#include <string>

#include "common/ids.h"

namespace f3::storage {

inline constexpr int kFanOut = 16;

inline int FanOutOf(Ino ino) { return static_cast<int>(ino * 0x9E3779B97F4A7C15ull >> 60); }

// REQUIRES: 0 <= index < kFanOut.
inline std::string FanOutName(int index) { return std::string(1, "0123456789abcdef"[index]); }

}  // namespace f3::storage

#endif  // F3_STORAGE_NODES_FAN_OUT_H_
