// MediumArenas: one heap's units for blocks above the largest class, up to 36 KiB.
//
// A unit is cut into granules of 512 bytes. A block takes as many neighbouring ones as it needs, so
// blocks of all these sizes share the same pages, and what one freed another uses. (With classes,
// each of some twenty sizes would have a unit of its own, with pages that no other can use.)
//
// A unit lies in a list by the length of the longest run that it may have free. The list that fits
// best is looked at first, and in a unit the lowest run; looking is a few shifts of 128 bits. A
// unit that turns out to have less moves to the list where it belongs, so one look pays for one
// free.
//
// Used by the owner of the heap alone, except MediumUsable and MediumOwner, which any thread that
// has a block may ask. Units come from the heap and go back to it.
#ifndef F3_HWALLOC_MEDIUM_H_
#define F3_HWALLOC_MEDIUM_H_

#include <cstddef>
#include <cstdint>

#include "hwalloc/arena.h"
#include "hwalloc/unit.h"

namespace f3::hwalloc {

constexpr uint32_t kGranuleBytes = 512;
constexpr uint32_t kGranules = kUnitBytes / kGranuleBytes;
// The first ones hold the header, whatever its colour, and the lengths of the blocks.
constexpr uint32_t kFirstGranule = kHeaderColours * kLineBytes / kGranuleBytes;
constexpr size_t kMaxMediumBytes = size_t{36} << 10;

// Of a block of `bytes`; 0 counts as 1.
constexpr uint32_t GranulesOf(size_t bytes) {
  return bytes == 0 ? 1 : static_cast<uint32_t>((bytes + kGranuleBytes - 1) / kGranuleBytes);
}
// True when a unit can hold `bytes` at a multiple of `alignment`, a power of two.
constexpr bool IsMedium(size_t bytes, size_t alignment) {
  if (bytes > kMaxMediumBytes || alignment > kUnitBytes / 2) return false;
  size_t first = (kFirstGranule * kGranuleBytes + alignment - 1) & ~(alignment - 1);
  return first + bytes <= kUnitBytes;
}

using GranuleSet = unsigned __int128;  // one bit each

struct MediumHeader {
  Heap* heap;
  GranuleSet free;
  MediumHeader* next;  // of its list
  MediumHeader* previous;
  uint8_t longest;    // no run of free granules is longer
  uint8_t zero_from;  // all granules from this one on read as zero
};
static_assert(sizeof(MediumHeader) <= kLineBytes);

// Bytes of the block at `p`; 0 when no block begins there. REQUIRES: its unit is kMedium.
size_t MediumUsable(const void* p);
inline Heap* MediumOwner(const void* p) { return static_cast<MediumHeader*>(HeaderOf(p))->heap; }

// The heap that an object of any size belongs to; null for large ones that are in no scope.
inline Heap* OwnerOf(const Unit* unit, const void* p) {
  return unit->kind == UnitKind::kMedium ? MediumOwner(p) : unit->owner;
}

class MediumArenas {
 public:
  constexpr MediumArenas() = default;

  // A block of `granules` at a multiple of `alignment` granules. `*zero` is set when it reads as
  // zero. Null when no unit has room. REQUIRES: IsMedium.
  void* Take(uint32_t granules, uint32_t alignment, bool* zero);
  // Adds the unit at `base`, whose bytes read as zero if `clean`.
  void Add(char* base, Heap* heap, bool clean);
  // Gives a block back. The unit that is no longer part of this, because it is empty, or null. One
  // empty unit is kept for the next need.
  char* Give(void* p);
  // Takes the empty unit out; null when there is none.
  char* DropEmpty();
  // Makes the block longer or shorter where it is. False, and nothing changed, when it cannot grow.
  bool Resize(void* p, uint32_t granules);
  // Takes any unit out, whatever lives in it; null when there is none.
  char* Drop();

 private:
  void Link(MediumHeader* unit);
  void Unlink(MediumHeader* unit);
  // Moves a unit to the list for `longest`.
  void Relist(MediumHeader* unit, uint32_t longest);
  void Release(MediumHeader* unit, uint32_t first, uint32_t granules);
  // The first list from `length` on that has a unit; kGranules when none has.
  uint32_t FirstList(uint32_t length) const;

  MediumHeader* lists_[kGranules] = {};  // by `longest`
  GranuleSet used_lists_ = 0;
  MediumHeader* empty_ = nullptr;  // the last unit that became empty; it may have been used since
};

}  // namespace f3::hwalloc

#endif  // F3_HWALLOC_MEDIUM_H_
