// ObjectTable: the hardware object allocator. One table of 64 entries for each thread, an entry for
// each class, which holds the header (free bits) of the arena in use; arenas that are neither in a
// table nor full wait in a list of their class; full ones are in no list and come back when one of
// their objects is freed.
//
// It says what each operation did, and which headers it had to read or write in memory; what that
// costs is the machine's business (machine.h). Addresses are emulated ones that no program uses.
// Not thread-safe: `thread` is the recorded one.
#ifndef F3_HWALLOC_MODEL_OBJECT_TABLE_H_
#define F3_HWALLOC_MODEL_OBJECT_TABLE_H_

#include <cstdint>
#include <deque>
#include <list>
#include <vector>

#include "hwalloc/arena.h"
#include "hwalloc/model/parameters.h"

namespace f3::hwmodel {

// Where arenas begin: above every address that a program can have.
inline constexpr uint64_t kArenaRegion = uint64_t{1} << 56;

// What one operation did.
struct TableStep {
  bool ok = true;       // false: a free of what is not allocated; nothing happened
  bool hit = false;     // served by the table entry
  bool listed = false;  // arena lists were changed
  bool remote = false;  // a free of an object whose arena is in another thread's table
  bool new_arena = false;
  bool aac_hit = false;         // of a new arena: its address was known
  uint64_t address = 0;         // of the object
  uint64_t released_arena = 0;  // an arena that became empty and was given back; 0: none
  // Headers touched in memory.
  struct Header {
    uint64_t address;
    bool store;
  };
  uint32_t headers_count = 0;
  Header headers[4] = {};

  void Touch(uint64_t address, bool store) { headers[headers_count++] = {address, store}; }
};

class ObjectTable {
 public:
  ObjectTable();

  // Takes an object of `bytes`. REQUIRES: bytes ≤ kMaxObjectBytes.
  TableStep Allocate(uint32_t thread, uint64_t bytes);
  // Gives back the object at `address`, one that Allocate returned.
  TableStep Free(uint32_t thread, uint64_t address);

  // Whether the first access to the line of `address` since its page came from the pool: the
  // arena's counter, the highest line touched, decides, and moves on. REQUIRES: in an arena.
  bool FirstTouch(uint64_t address);

  // Bytes of objects, rounded to their classes, that are allocated.
  uint64_t live_bytes() const { return live_bytes_; }
  static const hwalloc::ArenaLayout& Layout(uint32_t class_index);

 private:
  enum class Place : uint8_t { kInTable, kAvailable, kFull, kReleased };
  struct Arena {
    uint32_t class_index = 0;
    uint32_t owner = 0;  // the thread whose table it is in, when in one
    uint32_t used = 0;
    uint32_t lines_touched = 0;  // the bypass counter: lines below it are not fresh
    Place place = Place::kReleased;
    uint64_t any = 0;
    uint64_t words[kSlotsPerArena / hwalloc::kWordSlots] = {};
    std::list<uint32_t>::iterator listed;

    hwalloc::SlotBitmap bits() { return {&any, words}; }
  };
  static constexpr uint32_t kNone = UINT32_MAX;
  using Entries = std::vector<uint32_t>;  // index of an arena by class; kNone

  static uint64_t Base(uint32_t arena) {
    return kArenaRegion + (static_cast<uint64_t>(arena) << hwalloc::kUnitShift);
  }
  uint32_t Find(uint64_t address) const;
  Entries& Table(uint32_t thread);
  void Refill(uint32_t thread, uint32_t class_index, TableStep* step);
  uint32_t NewArena(uint32_t class_index, TableStep* step);
  void FreeOutsideTable(uint32_t index, bool was_full, TableStep* step);

  std::deque<Entries> tables_;  // by thread
  std::vector<Arena> arenas_;
  std::list<uint32_t> available_[kClasses];  // the first is taken next
  std::vector<uint32_t> released_;
  uint32_t aac_[kAacEntries];  // the class an entry holds the next arena of; kNone
  uint64_t live_bytes_ = 0;
};

}  // namespace f3::hwmodel

#endif  // F3_HWALLOC_MODEL_OBJECT_TABLE_H_
