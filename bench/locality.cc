// locality: a workflow whose steps are placed where their data is, at random, and by OpenWhisk's
// hash: the time, and the bytes that went from node to node. And the case where the node that has
// the data is the wrong choice, because it is busy.
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "bench/bench.h"
#include "bench/gateway_process.h"
#include "common/clock.h"

namespace f3::bench {
namespace {

using nlohmann::json;
using Answer = GatewayProcess::Answer;

constexpr char kSplit[] = R"(
import os, time, zlib


def main(args):
    if args.get("warm"):
        time.sleep(args["warm"])
        return {}
    parts = []
    block = bytes(range(256)) * 4096
    for n in range(args["parts"]):
        path = f"{args['into']}.{n}"
        crc, left = 0, args["bytes"]
        with open(path, "wb") as out:
            while left > 0:
                piece = block[n:][:left]
                out.write(piece)
                crc = zlib.crc32(piece, crc)
                left -= len(piece)
        parts.append({"path": path, "crc": crc})
    return {"parts": parts}
)";

// Keeps every fourth byte.
constexpr char kWork[] = R"(
import time, zlib


def main(args):
    if args.get("warm"):
        time.sleep(args["warm"])
        return {}
    crc, kept = 0, 0
    with open(args["path"], "rb") as source, open(args["path"] + ".out", "wb") as out:
        while data := source.read(1 << 20):
            crc = zlib.crc32(data, crc)
            some = data[::4]
            out.write(some)
            kept = zlib.crc32(some, kept)
    return {"path": args["path"] + ".out", "read": crc, "wrote": kept}
)";

constexpr char kMerge[] = R"(
import time, zlib


def main(args):
    if args.get("warm"):
        time.sleep(args["warm"])
        return {}
    read = []
    for path in args["paths"]:
        crc = 0
        with open(path, "rb") as source:
            while data := source.read(1 << 20):
                crc = zlib.crc32(data, crc)
        read.append(crc)
    return {"read": read}
)";

constexpr char kBusy[] = R"(
import pathlib, time


def main(args):
    pathlib.Path(args["started"]).touch()
    time.sleep(args["seconds"])
    return {}
)";

constexpr int kWorkers = 3;
constexpr int kRuns = 7;
constexpr int kWarmupRuns = 2;
constexpr double kWarmSeconds = 0.3;
constexpr double kBusySeconds = 3;
constexpr int kBusyMb = 256;
constexpr int kBusyActivations = 2;  // fill a node of 512 MB

// ---- the workflow ----

struct Policy {
  std::string name;
  std::unique_ptr<GatewayProcess> gateway;
  std::vector<double> millis, moved_mb;
  int cold_starts = 0;
};

// Runs all at once, each on a thread of its own, and returns the first error.
Status AllAtOnce(const std::vector<std::function<Status()>>& bodies) {
  std::vector<Status> statuses(bodies.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < bodies.size(); ++i) {
    threads.emplace_back([&, i] { statuses[i] = bodies[i](); });
  }
  for (auto& thread : threads) thread.join();
  Status first;
  for (const Status& status : statuses) {
    if (first.ok() && !status.ok()) first = status;
    status.PermitUnchecked();
  }
  return first;
}

Status PutActions(GatewayProcess* gateway) {
  const json hints = {{"class", "ephemeral"}};
  F3_RETURN_IF_ERROR(gateway->PutAction({"split", kSplit, hints, 128}));
  F3_RETURN_IF_ERROR(gateway->PutAction({"work", kWork, hints, 128}));
  return gateway->PutAction({"merge", kMerge, hints, 128});
}

// A file whose home is node `i`, written through that node's mount, in the namespace's files.
Result<std::string> WriteAt(const Options& options, const GatewayProcess& gateway, size_t i,
                            const std::string& name, uint64_t bytes) {
  const std::string path = std::string(kMountPath) + "/data/" + name;
  const std::string first = options.layout.mount(options.layout.nodes[0]);
  const std::string dir = gateway.OnHost(std::string(kMountPath) + "/data");
  const std::string here = options.layout.mount(options.layout.nodes[i]) + dir.substr(first.size());
  std::error_code error;
  std::filesystem::create_directories(here, error);
  if (error) return Status::FromErrno(error.value(), "make " + here);
  if (::setxattr(here.c_str(), "user.f3.class", "ephemeral", 9, 0) != 0) {
    return Status::FromErrno(errno, "set user.f3.class of " + here);
  }
  F3_RETURN_IF_ERROR(WriteSequential(here + "/" + name, bytes, 1 << 20));
  return path;
}

