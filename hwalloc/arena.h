// Arenas: the geometry that the allocator and the hardware model share.
//
// Words used here and in the rest of this folder:
//   unit    64 KiB of address space at a multiple of 64 KiB
//   arena   one unit cut into slots of one size, with a header in front of them
//   slot    room for one object
//   class   a slot size. The first 64 are the hardware's: 8, 16, 24, … 512 bytes
//   word    64 neighbouring slots of an arena, one bit each; what a table entry holds
//
// Idea from Memento (MICRO'23): a table with one entry per class holds the free bits of the arena
// in use, so that allocating is finding the first set bit and freeing is setting one. The header's
// place follows from any address in the arena by masking, so objects carry no header of their own.
//
// Everything here is arithmetic on numbers and on memory that the caller owns: no allocation, no
// locks, no system calls. Functions are thread-safe; a SlotBitmap is used by one thread at a time.
#ifndef F3_HWALLOC_ARENA_H_
#define F3_HWALLOC_ARENA_H_

#include <bit>
#include <cstddef>
#include <cstdint>

namespace f3::hwalloc {

constexpr uint32_t kClassStep = 8;           // bytes between neighbouring classes
constexpr uint32_t kHardwareClasses = 64;    // classes of the hardware object table
constexpr uint32_t kMaxHardwareBytes = 512;  // larger objects are software's business
constexpr uint32_t kUnitShift = 16;
constexpr uint32_t kUnitBytes = 1u << kUnitShift;  // size and alignment of an arena
constexpr uint32_t kWordSlots = 64;                // slots of one word
constexpr uint32_t kMaxWords = 64;  // words of one arena: one word says which are non-zero
constexpr uint32_t kMaxSlots = kWordSlots * kMaxWords;

// Headers of different arenas must not all fall into one set of the caches, which they would at
// multiples of 64 KiB. So a header begins at one of 16 lines, chosen by the arena's address.
constexpr uint32_t kLineBytes = 64;
constexpr uint32_t kHeaderColours = 16;

// The class of an object of `bytes` (0 … 512; 0 counts as 1).
constexpr uint32_t ClassOf(size_t bytes) {
  return bytes == 0 ? 0 : static_cast<uint32_t>((bytes + kClassStep - 1) / kClassStep) - 1;
}

// Bytes of a slot of hardware class `index` (0 … 63).
constexpr uint32_t ClassBytes(uint32_t index) { return (index + 1) * kClassStep; }

// The arena that an object at `address` lies in. No object begins at the start of an arena, and an
// object that begins exactly where an arena ends belongs to that arena (blocks with an alignment
// of a unit or more lie so).
constexpr uintptr_t ArenaBase(uintptr_t address) {
  return (address - 1) & ~static_cast<uintptr_t>(kUnitBytes - 1);
}

// Where the header of the arena at `base` begins, in bytes from `base`.
constexpr uint32_t HeaderOffset(uintptr_t base) {
  return static_cast<uint32_t>((base >> kUnitShift) % kHeaderColours) * kLineBytes;
}

// How an arena of one class is cut. All figures in bytes from the arena's base, or counts.
struct ArenaLayout {
  uint32_t object_bytes = 0;  // of a slot
  uint32_t slots = 0;
  uint32_t words = 0;         // of free bits
  uint32_t header_bytes = 0;  // fixed part and free bits, without the room for colours
  uint32_t first_slot = 0;    // where slot 0 begins; a multiple of the alignment of all slots
  uint32_t reciprocal = 0;    // of object_bytes, for SlotOf

