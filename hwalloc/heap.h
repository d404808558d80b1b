// Heap: the hardware object table of one thread, and the arenas behind it.
//
// One entry per class holds the free bits of one word of the current arena. Allocating takes the
// lowest bit of the entry; freeing sets a bit, in the entry if the object lies in its word, else
// in the arena's header. Neither needs a lock or an atomic operation. When an entry is empty, the
// next word is loaded: of the current arena, of another one that has room, or of a new one.
//
// In front of that, and unlike the hardware, an entry holds the last few objects that were freed.
// What was in use a moment ago is still in the processor's cache, and neither the arena's header
// nor its words are touched. For their arenas these objects count as allocated. A mark in the first
// word of a freed object makes a second free look closer.
//
// Ownership. A heap belongs to one thread at a time; its arenas belong to it until all their slots
// are free, then they go back to the page pool, several at a time. When its thread ends, a heap
// waits for the next new thread, which takes it over with all that is in it. Heaps are never
// destroyed, except those of scopes.
//
// Threads. An object freed by a thread that does not own its heap is pushed on that heap's list of
// remote frees by one compare-and-swap, the last thing that thread does with it; the owner takes
// the whole list when it next loads a word. A heap that has no thread is used under g_heaps.lock.
#ifndef F3_HWALLOC_HEAP_H_
#define F3_HWALLOC_HEAP_H_

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "hwalloc/arena.h"
#include "hwalloc/lock.h"
#include "hwalloc/page_pool.h"
#include "hwalloc/size_classes.h"
#include "hwalloc/unit.h"

namespace f3::hwalloc {

constexpr uint32_t kPageBytes = 4096;

// Where an arena is.
enum class ArenaState : uint32_t { kCurrent, kAvailable, kFull, kEmpty };

// In front of an arena's slots, followed by its words of free bits. Used by the owner alone, except
// the constants, which others read while an object of it lives.
struct ArenaHeader {
  uint32_t first_slot;   // bytes from the arena's base to slot 0
  uint32_t reciprocal;   // of the slot size
  uint16_t class_index;  // as in its unit's entry
  uint16_t slots;
  uint64_t any;     // which words have free bits
  uint32_t live;    // slots that are allocated, or in a table entry
  uint32_t notice;  // a free that leaves this many live slots or fewer is looked at
  ArenaHeader* next;
  ArenaHeader* previous;
  uint16_t ready_pages;  // from the base: these are there already
  uint16_t zero_from;  // of classes from kZeroTrackedClass on: the slot from which on all are zero
  ArenaState state;

  uint64_t* words() {
    return reinterpret_cast<uint64_t*>(reinterpret_cast<char*>(this) + kLineBytes);
  }
  SlotBitmap bitmap() { return SlotBitmap(&any, words()); }
  char* base() {
    return reinterpret_cast<char*>(reinterpret_cast<uintptr_t>(this) & ~uintptr_t{kUnitBytes - 1});
  }
};
static_assert(sizeof(ArenaHeader) <= kLineBytes);

inline ArenaHeader* ArenaOf(const void* p) { return static_cast<ArenaHeader*>(HeaderOf(p)); }

// Constants of each class.
constexpr ArenaLayout LayoutOfClass(uint32_t index) {
  return MakeLayout(SlotBytes(index), kLineBytes);
}

constexpr uint32_t kHeldObjects = 4;
constexpr uint64_t kFreedMark = 0x6672656564'6f626a;  // unlikely in an object

// One line of the cache.
struct alignas(kLineBytes) TableEntry {
  uint64_t bits;   // free slots of the word, taken out of the arena's words
  char* first;     // slot 0 of the word
  uint64_t* word;  // the arena's word that the bits belong to; null: none loaded
  uint32_t bytes;  // of a slot
  uint32_t held_count;
  void* held[kHeldObjects];  // freed objects; the last one is the next to be used
};
static_assert(sizeof(TableEntry) == kLineBytes);

// A queue of arenas that any of them can leave.
struct ArenaList {
  ArenaHeader* head = nullptr;
  ArenaHeader* tail = nullptr;
  void PushBack(ArenaHeader* arena);
  void Remove(ArenaHeader* arena);
};

class Heap {
 public:
  constexpr Heap() = default;
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  // A slot of class `index`, from its table entry. Null when that is empty.
  void* TryAllocate(uint32_t index) {
    TableEntry& entry = table_[index];
    void* p = nullptr;
    if (uint32_t count = entry.held_count; count != 0) {
      p = entry.held[count - 1];
      entry.held_count = count - 1;
    } else {
      uint64_t bits = entry.bits;
      if (bits == 0) [[unlikely]]
        return nullptr;
      entry.bits = bits & (bits - 1);
      p = entry.first + static_cast<uint64_t>(std::countr_zero(bits)) * entry.bytes;
    }
    *static_cast<uint64_t*>(p) = 0;  // no mark
    return p;
  }
  // True when the current arena has another word to load.
  bool has_word(uint32_t index) const {
    return current_[index] != nullptr && current_[index]->any != 0;
  }
  // As TryAllocate, after loading the entry. Null when the system has no memory. Out of line, as
  // whatever the fast paths do not need: inlined, it would have them save registers for it.
  __attribute__((noinline)) void* AllocateSlow(uint32_t index);

