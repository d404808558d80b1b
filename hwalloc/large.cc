#include "hwalloc/large.h"

#include <algorithm>
#include <new>

#include "hwalloc/process.h"

namespace f3::hwalloc {
namespace {

constexpr size_t kPage = 4096;
// Room for a header of any colour: where a block of no special alignment begins.
constexpr size_t kHeaderRoom = kHeaderColours * kLineBytes;
static_assert((kHeaderColours - 1) * kLineBytes + sizeof(LargeHeader) <= kHeaderRoom);
constexpr size_t kMaxRunBytes = size_t{kMaxRunUnits} * kUnitBytes;

constexpr size_t RoundUp(size_t value, size_t to) { return (value + to - 1) & ~(to - 1); }
constexpr uint32_t UnitsOf(size_t bytes) {
  return static_cast<uint32_t>(RoundUp(bytes, kUnitBytes) >> kUnitShift);
}

size_t OffsetOf(const LargeHeader* header) {
  return static_cast<size_t>(header->data - header->run);
}

size_t UsableFor(const char* data, size_t bytes) {
  auto end = reinterpret_cast<uintptr_t>(data) + bytes;
  return RoundUp(end, kPage) - reinterpret_cast<uintptr_t>(data);
}

bool IsMapped(const LargeHeader* header) { return header->run_bytes > kMaxRunBytes; }

void* MakeBlock(char* run, size_t run_bytes, size_t alignment, size_t bytes) {
  // The header lies in the unit that holds the byte before the data; the run's first unit at least.
  uintptr_t data = RoundUp(reinterpret_cast<uintptr_t>(run) + kHeaderRoom, alignment);
  auto* header = new (HeaderOf(reinterpret_cast<void*>(data))) LargeHeader;
  *UnitOf(reinterpret_cast<void*>(data)) = Unit{nullptr, UnitKind::kLarge, false, 0};
  header->data = reinterpret_cast<char*>(data);
  header->usable_bytes = UsableFor(header->data, bytes);
  header->run = run;
  header->run_bytes = run_bytes;
  return header->data;
}

// Moves a mapped block to another size. Its unit and so the header's colour stay the same: both
// mappings begin at a multiple of 32 MiB.
void* RemapLarge(LargeHeader* header, size_t bytes) {
  size_t offset = OffsetOf(header);
  size_t run_bytes = std::max(RoundUp(offset + bytes, kPage), kMaxRunBytes + kPage);
  auto header_offset = reinterpret_cast<char*>(header) - header->run;
  char* run = header->run;
  if (run_bytes != header->run_bytes) run = RemapBlock(run, header->run_bytes, run_bytes);
  if (run == nullptr) return nullptr;
  header = reinterpret_cast<LargeHeader*>(run + header_offset);
  header->run = run;
  header->run_bytes = run_bytes;
  header->data = run + offset;
  header->usable_bytes = UsableFor(header->data, bytes);
  return header->data;
}

}  // namespace

void* AllocateLarge(size_t bytes, size_t alignment, bool* zero, size_t spare) {
  if (bytes > kMaxLargeBytes || alignment > kMaxLargeBytes) return nullptr;
  alignment = std::max(alignment, kHeaderRoom);
  // Runs begin at multiples of a unit: a larger alignment may cost as much again.
  size_t need = alignment <= kUnitBytes ? alignment + bytes : alignment + kUnitBytes + bytes;
  g_counters.large_blocks.fetch_add(1, std::memory_order_relaxed);
  if (need > kMaxRunBytes) {
    need = RoundUp(need, kPage);
    char* base = MapBlock(need);
    if (base == nullptr) return nullptr;
    *zero = true;
    return MakeBlock(base, need, alignment, bytes);
  }
  if (need + spare <= kMaxRunBytes) need += spare;
  PagePool::Run run = Pool().Take(UnitsOf(need));
  if (run.base == nullptr) return nullptr;
  *zero = run.clean;
  return MakeBlock(run.base, size_t{UnitsOf(need)} << kUnitShift, alignment, bytes);
}

void* ReallocateLarge(LargeHeader* header, size_t bytes) {
  if (bytes > kMaxLargeBytes) return nullptr;
  size_t need = OffsetOf(header) + bytes;
  if (IsMapped(header)) return need > kMaxRunBytes / 2 ? RemapLarge(header, bytes) : nullptr;
  if (need > kMaxRunBytes) return nullptr;
  uint32_t units = UnitsOf(need);
  uint32_t have = UnitsOf(header->run_bytes);
  if (units > have) {
    bool clean = false;
    if (!Pool().Extend(header->run, have, units - have, &clean)) return nullptr;
  } else if (units < have / 2) {
    // What is half used may grow again; less than that gives its end back.
    char* end = header->run + (size_t{units} << kUnitShift);
    Pool().Give(end, have - units, NowMillis());
  } else {
    units = have;
  }
  header->run_bytes = size_t{units} << kUnitShift;
  header->usable_bytes = UsableFor(header->data, bytes);
  return header->data;
}

void FreeLarge(LargeHeader* header) {
  char* run = header->run;
  size_t run_bytes = header->run_bytes;
  *UnitOf(header->data) = Unit{};
  if (run_bytes > kMaxRunBytes) return UnmapBlock(run, run_bytes);
  Pool().Give(run, UnitsOf(run_bytes), NowMillis());
}

}  // namespace f3::hwalloc