  // The largest power of two that all slots are aligned to.
  constexpr uint32_t alignment() const { return object_bytes & -object_bytes; }
  constexpr uint32_t SlotOffset(uint32_t slot) const { return first_slot + slot * object_bytes; }
  // The slot that the byte at `offset` from the arena's base lies in. REQUIRES: offset ≥
  // first_slot.
  constexpr uint32_t SlotOf(uint32_t offset) const {
    return static_cast<uint32_t>((static_cast<uint64_t>(offset - first_slot) * reciprocal) >> 32);
  }
};

// Cuts an arena of `arena_bytes` for objects of `object_bytes` (a multiple of 8, at most half of
// it), with a header of `fixed_header_bytes` in front of the free bits. At most `max_slots` slots:
// the model of the paper's hardware has 256, and `colours` 1.
constexpr ArenaLayout MakeLayout(uint32_t object_bytes, uint32_t fixed_header_bytes,
                                 uint32_t arena_bytes = kUnitBytes, uint32_t max_slots = kMaxSlots,
                                 uint32_t colours = kHeaderColours) {
  ArenaLayout layout;
  layout.object_bytes = object_bytes;
  // Rounded up; exact for every offset below 2^16 and every size below 2^16.
  layout.reciprocal = static_cast<uint32_t>(((1ull << 32) + object_bytes - 1) / object_bytes);
  uint32_t slots = arena_bytes / object_bytes;
  if (slots > max_slots) slots = max_slots;
  for (; slots > 0; --slots) {
    layout.slots = slots;
    layout.words = (slots + kWordSlots - 1) / kWordSlots;
    layout.header_bytes = fixed_header_bytes + layout.words * 8;
    uint32_t align = layout.alignment();
    uint32_t before = (colours - 1) * kLineBytes + layout.header_bytes;
    layout.first_slot = (before + align - 1) / align * align;
    if (layout.first_slot + slots * object_bytes <= arena_bytes) break;
  }
  return layout;
}

// The free slots of one arena: one bit each, set when free, and a summary with one bit for each
// word that has any. A view: the words belong to the caller and live as long as it is used.
class SlotBitmap {
 public:
  SlotBitmap(uint64_t* any, uint64_t* words) : any_(any), words_(words) {}

  // Makes all of `slots` (1 … kMaxSlots) free.
  void Fill(uint32_t slots) {
    uint32_t words = (slots + kWordSlots - 1) / kWordSlots;
    for (uint32_t i = 0; i < words; ++i) words_[i] = ~0ull;
    if (slots % kWordSlots != 0) words_[words - 1] = (1ull << (slots % kWordSlots)) - 1;
    *any_ = words == kMaxWords ? ~0ull : (1ull << words) - 1;
  }

  bool empty() const { return *any_ == 0; }
  bool free(uint32_t slot) const { return (words_[slot / kWordSlots] >> (slot % kWordSlots)) & 1; }

  // Takes the lowest free slot. REQUIRES: !empty().
  uint32_t Take() {
    uint32_t word = static_cast<uint32_t>(std::countr_zero(*any_));
    uint32_t bit = static_cast<uint32_t>(std::countr_zero(words_[word]));
    words_[word] &= words_[word] - 1;
    if (words_[word] == 0) *any_ &= ~(1ull << word);
    return word * kWordSlots + bit;
  }

  // Gives a slot back. False, and nothing changed, when it was free already.
  bool Put(uint32_t slot) {
    uint64_t bit = 1ull << (slot % kWordSlots);
    if (words_[slot / kWordSlots] & bit) return false;
    words_[slot / kWordSlots] |= bit;
    *any_ |= 1ull << (slot / kWordSlots);
    return true;
  }

  // Takes all free slots of the lowest word that has any: sets `*word` to its index and returns
  // its bits. REQUIRES: !empty().
  uint64_t TakeWord(uint32_t* word) {
    *word = static_cast<uint32_t>(std::countr_zero(*any_));
    *any_ &= *any_ - 1;
    uint64_t bits = words_[*word];
    words_[*word] = 0;
    return bits;
  }

  // Gives the slots of `bits` back to `word`. REQUIRES: none of them is free.
  void PutWord(uint32_t word, uint64_t bits) {
    words_[word] |= bits;
    if (words_[word] != 0) *any_ |= 1ull << word;
  }

 private:
  uint64_t* any_;
  uint64_t* words_;
};

}  // namespace f3::hwalloc

#endif  // F3_HWALLOC_ARENA_H_
