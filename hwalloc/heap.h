// Heap: the hardware object table of one thread, and the arenas behind it.
//
// One entry per class holds the free bits of one word of the current arena. Allocating takes the
// lowest bit of the entry; freeing sets a bit, in the entry if the object lies in its word, else
// in the arena's header. Neither needs a lock or an atomic operation. When an entry is empty, the
// next word is loaded: of the current arena, of another one that has room, or of a new one.
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

namespace f3::hwalloc {

class Heap;

constexpr uint32_t kPageBytes = 4096;

enum class UnitKind : uint32_t {
  kNone = 0,
  kArena = 0x4841524e,  // unlikely in memory that is not ours
  kLarge = 0x484c5247,
};

// What every header begins with.
struct UnitHeader {
  Heap* owner;  // of an arena, or of a scope's large block; null for other large blocks
  UnitKind kind;
  uint16_t class_index;  // of an arena
  uint16_t slots;        // of an arena
};

// Where an arena is.
enum class ArenaState : uint32_t { kCurrent, kAvailable, kFull, kEmpty };

// In front of an arena's slots, followed by its words of free bits. Used by the owner alone,
// except `owner`, `kind` and the constants, which others read while an object of it lives.
struct ArenaHeader : UnitHeader {
  uint32_t first_slot;  // bytes from the arena's base to slot 0
  uint32_t reciprocal;  // of the slot size
  uint64_t any;         // which words have free bits
  uint32_t live;        // slots that are allocated, or in a table entry
  uint32_t notice;      // a free that leaves this many live slots or fewer is looked at
  ArenaHeader* next;
  ArenaHeader* previous;
  uint16_t ready_pages;  // from the base: these are there already
  uint16_t zero_from;  // of classes from kZeroTrackedClass on: the slot from which on all are zero
  ArenaState state;

  uint64_t* words() { return reinterpret_cast<uint64_t*>(this + 1); }
  SlotBitmap bitmap() { return SlotBitmap(&any, words()); }
  char* base() {
    return reinterpret_cast<char*>(reinterpret_cast<uintptr_t>(this) & ~uintptr_t{kUnitBytes - 1});
  }
};
static_assert(sizeof(ArenaHeader) == kLineBytes);

// Constants of each class.
constexpr ArenaLayout LayoutOfClass(uint32_t index) {
  return MakeLayout(SlotBytes(index), sizeof(ArenaHeader));
}

// The header that `p` belongs to. Only its kind and owner may be read before it is known what p is.
inline UnitHeader* HeaderOf(const void* p) {
  uintptr_t base = ArenaBase(reinterpret_cast<uintptr_t>(p));
  return reinterpret_cast<UnitHeader*>(base + HeaderOffset(base));
}

struct TableEntry {
  uint64_t bits;   // free slots of the word, taken out of the arena's words
  char* first;     // slot 0 of the word
  uint64_t* word;  // the arena's word that the bits belong to; null: none loaded
  uint64_t bytes;  // of a slot
};

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
    uint64_t bits = entry.bits;
    if (bits == 0) [[unlikely]]
      return nullptr;
    entry.bits = bits & (bits - 1);
    return entry.first + static_cast<uint64_t>(std::countr_zero(bits)) * entry.bytes;
  }
  // True when the current arena has another word to load.
  bool has_word(uint32_t index) const {
    return current_[index] != nullptr && current_[index]->any != 0;
  }
  // As TryAllocate, after loading the entry. Null when the system has no memory.
  void* AllocateSlow(uint32_t index) {
    ArenaHeader* arena = current_[index];
    if (arena == nullptr || arena->any == 0 || has_remote()) [[unlikely]] {
      return AllocateElsewhere(index);
    }
    Load(index, arena);
    return TryAllocate(index);
  }

  // Frees an object of an arena of this heap. REQUIRES: the caller owns the heap.
  void FreeLocal(ArenaHeader* arena, void* p) {
    auto offset = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(p)) -
                  static_cast<uint32_t>(reinterpret_cast<uintptr_t>(arena->base()));
    auto slot = static_cast<uint32_t>(
        (static_cast<uint64_t>(offset - arena->first_slot) * arena->reciprocal) >> 32);
    uint32_t index = slot / kWordSlots;
    uint64_t bit = 1ull << (slot % kWordSlots);
    uint64_t* word = arena->words() + index;
    TableEntry& entry = table_[arena->class_index];
    if (entry.word == word) {
      if (entry.bits & bit) [[unlikely]]
        DoubleFree(p);
      entry.bits |= bit;
      return;
    }
    uint64_t bits = *word;
    if (bits & bit) [[unlikely]]
      DoubleFree(p);
    *word = bits | bit;
    arena->any |= 1ull << index;
    if (--arena->live <= arena->notice) [[unlikely]]
      Noticed(arena);
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

  void* AllocateElsewhere(uint32_t index);
  void Load(uint32_t index, ArenaHeader* arena) {
    uint32_t word = 0;
    uint64_t bits = arena->bitmap().TakeWord(&word);
    arena->live += static_cast<uint32_t>(std::popcount(bits));
    uint32_t begin = word * kWordSlots;
    uint32_t end = begin + kWordSlots < arena->slots ? begin + kWordSlots : arena->slots;
    uint32_t bytes = SlotBytes(index);
    end = arena->first_slot + end * bytes;
    if (end > arena->ready_pages * kPageBytes) [[unlikely]]
      FaultInWord(index, arena, end);
    table_[index] = TableEntry{bits, arena->base() + arena->first_slot + begin * bytes,
                               arena->words() + word, bytes};
    // One thread writes the counter: no atomic addition is needed.
    loads_.store(loads_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
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