  // Frees an object of an arena of this heap. REQUIRES: the caller owns the heap.
  void FreeLocal(const Unit* unit, void* p) {
    auto* mark = static_cast<uint64_t*>(p);
    if (*mark == kFreedMark) [[unlikely]]
      return FreeMarked(p);
    *mark = kFreedMark;
    TableEntry& entry = table_[unit->class_index];
    uint32_t count = entry.held_count;
    if (count == kHeldObjects) return FreeInArena(p);
    entry.held[count] = p;
    entry.held_count = count + 1;
  }

  // Frees an object of an arena of this heap from any thread that does not own the heap.
  void FreeRemote(void* p) {
    void* head = remote_.load(std::memory_order_relaxed);
    do {
      *static_cast<void**>(p) = head;
    } while (!remote_.compare_exchange_weak(head, p, std::memory_order_release,
                                            std::memory_order_relaxed));
  }

  // The rest REQUIRES that the caller owns the heap.

  // Takes what other threads freed.
  void Drain();
  // Gives back everything that is not in use: table entries, remote frees, empty arenas.
  void Flush();
  // Gives back every arena, whatever lives in it.
  void DropAll();

  bool has_remote() const { return remote_.load(std::memory_order_relaxed) != nullptr; }
  // Counts since the heap was made; any thread may ask.
  uint64_t loads() const { return loads_.load(std::memory_order_relaxed); }
  uint64_t arenas() const { return arenas_.load(std::memory_order_relaxed); }

  bool is_scope = false;        // its memory is no business of free()
  Heap* next_of_all = nullptr;  // list of all heaps, and of those without a thread: g_heaps.lock
  Heap* next_waiting = nullptr;

 private:
  static constexpr uint32_t kEmptyArenas = 8;  // kept at most

  __attribute__((noinline)) void FreeInArena(void* p);
  void FreeMarked(void* p);
  void ReleaseHeld(uint32_t index);
  void* AllocateElsewhere(uint32_t index);
  void Load(uint32_t index, ArenaHeader* arena);
  ArenaHeader* FindArena(uint32_t index);
  ArenaHeader* NewArena(uint32_t index);
  PagePool::Run TakeUnit();
  void Reclaim();
  void FaultInWord(uint32_t index, ArenaHeader* arena, uint32_t end);
  void Unload(uint32_t index);
  void MarkFull(ArenaHeader* arena);
  void MarkAvailable(ArenaHeader* arena);
  void Noticed(ArenaHeader* arena);
  void Retire(ArenaHeader* arena);
  void GiveEmpty(uint32_t keep);
  [[noreturn]] static void DoubleFree(const void* p);

  TableEntry table_[kClasses] = {};
  std::atomic<void*> remote_ = nullptr;
  ArenaHeader* current_[kClasses] = {};
  ArenaList available_[kClasses] = {};
  ArenaList full_[kClasses] = {};
  uint32_t owned_[kClasses] = {};  // arenas of each class
  ArenaHeader* empty_[kEmptyArenas] = {};
  uint32_t empty_count_ = 0;
  uint32_t arena_count_ = 0;          // of all classes, without the empty ones
  std::atomic<uint64_t> loads_ = 0;   // words loaded; written by the owner alone
  std::atomic<uint64_t> arenas_ = 0;  // arenas begun; likewise
};

}  // namespace f3::hwalloc

#endif  // F3_HWALLOC_HEAP_H_
