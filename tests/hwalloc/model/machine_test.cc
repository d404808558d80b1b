// The two machines on hand-made traces: every cycle and line is known.
#include "hwalloc/model/machine.h"

#include <gtest/gtest.h>

#include "hwalloc/model/record/record_format.h"
#include "hwalloc/model/report.h"
#include "tests/common/status_matchers.h"
#include "tests/common/temp_dir.h"
#include "tests/hwalloc/model/trace_bytes.h"

namespace f3::hwmodel {
namespace {

constexpr uint64_t kPage = 1 << kPageShift;
constexpr uint64_t kHeap = 0x100000;
constexpr double kOperation = kOperationInstructions * kCyclesPerInstruction;
// An operation that the table serves; the first allocation of a class; a miss of a load.
constexpr double kHit = kOperation + kTableCycles;
constexpr double kFirst =
    kHit + kLevel1.latency_cycles + kWalkCycles + kAacCycles + kLevel3.latency_cycles;
const double kMiss =
    MemorySystem::Stall(kWalkCycles + kLevel3.latency_cycles + kMemoryLatencyCycles, false);

Call MakeCall(Op op, uint64_t bytes, uint64_t old = 0, uint64_t alignment = 0) {
  Call call;
  call.op = op;
  call.bytes = bytes;
  call.old = old;
  call.alignment = alignment;
  return call;
}

// A call without references. What announcing costs is 12, as LearnOverhead says.
void Serve(Machine* machine, const Call& call, uint64_t pointer, uint64_t instructions = 52) {
  machine->EnterCall(call, 0);
  machine->ExitCall(call, instructions, pointer);
}
void LearnOverhead(Machine* machine) {
  Serve(machine, MakeCall(Op::kNothing, 0), 0, 14);
  Serve(machine, MakeCall(Op::kNothing, 0), 0, 12);
}

TEST(SoftwareMachine, ChargesInstructionsWithoutThoseOfTheRecorder) {
  SoftwareMachine machine;
  LearnOverhead(&machine);
  machine.EnterCall(MakeCall(Op::kMalloc, 16), 100);
  machine.ExitCall(MakeCall(Op::kMalloc, 16), 52, kHeap);
  machine.EnterCall(MakeCall(Op::kFree, 0, kHeap), 60);
  machine.ExitCall(MakeCall(Op::kFree, 0, kHeap), 10, 0);  // fewer than the overhead: 0
  machine.End(40);
  EXPECT_DOUBLE_EQ(machine.cycles().program, 200 * kCyclesPerInstruction);
  EXPECT_DOUBLE_EQ(machine.cycles().alloc, 40 * kCyclesPerInstruction);
  EXPECT_DOUBLE_EQ(machine.cycles().free, 0);
  EXPECT_DOUBLE_EQ(machine.cycles().pages, 0);
}

TEST(SoftwareMachine, ReferencesStallThePartThatMakesThem) {
  SoftwareMachine machine;
  machine.Reference(0, 0x5000, false, false);
  Call call = MakeCall(Op::kFree, 0, kHeap);
  machine.EnterCall(call, 0);
  machine.Reference(0, 0x9000, false, true);
  machine.Reference(0, 0x9000, false, true);
  machine.ExitCall(call, 0, 0);
  EXPECT_DOUBLE_EQ(machine.cycles().program_stalls, kMiss);
  EXPECT_DOUBLE_EQ(machine.cycles().free, kMiss);
  EXPECT_DOUBLE_EQ(machine.cycles().alloc, 0);
}

TEST(SoftwareMachine, PagesOfTheAllocatorFaultOnceAndAreFreed) {
  SoftwareMachine machine;
  Call call = MakeCall(Op::kMalloc, 3 * kPage);
  machine.EnterCall(call, 0);
  machine.Map(kHeap, 3 * kPage, kMapByAllocator | kMapAnonymous);
  machine.Reference(0, kHeap, true, true);
  machine.ExitCall(call, 0, kHeap);
  machine.Reference(0, kHeap + 16, true, false);
  machine.Reference(0, kHeap + kPage, true, false);
  machine.Map(0x900000, kPage, kMapAnonymous);  // the program's own
  machine.Reference(0, 0x900000, true, false);
  EXPECT_EQ(machine.faults(), 2u);
  EXPECT_EQ(machine.peak_pages(), 2u);
  EXPECT_DOUBLE_EQ(machine.cycles().pages, kMappingCallCycles + 2.0 * kFaultCycles);
  machine.End(0);
  EXPECT_DOUBLE_EQ(machine.cycles().pages,
                   kMappingCallCycles + 2.0 * kFaultCycles + 2.0 * kPageFreeCycles);
}

TEST(SoftwareMachine, WhatIsUnmappedFaultsAgain) {
  SoftwareMachine machine;
  Call call = MakeCall(Op::kMalloc, kPage);
  for (int i = 0; i < 2; ++i) {
    machine.EnterCall(call, 0);
    machine.Map(kHeap, kPage, kMapByAllocator);
    machine.Reference(0, kHeap, true, true);
    machine.Unmap(kHeap, kPage);
    machine.ExitCall(call, 0, kHeap);
  }
  machine.End(0);
  EXPECT_EQ(machine.faults(), 2u);
  EXPECT_EQ(machine.peak_pages(), 1u);
  EXPECT_DOUBLE_EQ(machine.cycles().pages,
                   4.0 * kMappingCallCycles + 2.0 * kFaultCycles + 2.0 * kPageFreeCycles);
}

TEST(HardwareMachine, AMissThenHits) {
  HardwareMachine machine(true);
  LearnOverhead(&machine);
  Serve(&machine, MakeCall(Op::kMalloc, 20), kHeap);
  EXPECT_DOUBLE_EQ(machine.cycles().alloc, kFirst);
  EXPECT_DOUBLE_EQ(machine.cycles().pages, kPoolTakeCycles);
  Serve(&machine, MakeCall(Op::kMalloc, 24), kHeap + 32);
  EXPECT_DOUBLE_EQ(machine.cycles().alloc, kFirst + kHit);
  Serve(&machine, MakeCall(Op::kFree, 0, kHeap), 0);
  EXPECT_DOUBLE_EQ(machine.cycles().free, kHit);
  EXPECT_EQ(machine.counts().allocs, 2u);
  EXPECT_EQ(machine.counts().alloc_hits, 1u);
  EXPECT_EQ(machine.counts().free_hits, 1u);
  EXPECT_EQ(machine.counts().asked_bytes, 44u);
  EXPECT_EQ(machine.counts().rounded_bytes, 48u);
  machine.End(0);
  EXPECT_DOUBLE_EQ(machine.cycles().pages, kPoolTakeCycles + kPoolReturnCycles);
  EXPECT_EQ(machine.peak_pages(), 1u);
}

TEST(HardwareMachine, BypassMakesNewLinesInsteadOfReadingThem) {
  HardwareMachine with(true), without(false);
  for (HardwareMachine* machine : {&with, &without}) {
    Serve(machine, MakeCall(Op::kMalloc, 64), kHeap);
    machine->Reference(0, kHeap, true, false);
    machine->Reference(0, kHeap + 16, false, false);
  }
  // The header's line and the object's.
  EXPECT_EQ(with.memory().read_lines, 0u);
  EXPECT_EQ(with.memory().zero_filled_lines, 2u);
  EXPECT_EQ(without.memory().read_lines, 2u);
  EXPECT_EQ(without.memory().zero_filled_lines, 0u);
  EXPECT_DOUBLE_EQ(with.cycles().program_stalls, 0);
  EXPECT_DOUBLE_EQ(without.cycles().program_stalls,
                   MemorySystem::Stall(kLevel3.latency_cycles + kMemoryLatencyCycles, true));
  EXPECT_DOUBLE_EQ(without.cycles().alloc - with.cycles().alloc,
                   kLevel3.latency_cycles + kMemoryLatencyCycles);
}

TEST(HardwareMachine, SmallObjectsTouchNoPageOfTheSoftware) {
  HardwareMachine machine(true);
  Call call = MakeCall(Op::kMalloc, 64);
  machine.EnterCall(call, 0);
  machine.Map(kHeap, kPage, kMapByAllocator);
  machine.Reference(0, kHeap + 512, true, true);  // the software's list of free blocks
  machine.ExitCall(call, 500, kHeap);
  machine.Reference(0, kHeap, true, false);
  machine.Reference(0, kHeap + 64, false, false);  // a string function reads too far
  EXPECT_EQ(machine.faults(), 0u);
  EXPECT_DOUBLE_EQ(machine.cycles().alloc, kFirst);
  EXPECT_EQ(machine.counts().software_calls, 0u);
  // Nobody's memory on the same page is still software's.
  machine.Reference(0, kHeap + 1024, true, false);
  EXPECT_EQ(machine.faults(), 1u);
}

TEST(HardwareMachine, LargeObjectsStayWithSoftware) {
  HardwareMachine machine(true);
  LearnOverhead(&machine);
  Call call = MakeCall(Op::kMalloc, 513);
  machine.EnterCall(call, 0);
  machine.Map(kHeap, kPage, kMapByAllocator);
  machine.Reference(0, kHeap, true, true);
  machine.ExitCall(call, 52, kHeap);
  Serve(&machine, MakeCall(Op::kFree, 0, kHeap), 0, 32);
  EXPECT_EQ(machine.faults(), 1u);
  EXPECT_EQ(machine.counts().allocs, 0u);
  EXPECT_EQ(machine.counts().frees, 0u);
  EXPECT_EQ(machine.counts().software_calls, 2u);
  EXPECT_DOUBLE_EQ(machine.cycles().free, 20 * kCyclesPerInstruction);
  EXPECT_DOUBLE_EQ(machine.cycles().pages, kMappingCallCycles + kFaultCycles);
}

TEST(HardwareMachine, ALargeObjectBehindASmallOneIsNotTakenForIt) {
  HardwareMachine machine(true);
  Serve(&machine, MakeCall(Op::kMalloc, 16), kHeap);
  Call call = MakeCall(Op::kMalloc, 4096);
  machine.EnterCall(call, 0);
  machine.Map(kHeap, 2 * kPage, kMapByAllocator);
  machine.ExitCall(call, 0, kHeap + 32);
  machine.Reference(0, kHeap + 32, false, false);
  EXPECT_EQ(machine.faults(), 1u);
}

TEST(HardwareMachine, AlignmentBeyondTheClassIsLeftToSoftware) {
  HardwareMachine machine(true);
  Serve(&machine, MakeCall(Op::kAligned, 64, 0, 64), kHeap);
  Serve(&machine, MakeCall(Op::kAligned, 48, 0, 16), kHeap + 0x1000);
  EXPECT_EQ(machine.counts().allocs, 2u);
  Serve(&machine, MakeCall(Op::kAligned, 48, 0, 32), kHeap + 0x2000);
  EXPECT_EQ(machine.counts().allocs, 2u);
  EXPECT_EQ(machine.counts().software_calls, 1u);
}

TEST(HardwareMachine, ReallocWithinAClassMovesNothing) {
  HardwareMachine machine(true);
  Serve(&machine, MakeCall(Op::kMalloc, 20), kHeap);
  Serve(&machine, MakeCall(Op::kRealloc, 24, kHeap), kHeap + 0x100);
  EXPECT_EQ(machine.counts().allocs, 1u);
  EXPECT_EQ(machine.counts().frees, 0u);
  EXPECT_DOUBLE_EQ(machine.cycles().alloc, kFirst + kOperation);
  Serve(&machine, MakeCall(Op::kFree, 0, kHeap + 0x100), 0);
  EXPECT_EQ(machine.counts().free_hits, 1u);
}

TEST(HardwareMachine, ReallocToAnotherClassCopies) {
  HardwareMachine machine(true);
  Serve(&machine, MakeCall(Op::kMalloc, 16), kHeap);
  double before = machine.cycles().alloc;
  Serve(&machine, MakeCall(Op::kRealloc, 32, kHeap), kHeap);
  EXPECT_EQ(machine.counts().allocs, 2u);
  EXPECT_EQ(machine.counts().frees, 1u);
  // The new place, 16 bytes loaded and stored, the old place given back.
  EXPECT_DOUBLE_EQ(machine.cycles().alloc - before, kFirst + 2 * 16.0 / kCopyBytesPerCycle + kHit);
  EXPECT_EQ(machine.counts().free_hits, 1u);
}

TEST(HardwareMachine, ReallocAcrossTheLimitUsesBoth) {
  HardwareMachine machine(true);
  Serve(&machine, MakeCall(Op::kMalloc, 500), kHeap);
  Serve(&machine, MakeCall(Op::kRealloc, 5000, kHeap), kHeap + 0x1000);
  EXPECT_EQ(machine.counts().frees, 1u);
  EXPECT_EQ(machine.counts().software_calls, 1u);
  Serve(&machine, MakeCall(Op::kRealloc, 100, kHeap + 0x1000), kHeap);
  EXPECT_EQ(machine.counts().allocs, 2u);
  EXPECT_EQ(machine.counts().software_calls, 2u);
  Serve(&machine, MakeCall(Op::kRealloc, 0, kHeap), 0);  // frees
  EXPECT_EQ(machine.counts().frees, 2u);
}

TEST(HardwareMachine, AFailedCallChangesNothing) {
  HardwareMachine machine(true);
  Serve(&machine, MakeCall(Op::kMalloc, 16), 0);
  EXPECT_EQ(machine.counts().allocs, 0u);
  Serve(&machine, MakeCall(Op::kMalloc, 16), kHeap);
  Serve(&machine, MakeCall(Op::kRealloc, 100, kHeap), 0);
  EXPECT_EQ(machine.counts().allocs, 1u);
  EXPECT_EQ(machine.counts().frees, 0u);
  Serve(&machine, MakeCall(Op::kFree, 0, kHeap), 0);
  EXPECT_EQ(machine.counts().free_hits, 1u);
}

TEST(HardwareMachine, CallocClearsWhatItGives) {
  HardwareMachine machine(true);
  Serve(&machine, MakeCall(Op::kCalloc, 128), kHeap);
  EXPECT_DOUBLE_EQ(machine.cycles().alloc, kFirst + 128.0 / kCopyBytesPerCycle);
  // Header, and two or three lines of the object.
  EXPECT_GE(machine.memory().zero_filled_lines, 3u);
}

// A hand-made trace through the file and all machines.
TEST(Report, OfAHandMadeTrace) {
  TempDir dir;
  TraceBytes bytes;
  bytes.Thread(0).Called(Op::kNothing, 0, 12, 0, 0, 0);
  constexpr uint64_t kObjects = 1000;
  for (uint64_t i = 0; i < kObjects; ++i) {
    bytes.Called(Op::kMalloc, 100, 112, 20, 0, kHeap);
    bytes.Called(Op::kFree, 100, 62, 0, kHeap, 0);
  }
  bytes.End(0).Write(dir / "t");
  auto report = ModelTrace(dir / "t");
  ASSERT_OK(report);
  double program = 2 * kObjects * 100 * kCyclesPerInstruction;
  EXPECT_DOUBLE_EQ(report->software.cycles.total(),
                   program + kObjects * 150 * kCyclesPerInstruction);
  double hardware =
      program + kFirst + (2 * kObjects - 1) * kHit + kPoolTakeCycles + kPoolReturnCycles;
  EXPECT_DOUBLE_EQ(report->hardware.cycles.total(), hardware);
  EXPECT_DOUBLE_EQ(report->Speedup(), report->software.cycles.total() / hardware - 1);
  EXPECT_DOUBLE_EQ(report->AllocHitRate(), 0.999);
  EXPECT_DOUBLE_EQ(report->FreeHitRate(), 1);
  EXPECT_DOUBLE_EQ(report->Fragmentation(), 4.0 / 24);
  EXPECT_DOUBLE_EQ(report->program.DieWithin(1), 1);
  SavedShares shares = report->Shares();
  EXPECT_NEAR(shares.alloc + shares.free + shares.pages + shares.bypass + shares.placement, 1,
              1e-12);
  EXPECT_GT(shares.alloc, shares.free);
  EXPECT_LT(shares.pages, 0);  // software had no page to manage
}

TEST(Report, OfATraceWithoutAnything) {
  TempDir dir;
  TraceBytes().Thread(0).End(0).Write(dir / "t");
  auto report = ModelTrace(dir / "t");
  ASSERT_OK(report);
  EXPECT_EQ(report->Speedup(), 0);
  EXPECT_EQ(report->TrafficSaved(), 0);
  EXPECT_EQ(report->Fragmentation(), 0);
  EXPECT_EQ(report->Shares().alloc, 0);
}

}  // namespace
}  // namespace f3::hwmodel
