// ObjectMap: from an address that the recorded program used to the object there and to where the
// modelled hardware has put it. Not thread-safe.
#ifndef F3_HWALLOC_MODEL_OBJECT_MAP_H_
#define F3_HWALLOC_MODEL_OBJECT_MAP_H_

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "hwalloc/model/parameters.h"
#include "hwalloc/model/record/record_format.h"

namespace f3::hwmodel {

class ObjectMap {
 public:
  struct Object {
    uint64_t pointer = 0;  // as recorded
    uint64_t bytes = 0;
    uint64_t place = 0;  // in the hardware's arenas; 0: software holds it
  };

  // Adds an object. One that begins at the same place is forgotten, as the
  // trace does not say that it was freed.
  void Add(const Object& object);
  // The object that begins at `pointer`; nullptr when there is none.
  const Object* Find(uint64_t pointer);
  // REQUIRES: Find(pointer) is not nullptr.
  void Remove(uint64_t pointer);
  // The object in the granule at `address`, a multiple of 16, or, when there is none, the nearest
  // that ends at most `before` bytes before it in the same page. nullptr when there is none.
  const Object* At(uint64_t address, uint32_t before = 0);

 private:
  static constexpr uint32_t kPageGranules = 1u << (kPageShift - kGranuleShift);
  using Page = std::array<uint32_t, kPageGranules>;  // by granule: index of an object + 1; 0: none

  uint32_t* Slot(uint64_t address, bool make);
  void Mark(const Object& object, uint32_t value);

  std::unordered_map<uint64_t, std::unique_ptr<Page>> pages_;
  std::unordered_map<uint64_t, uint32_t> by_pointer_;
  std::vector<Object> objects_;
  std::vector<uint32_t> free_;
  uint64_t last_number_ = UINT64_MAX;  // the page asked for last
  Page* last_page_ = nullptr;          // nullptr: it has no objects
};

}  // namespace f3::hwmodel

#endif  // F3_HWALLOC_MODEL_OBJECT_MAP_H_
