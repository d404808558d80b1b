#include "hwalloc/debug.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "hwalloc/fatal.h"
#include "hwalloc/heap.h"
#include "hwalloc/large.h"
#include "hwalloc/process.h"

namespace f3::hwalloc {

constinit bool g_is_debug = false;

namespace {

// At the end of each block's slot or run: the size that was asked for, sealed with the address,
// so that neither a small overrun nor a freed block can pass for one that is intact.
constexpr size_t kSealBytes = 8;
constexpr uint64_t kLiveSeal = 0x6c697665'5ea1ed00;
constexpr uint64_t kFreedSeal = 0x66726565'5ea1ed00;
constexpr unsigned char kBehind = 0xca;    // between the block's end and the seal
constexpr unsigned char kFresh = 0xa5;     // of a block that was not zeroed
constexpr unsigned char kFreed = 0xdf;     // of a block that is kept after free
constexpr size_t kFilledBytes = 64 << 10;  // at most so much of a freed block
constexpr size_t kKept = 4096;             // freed blocks
constexpr size_t kKeptBytes = 16 << 20;

struct Block {
  unsigned char* begin;
  size_t capacity;  // up to the seal
};

struct Debug {
  Lock lock;
  Heap heap F3_GUARDED_BY(lock);
  void* kept[kKept] F3_GUARDED_BY(lock) = {};
  size_t next F3_GUARDED_BY(lock) = 0;  // the oldest, when all are filled
  size_t oldest F3_GUARDED_BY(lock) = 0;
  size_t count F3_GUARDED_BY(lock) = 0;
  size_t bytes F3_GUARDED_BY(lock) = 0;
  unsigned long long allocations F3_GUARDED_BY(lock) = 0;
};
constinit Debug g_debug;

bool IsChecked(const void* p) F3_NO_THREAD_SAFETY_ANALYSIS {
  const Unit* unit = UnitOf(p);
  return unit->kind == UnitKind::kLarge ? unit->checked : OwnerOf(unit, p) == &g_debug.heap;
}

Block BlockOf(const void* p) {
  size_t bytes = 0;
  UnitKind kind = UnitOf(p)->kind;
  if (kind == UnitKind::kMedium) {
    bytes = MediumUsable(p);
    if (bytes == 0) Fatal("address inside an object", p);
  } else if (kind == UnitKind::kArena) {
    ArenaHeader* arena = ArenaOf(p);
    auto offset = static_cast<uint32_t>(static_cast<const char*>(p) - arena->base());
    bytes = SlotBytes(arena->class_index);
    if (offset < arena->first_slot || (offset - arena->first_slot) % bytes != 0) {
      Fatal("address inside an object", p);
    }
  } else {
    LargeHeader* large = LargeOf(p);
    if (large->data != p) Fatal("address inside an object", p);
    bytes = large->usable_bytes;
  }
  return Block{static_cast<unsigned char*>(const_cast<void*>(p)), bytes - kSealBytes};
}

uint64_t SealKey(const Block& block) { return reinterpret_cast<uintptr_t>(block.begin) << 16; }

uint64_t ReadSeal(const Block& block) {
  uint64_t seal = 0;
  std::memcpy(&seal, block.begin + block.capacity, kSealBytes);
  return seal;
}

void WriteSeal(const Block& block, uint64_t seal) {
  std::memcpy(block.begin + block.capacity, &seal, kSealBytes);
}

bool IsFilled(const unsigned char* begin, size_t bytes, unsigned char value) {
  return std::all_of(begin, begin + bytes, [value](unsigned char c) { return c == value; });
}

// The size that was asked for, after all checks.
size_t CheckLive(const Block& block) {
  uint64_t seal = ReadSeal(block);
  if (seal == (kFreedSeal ^ SealKey(block))) Fatal("double free, or use after free", block.begin);
  uint64_t bytes = seal ^ kLiveSeal ^ SealKey(block);
  if (bytes > block.capacity || !IsFilled(block.begin + bytes, block.capacity - bytes, kBehind)) {
    Fatal("bytes behind the block were written", block.begin);
  }
  return bytes;
}

void Release(void* p) F3_REQUIRES(g_debug.lock) {
  const Unit* unit = UnitOf(p);
  if (unit->kind == UnitKind::kArena) {
    g_debug.heap.FreeLocal(unit, p);
  } else if (unit->kind == UnitKind::kMedium) {
    g_debug.heap.FreeMedium(p);
  } else {
    FreeLarge(LargeOf(p));
  }
}

void ReleaseOldest() F3_REQUIRES(g_debug.lock) {
  Block block = BlockOf(g_debug.kept[g_debug.oldest]);
  g_debug.oldest = (g_debug.oldest + 1) % kKept;
  --g_debug.count;
  g_debug.bytes -= block.capacity;
  if (ReadSeal(block) != (kFreedSeal ^ SealKey(block)) ||
      !IsFilled(block.begin, std::min(block.capacity, kFilledBytes), kFreed)) {
    Fatal("block was written after free", block.begin);
  }
  Release(block.begin);
}

void* TakeBlock(size_t bytes, size_t alignment, bool* zero) F3_REQUIRES(g_debug.lock) {
  uint32_t index = AlignedClassOf(bytes, std::max<size_t>(alignment, 16));
  if (index < kClasses) {
    void* p = g_debug.heap.TryAllocate(index);
    return p != nullptr ? p : g_debug.heap.AllocateSlow(index);
  }
  if (IsMedium(bytes, alignment)) return g_debug.heap.AllocateMedium(bytes, alignment, zero);
  void* p = AllocateLarge(bytes, alignment, zero);
  if (p != nullptr) UnitOf(p)->checked = true;
  return p;
}

}  // namespace

void StartDebug() {
  g_is_debug = true;
  t_heap = &g_checked;
}

void* DebugAllocate(size_t bytes, size_t alignment, bool zero) {
  if (bytes > kMaxLargeBytes) return nullptr;
  LockHolder hold(g_debug.lock);
  bool is_zero = false;
  // One byte behind the block at least.
  void* p = TakeBlock(bytes + 1 + kSealBytes, alignment, &is_zero);
  if (p == nullptr) return nullptr;
  ++g_debug.allocations;
  Block block = BlockOf(p);
  if (!zero) {
    std::memset(p, kFresh, std::min(bytes, kFilledBytes));
  } else if (!is_zero) {
    std::memset(p, 0, bytes);
  }
  std::memset(block.begin + bytes, kBehind, block.capacity - bytes);
  WriteSeal(block, bytes ^ kLiveSeal ^ SealKey(block));
  return p;
}

void DebugFree(void* p) {
  if (!IsChecked(p)) {
    const Unit* unit = UnitOf(p);
    if (unit->kind != UnitKind::kLarge) return OwnerOf(unit, p)->FreeRemote(p);
    return FreeLarge(LargeOf(p));
  }
  LockHolder hold(g_debug.lock);
  Block block = BlockOf(p);
  CheckLive(block);
  std::memset(block.begin, kFreed, std::min(block.capacity, kFilledBytes));
  WriteSeal(block, kFreedSeal ^ SealKey(block));
  if (g_debug.count == kKept) ReleaseOldest();
  g_debug.kept[g_debug.next] = p;
  g_debug.next = (g_debug.next + 1) % kKept;
  ++g_debug.count;
  g_debug.bytes += block.capacity;
  while (g_debug.bytes > kKeptBytes) ReleaseOldest();
}

size_t DebugUsableSize(const void* p) {
  if (IsChecked(p)) return CheckLive(BlockOf(p));
  const Unit* unit = UnitOf(p);
  if (unit->kind == UnitKind::kArena) return SlotBytes(unit->class_index);
  if (unit->kind == UnitKind::kMedium) return MediumUsable(p);
  return LargeOf(p)->usable_bytes;
}

void DebugTrim() {
  LockHolder hold(g_debug.lock);
  while (g_debug.count > 0) ReleaseOldest();
  g_debug.heap.Flush();
}

unsigned long long DebugAllocations() {
  LockHolder hold(g_debug.lock);
  return g_debug.allocations;
}

bool IsDebugFreeSoon() { return g_debug.lock.IsFreeSoon(); }
void LockDebugForFork() F3_NO_THREAD_SAFETY_ANALYSIS { g_debug.lock.Acquire(); }
void UnlockDebugAfterFork() F3_NO_THREAD_SAFETY_ANALYSIS { g_debug.lock.Release(); }

}  // namespace f3::hwalloc
