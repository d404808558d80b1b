#include "hwalloc/heap.h"

#include <algorithm>
#include <array>
#include <new>

#include "hwalloc/fatal.h"
#include "hwalloc/process.h"

namespace f3::hwalloc {
namespace {

constexpr auto kLayouts = [] {
  std::array<ArenaLayout, kClasses> layouts{};
  for (uint32_t i = 0; i < kClasses; ++i) layouts[i] = LayoutOfClass(i);
  return layouts;
}();

}  // namespace

void ArenaList::PushBack(ArenaHeader* arena) {
  arena->previous = tail;
  arena->next = nullptr;
  (tail == nullptr ? head : tail->next) = arena;
  tail = arena;
}

void ArenaList::Remove(ArenaHeader* arena) {
  (arena->next == nullptr ? tail : arena->next->previous) = arena->previous;
  (arena->previous == nullptr ? head : arena->previous->next) = arena->next;
}

// A full arena is not used again before it has a good number of free slots: else every free would
// be followed by a change of arenas. The price is that at most one slot in 16 lies idle.
void Heap::MarkFull(ArenaHeader* arena) {
  arena->state = ArenaState::kFull;
  arena->notice = arena->slots - 1u - arena->slots / 16u;
  full_[arena->class_index].PushBack(arena);
}

void Heap::MarkAvailable(ArenaHeader* arena) {
  arena->state = ArenaState::kAvailable;
  arena->notice = 0;
  available_[arena->class_index].PushBack(arena);
}

// Takes the lowest word of the arena's free bits into the table's entry.
inline void Heap::Load(uint32_t index, ArenaHeader* arena) {
  uint32_t word = 0;
  uint64_t bits = arena->bitmap().TakeWord(&word);
  arena->live += static_cast<uint32_t>(std::popcount(bits));
  uint32_t begin = word * kWordSlots;
  uint32_t end = begin + kWordSlots < arena->slots ? begin + kWordSlots : arena->slots;
  uint32_t bytes = SlotBytes(index);
  end = arena->first_slot + end * bytes;
  if (end > arena->ready_pages * kPageBytes) [[unlikely]]
    FaultInWord(index, arena, end);
  TableEntry& entry = table_[index];
  entry.bits = bits;
  entry.first = arena->base() + arena->first_slot + begin * bytes;
  entry.word = arena->words() + word;
  entry.bytes = bytes;
  // One thread writes the counter: no atomic addition is needed.
  loads_.store(loads_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

void* Heap::AllocateSlow(uint32_t index) {
  ArenaHeader* arena = current_[index];
  if (arena == nullptr || arena->any == 0 || has_remote()) [[unlikely]] {
    return AllocateElsewhere(index);
  }
  Load(index, arena);
  return TryAllocate(index);
}

// Sets the object's bit.
void Heap::FreeInArena(void* p) {
  ArenaHeader* arena = ArenaOf(p);
  auto offset = static_cast<uint32_t>(static_cast<char*>(p) - arena->base());
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

void* Heap::AllocateElsewhere(uint32_t index) {
  if (has_remote()) {
    Drain();
    if (void* p = TryAllocate(index)) return p;
  }
  ArenaHeader* arena = current_[index];
  if (arena == nullptr || arena->any == 0) {
    if (arena != nullptr) {
      // Every slot is allocated now.
      table_[index].word = nullptr;
      current_[index] = nullptr;
      MarkFull(arena);
    }
    arena = current_[index] = FindArena(index);
    if (arena == nullptr) return nullptr;
    arena->state = ArenaState::kCurrent;
  }
  Load(index, arena);
  return TryAllocate(index);
}

// Has pages faulted in ahead of use, up to `end` at least, in batches that grow with what the class
// uses, so that little is lost where little is used: none below 128 KiB, at most a third above.
void Heap::FaultInWord(uint32_t index, ArenaHeader* arena, uint32_t end) {
  uint32_t owned = owned_[index];
  uint32_t ahead = owned < 3 ? 0 : owned < 5 ? 4 : owned < 9 ? 8 : kUnitBytes / kPageBytes;
  uint32_t ready = arena->ready_pages;
  uint32_t pages = (end + kPageBytes - 1) / kPageBytes;
  if (ahead > 0) {
    pages = std::min(std::max(pages, ready + ahead), kUnitBytes / kPageBytes);
    FaultIn(arena->base() + ready * kPageBytes, (pages - ready) * kPageBytes);
  }
  arena->ready_pages = static_cast<uint16_t>(pages);
}

ArenaHeader* Heap::FindArena(uint32_t index) {
  ArenaHeader* arena = available_[index].head;
  if (arena == nullptr) return NewArena(index);
  available_[index].Remove(arena);
  return arena;
}

// Frees an object that bears the mark, or was freed by another thread. An object that was free is
// found here, and one that only looked so is freed: the mark may be what the program wrote.
void Heap::FreeMarked(void* p) {
  uint32_t index = UnitOf(p)->class_index;
  const TableEntry& entry = table_[index];
  for (uint32_t i = 0; i < entry.held_count; ++i) {
    if (entry.held[i] == p) DoubleFree(p);
  }
  if (index < kHeldClasses) *static_cast<uint64_t*>(p) = kFreedMark;
  FreeInArena(p);
}

// Gives the objects that an entry holds back to their arenas.
void Heap::ReleaseHeld(uint32_t index) {
  TableEntry& entry = table_[index];
  while (entry.held_count > 0) FreeInArena(entry.held[--entry.held_count]);
}

// Retires current arenas in which nothing lives: their classes may not need them again.
void Heap::Reclaim() {
  for (uint32_t i = 0; i < kHeldClasses; ++i) ReleaseHeld(i);
  if (char* base = medium_.DropEmpty()) RetireUnit(base);
  for (uint32_t i = 0; i < kClasses && empty_count_ < kEmptyArenas; ++i) {
    ArenaHeader* arena = current_[i];
    if (arena == nullptr) continue;
    if (arena->live == static_cast<uint32_t>(std::popcount(table_[i].bits))) Unload(i);
  }
}

// Of all units the one that costs the process least. It grows only when no arena's unit is left
// that has pages: of this heap, of the pool, or of heaps whose threads have ended. `clean`: rather
// one without, because hardly more than a page of it may be needed: all pages of the others would
// be tied to it.
PagePool::Run Heap::TakeUnit(bool clean) {
  if (clean) {
    PagePool::Run run = Pool().TakeClean();
    if (run.base != nullptr) return run;
  }
  if (empty_count_ == 0) {
    PagePool::Run ready = Pool().TakeReady();
    if (ready.base != nullptr) return ready;
    Reclaim();
    CollectWaiting();
  }
  if (empty_count_ > 0) return PagePool::Run{empty_[--empty_count_], false};
  PagePool::Run run = Pool().TakeClean();
  return run.base != nullptr ? run : Pool().Take(1);
}

ArenaHeader* Heap::NewArena(uint32_t index) {
  PagePool::Run run = TakeUnit(owned_[index] == 0);  // the first of its class may stay alone
  if (run.base == nullptr) return nullptr;
  const ArenaLayout& layout = kLayouts[index];
  auto* arena = new (run.base + HeaderOffset(reinterpret_cast<uintptr_t>(run.base))) ArenaHeader;
  *UnitAt(arena->base()) = Unit{this, UnitKind::kArena, false, static_cast<uint16_t>(index)};
  arena->class_index = static_cast<uint16_t>(index);
  arena->slots = static_cast<uint16_t>(layout.slots);
  arena->first_slot = layout.first_slot;
  arena->reciprocal = layout.reciprocal;
  arena->live = 0;
  arena->notice = 0;
  arena->ready_pages = run.clean ? 1 : kUnitBytes / kPageBytes;
  arena->bitmap().Fill(layout.slots);
  ++owned_[index];
  ++arena_count_;
  arenas_.store(arenas_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  return arena;
}

// A free left so few live slots that something may have to be done.
void Heap::Noticed(ArenaHeader* arena) {
  uint32_t index = arena->class_index;
  if (arena->state == ArenaState::kFull) {
    full_[index].Remove(arena);
    MarkAvailable(arena);
  }
  if (arena->live == 0 && arena->state == ArenaState::kAvailable) {
    available_[index].Remove(arena);
    Retire(arena);
  }
}

// REQUIRES: nothing lives in it, and it is in no list.
void Heap::Retire(ArenaHeader* arena) {
  --owned_[arena->class_index];
  RetireUnit(arena->base());
}

void Heap::RetireUnit(char* base) {
  --arena_count_;
  *UnitAt(base) = Unit{};
  empty_[empty_count_++] = base;
  // A few stay for the next need, the more the larger the heap is; then half of them go together.
  if (empty_count_ >= std::min(kEmptyArenas, 2 + arena_count_ / 32)) GiveEmpty(empty_count_ / 2);
}

void Heap::GiveEmpty(uint32_t keep) {
  char* bases[kEmptyArenas];
  uint32_t count = 0;
  while (empty_count_ > keep) bases[count++] = empty_[--empty_count_];
  if (count > 0) Pool().GiveArenas(bases, count, NowMillis());
}

void Heap::Drain() {
  void* p = remote_.exchange(nullptr, std::memory_order_acquire);
  while (p != nullptr) {
    void* next = *static_cast<void**>(p);
    if (UnitOf(p)->kind == UnitKind::kMedium) {
      FreeMedium(p);
    } else {
      FreeMarked(p);
    }
    p = next;
  }
}

// Empties the table's entry, and puts its arena where it belongs.
void Heap::Unload(uint32_t index) {
  ReleaseHeld(index);
  ArenaHeader* arena = current_[index];
  if (arena == nullptr) return;
  TableEntry& entry = table_[index];
  arena->bitmap().PutWord(static_cast<uint32_t>(entry.word - arena->words()), entry.bits);
  arena->live -= static_cast<uint32_t>(std::popcount(entry.bits));
  entry = TableEntry{};
  current_[index] = nullptr;
  if (arena->live == 0) {
    Retire(arena);
  } else if (arena->any != 0) {
    MarkAvailable(arena);
  } else {
    MarkFull(arena);
  }
}

void Heap::Flush() {
  Drain();
  for (uint32_t i = 0; i < kClasses; ++i) Unload(i);
  if (char* base = medium_.DropEmpty()) RetireUnit(base);
  GiveEmpty(0);
}

void Heap::DropAll() {
  remote_.store(nullptr, std::memory_order_relaxed);
  for (uint32_t i = 0; i < kClasses; ++i) {
    Unload(i);
    for (ArenaList* list : {&available_[i], &full_[i]}) {
      while (list->head != nullptr) {
        ArenaHeader* arena = list->head;
        list->Remove(arena);
        Retire(arena);
      }
    }
  }
  while (char* base = medium_.Drop()) RetireUnit(base);
  GiveEmpty(0);
}

void* Heap::AllocateMedium(size_t bytes, size_t alignment, bool* zero) {
  if (has_remote()) Drain();
  uint32_t granules = GranulesOf(bytes);
  auto multiple = static_cast<uint32_t>(std::max<size_t>(alignment / kGranuleBytes, 1));
  if (void* p = medium_.Take(granules, multiple, zero)) return p;
  PagePool::Run run = TakeUnit(false);
  if (run.base == nullptr) return nullptr;
  ++arena_count_;
  medium_.Add(run.base, this, run.clean);
  return medium_.Take(granules, multiple, zero);
}

void Heap::FreeMedium(void* p) {
  if (char* base = medium_.Give(p)) RetireUnit(base);
}

void Heap::DoubleFree(const void* p) { Fatal("double free", p); }

}  // namespace f3::hwalloc
