// Characterisation: how large a program's objects are and how long they live, as Memento's paper
// counts it. A sink of ReplayTrace, used by one thread.
#ifndef F3_HWALLOC_MODEL_CHARACTERISE_H_
#define F3_HWALLOC_MODEL_CHARACTERISE_H_

#include <array>
#include <cstdint>
#include <unordered_map>

#include "hwalloc/model/parameters.h"
#include "hwalloc/model/trace.h"

namespace f3::hwmodel {

class Characterisation : public TraceSink {
 public:
  // Upper bounds, in bytes, of all size groups but the last.
  static constexpr std::array<uint64_t, 7> kSizeGroups = {16, 32, 64, 128, 256, 512, 4096};
  // Upper bounds, in allocations of the same class between birth and death; then come the objects
  // that live longer, and those that live to the exit.
  static constexpr std::array<uint64_t, 5> kLifetimeGroups = {1, 4, 16, 64, 256};

  struct Counts {
    uint64_t allocations = 0;
    uint64_t frees = 0;
    uint64_t small_allocations = 0;  // at most kMaxObjectBytes
    uint64_t bytes = 0;
    uint64_t instructions = 0;
    uint64_t references = 0;  // those recorded
    uint32_t threads = 0;
    bool references_cut = false;
    std::array<uint64_t, kSizeGroups.size() + 1> by_size = {};
    // Of small objects.
    std::array<uint64_t, kLifetimeGroups.size() + 1> by_lifetime = {};
    uint64_t live_to_exit = 0;

    // Share of the small objects that die within `allocations`, one of kLifetimeGroups.
    double DieWithin(uint64_t allocations) const;
    double LiveToExit() const;
    double SmallShare() const;
  };
  const Counts& counts() const { return counts_; }

  void Reference(uint32_t thread, uint64_t address, bool store, bool in_call) override;
  void EnterCall(const Call& call, uint64_t instructions) override;
  void ExitCall(const Call& call, uint64_t instructions, uint64_t pointer) override;
  void ReferencesEnd() override { counts_.references_cut = true; }
  void End(uint64_t instructions) override;

 private:
  void Born(uint64_t pointer, uint64_t bytes);
  void Died(uint64_t pointer);

  struct Object {
    uint32_t class_index;
    uint64_t born;  // the class's count of allocations then
  };
  std::unordered_map<uint64_t, Object> small_;
  std::array<uint64_t, kClasses> allocations_ = {};
  Counts counts_;
};

}  // namespace f3::hwmodel

#endif  // F3_HWALLOC_MODEL_CHARACTERISE_H_