json HintsFor(const std::string& path, const char* locality) {
  return {{"inputs", json::array({path})}, {"locality", locality}};
}

// So that nodes have containers of an action, and runs compare data and not cold starts: as many
// calls at once as the policy spreads over the nodes.
Status WarmUp(const GatewayProcess& gateway, const std::string& action, int at_once) {
  const std::vector<std::function<Status()>> calls(static_cast<size_t>(at_once), [&] {
    return gateway.Invoke(action, {{"warm", kWarmSeconds}}).status();
  });
  return AllAtOnce(calls);
}

// For placement by data, which would make them all on one node: `at_once` calls for each node, by
// an input that is there.
Status WarmUpByData(const Options& options, const GatewayProcess& gateway,
                    const std::string& action, int at_once) {
  std::vector<std::function<Status()>> calls;
  for (size_t i = 0; i < options.layout.nodes.size(); ++i) {
    F3_ASSIGN_OR_RETURN(const std::string path,
                        WriteAt(options, gateway, i, "warm" + std::to_string(i), 4096));
    const json arguments = {{"warm", kWarmSeconds}, {"__f3", HintsFor(path, "require")}};
    for (int n = 0; n < at_once; ++n) {
      calls.emplace_back(
          [&gateway, &action, arguments] { return gateway.Invoke(action, arguments).status(); });
    }
  }
  return AllAtOnce(calls);
}

Status WarmUpAll(const Options& options, const Policy& policy) {
  const int nodes = static_cast<int>(options.layout.nodes.size());
  const bool by_data = policy.name == "locate";
  // The first call makes the namespace's directory, which files are written to.
  F3_RETURN_IF_ERROR(WarmUp(*policy.gateway, "split", by_data ? 1 : 2 * nodes));
  if (by_data) {
    F3_RETURN_IF_ERROR(WarmUpByData(options, *policy.gateway, "work", kWorkers));
    return WarmUpByData(options, *policy.gateway, "merge", 1);
  }
  F3_RETURN_IF_ERROR(WarmUp(*policy.gateway, "work", nodes * kWorkers));
  return WarmUp(*policy.gateway, "merge", 2 * nodes);
}

bool WasCold(const Answer& answer) {
  for (const auto& annotation : answer.activation.value("annotations", json::array())) {
    if (annotation.value("key", "") == "initTime") return true;
  }
  return false;
}

// split, then the workers at once, then merge. What each read must be what the one before wrote.
Status RunWorkflow(const GatewayProcess& gateway, uint64_t part_bytes, int run, int* cold_starts) {
  const std::string into = std::string(kMountPath) + "/run" + std::to_string(run);
  F3_ASSIGN_OR_RETURN(
      const Answer split,
      gateway.Invoke("split", {{"into", into}, {"parts", kWorkers}, {"bytes", part_bytes}}));
  const json parts = split.result().value("parts", json::array());
  std::vector<Answer> worked(parts.size());
  std::vector<std::function<Status()>> workers;
  for (size_t i = 0; i < parts.size(); ++i) {
    workers.emplace_back([&, i] {
      const std::string path = parts[i].value("path", "");
      F3_ASSIGN_OR_RETURN(
          worked[i],
          gateway.Invoke("work", {{"path", path}, {"__f3", {{"inputs", json::array({path})}}}}));
      const bool same = worked[i].result().value("read", json()) == parts[i].value("crc", json(0));
      return same ? Status() : Status::Corruption("a worker read something else than was written");
    });
  }
  F3_RETURN_IF_ERROR(AllAtOnce(workers));
  json paths = json::array(), wrote = json::array();
  for (const Answer& answer : worked) {
    paths.push_back(answer.result().value("path", ""));
    wrote.push_back(answer.result().value("wrote", json()));
    *cold_starts += WasCold(answer) ? 1 : 0;
  }
  F3_ASSIGN_OR_RETURN(const Answer merge,
                      gateway.Invoke("merge", {{"paths", paths}, {"__f3", {{"inputs", paths}}}}));
  *cold_starts += (WasCold(split) ? 1 : 0) + (WasCold(merge) ? 1 : 0);
  if (merge.result().value("read", json()) != wrote) {
    return Status::Corruption("merge read something else than the workers wrote");
  }
  return Status();
}

