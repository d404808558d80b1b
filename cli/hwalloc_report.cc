#include "cli/hwalloc_report.h"

#include <algorithm>
#include <cstdio>
#include <functional>

#include "cli/table.h"
#include "common/units.h"

namespace f3::cli {
namespace {

using hwmodel::CycleParts;
using hwmodel::kPaper;
using hwmodel::Report;
using nlohmann::json;

// 0.1634 as "16.3", percent.
std::string Percent(double ratio) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f", ratio * 100);
  return text;
}

std::string Millions(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2f", value / 1e6);
  return text;
}

std::string Mega(uint64_t value) { return Millions(static_cast<double>(value)); }

std::string Pages(uint64_t pages) { return FormatBytes(pages << hwmodel::kPageShift); }
std::string Lines(uint64_t lines) { return FormatBytes(lines << hwmodel::kLineShift); }

std::string CyclesText(const Report& r) {
  const CycleParts &software = r.software.cycles, &hardware = r.hardware.cycles;
  double saved = software.total() - hardware.total();
  Table table({"emulated Mcycles", "software", "hardware", "saved", "of all saved %"});
  auto add = [&](const char* name, double before, double after) {
    double share = saved == 0 ? 0 : (before - after) / saved;
    table.Add({name, Millions(before), Millions(after), Millions(before - after), Percent(share)});
  };
  add("program", software.program, hardware.program);
  add("its stalls", software.program_stalls, hardware.program_stalls);
  add("allocation", software.alloc, hardware.alloc);
  add("free", software.free, hardware.free);
  add("page management", software.pages, hardware.pages);
  add("all", software.total(), hardware.total());
  return table.ToString();
}

std::string MemoryText(const Report& r) {
  Table table({"emulated memory", "software", "hardware", "saved %"});
  const auto &software = r.software.memory, &hardware = r.hardware.memory;
  table.Add({"DRAM read", Lines(software.read_lines), Lines(hardware.read_lines), ""});
  table.Add({"DRAM written", Lines(software.written_lines), Lines(hardware.written_lines), ""});
  table.Add({"DRAM traffic", Lines(software.traffic_lines()), Lines(hardware.traffic_lines()),
             Percent(r.TrafficSaved())});
  table.Add({"peak footprint", Pages(r.software.peak_pages), Pages(r.hardware.peak_pages),
             Percent(r.FootprintSaved())});
  table.Add(
      {"page faults", std::to_string(r.software.faults), std::to_string(r.hardware.faults), ""});
  table.Add({"pages from the pool", "-", std::to_string(r.pool_pages_taken), ""});
  table.Add(
      {"page walks", std::to_string(software.page_walks), std::to_string(hardware.page_walks), ""});
  table.Add({"lines made, not read", std::to_string(software.zero_filled_lines),
             std::to_string(hardware.zero_filled_lines), ""});
  return table.ToString();
}

std::string CharacterText(const Report& r) {
  const auto& p = r.program;
  std::string out = Mega(p.instructions) + " M instructions, " + std::to_string(p.allocations) +
                    " allocations, " + std::to_string(p.frees) + " frees, " + Mega(p.references) +
                    " M references recorded, " + std::to_string(p.threads) +
                    (p.threads == 1 ? " thread\n" : " threads\n");
  if (p.references_cut)
    out += "The recorder's limit cut the references: stalls and traffic are too low.\n";
  Table sizes({"bytes", "allocations %"});
  for (size_t i = 0; i < p.by_size.size(); ++i) {
    bool last = i == hwmodel::Characterisation::kSizeGroups.size();
    uint64_t bound = hwmodel::Characterisation::kSizeGroups[last ? i - 1 : i];
    sizes.Add({(last ? "> " : "<= ") + std::to_string(bound),
               Percent(static_cast<double>(p.by_size[i]) /
                       static_cast<double>(std::max<uint64_t>(p.allocations, 1)))});
  }
  out += sizes.ToString();
  out += "Of those up to 512 bytes (" + Percent(p.SmallShare()) +
         " %), die within 1, 4, 16, 64, 256 "
         "allocations of their class:";
  for (uint64_t bound : hwmodel::Characterisation::kLifetimeGroups) {
    out += " " + Percent(p.DieWithin(bound));
  }
  return out + " %; live to the exit: " + Percent(p.LiveToExit()) + " %\n";
}

std::string HardwareText(const Report& r) {
  const auto& c = r.counts;
  return "Object table: allocations " + Percent(r.AllocHitRate()) + " % hits (lists " +
         Percent(r.AllocListRate()) + " %), frees " + Percent(r.FreeHitRate()) + " % (lists " +
         Percent(r.FreeListRate()) + " %), " + std::to_string(c.remote_frees) +
         " frees by another thread\nArenas: " + std::to_string(c.new_arenas) + " made, " +
         std::to_string(c.released_arenas) + " released; fragmentation by rounding " +
         Percent(r.Fragmentation()) + " %, live objects at the peak " +
         Percent(r.ArenaOccupancy()) + " % of the arenas' pages\n";
}

json ToJson(const CycleParts& c) {
  return {{"program", c.program}, {"program_stalls", c.program_stalls},
          {"alloc", c.alloc},     {"free", c.free},
          {"pages", c.pages},     {"total", c.total()}};
}

json ToJson(const hwmodel::MachineReport& m) {
  return {{"emulated_cycles", ToJson(m.cycles)},
          {"dram_read_lines", m.memory.read_lines},
          {"dram_written_lines", m.memory.written_lines},
          {"level1_misses", m.memory.level1_misses},
          {"level2_misses", m.memory.level2_misses},
          {"level3_misses", m.memory.level3_misses},
          {"zero_filled_lines", m.memory.zero_filled_lines},
          {"page_walks", m.memory.page_walks},
          {"page_faults", m.faults},
          {"peak_pages", m.peak_pages}};
}

json ToJson(const hwmodel::SavedShares& s) {
  return {{"alloc", s.alloc},
          {"free", s.free},
          {"pages", s.pages},
          {"bypass", s.bypass},
          {"placement", s.placement}};
}

// A column of the set's table: how it is made, and what the paper says.
struct Column {
  const char* title;
  const char* key;
  std::function<double(const Report&)> value;
  double paper;  // negative: not known
};

const std::vector<Column>& Columns() {
  static const std::vector<Column> columns = {
      {"speed-up", "speedup", &Report::Speedup, kPaper.speedup},
      {"alloc hits", "alloc_hit_rate", &Report::AllocHitRate, kPaper.alloc_hit_rate},
      {"free hits", "free_hit_rate", &Report::FreeHitRate, kPaper.free_hit_rate},
      {"alloc lists", "alloc_list_rate", &Report::AllocListRate, kPaper.alloc_list_rate},
      {"free lists", "free_list_rate", &Report::FreeListRate, kPaper.free_list_rate},
      {"by alloc", "share_alloc", [](const Report& r) { return r.Shares().alloc; },
       kPaper.share_alloc},
      {"by free", "share_free", [](const Report& r) { return r.Shares().free; }, kPaper.share_free},
      {"by pages", "share_pages", [](const Report& r) { return r.Shares().pages; },
       kPaper.share_pages},
      {"by bypass", "share_bypass", [](const Report& r) { return r.Shares().bypass; },
       kPaper.share_bypass},
      {"by place", "share_placement", [](const Report& r) { return r.Shares().placement; }, -1},
      {"traffic", "traffic_saved", &Report::TrafficSaved, kPaper.traffic_saved},
      {"footprint", "footprint_saved", &Report::FootprintSaved, kPaper.footprint_saved},
      {"fragm.", "fragmentation", &Report::Fragmentation, kPaper.fragmentation},
      {"<= 512", "small_allocations", [](const Report& r) { return r.program.SmallShare(); },
       kPaper.small_allocations},
      {"die <= 16", "die_within_16", [](const Report& r) { return r.program.DieWithin(16); },
       kPaper.die_within_16},
      {"to exit", "live_to_exit", [](const Report& r) { return r.program.LiveToExit(); },
       kPaper.live_to_exit},
      {"managing", "management_share", &Report::ManagementShare, -1},
      {"of it kernel", "kernel_share", &Report::KernelShare, -1},
  };
  return columns;
}

// The mean of a column over the functions of some languages; all when `languages` is empty.
double Mean(const std::vector<ModelledFunction>& functions,
            const std::vector<std::string>& languages, const Column& column) {
  double sum = 0;
  int count = 0;
  for (const auto& function : functions) {
    bool wanted = languages.empty();
    for (const auto& language : languages) wanted |= function.language == language;
    if (!wanted) continue;
    sum += column.value(function.report);
    ++count;
  }
  return count == 0 ? 0 : sum / count;
}

std::vector<std::string> Languages(const std::vector<ModelledFunction>& functions) {
  std::vector<std::string> languages;
  for (const auto& function : functions) {
    bool known = false;
    for (const auto& language : languages) known |= language == function.language;
    if (!known) languages.push_back(function.language);
  }
  return languages;
}

// What the paper's set has too. Node.js it has not: its heap is not served by malloc.
const std::vector<std::string> kPaperLanguages = {"python", "c++"};

}  // namespace

