#include "hwalloc/medium.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

#include "hwalloc/fatal.h"

namespace f3::hwalloc {
namespace {

constexpr GranuleSet kAll = ~GranuleSet{0} << kFirstGranule;

uint32_t LowestOf(GranuleSet set) {
  auto low = static_cast<uint64_t>(set);
  auto high = static_cast<uint64_t>(set >> 64);
  return static_cast<uint32_t>(low != 0 ? std::countr_zero(low) : 64 + std::countr_zero(high));
}

uint32_t LeadingZeros(GranuleSet set) {
  auto low = static_cast<uint64_t>(set);
  auto high = static_cast<uint64_t>(set >> 64);
  return static_cast<uint32_t>(high != 0 ? std::countl_zero(high) : 64 + std::countl_zero(low));
}

// `count` (1 … kGranules - 1) granules from `first` on.
GranuleSet Range(uint32_t first, uint32_t count) { return ((GranuleSet{1} << count) - 1) << first; }

// The granules at multiples of `alignment`, a power of two.
GranuleSet MultiplesOf(uint32_t alignment) {
  GranuleSet set = 1;
  for (uint32_t step = alignment; step < kGranules; step *= 2) set |= set << step;
  return set;
}

// Where runs of `length` free granules begin.
GranuleSet RunsOf(GranuleSet free, uint32_t length) {
  for (uint32_t have = 1; have < length && free != 0;) {
    uint32_t step = std::min(have, length - have);
    free &= free >> step;
    have += step;
  }
  return free;
}

uint32_t LongestRun(GranuleSet free) {
  if (free == 0) return 0;
  GranuleSet of_power[8];  // where runs of 1, 2, 4, … begin
  uint32_t powers = 0;
  for (GranuleSet runs = free; runs != 0; runs &= runs >> (1u << (powers - 1))) {
    of_power[powers++] = runs;
  }
  uint32_t length = 1u << (powers - 1);
  GranuleSet runs = of_power[powers - 1];
  for (uint32_t i = powers - 1; i-- > 0;) {
    GranuleSet longer = runs & (of_power[i] >> length);
    if (longer == 0) continue;
    runs = longer;
    length += 1u << i;
  }
  return length;
}

MediumHeader* UnitHeaderOf(const void* p) { return static_cast<MediumHeader*>(HeaderOf(p)); }

char* BaseOf(const MediumHeader* unit) {
  return reinterpret_cast<char*>(reinterpret_cast<uintptr_t>(unit) & ~uintptr_t{kUnitBytes - 1});
}

// By granule: the length of the block that begins there, 0 when none does. In the half of the first
// KiB that the header is not in, and of a colour too.
uint8_t* Lengths(const MediumHeader* unit) {
  char* base = BaseOf(unit);
  uint32_t header = HeaderOffset(reinterpret_cast<uintptr_t>(base));
  constexpr uint32_t kRoom = kHeaderColours * kLineBytes;
  return reinterpret_cast<uint8_t*>(base + (header + kRoom / 2) % kRoom / kGranules * kGranules);
}
static_assert(kHeaderColours * kLineBytes / 2 >= kLineBytes + kGranules);

// The granule at which the block at `p` begins, or the end of the process.
uint32_t CheckedGranuleOf(const MediumHeader* unit, const void* p) {
  auto offset = static_cast<uint32_t>(static_cast<const char*>(p) - BaseOf(unit));
  uint32_t granule = offset / kGranuleBytes;
  if (offset % kGranuleBytes != 0) Fatal("free of an address inside an object", p);
  if (Lengths(unit)[granule] == 0) Fatal("double free", p);
  return granule;
}

}  // namespace

size_t MediumUsable(const void* p) {
  const MediumHeader* unit = UnitHeaderOf(p);
  auto offset = static_cast<uint32_t>(static_cast<const char*>(p) - BaseOf(unit));
  if (offset % kGranuleBytes != 0) return 0;
  return size_t{Lengths(unit)[offset / kGranuleBytes]} * kGranuleBytes;
}

void MediumArenas::Link(MediumHeader* unit) {
  MediumHeader*& head = lists_[unit->longest];
  unit->previous = nullptr;
  unit->next = head;
  if (head != nullptr) head->previous = unit;
  head = unit;
  used_lists_ |= GranuleSet{1} << unit->longest;
}

void MediumArenas::Unlink(MediumHeader* unit) {
  MediumHeader*& head = lists_[unit->longest];
  (unit->previous == nullptr ? head : unit->previous->next) = unit->next;
  if (unit->next != nullptr) unit->next->previous = unit->previous;
  if (head == nullptr) used_lists_ &= ~(GranuleSet{1} << unit->longest);
}

void MediumArenas::Relist(MediumHeader* unit, uint32_t longest) {
  if (unit->longest == longest) return;
  Unlink(unit);
  unit->longest = static_cast<uint8_t>(longest);
  Link(unit);
}

uint32_t MediumArenas::FirstList(uint32_t length) const {
  GranuleSet lists = used_lists_ >> length;
  return lists == 0 ? kGranules : length + LowestOf(lists);
}

void MediumArenas::Add(char* base, Heap* heap, bool clean) {
  auto* unit = new (HeaderOf(base + 1)) MediumHeader;
  unit->heap = heap;
  unit->free = kAll;
  unit->longest = kGranules - kFirstGranule;
  unit->zero_from = clean ? kFirstGranule : kGranules;
  std::memset(Lengths(unit), 0, kGranules);
  *UnitAt(base) = Unit{nullptr, UnitKind::kMedium, false, 0};
  Link(unit);
}

void* MediumArenas::Take(uint32_t granules, uint32_t alignment, bool* zero) {
  for (uint32_t list = granules;;) {
    list = FirstList(list);
    if (list == kGranules) return nullptr;
    MediumHeader* unit = lists_[list];
    GranuleSet starts = RunsOf(unit->free, granules);
    if (alignment > 1) starts &= MultiplesOf(alignment);
    if (starts == 0) {
      uint32_t longest = LongestRun(unit->free);
      // The length was right, so it is the alignment: another list then.
      if (longest == list) ++list;
      Relist(unit, longest);
      continue;
    }
    uint32_t first = LowestOf(starts);
    uint32_t end = first + granules;
    unit->free &= ~Range(first, granules);
    Lengths(unit)[first] = static_cast<uint8_t>(granules);
    if (first >= unit->zero_from) *zero = true;
    unit->zero_from = static_cast<uint8_t>(std::max<uint32_t>(unit->zero_from, end));
    if (unit->free == 0) Relist(unit, 0);
    return BaseOf(unit) + first * kGranuleBytes;
  }
}

// Makes granules free that no block has.
void MediumArenas::Release(MediumHeader* unit, uint32_t first, uint32_t granules) {
  uint32_t end = first + granules;
  unit->free |= Range(first, granules);
  GranuleSet taken = ~unit->free;  // the first granules are never free
  uint32_t below = LeadingZeros(taken << (kGranules - first));
  uint32_t above = 0;
  if (end < kGranules) above = std::min(LowestOf(taken >> end), kGranules - end);
  uint32_t run = below + granules + above;
  if (run > unit->longest) Relist(unit, run);
}

char* MediumArenas::Give(void* p) {
  MediumHeader* unit = UnitHeaderOf(p);
  uint32_t first = CheckedGranuleOf(unit, p);
  uint8_t& length = Lengths(unit)[first];
  Release(unit, first, length);
  length = 0;
  if (unit->free != kAll || unit == empty_) return nullptr;
  char* before = DropEmpty();
  empty_ = unit;
  return before;
}

char* MediumArenas::DropEmpty() {
  MediumHeader* unit = empty_;
  empty_ = nullptr;
  if (unit == nullptr || unit->free != kAll) return nullptr;
  Unlink(unit);
  return BaseOf(unit);
}

bool MediumArenas::Resize(void* p, uint32_t granules) {
  MediumHeader* unit = UnitHeaderOf(p);
  uint32_t first = CheckedGranuleOf(unit, p);
  uint8_t& length = Lengths(unit)[first];
  uint32_t end = first + granules;
  if (granules < length) {
    Release(unit, end, length - granules);
  } else if (granules > length) {
    if (end > kGranules) return false;
    GranuleSet more = Range(first + length, granules - length);
    if ((unit->free & more) != more) return false;
    unit->free &= ~more;
    unit->zero_from = static_cast<uint8_t>(std::max<uint32_t>(unit->zero_from, end));
    if (unit->free == 0) Relist(unit, 0);
  }
  length = static_cast<uint8_t>(granules);
  return true;
}

char* MediumArenas::Drop() {
  uint32_t list = FirstList(0);
  if (list == kGranules) return nullptr;
  MediumHeader* unit = lists_[list];
  if (unit == empty_) empty_ = nullptr;
  Unlink(unit);
  return BaseOf(unit);
}

}  // namespace f3::hwalloc
