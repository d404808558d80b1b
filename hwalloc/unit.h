// Units: what every 64 KiB of the allocator's address space is used for, found from any address.
//
// Address space comes in regions of 32 MiB, and blocks that are mapped by themselves begin at
// multiples of 32 MiB too. Each has a table with 16 bytes for each of its units. So who owns an
// object is read from a few neighbouring lines, however many arenas there are, and not from a line
// in every arena, each on a page of its own; and an address that is not ours is known as such.
//
// An entry is written by whoever holds the unit, before an address in it is given to anybody; it is
// read by any thread that has such an address. No locks. The tables are the page pool's, each at
// the beginning of the memory that it describes.
#ifndef F3_HWALLOC_UNIT_H_
#define F3_HWALLOC_UNIT_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "hwalloc/arena.h"

namespace f3::hwalloc {

class Heap;

constexpr uint32_t kRegionShift = 25;
constexpr size_t kRegionBytes = size_t{1} << kRegionShift;
constexpr uint32_t kRegionUnits = kRegionBytes / kUnitBytes;
constexpr uint32_t kAddressBits = 47;  // of a program's addresses
constexpr size_t kRegionSlots = size_t{1} << (kAddressBits - kRegionShift);

enum class UnitKind : uint8_t { kNone, kArena, kLarge };

struct Unit {
  Heap* owner;  // of an arena, or of a scope's large block; null for other large blocks
  UnitKind kind;
  bool checked;          // of a large block: the debug level made it
  uint16_t class_index;  // of an arena
};
static_assert(sizeof(Unit) == 16);

// By 32 MiB of address space: the table of its units; null where it is not ours. Hardly more than
// one page of it is ever touched. Read and written atomically. (An array of std::atomic of this
// size is more than the compilers initialise as a constant.)
extern Unit* g_unit_tables[kRegionSlots];

// The unit that an object at `p` belongs to. Null when that is no memory of ours.
inline Unit* UnitOf(const void* p) {
  uintptr_t at = reinterpret_cast<uintptr_t>(p) - 1;  // as ArenaBase
  std::atomic_ref<Unit*> slot(g_unit_tables[(at >> kRegionShift) % kRegionSlots]);
  Unit* table = slot.load(std::memory_order_relaxed);
  return table == nullptr ? nullptr : table + (at >> kUnitShift) % kRegionUnits;
}

// The entry of the unit that begins at `base`.
inline Unit* UnitAt(const char* base) { return UnitOf(base + 1); }

// The header of the unit that an object at `p` belongs to, in the unit itself.
inline void* HeaderOf(const void* p) {
  uintptr_t base = ArenaBase(reinterpret_cast<uintptr_t>(p));
  return reinterpret_cast<void*>(base + HeaderOffset(base));
}

}  // namespace f3::hwalloc

#endif  // F3_HWALLOC_UNIT_H_
