// The identifiers that several layers share. Zero is never a valid value of any of them.
#ifndef F3_COMMON_IDS_H_
#define F3_COMMON_IDS_H_

#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>

namespace f3 {

using Ino = uint64_t;          // inode number, unique within one metadata server for ever
using SessionId = uint64_t;    // one client session (one start of one node agent)
using NodeId = uint32_t;       // a registered node; its name is for people
using Epoch = uint64_t;        // incarnation of a node agent or of the metadata server
using Version = uint64_t;      // of a file's published content; grows with every publish
using Incarnation = uint64_t;  // of a file's bytes: names one object on a node, never reused
using Generation = uint64_t;   // of a durable block: names one publish attempt, never reused

// Names one object: the bytes of one incarnation of one file. Two nodes may hold an object of the
// same key (the home and its copies); their bytes agree once sealed at the same version.
struct ObjectKey {
  Ino ino = 0;
  Incarnation incarnation = 0;
  bool operator==(const ObjectKey&) const = default;
  auto operator<=>(const ObjectKey&) const = default;
};

// "INO-INCARNATION" in hexadecimal, as in file names and messages.
inline std::string ToString(const ObjectKey& key) {
  char text[40];
  int n = snprintf(text, sizeof(text), "%llx-%llx", static_cast<unsigned long long>(key.ino),
                   static_cast<unsigned long long>(key.incarnation));
  return std::string(text, static_cast<size_t>(n));
}

struct ObjectKeyHash {
  size_t operator()(const ObjectKey& key) const {
    return std::hash<uint64_t>()(key.ino * 0x9E3779B97F4A7C15ull ^ key.incarnation);
  }
};

// Inode numbers end here: clients use the bits above for numbers of their own.
inline constexpr Ino kMaxIno = (1ull << 60) - 1;
// Durable files are stored in blocks of this many bytes (the last may be shorter).
inline constexpr uint64_t kBlockBytes = 4ull << 20;
// The longest file name, in bytes.
inline constexpr size_t kMaxNameBytes = 255;

}  // namespace f3

#endif  // F3_COMMON_IDS_H_