std::string ModelText(const std::string& title, const Report& report) {
  std::string command;
  for (const auto& word : report.command) command += (command.empty() ? "" : " ") + word;
  return title + ": " + command + "\n" + CharacterText(report) + "\n" + HardwareText(report) +
         "\n" + CyclesText(report) + "Speed-up (emulated): " + Percent(report.Speedup()) +
         " %. Memory management was " + Percent(report.ManagementShare()) +
         " % of the cycles, the kernel's part of that " + Percent(report.KernelShare()) +
         " %.\nSaved by bypass " + Percent(report.Shares().bypass) + " %, by placement " +
         Percent(report.Shares().placement) + " % of all saved.\n\n" + MemoryText(report);
}

json ModelJson(const Report& report) {
  const auto& p = report.program;
  const auto& c = report.counts;
  json ratios;
  for (const auto& column : Columns()) ratios[column.key] = column.value(report);
  return {{"command", report.command},
          {"emulated", true},
          {"ratios", ratios},
          {"shares_of_saved_cycles", ToJson(report.Shares())},
          {"arena_occupancy_at_peak", report.ArenaOccupancy()},
          {"program",
           {{"instructions", p.instructions},
            {"allocations", p.allocations},
            {"frees", p.frees},
            {"bytes", p.bytes},
            {"references", p.references},
            {"references_cut", p.references_cut},
            {"threads", p.threads},
            {"by_size", p.by_size},
            {"by_lifetime", p.by_lifetime},
            {"live_to_exit", p.live_to_exit}}},
          {"table",
           {{"allocs", c.allocs},
            {"alloc_hits", c.alloc_hits},
            {"alloc_lists", c.alloc_lists},
            {"frees", c.frees},
            {"free_hits", c.free_hits},
            {"free_lists", c.free_lists},
            {"remote_frees", c.remote_frees},
            {"new_arenas", c.new_arenas},
            {"released_arenas", c.released_arenas},
            {"aac_hits", c.aac_hits},
            {"software_calls", c.software_calls}}},
          {"pool", {{"pages_taken", report.pool_pages_taken}, {"refills", report.pool_refills}}},
          {"software", ToJson(report.software)},
          {"hardware", ToJson(report.hardware)},
          {"hardware_without_bypass", ToJson(report.without_bypass)}};
}

