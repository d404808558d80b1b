// The classes of the whole allocator: the hardware's 64, then software's own up to 2 KiB.
//
// malloc has to align what can hold a 16-byte object to 16 bytes, so of the hardware's classes it
// uses 8 and the multiples of 16; scopes use all of them. The larger classes are four for each
// doubling. Pure functions.
#ifndef F3_HWALLOC_SIZE_CLASSES_H_
#define F3_HWALLOC_SIZE_CLASSES_H_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "hwalloc/arena.h"

namespace f3::hwalloc {

constexpr uint32_t kClasses = 72;
constexpr size_t kMaxClassBytes = 2048;

// Bytes of a slot of class `index` (0 … kClasses - 1).
constexpr uint32_t SlotBytes(uint32_t index) {
  if (index < kHardwareClasses) return ClassBytes(index);
  uint32_t step = index - kHardwareClasses;
  uint32_t quarter = 128u << (step / 4);
  return quarter * (5 + step % 4);
}
static_assert(SlotBytes(kHardwareClasses) == 640);
static_assert(SlotBytes(kClasses - 1) == kMaxClassBytes);

// The class for `bytes` (513 … kMaxClassBytes).
constexpr uint32_t SoftwareClassOf(size_t bytes) {
  auto below = static_cast<uint32_t>(bytes - 1);
  auto log = static_cast<uint32_t>(std::bit_width(below)) - 1;
  return kHardwareClasses + (log - 9) * 4 + ((below >> (log - 2)) & 3);
}
static_assert(SoftwareClassOf(513) == kHardwareClasses);
static_assert(SoftwareClassOf(1024) == kHardwareClasses + 3);
static_assert(SoftwareClassOf(kMaxClassBytes) == kClasses - 1);

// By (bytes + 7) / 8, for bytes up to 512: the class that malloc uses.
constexpr auto kMallocClasses = [] {
  std::array<uint8_t, kHardwareClasses + 1> table{};
  for (uint32_t eights = 2; eights < table.size(); ++eights) {
    table[eights] = static_cast<uint8_t>(ClassOf((eights + 1) / 2 * 16));
  }
  return table;
}();
static_assert(SlotBytes(kMallocClasses[1]) == 8);
static_assert(SlotBytes(kMallocClasses[3]) == 32);
static_assert(SlotBytes(kMallocClasses[64]) == 512);

// The class whose slots hold `bytes` at a multiple of `alignment` (a power of two), or kClasses
// when no class does.
constexpr uint32_t AlignedClassOf(size_t bytes, size_t alignment) {
  if (bytes > kMaxClassBytes || alignment > kMaxClassBytes) return kClasses;
  size_t rounded = bytes == 0 ? alignment : (bytes + alignment - 1) & ~(alignment - 1);
  if (rounded <= kMaxHardwareBytes) return ClassOf(rounded);
  if (rounded > kMaxClassBytes) return kClasses;
  uint32_t index = SoftwareClassOf(rounded);
  while (index < kClasses && SlotBytes(index) % alignment != 0) ++index;
  return index;
}

}  // namespace f3::hwalloc

#endif  // F3_HWALLOC_SIZE_CLASSES_H_
