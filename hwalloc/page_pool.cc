#include "hwalloc/page_pool.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <iterator>

namespace f3::hwalloc {

constinit Unit* g_unit_tables[kRegionSlots] = {};

namespace {

constexpr uint32_t kNone = ~0u;
// Behind a region's own fields, or the header of a block that is mapped by itself.
constexpr uint32_t kUnitTableOffset = 512;

void SetTables(char* base, size_t bytes, bool ours) {
  for (size_t at = 0; at < bytes; at += kRegionBytes) {
    Unit* table = ours ? reinterpret_cast<Unit*>(base + at + kUnitTableOffset) : nullptr;
    std::atomic_ref<Unit*> slot(
        g_unit_tables[reinterpret_cast<uintptr_t>(base + at) >> kRegionShift]);
    slot.store(table, std::memory_order_relaxed);
  }
}

char* Map(void* where, size_t bytes, int flags) {
  // No swap is reserved for what may never be touched.
  void* p = ::mmap(where, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
  return p == MAP_FAILED ? nullptr : static_cast<char*>(p);
}

// Address space at a multiple of 32 MiB: maps more and gives both ends back.
char* MapAligned(size_t bytes) {
  char* all = Map(nullptr, bytes + kRegionBytes, 0);
  if (all == nullptr) return nullptr;
  auto start = reinterpret_cast<uintptr_t>(all);
  size_t before = (kRegionBytes - start % kRegionBytes) % kRegionBytes;
  if (before > 0) ::munmap(all, before);
  if (before < kRegionBytes) ::munmap(all + before + bytes, kRegionBytes - before);
  return all + before;
}

void SetBits(uint64_t* bits, uint32_t first, uint32_t count, bool value) {
  while (count > 0) {
    uint32_t shift = first % 64;
    uint32_t here = std::min(64 - shift, count);
    uint64_t mask = (here == 64 ? ~0ull : (1ull << here) - 1) << shift;
    bits[first / 64] = value ? bits[first / 64] | mask : bits[first / 64] & ~mask;
    first += here;
    count -= here;
  }
}

uint32_t CountBits(const uint64_t* bits, uint32_t first, uint32_t count) {
  uint32_t sum = 0;
  while (count > 0) {
    uint32_t shift = first % 64;
    uint32_t here = std::min(64 - shift, count);
    uint64_t mask = (here == 64 ? ~0ull : (1ull << here) - 1) << shift;
    sum += static_cast<uint32_t>(std::popcount(bits[first / 64] & mask));
    first += here;
    count -= here;
  }
  return sum;
}

}  // namespace

// Lies in the first unit of its region, which is never handed out.
struct PagePool::Region {
  Region* next;
  Region* previous;
  uint32_t free_units;
  uint32_t ready_units;
  Bits free;   // ready or clean
  Bits ready;  // a subset of free
  Bits arena;  // a subset of ready: given back by arenas