std::string SetText(const std::vector<ModelledFunction>& functions) {
  std::vector<std::string> header = {"emulated, %", "language"};
  for (const auto& column : Columns()) header.push_back(column.title);
  Table table(header);
  for (const auto& function : functions) {
    std::vector<std::string> row = {function.name, function.language};
    for (const auto& column : Columns()) row.push_back(Percent(column.value(function.report)));
    table.Add(row);
  }
  auto add_mean = [&](const std::string& name, const std::vector<std::string>& languages) {
    std::vector<std::string> row = {"mean", name};
    for (const auto& column : Columns()) row.push_back(Percent(Mean(functions, languages, column)));
    table.Add(row);
  };
  for (const auto& language : Languages(functions)) add_mean(language, {language});
  add_mean("python, c++", kPaperLanguages);
  std::vector<std::string> paper = {"paper", "mean"};
  std::vector<std::string> apart = {"relative", "difference"};
  for (const auto& column : Columns()) {
    double mean = Mean(functions, kPaperLanguages, column);
    paper.push_back(column.paper < 0 ? "-" : Percent(column.paper));
    apart.push_back(column.paper <= 0 ? "-" : Percent(mean / column.paper - 1));
  }
  table.Add(paper);
  table.Add(apart);
  return table.ToString();
}

json SetJson(const std::vector<ModelledFunction>& functions) {
  json out = {{"emulated", true}, {"functions", json::array()}};
  for (const auto& function : functions) {
    json one = ModelJson(function.report);
    one["name"] = function.name;
    one["language"] = function.language;
    out["functions"].push_back(one);
  }
  for (const auto& column : Columns()) {
    out["mean"][column.key] = Mean(functions, kPaperLanguages, column);
    out["paper"][column.key] = column.paper < 0 ? json() : json(column.paper);
    for (const auto& language : Languages(functions)) {
      out["mean_by_language"][language][column.key] = Mean(functions, {language}, column);
    }
  }
  return out;
}

}  // namespace f3::cli
