#include "hwalloc/model/object_map.h"

#include <algorithm>

namespace f3::hwmodel {

uint32_t* ObjectMap::Slot(uint64_t address, bool make) {
  uint64_t number = address >> kPageShift;
  if (number != last_number_ || (last_page_ == nullptr && make)) {
    auto found = pages_.find(number);
    if (found == pages_.end() && make) {
      found = pages_.emplace(number, std::make_unique<Page>()).first;
    }
    last_number_ = number;
    last_page_ = found == pages_.end() ? nullptr : found->second.get();
  }
  if (last_page_ == nullptr) return nullptr;
  return &(*last_page_)[(address >> kGranuleShift) % kPageGranules];
}

// A granule that two objects share belongs to the later one.
void ObjectMap::Mark(const Object& object, uint32_t value) {
  uint64_t last = object.pointer + std::max<uint64_t>(object.bytes, 1) - 1;
  for (uint64_t g = object.pointer >> kGranuleShift; g <= last >> kGranuleShift; ++g) {
    *Slot(g << kGranuleShift, true) = value;
  }
}

void ObjectMap::Add(const Object& object) {
  if (by_pointer_.contains(object.pointer)) Remove(object.pointer);
  uint32_t index;
  if (free_.empty()) {
    index = static_cast<uint32_t>(objects_.size());
    objects_.emplace_back();
  } else {
    index = free_.back();
    free_.pop_back();
  }
  objects_[index] = object;
  by_pointer_[object.pointer] = index;
  Mark(object, index + 1);
}

const ObjectMap::Object* ObjectMap::Find(uint64_t pointer) {
  auto found = by_pointer_.find(pointer);
  return found == by_pointer_.end() ? nullptr : &objects_[found->second];
}

void ObjectMap::Remove(uint64_t pointer) {
  auto found = by_pointer_.find(pointer);
  Mark(objects_[found->second], 0);
  free_.push_back(found->second);
  by_pointer_.erase(found);
}

const ObjectMap::Object* ObjectMap::At(uint64_t address, uint32_t before) {
  const uint32_t* slot = Slot(address, false);
  if (slot == nullptr) return nullptr;
  const uint32_t* first = last_page_->data();
  if (static_cast<uint64_t>(slot - first) > before >> kGranuleShift) {
    first = slot - (before >> kGranuleShift);
  }
  while (*slot == 0) {
    if (slot == first) return nullptr;
    --slot;
  }
  return &objects_[*slot - 1];
}

}  // namespace f3::hwmodel