  char* base() { return reinterpret_cast<char*>(this); }
  uint32_t UnitOf(const char* address) {
    return static_cast<uint32_t>((address - base()) >> kUnitShift);
  }
  static Region* Of(char* address) {
    return reinterpret_cast<Region*>(reinterpret_cast<uintptr_t>(address) & ~(kRegionBytes - 1));
  }
};

char* MapBlock(size_t bytes) {
  char* base = MapAligned(bytes);
  if (base != nullptr) SetTables(base, bytes, true);
  return base;
}

void UnmapBlock(char* base, size_t bytes) {
  SetTables(base, bytes, false);
  ::munmap(base, bytes);
}

char* RemapBlock(char* base, size_t old_bytes, size_t new_bytes) {
  if (::mremap(base, old_bytes, new_bytes, 0) == base) {
    SetTables(base, old_bytes, false);
    SetTables(base, new_bytes, true);
    return base;
  }
  char* target = MapAligned(new_bytes);
  if (target == nullptr) return nullptr;
  SetTables(base, old_bytes, false);
  if (::mremap(base, old_bytes, new_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, target) == MAP_FAILED) {
    SetTables(base, old_bytes, true);
    ::munmap(target, new_bytes);
    return nullptr;
  }
  SetTables(target, new_bytes, true);
  return target;
}

void FaultIn(char* begin, size_t bytes) {
  constexpr uintptr_t kPage = 4096;
  auto from = reinterpret_cast<uintptr_t>(begin) & ~(kPage - 1);
  auto to = (reinterpret_cast<uintptr_t>(begin) + bytes + kPage - 1) & ~(kPage - 1);
  // Kernels before 5.14 refuse; then pages come one by one as they are touched.
  (void)::madvise(reinterpret_cast<void*>(from), to - from, MADV_POPULATE_WRITE);
}

// The lowest run of `units` set bits, or kNone.
uint32_t PagePool::FindRun(const Bits& bits, uint32_t units) {
  uint32_t length = 0;
  for (uint32_t at = 0; at < kRegionUnits;) {
    uint64_t rest = bits[at / 64] >> (at % 64);
    uint32_t left = 64 - at % 64;
    uint32_t zeros = rest == 0 ? left : static_cast<uint32_t>(std::countr_zero(rest));
    if (zeros > 0) {
      length = 0;
      at += zeros;
      continue;
    }
    auto ones = std::min(left, static_cast<uint32_t>(std::countr_one(rest)));
    if (length + ones >= units) return at - length;
    length += ones;
    at += ones;
  }
  return kNone;
}

PagePool::Region* PagePool::AddRegion() {
  static_assert(sizeof(Region) <= kUnitTableOffset);
  // Next to the one before, where that is possible: it saves trimming.
  char* base = nullptr;
  if (last_ != nullptr) base = Map(last_->base() - kRegionBytes, kRegionBytes, MAP_FIXED_NOREPLACE);
  if (base == nullptr) base = MapAligned(kRegionBytes);
  if (base == nullptr) return nullptr;
  // Small processes must stay small where the kernel would give huge pages to everybody.
  if (first_ == nullptr) (void)::madvise(base, kRegionBytes, MADV_NOHUGEPAGE);
  auto* region = reinterpret_cast<Region*>(base);
  region->previous = last_;
  region->free_units = kRegionUnits - 1;
  SetBits(region->free, 1, kRegionUnits - 1, true);
  (last_ == nullptr ? first_ : last_->next) = region;
  last_ = region;
  ++usage_.regions;
  SetTables(base, kRegionBytes, true);
  return region;
}

PagePool::Run PagePool::TakeIn(Region* region, uint32_t first, uint32_t units) {
  uint32_t ready = CountBits(region->ready, first, units);
  SetBits(region->free, first, units, false);
  SetBits(region->ready, first, units, false);
  SetBits(region->arena, first, units, false);
  region->free_units -= units;
  region->ready_units -= ready;
  usage_.used_units += units;
  usage_.ready_units -= ready;
  usage_.peak_units = std::max(usage_.peak_units, usage_.used_units);
  least_ready_ = std::min(least_ready_, usage_.ready_units);
  return Run{region->base() + (size_t{first} << kUnitShift), ready == 0};
}

PagePool::Run PagePool::TakeReadyRun(uint32_t units) {
  if (usage_.ready_units < units) return Run{};
  for (Region* region = first_; region != nullptr; region = region->next) {
    if (region->ready_units < units) continue;
    uint32_t first = FindRun(region->ready, units);
    if (first != kNone) return TakeIn(region, first, units);
  }
  return Run{};
}

PagePool::Run PagePool::TakeReady() {
  LockHolder hold(lock_);
  if (usage_.ready_units > kRunUnits) return TakeReadyRun(1);
  for (Region* region = first_; region != nullptr; region = region->next) {
    if (region->ready_units == 0) continue;
    uint32_t first = FindRun(region->arena, 1);
    if (first != kNone) return TakeIn(region, first, 1);
  }
  return Run{};
}

uint32_t PagePool::FindClean(const Region* region) {
  Bits clean;
  for (size_t i = 0; i < std::size(clean); ++i) clean[i] = region->free[i] & ~region->ready[i];
  return FindRun(clean, 1);
}

PagePool::Run PagePool::TakeClean() {
  LockHolder hold(lock_);
  demanded_ = true;
  demand_.Raise();
  for (Region* region = first_; region != nullptr; region = region->next) {
    if (region->free_units == region->ready_units) continue;
    Run run = TakeIn(region, FindClean(region), 1);
    HoldBound();
    return run;
  }
  return Run{};
}

PagePool::Run PagePool::Take(uint32_t units) {
  LockHolder hold(lock_);
  demanded_ = true;
  demand_.Raise();
  Run ready = TakeReadyRun(units);
  if (ready.base != nullptr) return ready;
  for (Region* region = first_;; region = region->next) {
    if (region == nullptr) region = AddRegion();
    if (region == nullptr) return Run{};
    if (region->free_units < units) continue;
    uint32_t first = FindRun(region->free, units);
    if (first == kNone) continue;
    Run run = TakeIn(region, first, units);
    HoldBound();
    return run;
  }
}

bool PagePool::Extend(char* base, uint32_t units, uint32_t more, bool* clean) {
  LockHolder hold(lock_);
  Region* region = Region::Of(base);
  uint32_t first = region->UnitOf(base) + units;
  if (first + more > kRegionUnits || CountBits(region->free, first, more) != more) return false;
  *clean = TakeIn(region, first, more).clean;
  HoldBound();
  return true;
}

void PagePool::GiveBack(char* base, uint32_t units, bool arena) {
  Region* region = Region::Of(base);
  uint32_t first = region->UnitOf(base);
  if (arena) SetBits(region->arena, first, units, true);
  SetBits(region->free, first, units, true);
  SetBits(region->ready, first, units, true);
  region->free_units += units;
  region->ready_units += units;
  usage_.used_units -= units;
  usage_.ready_units += units;
}

void PagePool::Give(char* base, uint32_t units, int64_t now_millis) {
  LockHolder hold(lock_);
  GiveBack(base, units, false);
  Decay(now_millis);
  HoldReady();
}

void PagePool::GiveArenas(char* const* bases, size_t count, int64_t now_millis) {
  LockHolder hold(lock_);
  for (size_t i = 0; i < count; ++i) GiveBack(bases[i], 1, true);
  Decay(now_millis);
  HoldReady();
}

// What stayed ready all through the last period was not needed: half of it goes back.
void PagePool::Decay(int64_t now_millis) {
  if (now_millis < period_end_) return;
  bool first = period_end_ == 0;
  period_end_ = now_millis + kDecayMillis;
  at_once_ = kAtOnceUnits;
  if (!first) Return(std::min<uint64_t>((least_ready_ + 1) / 2, kDecayUnits));
  least_ready_ = usage_.ready_units;
}

// Most functions that free much at one time do not need it again, and something else of the process
// may: what is more than a sixteenth of what is used goes back at once. A program that does need it
// again pays for some units of every period only.
void PagePool::HoldReady() {
  uint64_t bound = std::max({uint64_t{kReadyUnits}, usage_.used_units / 16, reserve_});
  if (usage_.ready_units <= bound) return;
  at_once_ -= Return(std::min(usage_.ready_units - bound, at_once_));
}

// Ready units that were of no use for what is being taken must not add to the peak.
void PagePool::HoldBound() {
  uint64_t held = usage_.used_units + usage_.ready_units;
  uint64_t bound = usage_.peak_units + kSlackUnits;
  if (held > bound) Return(held - bound);
}

// Gives up to `units` ready units back, from the highest addresses down: the lowest are taken
// first, so these have been idle for longest.
uint64_t PagePool::Return(uint64_t units) {
  uint64_t done = 0;
  for (Region* region = last_; region != nullptr && done < units; region = region->previous) {
    for (uint32_t end = kRegionUnits; end > 0 && done < units && region->ready_units > 0;) {
      uint32_t word = (end - 1) / 64;
      uint64_t bits = region->ready[word] & (end % 64 == 0 ? ~0ull : (1ull << (end % 64)) - 1);
      if (bits == 0) {
        end = word * 64;
        continue;
      }
      uint32_t last = word * 64 + 63 - static_cast<uint32_t>(std::countl_zero(bits));
      uint32_t first = last;
      while (first > word * 64 && ((bits >> (first - 1) % 64) & 1) &&
             done + last - first + 1 < units)
        --first;
      uint32_t count = last - first + 1;
      // Memory that the program has locked stays; so it stays ready.
      if (::madvise(region->base() + (size_t{first} << kUnitShift), size_t{count} << kUnitShift,
                    MADV_DONTNEED) != 0) {
        units = done;
        break;
      }
      SetBits(region->ready, first, count, false);
      SetBits(region->arena, first, count, false);
      region->ready_units -= count;
      done += count;
      end = first;
    }
  }
  usage_.ready_units -= done;
  usage_.returned_units += done;
  least_ready_ = std::min(least_ready_, usage_.ready_units);
  return done;
}

uint64_t PagePool::Trim() {
  LockHolder hold(lock_);
  return Return(usage_.ready_units);
}

PagePool::Usage PagePool::usage() {
  LockHolder hold(lock_);
  return usage_;
}

void PagePool::Prepare(uint32_t target) {
  for (;;) {
    char* base = nullptr;
    {
      LockHolder hold(lock_);
      reserve_ = target;
      if (usage_.ready_units >= target) return;
      for (Region* region = first_; region != nullptr && base == nullptr; region = region->next) {
        if (region->free_units == region->ready_units) continue;
        uint32_t first = FindClean(region);
        uint64_t peak = usage_.peak_units;
        base = TakeIn(region, first, 1).base;
        usage_.peak_units = peak;  // nobody uses it
      }
      if (base == nullptr) return;
    }
    FaultIn(base, kUnitBytes);
    LockHolder hold(lock_);
    GiveBack(base, 1, true);
  }
}

bool PagePool::WaitForDemand(uint32_t target) {
  LockHolder hold(lock_);
  while (!stopped_ && !(demanded_ && usage_.ready_units < target)) demand_.Wait(lock_);
  demanded_ = false;
  return !stopped_;
}

void PagePool::Stop() {
  LockHolder hold(lock_);
  stopped_ = true;
  demand_.Raise();
}

}  // namespace f3::hwalloc
