#include "hwalloc/model/report.h"

#include <array>

namespace f3::hwmodel {
namespace {

double Ratio(double part, double whole) { return whole == 0 ? 0 : part / whole; }
double Ratio(uint64_t part, uint64_t whole) {
  return Ratio(static_cast<double>(part), static_cast<double>(whole));
}
double Saved(uint64_t before, uint64_t after) {
  return before == 0 ? 0 : 1 - static_cast<double>(after) / static_cast<double>(before);
}

MachineReport Summarise(const Machine& machine) {
  return {machine.cycles(), machine.memory(), machine.faults(), machine.peak_pages()};
}

// Tells several sinks the same.
class Fan : public TraceSink {
 public:
  explicit Fan(std::array<TraceSink*, 4> sinks) : sinks_(sinks) {}
  void Reference(uint32_t thread, uint64_t address, bool store, bool in_call) override {
    for (TraceSink* sink : sinks_) sink->Reference(thread, address, store, in_call);
  }
  void EnterCall(const Call& call, uint64_t instructions) override {
    for (TraceSink* sink : sinks_) sink->EnterCall(call, instructions);
  }
  void ExitCall(const Call& call, uint64_t instructions, uint64_t pointer) override {
    for (TraceSink* sink : sinks_) sink->ExitCall(call, instructions, pointer);
  }
  void Map(uint64_t address, uint64_t bytes, uint64_t flags) override {
    for (TraceSink* sink : sinks_) sink->Map(address, bytes, flags);
  }
  void Unmap(uint64_t address, uint64_t bytes) override {
    for (TraceSink* sink : sinks_) sink->Unmap(address, bytes);
  }
  void Discard(uint64_t address, uint64_t bytes) override {
    for (TraceSink* sink : sinks_) sink->Discard(address, bytes);
  }
  void Move(uint64_t from, uint64_t from_bytes, uint64_t to, uint64_t to_bytes) override {
    for (TraceSink* sink : sinks_) sink->Move(from, from_bytes, to, to_bytes);
  }
  void ReferencesEnd() override {
    for (TraceSink* sink : sinks_) sink->ReferencesEnd();
  }
  void End(uint64_t instructions) override {
    for (TraceSink* sink : sinks_) sink->End(instructions);
  }

 private:
  const std::array<TraceSink*, 4> sinks_;
};

}  // namespace

double Report::Speedup() const {
  double after = hardware.cycles.total();
  return after == 0 ? 0 : software.cycles.total() / after - 1;
}

double Report::ManagementShare() const {
  const CycleParts& c = software.cycles;
  return Ratio(c.alloc + c.free + c.pages, c.total());
}

double Report::KernelShare() const {
  const CycleParts& c = software.cycles;
  return Ratio(c.pages, c.alloc + c.free + c.pages);
}

SavedShares Report::Shares() const {
  const CycleParts &before = software.cycles, &after = hardware.cycles,
                   &plain = without_bypass.cycles;
  double saved = before.total() - after.total();
  SavedShares shares;
  // The bypass also spares stalls of the hardware's own operations, so it is what all of the
  // machine gains by it; the other parts are those of the machine without.
  shares.alloc = Ratio(before.alloc - plain.alloc, saved);
  shares.free = Ratio(before.free - plain.free, saved);
  shares.pages = Ratio(before.pages - plain.pages, saved);
  shares.placement = Ratio(before.program_stalls - plain.program_stalls, saved);
  shares.bypass = Ratio(plain.total() - after.total(), saved);
  return shares;
}

double Report::AllocHitRate() const { return Ratio(counts.alloc_hits, counts.allocs); }
double Report::FreeHitRate() const { return Ratio(counts.free_hits, counts.frees); }
double Report::AllocListRate() const { return Ratio(counts.alloc_lists, counts.allocs); }
double Report::FreeListRate() const { return Ratio(counts.free_lists, counts.frees); }

double Report::TrafficSaved() const {
  return Saved(software.memory.traffic_lines(), hardware.memory.traffic_lines());
}

double Report::FootprintSaved() const { return Saved(software.peak_pages, hardware.peak_pages); }

double Report::Fragmentation() const {
  return Ratio(counts.rounded_bytes - counts.asked_bytes, counts.rounded_bytes);
}

double Report::ArenaOccupancy() const {
  return Ratio(counts.live_bytes_at_peak, counts.arena_pages_at_peak << kPageShift);
}

Result<Report> ModelTrace(const std::string& path) {
  Report report;
  Characterisation program;
  SoftwareMachine software;
  HardwareMachine hardware(true);
  HardwareMachine without_bypass(false);
  Fan fan({&program, &software, &hardware, &without_bypass});
  F3_RETURN_IF_ERROR(ReplayTrace(path, &fan, &report.command));
  report.program = program.counts();
  report.software = Summarise(software);
  report.hardware = Summarise(hardware);
  report.without_bypass = Summarise(without_bypass);
  report.counts = hardware.counts();
  report.pool_pages_taken = hardware.pool().taken_pages();
  report.pool_refills = hardware.pool().refills();
  return report;
}

}  // namespace f3::hwmodel
