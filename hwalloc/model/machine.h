// Two emulated machines that run the same trace: one as it was recorded, with the software
// allocator and the kernel's page faults, and one with the hardware. Both have the core, caches and
// memory of parameters.h. All cycles are emulated.
//
// A machine is a sink of ReplayTrace, used by one thread; its results are complete after End.
#ifndef F3_HWALLOC_MODEL_MACHINE_H_
#define F3_HWALLOC_MODEL_MACHINE_H_

#include <cstdint>
#include <vector>

#include "hwalloc/model/address_space.h"
#include "hwalloc/model/cache.h"
#include "hwalloc/model/object_map.h"
#include "hwalloc/model/object_table.h"
#include "hwalloc/model/page_pool.h"
#include "hwalloc/model/trace.h"

namespace f3::hwmodel {

// Where emulated cycles went.
struct CycleParts {
  double program = 0;         // instructions outside the allocator
  double program_stalls = 0;  // waiting for the data of these
  double alloc = 0;           // malloc, calloc, realloc, aligned: instructions and stalls
  double free = 0;
  double pages = 0;  // faults, mapping calls, pool, giving back

  double total() const { return program + program_stalls + alloc + free + pages; }
};

class Machine : public TraceSink {
 public:
  const CycleParts& cycles() const { return cycles_; }
  const MemoryCounts& memory() const { return memory_.counts(); }
  uint64_t faults() const { return faults_; }
  // The most pages in use at a time for objects: the allocator's touched pages, and arenas.
  uint64_t peak_pages() const { return peak_pages_; }

  void EnterCall(const Call& call, uint64_t instructions) override;
  void ExitCall(const Call& call, uint64_t instructions, uint64_t pointer) override;
  void Map(uint64_t address, uint64_t bytes, uint64_t flags) override;
  void Unmap(uint64_t address, uint64_t bytes) override;
  void Discard(uint64_t address, uint64_t bytes) override;
  void Move(uint64_t from, uint64_t from_bytes, uint64_t to, uint64_t to_bytes) override;
  void End(uint64_t instructions) override;

 protected:
  // One access to memory that software manages; the cycles that the core stands still.
  double LoadSoftware(uint64_t address, bool store);
  void ChargeSoftware(const Call& call, uint64_t instructions, double stalls);
  void AddCycles(Op op, double cycles) {
    (op == Op::kFree ? cycles_.free : cycles_.alloc) += cycles;
  }
  // After the number of pages has grown.
  void NotePages();
  virtual uint64_t ArenaPages() const { return 0; }
  virtual void OnPeak() {}

  CycleParts cycles_;
  MemorySystem memory_;
  // Calls that the software allocator serves now; what it asks of the kernel meanwhile is charged.
  uint32_t software_calls_ = 0;

 private:
  // Charges a call of the kernel that gave pages up, and forgets their translations.
  void ChargeMapping(uint64_t freed_pages, uint64_t address, uint64_t bytes);

  AddressSpace space_;
  uint64_t faults_ = 0;
  uint64_t peak_pages_ = 0;
  // What announcing a call costs, learnt from empty calls at the start; UINT64_MAX: not known.
  uint64_t overhead_ = UINT64_MAX;
};

class SoftwareMachine : public Machine {
 public:
  void Reference(uint32_t thread, uint64_t address, bool store, bool in_call) override;
  void EnterCall(const Call& call, uint64_t instructions) override;
  void ExitCall(const Call& call, uint64_t instructions, uint64_t pointer) override;

 private:
  std::vector<double> call_stalls_;  // by thread, of the call in progress
};

// Counts of the hardware's operations, on objects of at most 512 bytes.
struct HardwareCounts {
  uint64_t allocs = 0, alloc_hits = 0, alloc_lists = 0, new_arenas = 0, aac_hits = 0;
  uint64_t frees = 0, free_hits = 0, free_lists = 0, remote_frees = 0;
  uint64_t released_arenas = 0;
  uint64_t asked_bytes = 0, rounded_bytes = 0;  // over all allocations
  uint64_t live_bytes_at_peak = 0, arena_pages_at_peak = 0;
  uint64_t software_calls = 0;  // left to the software allocator
};

class HardwareMachine : public Machine {
 public:
  // `bypass`: lines that were never touched are filled with zeros, not read from memory.
  explicit HardwareMachine(bool bypass) : bypass_(bypass) {}

  const HardwareCounts& counts() const { return counts_; }
  const PagePool& pool() const { return pool_; }

  void Reference(uint32_t thread, uint64_t address, bool store, bool in_call) override;
  void EnterCall(const Call& call, uint64_t instructions) override;
  void ExitCall(const Call& call, uint64_t instructions, uint64_t pointer) override;
  void End(uint64_t instructions) override;

 private:
  // What a call needs.
  struct Plan {
    bool allocate = false;  // an object from the hardware
    bool free = false;      // giving one back to it
    bool in_place = false;  // realloc within a class: nothing
    bool software = false;  // the software allocator
    double stalls = 0;      // of that
    ObjectMap::Object old;  // with `free` and `in_place`
  };

  Plan MakePlan(const Call& call);
  Plan MakeReallocPlan(const Call& call);
  void RunHardware(const Call& call, const Plan& plan, uint64_t pointer);
  void RunFree(const Call& call, uint64_t place);
  uint64_t RunAllocate(const Call& call);
  void Track(const ObjectMap::Object& object);
  void TrackSoftware(const Call& call, const Plan& plan, uint64_t pointer);
  // The object at `pointer` if the hardware holds it; nullptr if software does, or nobody.
  const ObjectMap::Object* FindPlaced(uint64_t pointer);
  // Charges an operation of the table; `dependent`: the core waits for the headers it needs.
  void Charge(Op op, const TableStep& step, bool dependent);
  // An access in an arena, with page backing and bypass; the cycles until its data is there.
  uint32_t AccessArena(uint64_t address, bool store);
  // Loads or stores each line of an object, for clearing and copying.
  void Sweep(Op op, uint64_t address, uint64_t bytes, bool store);
  uint64_t ArenaPages() const override { return pool_.backed_pages(); }
  void OnPeak() override;

  const bool bypass_;
  ObjectTable table_;
  ObjectMap objects_;
  PagePool pool_;
  HardwareCounts counts_;
  std::vector<Plan> plans_;  // by thread
};

}  // namespace f3::hwmodel

#endif  // F3_HWALLOC_MODEL_MACHINE_H_