uint64_t PulledBytes(const cli::ClusterLayout& layout) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < layout.nodes.size(); ++i) {
    const json usage = AgentStatus(layout, i).value("usage", json::object());
    bytes += usage.value("pulled_bytes", uint64_t{0});
  }
  return bytes;
}

void RemoveFiles(const GatewayProcess& gateway) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(gateway.OnHost(kMountPath), error)) {
    std::filesystem::remove_all(entry.path(), error);
  }
}

Status MeasurePolicies(const Options& options, uint64_t part_bytes, int runs, Report* report) {
  Policy policies[] = {
      {"locate", nullptr, {}, {}, 0}, {"random", nullptr, {}, {}, 0}, {"hash", nullptr, {}, {}, 0}};
  for (Policy& policy : policies) {
    options.say("containers for placement " + policy.name);
    F3_ASSIGN_OR_RETURN(policy.gateway,
                        GatewayProcess::Start(options, policy.name, {"--placement", policy.name}));
    F3_RETURN_IF_ERROR(PutActions(policy.gateway.get()));
    F3_RETURN_IF_ERROR(WarmUpAll(options, policy));
  }
  for (int run = -kWarmupRuns; run < runs; ++run) {
    for (Policy& policy : policies) {
      options.say("placement " + policy.name + ", run " + std::to_string(run));
      const uint64_t before = PulledBytes(options.layout);
      int cold = 0;
      F3_ASSIGN_OR_RETURN(
          const double seconds,
          Time([&] { return RunWorkflow(*policy.gateway, part_bytes, run + kWarmupRuns, &cold); }));
      const uint64_t moved = PulledBytes(options.layout) - before;
      RemoveFiles(*policy.gateway);
      if (run < 0) continue;
      policy.millis.push_back(seconds * 1000);
      policy.moved_mb.push_back(static_cast<double>(moved) / 1e6);
      policy.cold_starts += cold;
    }
  }
  const double read_mb = static_cast<double>(part_bytes) * kWorkers * 1.25 / 1e6;
  for (const Policy& policy : policies) {
    report->extra["policies"][policy.name] = {{"p50_ms", Median(policy.millis)},
                                              {"moved_mb", policy.moved_mb},
                                              {"moved_mb_median", Median(policy.moved_mb)},
                                              {"cold_starts", policy.cold_starts},
                                              {"runs", runs}};
    char line[160];
    std::snprintf(
        line, sizeof(line),
        "placement %-6s  %8.1f MB moved between nodes (median), of %.1f MB that were read",
        policy.name.c_str(), Median(policy.moved_mb), read_mb);
    report->extra["summary"].push_back(line);
    if (policy.name == "locate") continue;
    report->measurements.push_back({"workflow, placed where its data is", "ms",
                                    "placement " + policy.name, policies[0].millis, policy.millis,
                                    true, 0});
  }
  return Status();
}

// ---- the busy node ----

