#include "hwalloc/model/object_table.h"

#include <algorithm>
#include <array>
#include <cassert>

namespace f3::hwmodel {
namespace {

using hwalloc::ArenaLayout;

constexpr auto MakeLayouts() {
  std::array<ArenaLayout, kClasses> layouts;
  for (uint32_t i = 0; i < kClasses; ++i) {
    layouts[i] = hwalloc::MakeLayout(hwalloc::ClassBytes(i), kArenaHeaderBytes, hwalloc::kUnitBytes,
                                     kSlotsPerArena, kArenaColours);
  }
  return layouts;
}
constexpr auto kLayouts = MakeLayouts();

}  // namespace

const ArenaLayout& ObjectTable::Layout(uint32_t class_index) { return kLayouts[class_index]; }

ObjectTable::ObjectTable() { std::fill(std::begin(aac_), std::end(aac_), kNone); }

ObjectTable::Entries& ObjectTable::Table(uint32_t thread) {
  while (tables_.size() <= thread) tables_.emplace_back(kClasses, kNone);
  return tables_[thread];
}

uint32_t ObjectTable::Find(uint64_t address) const {
  if (address <= kArenaRegion) return kNone;
  uint64_t index = (hwalloc::ArenaBase(address) - kArenaRegion) >> hwalloc::kUnitShift;
  return index < arenas_.size() ? static_cast<uint32_t>(index) : kNone;
}

uint32_t ObjectTable::NewArena(uint32_t class_index, TableStep* step) {
  step->new_arena = true;
  uint32_t& known = aac_[class_index % kAacEntries];
  step->aac_hit = known == class_index;
  known = class_index;
  uint32_t index;
  if (released_.empty()) {
    index = static_cast<uint32_t>(arenas_.size());
    arenas_.emplace_back();
  } else {
    index = released_.back();
    released_.pop_back();
  }
  Arena& arena = arenas_[index];
  arena = Arena();
  arena.class_index = class_index;
  arena.bits().Fill(Layout(class_index).slots);
  return index;
}

// Puts an arena with a free slot into the table entry, in place of a full one.
void ObjectTable::Refill(uint32_t thread, uint32_t class_index, TableStep* step) {
  uint32_t& entry = Table(thread)[class_index];
  if (entry != kNone) {
    arenas_[entry].place = Place::kFull;
    step->Touch(Base(entry), true);
    step->listed = true;
  }
  auto& list = available_[class_index];
  uint32_t next;
  if (list.empty()) {
    next = NewArena(class_index, step);
    step->Touch(Base(next), true);
  } else {
    next = list.front();
    list.pop_front();
    step->listed = true;
    step->Touch(Base(next), false);
    if (!list.empty()) step->Touch(Base(list.front()), true);  // it becomes the list's first
  }
  arenas_[next].place = Place::kInTable;
  arenas_[next].owner = thread;
  entry = next;
}

TableStep ObjectTable::Allocate(uint32_t thread, uint64_t bytes) {
  assert(bytes <= kMaxObjectBytes);
  TableStep step;
  uint32_t class_index = hwalloc::ClassOf(bytes);
  Entries& table = Table(thread);
  step.hit = table[class_index] != kNone && !arenas_[table[class_index]].bits().empty();
  if (!step.hit) Refill(thread, class_index, &step);
  uint32_t index = table[class_index];
  Arena& arena = arenas_[index];
  step.address = Base(index) + Layout(class_index).SlotOffset(arena.bits().Take());
  ++arena.used;
  live_bytes_ += hwalloc::ClassBytes(class_index);
  return step;
}

TableStep ObjectTable::Free(uint32_t thread, uint64_t address) {
  TableStep step;
  step.address = address;
  uint32_t index = Find(address);
  if (index == kNone || arenas_[index].place == Place::kReleased) {
    step.ok = false;
    return step;
  }
  Arena& arena = arenas_[index];
  const ArenaLayout& layout = Layout(arena.class_index);
  uint64_t offset = address - Base(index);
  uint32_t slot =
      offset < layout.first_slot ? layout.slots : layout.SlotOf(static_cast<uint32_t>(offset));
  bool was_full = arena.bits().empty();
  if (slot >= layout.slots || layout.SlotOffset(slot) != offset || !arena.bits().Put(slot)) {
    step.ok = false;
    return step;
  }
  --arena.used;
  live_bytes_ -= layout.object_bytes;
  step.hit = arena.place == Place::kInTable && arena.owner == thread;
  if (!step.hit) FreeOutsideTable(index, was_full, &step);
  return step;
}

void ObjectTable::FreeOutsideTable(uint32_t index, bool was_full, TableStep* step) {
  Arena& arena = arenas_[index];
  auto& list = available_[arena.class_index];
  step->Touch(Base(index), false);
  step->Touch(Base(index), true);
  if (arena.place == Place::kInTable) {
    step->remote = true;
    return;
  }
  if (was_full) {
    step->listed = true;
    // At the end: the longer it waits, the more of its objects are free when it is taken.
    if (!list.empty()) step->Touch(Base(list.back()), true);
    arena.listed = list.insert(list.end(), index);
    arena.place = Place::kAvailable;
  }
  // An empty one is given back unless it is the only one that waits.
  if (arena.used == 0 && list.size() > 1) {
    step->listed = true;
    list.erase(arena.listed);
    arena.place = Place::kReleased;
    released_.push_back(index);
    step->released_arena = Base(index);
  }
}

bool ObjectTable::FirstTouch(uint64_t address) {
  Arena& arena = arenas_[Find(address | 1)];
  auto line = static_cast<uint32_t>((address & (hwalloc::kUnitBytes - 1)) >> kLineShift);
  if (line < arena.lines_touched) return false;
  arena.lines_touched = line + 1;
  return true;
}

}  // namespace f3::hwmodel
