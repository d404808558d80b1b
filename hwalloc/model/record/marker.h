// What the recorded program and the recording plugin say to each other.
//
// The shim (shim.cc) runs inside the recorded program and announces each call of the allocator by a
// system call that Linux does not have. Outside the emulator it fails at once and does nothing; the
// plugin (plugin.cc) sees it in program order, between the memory references before and after it.
// Only constants: nothing to share between threads.
#ifndef F3_HWALLOC_MODEL_RECORD_MARKER_H_
#define F3_HWALLOC_MODEL_RECORD_MARKER_H_

#include <cstdint>

namespace f3::hwmodel {

// The number of the system call. Linux uses numbers below 1000.
inline constexpr int64_t kMarkerSyscall = 0x4633;

// Its first argument: kMarkerEnter or kMarkerExit, plus the operation.
inline constexpr uint64_t kMarkerEnter = 0x100;
inline constexpr uint64_t kMarkerExit = 0x200;

// What was called. Numbers are part of the trace format.
enum class Op : uint8_t {
  kMalloc = 0,   // enter: bytes
  kCalloc = 1,   // enter: bytes (the product)
  kRealloc = 2,  // enter: bytes, old pointer
  kFree = 3,     // enter: old pointer
  kAligned = 4,  // enter: bytes, alignment
  kNothing = 5,  // an empty call, by which the cost of announcing is measured
};
inline constexpr uint8_t kOps = 6;

// Further arguments of "enter": bytes, old pointer, alignment; of "exit": the new pointer.

}  // namespace f3::hwmodel

#endif  // F3_HWALLOC_MODEL_RECORD_MARKER_H_