Status AwaitFile(const std::string& path) {
  constexpr int64_t kPatienceMicros = 30'000'000;
  const int64_t deadline = Clock::Real()->MonotonicMicros() + kPatienceMicros;
  while (::access(path.c_str(), F_OK) != 0) {
    if (Clock::Real()->MonotonicMicros() > deadline) return Status::Timeout(path + " did not come");
    ::usleep(5'000);  // a file of another process: nothing tells of it
  }
  return Status();
}

// One call of "work" while the node that has its input is full of long activations.
struct Skewed {
  double millis = 0;
  json locality;
};

Result<Skewed> RunSkewed(const GatewayProcess& gateway, const std::string& path,
                         const char* locality, int run) {
  std::vector<std::string> started;
  std::vector<std::function<Status()>> calls;
  for (int i = 0; i < kBusyActivations; ++i) {
    started.push_back(path + "." + locality + std::to_string(run) + "-" + std::to_string(i));
    calls.emplace_back([&, i] {
      return gateway
          .Invoke("busy", {{"started", started[static_cast<size_t>(i)]},
                           {"seconds", kBusySeconds},
                           {"__f3", HintsFor(path, "require")}})
          .status();
    });
  }
  Skewed skewed;
  calls.emplace_back([&] {
    for (const auto& file : started) F3_RETURN_IF_ERROR(AwaitFile(gateway.OnHost(file)));
    F3_ASSIGN_OR_RETURN(
        const Answer answer,
        gateway.Invoke("work", {{"path", path}, {"__f3", HintsFor(path, locality)}}));
    skewed.millis = answer.micros / 1000;
    F3_ASSIGN_OR_RETURN(skewed.locality,
                        gateway.LocalityOf(answer.activation.value("activationId", "")));
    return Status();
  });
  F3_RETURN_IF_ERROR(AllAtOnce(calls));
  return skewed;
}

Status MeasureSkew(const Options& options, uint64_t bytes, int runs, Report* report) {
  options.say("containers for the busy node");
  F3_ASSIGN_OR_RETURN(auto gateway,
                      GatewayProcess::Start(options, "skew",
                                            {"--placement", "locate", "--memory",
                                             std::to_string(kBusyMb * kBusyActivations) + "M"}));
  F3_RETURN_IF_ERROR(PutActions(gateway.get()));
  F3_RETURN_IF_ERROR(gateway->PutAction({"busy", kBusy, {{"class", "ephemeral"}}, kBusyMb}));
  F3_RETURN_IF_ERROR(WarmUp(*gateway, "split", 1));
  F3_RETURN_IF_ERROR(WarmUpByData(options, *gateway, "work", 1));
  const char* const kinds[] = {"prefer", "require"};
  std::vector<double> millis[2];
  json chosen = {{"prefer", json::array()}, {"require", json::array()}};
  for (int run = -kWarmupRuns; run < runs; ++run) {
    for (size_t k = 0; k < 2; ++k) {
      options.say(std::string("busy node, locality ") + kinds[k] + ", run " + std::to_string(run));
      // A new file each time: an earlier one may have a copy elsewhere by now.
      F3_ASSIGN_OR_RETURN(
          const std::string path,
          WriteAt(options, *gateway, 0, kinds[k] + std::to_string(run + kWarmupRuns), bytes));
      F3_ASSIGN_OR_RETURN(const Skewed skewed, RunSkewed(*gateway, path, kinds[k], run));
      ::unlink(gateway->OnHost(path).c_str());
      if (run < 0) continue;
      millis[k].push_back(skewed.millis);
      chosen[kinds[k]].push_back(skewed.locality);
    }
  }
  report->measurements.push_back({"the data's node is busy: F3's choice", "ms", "locality: require",
                                  millis[0], millis[1], true, 0});
  report->extra["skew"] = {{"data_node", options.layout.nodes[0].name},
                           {"bytes", bytes},
                           {"busy_seconds", kBusySeconds},
                           {"f3_locality", chosen}};
  for (const char* kind : kinds) {
    report->extra["summary"].push_back(std::string("the data's node is busy, locality ") + kind +
                                       ": " + chosen[kind].dump());
  }
  return Status();
}

}  // namespace

Result<Report> RunLocality(const Options& options) {
  F3_RETURN_IF_ERROR(CheckSandboxes(options, 2));
  const uint64_t bytes = options.bytes == 0 ? 192'000'000 : options.bytes;
  const int runs = options.runs == 0 ? kRuns : options.runs;
  Report report{"locality", {}, {{"bytes", bytes}, {"workers", kWorkers}}};
  report.extra["summary"] = json::array();
  F3_RETURN_IF_ERROR(MeasurePolicies(options, bytes / kWorkers, runs, &report));
  F3_RETURN_IF_ERROR(MeasureSkew(options, bytes / kWorkers, runs, &report));
  return report;
}

}  // namespace f3::bench
