#include "hwalloc/model/machine.h"

#include <algorithm>

#include "hwalloc/model/record/record_format.h"

namespace f3::hwmodel {
namespace {

template <typename T>
T& At(std::vector<T>& by_thread, uint32_t thread) {
  if (by_thread.size() <= thread) by_thread.resize(thread + 1);
  return by_thread[thread];
}

}  // namespace

void Machine::EnterCall(const Call&, uint64_t instructions) {
  cycles_.program += static_cast<double>(instructions) * kCyclesPerInstruction;
}

void Machine::ExitCall(const Call& call, uint64_t instructions, uint64_t) {
  if (call.op == Op::kNothing) overhead_ = std::min(overhead_, instructions);
}

void Machine::End(uint64_t instructions) {
  cycles_.program += static_cast<double>(instructions) * kCyclesPerInstruction;
  cycles_.pages += static_cast<double>(space_.touched_pages()) * kPageFreeCycles;
}

double Machine::LoadSoftware(uint64_t address, bool store) {
  uint32_t latency = 0;
  if (memory_.Walk(address)) {
    latency += kWalkCycles;
    if (space_.Touch(address)) {
      ++faults_;
      cycles_.pages += kFaultCycles;
      memory_.ClearPage(address);
      NotePages();
    }
  }
  return MemorySystem::Stall(latency + memory_.Access(address, store), store);
}

void Machine::ChargeSoftware(const Call& call, uint64_t instructions, double stalls) {
  uint64_t overhead = overhead_ == UINT64_MAX ? 0 : overhead_;
  uint64_t own = instructions - std::min(instructions, overhead);
  AddCycles(call.op, static_cast<double>(own) * kCyclesPerInstruction + stalls);
}

void Machine::NotePages() {
  uint64_t pages = space_.touched_pages() + ArenaPages();
  if (pages <= peak_pages_) return;
  peak_pages_ = pages;
  OnPeak();
}

void Machine::ChargeMapping(uint64_t freed_pages, uint64_t address, uint64_t bytes) {
  if (software_calls_ > 0) cycles_.pages += kMappingCallCycles;
  cycles_.pages += static_cast<double>(freed_pages) * kPageFreeCycles;
  memory_.FlushTlb(address, bytes);
}

void Machine::Map(uint64_t address, uint64_t bytes, uint64_t flags) {
  space_.Map(address, bytes, (flags & kMapByAllocator) != 0);
  ChargeMapping(0, address, bytes);
}

void Machine::Unmap(uint64_t address, uint64_t bytes) {
  ChargeMapping(space_.Unmap(address, bytes), address, bytes);
}

void Machine::Discard(uint64_t address, uint64_t bytes) {
  ChargeMapping(space_.Discard(address, bytes), address, bytes);
}

void Machine::Move(uint64_t from, uint64_t from_bytes, uint64_t to, uint64_t to_bytes) {
  ChargeMapping(space_.Move(from, from_bytes, to, to_bytes), from, from_bytes);
  memory_.FlushTlb(to, to_bytes);
}

void SoftwareMachine::Reference(uint32_t thread, uint64_t address, bool store, bool in_call) {
  double stalls = LoadSoftware(address, store);
  (in_call ? At(call_stalls_, thread) : cycles_.program_stalls) += stalls;
}

void SoftwareMachine::EnterCall(const Call& call, uint64_t instructions) {
  Machine::EnterCall(call, instructions);
  At(call_stalls_, call.thread) = 0;
  ++software_calls_;
}

void SoftwareMachine::ExitCall(const Call& call, uint64_t instructions, uint64_t pointer) {
  Machine::ExitCall(call, instructions, pointer);
  --software_calls_;
  if (call.op == Op::kNothing) return;
  ChargeSoftware(call, instructions, At(call_stalls_, call.thread));
}

HardwareMachine::Plan HardwareMachine::MakeReallocPlan(const Call& call) {
  Plan plan;
  const ObjectMap::Object* old = call.old == 0 ? nullptr : FindPlaced(call.old);
  plan.software = (call.old != 0 && old == nullptr) || call.bytes > kMaxObjectBytes;
  plan.allocate = call.bytes <= kMaxObjectBytes;
  if (old == nullptr) return plan;
  plan.old = *old;
  plan.in_place = plan.allocate && hwalloc::ClassOf(call.bytes) == hwalloc::ClassOf(plan.old.bytes);
  plan.free = !plan.in_place;
  if (plan.in_place) plan.allocate = false;
  return plan;
}

HardwareMachine::Plan HardwareMachine::MakePlan(const Call& call) {
  Plan plan;
  switch (call.op) {
    case Op::kNothing:
      return plan;
    case Op::kRealloc:
      return MakeReallocPlan(call);
    case Op::kFree:
      if (const ObjectMap::Object* old = FindPlaced(call.old)) {
        plan.old = *old;
        plan.free = true;
      }
      plan.software = !plan.free;
      return plan;
    case Op::kMalloc:
    case Op::kCalloc:
    case Op::kAligned:
      break;
  }
  plan.allocate = call.bytes <= kMaxObjectBytes &&
                  call.alignment <= ObjectTable::Layout(hwalloc::ClassOf(call.bytes)).alignment();
  plan.software = !plan.allocate;
  return plan;
}

void HardwareMachine::Reference(uint32_t thread, uint64_t address, bool store, bool in_call) {
  Plan* plan = in_call ? &At(plans_, thread) : nullptr;
  if (plan != nullptr && !plan->software) return;  // what software did, hardware does otherwise
  double stalls;
  const ObjectMap::Object* object = objects_.At(address, store ? 0 : kOverReadBytes);
  if (object != nullptr && object->place != 0) {
    uint64_t offset = address - std::min(address, object->pointer);
    stalls = MemorySystem::Stall(AccessArena(object->place + offset, store), store);
  } else {
    stalls = LoadSoftware(address, store);
  }
  (plan != nullptr ? plan->stalls : cycles_.program_stalls) += stalls;
}

void HardwareMachine::EnterCall(const Call& call, uint64_t instructions) {
  Machine::EnterCall(call, instructions);
  Plan& plan = At(plans_, call.thread) = MakePlan(call);
  if (plan.software) ++software_calls_;
}

void HardwareMachine::ExitCall(const Call& call, uint64_t instructions, uint64_t pointer) {
  Machine::ExitCall(call, instructions, pointer);
  const Plan plan = At(plans_, call.thread);
  if (plan.software) {
    --software_calls_;
    ++counts_.software_calls;
    ChargeSoftware(call, instructions, plan.stalls);
  }
  RunHardware(call, plan, pointer);
  TrackSoftware(call, plan, pointer);
}

void HardwareMachine::RunHardware(const Call& call, const Plan& plan, uint64_t pointer) {
  // realloc(old, 0) may free and return nothing; any other call that returns nothing has failed.
  bool nothing = pointer == 0 && call.op != Op::kFree;
  if (nothing && !(call.op == Op::kRealloc && call.bytes == 0)) return;
  if (plan.in_place) {
    AddCycles(call.op, kOperationInstructions * kCyclesPerInstruction);
    objects_.Remove(plan.old.pointer);
    if (nothing) {
      RunFree(call, plan.old.place);
    } else {
      Track({pointer, call.bytes, plan.old.place});
    }
    return;
  }
  uint64_t place = 0;
  if (plan.allocate && !nothing) place = RunAllocate(call);
  if (plan.free) {
    if (place != 0) {
      uint64_t copied = std::min(plan.old.bytes, call.bytes);
      Sweep(call.op, plan.old.place, copied, false);
      Sweep(call.op, place, copied, true);
    }
    objects_.Remove(plan.old.pointer);
    RunFree(call, plan.old.place);
  }
  if (place != 0) Track({pointer, call.bytes, place});
}

const ObjectMap::Object* HardwareMachine::FindPlaced(uint64_t pointer) {
  const ObjectMap::Object* object = objects_.Find(pointer);
  return object == nullptr || object->place == 0 ? nullptr : object;
}

// Software's objects are known so that what is read of them is not taken for over-reading.
void HardwareMachine::TrackSoftware(const Call& call, const Plan& plan, uint64_t pointer) {
  if (!plan.software) return;
  bool moved = call.op == Op::kFree || (call.op == Op::kRealloc && pointer != 0);
  const ObjectMap::Object* old = moved ? objects_.Find(call.old) : nullptr;
  if (old != nullptr && old->place == 0) objects_.Remove(call.old);
  if (call.op == Op::kFree || pointer == 0 || FindPlaced(pointer) != nullptr) return;
  objects_.Add({pointer, std::min<uint64_t>(call.bytes, kOverReadBytes), 0});
}

// One that the trace never freed, and whose place the software uses again, goes first.
void HardwareMachine::Track(const ObjectMap::Object& object) {
  if (const ObjectMap::Object* stale = objects_.Find(object.pointer)) {
    if (stale->place != 0) table_.Free(0, stale->place);
    objects_.Remove(object.pointer);
  }
  objects_.Add(object);
}

uint64_t HardwareMachine::RunAllocate(const Call& call) {
  TableStep step = table_.Allocate(call.thread, call.bytes);
  ++counts_.allocs;
  counts_.alloc_hits += step.hit;
  counts_.alloc_lists += step.listed;
  counts_.new_arenas += step.new_arena;
  counts_.aac_hits += step.aac_hit;
  counts_.asked_bytes += call.bytes;
  counts_.rounded_bytes += hwalloc::ClassBytes(hwalloc::ClassOf(call.bytes));
  Charge(call.op, step, true);
  if (call.op == Op::kCalloc) Sweep(call.op, step.address, call.bytes, true);
  return step.address;
}

void HardwareMachine::RunFree(const Call& call, uint64_t place) {
  TableStep step = table_.Free(call.thread, place);
  ++counts_.frees;
  counts_.free_hits += step.hit;
  counts_.free_lists += step.listed;
  counts_.remote_frees += step.remote;
  counts_.released_arenas += step.released_arena != 0;
  Charge(call.op, step, false);
}

void HardwareMachine::Charge(Op op, const TableStep& step, bool dependent) {
  double cycles = kOperationInstructions * kCyclesPerInstruction + kTableCycles;
  for (uint32_t i = 0; i < step.headers_count; ++i) {
    const TableStep::Header& header = step.headers[i];
    uint32_t latency = AccessArena(header.address, header.store);
    cycles +=
        dependent ? kLevel1.latency_cycles + latency : MemorySystem::Stall(latency, header.store);
  }
  if (step.new_arena) cycles += kAacCycles + (step.aac_hit ? 0 : kLevel3.latency_cycles);
  if (step.released_arena != 0) {
    cycles_.pages += pool_.Release(step.released_arena);
    memory_.FlushTlb(step.released_arena, hwalloc::kUnitBytes);
  }
  AddCycles(op, cycles);
}

uint32_t HardwareMachine::AccessArena(uint64_t address, bool store) {
  uint32_t latency = 0;
  if (memory_.Walk(address)) {
    latency = kWalkCycles;
    if (uint32_t cycles = pool_.Back(address); cycles != 0) {
      cycles_.pages += cycles;
      NotePages();
    }
  }
  if (bypass_ && table_.FirstTouch(address)) {
    memory_.ZeroFill(address);
    return latency;
  }
  return latency + memory_.Access(address, store);
}

void HardwareMachine::Sweep(Op op, uint64_t address, uint64_t bytes, bool store) {
  if (bytes == 0) return;
  double cycles = static_cast<double>(bytes) / kCopyBytesPerCycle;
  for (uint64_t line = address >> kLineShift; line <= (address + bytes - 1) >> kLineShift; ++line) {
    uint64_t at = std::max(address, line << kLineShift);
    cycles += MemorySystem::Stall(AccessArena(at, store), store);
  }
  AddCycles(op, cycles);
}

void HardwareMachine::OnPeak() {
  counts_.live_bytes_at_peak = table_.live_bytes();
  counts_.arena_pages_at_peak = pool_.backed_pages();
}

void HardwareMachine::End(uint64_t instructions) {
  Machine::End(instructions);
  cycles_.pages += pool_.ExitCycles();
}

}  // namespace f3::hwmodel
