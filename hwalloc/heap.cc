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

constexpr uint32_t kPageBytes = 4096;

// Adds one to a counter that one thread writes: no atomic addition is needed.
void Count(std::atomic<uint64_t>* counter) {
  counter->store(counter->load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

}  // namespace

void ArenaList::Push(ArenaHeader* arena) {
  arena->previous = nullptr;
  arena->next = head;
  if (head != nullptr) head->previous = arena;
  head = arena;
}

void ArenaList::Remove(ArenaHeader* arena) {
  if (arena->next != nullptr) arena->next->previous = arena->previous;
  (arena->previous == nullptr ? head : arena->previous->next) = arena->next;
}

void* Heap::AllocateSlow(uint32_t index) {
  if (has_remote()) {
    Drain();
    if (void* p = TryAllocate(index)) return p;
  }
  ArenaHeader* arena = current_[index];
  if (arena == nullptr || arena->any == 0) {
    if (arena != nullptr) {
      // Every slot is allocated now.
      table_[index].word = nullptr;
      arena->state = ArenaState::kFull;
      arena->notice = arena->slots - 1u;
      full_[index].Push(arena);
    }
    arena = current_[index] = FindArena(index);
    if (arena == nullptr) return nullptr;
    arena->state = ArenaState::kCurrent;
  }
  Load(index, arena);
  return TryAllocate(index);
}

// Loads the lowest word of `arena` that has free bits. REQUIRES: it has one, and the entry's bits
// are used up.
void Heap::Load(uint32_t index, ArenaHeader* arena) {
  uint32_t word = 0;
  uint64_t bits = arena->bitmap().TakeWord(&word);
  arena->live += static_cast<uint32_t>(std::popcount(bits));
  uint32_t bytes = SlotBytes(index);
  uint32_t begin = arena->first_slot + word * kWordSlots * bytes;
  uint32_t end =
      arena->first_slot + std::min<uint32_t>(arena->slots, (word + 1) * kWordSlots) * bytes;
  if (end > arena->ready_bytes) FaultInWord(index, arena, end);
  table_[index] = TableEntry{bits, arena->base() + begin, arena->words() + word, bytes};
  Count(&loads_);
}

// Has pages faulted in ahead of use, up to `end` at least, in batches that grow with what the class
// uses, so that little is lost where little is used: none below 128 KiB, at most a third above.
void Heap::FaultInWord(uint32_t index, ArenaHeader* arena, uint32_t end) {
  uint32_t owned = owned_[index];
  uint32_t ahead = owned < 3   ? 0
                   : owned < 5 ? 4 * kPageBytes
                   : owned < 9 ? 8 * kPageBytes
                               : kUnitBytes;
  if (ahead > 0) {
    end = std::min(std::max(end, arena->ready_bytes + ahead), kUnitBytes);
    FaultIn(arena->base() + arena->ready_bytes, end - arena->ready_bytes);
  }
  arena->ready_bytes = end;
}

ArenaHeader* Heap::FindArena(uint32_t index) {
  ArenaHeader* arena = available_[index].head;
  if (arena == nullptr) return NewArena(index);
  available_[index].Remove(arena);
  return arena;
}

ArenaHeader* Heap::NewArena(uint32_t index) {
  PagePool::Run run;
  if (empty_count_ > 0) {
    run.base = empty_[--empty_count_]->base();
  } else {
    run = Pool().Take(1);
    if (run.base == nullptr) return nullptr;
    // Before the process grows further, take back what threads that ended have left.
    if (run.clean) CollectWaiting();
  }
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
  arena->ready_bytes = run.clean ? kPageBytes : kUnitBytes;
  arena->bitmap().Fill(layout.slots);
  ++owned_[index];
  Count(&arenas_);
  return arena;
}

// A free left so few live slots that something may have to be done.
void Heap::Noticed(ArenaHeader* arena) {
  uint32_t index = arena->class_index;
  if (arena->state == ArenaState::kFull) {
    full_[index].Remove(arena);
    available_[index].Push(arena);
    arena->state = ArenaState::kAvailable;
    arena->notice = 0;
  }
  if (arena->live == 0 && arena->state == ArenaState::kAvailable) {
    available_[index].Remove(arena);
    Retire(arena);
  }
}

// REQUIRES: nothing lives in it, and it is in no list.
void Heap::Retire(ArenaHeader* arena) {
  --owned_[arena->class_index];
  arena->state = ArenaState::kEmpty;
  arena->owner = nullptr;
  arena->kind = UnitKind::kNone;
  empty_[empty_count_++] = arena;
  if (empty_count_ == kEmptyArenas) GiveEmpty(1);
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
    arena->state = ArenaState::kAvailable;
    arena->notice = 0;
    available_[index].Push(arena);
  } else {
    arena->state = ArenaState::kFull;
    arena->notice = arena->slots - 1u;
    full_[index].Push(arena);
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
