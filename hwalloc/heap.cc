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
// uses, so that little is lost where little is used: none below 128 KiB, at most a third above. The
// larger classes are left to the program, which may not use all of a block.
void Heap::FaultInWord(uint32_t index, ArenaHeader* arena, uint32_t end) {
  uint32_t owned = index < kZeroTrackedClass ? owned_[index] : 0;
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

// Retires current arenas in which nothing lives: their classes may not need them again.
void Heap::Reclaim() {
  for (uint32_t i = 0; i < kClasses && empty_count_ < kEmptyArenas; ++i) {
    ArenaHeader* arena = current_[i];
    if (arena == nullptr) continue;
    if (arena->live == static_cast<uint32_t>(std::popcount(table_[i].bits))) Unload(i);
  }
}

// Of all units the one that costs the process least. It grows only when none is left that has
// pages: of this heap, of the pool, or of heaps whose threads have ended.
PagePool::Run Heap::TakeUnit() {
  if (empty_count_ == 0) {
    PagePool::Run ready = Pool().TakeReady();
    if (ready.base != nullptr) return ready;
    Reclaim();
    CollectWaiting();
  }
  if (empty_count_ > 0) return PagePool::Run{empty_[--empty_count_]->base(), false};
  return Pool().Take(1);
}

ArenaHeader* Heap::NewArena(uint32_t index) {
  PagePool::Run run = TakeUnit();
  if (run.base == nullptr) return nullptr;
  const ArenaLayout& layout = kLayouts[index];
  auto* arena = new (run.base + HeaderOffset(reinterpret_cast<uintptr_t>(run.base))) ArenaHeader;
  arena->owner = this;
  arena->kind = UnitKind::kArena;
  arena->class_index = static_cast<uint16_t>(index);
  arena->slots = static_cast<uint16_t>(layout.slots);
  arena->first_slot = layout.first_slot;
  arena->reciprocal = layout.reciprocal;
  arena->live = 0;
  arena->notice = 0;
  arena->ready_pages = run.clean ? 1 : kUnitBytes / kPageBytes;
  arena->zero_from = static_cast<uint16_t>(run.clean ? 0 : layout.slots);
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
  --arena_count_;
  arena->state = ArenaState::kEmpty;
  arena->owner = nullptr;
  arena->kind = UnitKind::kNone;
  empty_[empty_count_++] = arena;
  // A few stay for the next need, the more the larger the heap is; then half of them go together.
  if (empty_count_ >= std::min(kEmptyArenas, 2 + arena_count_ / 32)) GiveEmpty(empty_count_ / 2);
}

void Heap::GiveEmpty(uint32_t keep) {
  char* bases[kEmptyArenas];
  uint32_t count = 0;
  while (empty_count_ > keep) bases[count++] = empty_[--empty_count_]->base();
  if (count > 0) Pool().Give(bases, count, 1, NowMillis());
}

void Heap::Drain() {
  void* p = remote_.exchange(nullptr, std::memory_order_acquire);
  while (p != nullptr) {
    void* next = *static_cast<void**>(p);
    FreeLocal(static_cast<ArenaHeader*>(HeaderOf(p)), p);
    p = next;
  }
}

// Empties the table's entry, and puts its arena where it belongs.
void Heap::Unload(uint32_t index) {
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
  GiveEmpty(0);
}

void Heap::DoubleFree(const void* p) { Fatal("double free", p); }

}  // namespace f3::hwalloc
