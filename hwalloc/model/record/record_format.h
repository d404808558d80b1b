// Records of a trace as bytes, for the plugin that writes them and the reader (trace.h). Format
// version 1; the whole of it is described in hwalloc/model/README.md.
//
// A record is a reference (first byte 0x80 and more) or begins with one of `Tag`, followed by
// numbers in LEB128. Functions only; thread-safe.
#ifndef F3_HWALLOC_MODEL_RECORD_RECORD_FORMAT_H_
#define F3_HWALLOC_MODEL_RECORD_RECORD_FORMAT_H_

#include <cstdint>

namespace f3::hwmodel {

enum class Tag : uint8_t {
  kThread = 1,         // number: the records that follow are of this thread
  kEnter = 2,          // op, instructions outside since the last record of this kind, bytes,
                       // old pointer, alignment
  kExit = 3,           // op, instructions inside, new pointer
  kMap = 4,            // address, bytes, flags
  kUnmap = 5,          // address, bytes
  kDiscard = 6,        // address, bytes: contents given up, the mapping stays
  kMove = 7,           // old address, old bytes, new address, new bytes
  kReferencesEnd = 8,  // the limit was reached: no references from here on
  kEnd = 9,            // instructions outside since the last kExit, of all threads; nothing follows
};

// Flags of kMap.
inline constexpr uint64_t kMapByAllocator = 1;  // asked for inside an announced call
inline constexpr uint64_t kMapAnonymous = 2;
inline constexpr uint64_t kMapFlagsKnown = 3;

// A reference: 0x80 | kReferenceStore | kReferenceInCall | kReferenceMore | 4 bits, and with `More`
// a LEB128 number of the bits above these. Together: the zigzag-coded distance, in granules, from
// the reference before it (the first: from 0).
inline constexpr uint8_t kReference = 0x80;
inline constexpr uint8_t kReferenceStore = 0x40;
inline constexpr uint8_t kReferenceInCall = 0x20;
inline constexpr uint8_t kReferenceMore = 0x10;
// References are recorded in units of 16 bytes.
inline constexpr int kGranuleShift = 4;

// Longer than any record.
inline constexpr int kMaxRecordBytes = 64;

inline uint64_t ZigZag(int64_t value) {
  return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63);
}
inline int64_t UnZigZag(uint64_t value) {
  return static_cast<int64_t>((value >> 1) ^ (0 - (value & 1)));
}

// Appends at `to`; returns the end. At most 10 bytes.
inline uint8_t* PutNumber(uint8_t* to, uint64_t value) {
  while (value >= 0x80) {
    *to++ = static_cast<uint8_t>(value | 0x80);
    value >>= 7;
  }
  *to++ = static_cast<uint8_t>(value);
  return to;
}

inline uint8_t* PutReference(uint8_t* to, int64_t distance, bool store, bool in_call) {
  uint64_t coded = ZigZag(distance);
  uint8_t first = kReference | static_cast<uint8_t>(coded & 0x0f);
  if (store) first |= kReferenceStore;
  if (in_call) first |= kReferenceInCall;
  coded >>= 4;
  if (coded == 0) {
    *to++ = first;
    return to;
  }
  *to++ = first | kReferenceMore;
  return PutNumber(to, coded);
}

}  // namespace f3::hwmodel

#endif  // F3_HWALLOC_MODEL_RECORD_RECORD_FORMAT_H_
