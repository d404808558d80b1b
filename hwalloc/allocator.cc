#include "hwalloc/allocator.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "hwalloc/debug.h"
#include "hwalloc/fatal.h"
#include "hwalloc/large.h"

namespace f3::hwalloc {
namespace {

void* NoMemory() {
  errno = ENOMEM;
  return nullptr;
}

// A slot of any class; `*zero` is set when it is known to be zero.
void* AllocateClass(uint32_t index, bool* zero) {
  void* p = t_heap->TryAllocate(index);
  if (p == nullptr) p = AllocateFromThread(index);
  if (index < kZeroTrackedClass || p == nullptr || t_heap == &g_ended_thread) return p;
  // Every slot of these classes comes through here, the lowest free one first. (Of the late heap,
  // which several threads use, nothing is known.)
  ArenaHeader* arena = ArenaOf(p);
  auto offset = static_cast<uint32_t>(static_cast<char*>(p) - arena->base());
  uint32_t slot = (offset - arena->first_slot) / SlotBytes(index);
  if (slot >= arena->zero_from) {
    *zero = true;
    arena->zero_from = static_cast<uint16_t>(slot + 1);
  }
  return p;
}

// A unit in which something may be allocated, or the end of the process.
const Unit* CheckedUnitOf(const void* p, const char* what) {
  const Unit* unit = UnitOf(p);
  if (unit == nullptr || unit->kind == UnitKind::kNone) Fatal(what, p);
  return unit;
}

void CheckIsSlot(const void* p) {
  ArenaHeader* arena = ArenaOf(p);
  auto offset = static_cast<uint32_t>(static_cast<const char*>(p) - arena->base());
  if (offset < arena->first_slot ||
      (offset - arena->first_slot) % SlotBytes(arena->class_index) != 0) {
    Fatal("free of an address inside an object", p);
  }
}

size_t UsableBytes(const Unit* unit, const void* p) {
  if (unit->kind == UnitKind::kArena) return SlotBytes(unit->class_index);
  return LargeOf(p)->usable_bytes;
}

// In another place. A large block that grew gets room to grow on: address space costs nothing until
// it is used.
void* Move(void* p, size_t old_bytes, size_t bytes) {
  void* moved = nullptr;
  if (bytes > kMaxClassBytes && !IsDebug()) {
    bool zero = false;
    moved = AllocateLarge(bytes, 16, &zero, bytes > old_bytes ? bytes / 4 : 0);
    if (moved == nullptr) return NoMemory();
  } else {
    moved = Allocate(bytes);
    if (moved == nullptr) return nullptr;
  }
  std::memcpy(moved, p, std::min(old_bytes, bytes));
  Free(p);
  return moved;
}

}  // namespace

void* AllocateRest(size_t bytes) {
  void* p = nullptr;
  bool zero = false;
  if (IsDebug()) [[unlikely]] {
    p = DebugAllocate(bytes, 16, false);
  } else if (bytes <= kMaxHardwareBytes) {
    p = AllocateFromThread(kMallocClasses[(bytes + kClassStep - 1) / kClassStep]);
  } else if (bytes <= kMaxClassBytes) {
    p = AllocateClass(SoftwareClassOf(bytes), &zero);
  } else {
    p = AllocateLarge(bytes, 16, &zero);
  }
  return p != nullptr ? p : NoMemory();
}

void FreeRest(void* p) {
  if (p == nullptr) return;
  const Unit* unit = CheckedUnitOf(p, "free of an address that is not allocated");
  if (unit->owner != nullptr && unit->owner->is_scope) Fatal("free of a scope's memory", p);
  int error = errno;
  if (IsDebug()) [[unlikely]] {
    DebugFree(p);
  } else if (unit->kind == UnitKind::kArena) {
    CheckIsSlot(p);
    unit->owner->FreeRemote(p);
  } else {
    LargeHeader* large = LargeOf(p);
    if (large->data != p) Fatal("free of an address inside an object", p);
    FreeLarge(large);
  }
  errno = error;
}

void* AllocateZeroed(size_t count, size_t bytes) {
  size_t total = 0;
  if (__builtin_mul_overflow(count, bytes, &total)) return NoMemory();
  if (IsDebug()) [[unlikely]] {
    void* p = DebugAllocate(total, 16, true);
    return p != nullptr ? p : NoMemory();
  }
  bool zero = false;
  void* p = nullptr;
  if (total <= kMaxHardwareBytes) {
    p = Allocate(total);
  } else if (total <= kMaxClassBytes) {
    p = AllocateClass(SoftwareClassOf(total), &zero);
  } else {
    p = AllocateLarge(total, 16, &zero);
  }
  if (p == nullptr) return NoMemory();
  return zero ? p : std::memset(p, 0, total);
}

void* AllocateAligned(size_t alignment, size_t bytes) {
  void* p = nullptr;
  bool zero = false;
  uint32_t index = AlignedClassOf(bytes, std::max<size_t>(alignment, 16));
  if (IsDebug()) [[unlikely]] {
    p = DebugAllocate(bytes, alignment, false);
  } else if (index < kClasses) {
    p = AllocateClass(index, &zero);
  } else {
    p = AllocateLarge(bytes, alignment, &zero);
  }
  return p != nullptr ? p : NoMemory();
}

void* Reallocate(void* p, size_t bytes) {
  if (p == nullptr) return Allocate(bytes);
  if (bytes == 0) {
    Free(p);
    return nullptr;
  }
  const Unit* unit = CheckedUnitOf(p, "realloc of an address that is not allocated");
  if (IsDebug()) [[unlikely]] {
    return Move(p, DebugUsableSize(p), bytes);
  }
  size_t usable = UsableBytes(unit, p);
  if (unit->kind == UnitKind::kLarge) {
    if (bytes > kMaxClassBytes) {
      void* same = ReallocateLarge(LargeOf(p), bytes);
      if (same != nullptr) return same;
    }
  } else if (bytes <= usable && (usable <= 64 || bytes >= usable / 2)) {
    return p;
  }
  return Move(p, usable, bytes);
}

size_t UsableSize(const void* p) {
  if (p == nullptr) return 0;
  const Unit* unit = CheckedUnitOf(p, "size of an address that is not allocated");
  return IsDebug() ? DebugUsableSize(p) : UsableBytes(unit, p);
}

}  // namespace f3::hwalloc
