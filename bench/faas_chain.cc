#include <unistd.h>

#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bench/faas.h"
#include "bench/gateway_process.h"

namespace f3::bench {
namespace {

using nlohmann::json;

// The payload is text, so that it can be JSON as it is: base64 would add a third to it. Made once:
// making it is not what is measured.
constexpr char kProduce[] = R"(
import zlib
import f3

made = {}


def payload(size):
    if size not in made:
        made.clear()
        block = b"".join(b"%016x" % (n * 0x9e3779b97f4a7c15 % (1 << 64)) for n in range(1 << 16))
        data = (block * (size // len(block) + 1))[:size]
        made[size] = (data, zlib.crc32(data))
    return made[size]


def main(args):
    data, crc = payload(args["bytes"])
    result = {"sent": crc}
    if args["way"] == "inline":
        result["inline"] = data.decode()
    elif args["way"] == "reference":
        result["reference"] = f3.put(data, timeout=60)
    else:
        result["path"] = args["path"]
        with open(args["path"], "wb") as out:
            out.write(data)
    return result
)";

constexpr char kConsume[] = R"(
import zlib
import f3


def pieces(args):
    if "inline" in args:
        yield args["inline"].encode()
    elif "reference" in args:
        with f3.stream(args["reference"], timeout=60) as view:
            yield from view.chunks(timeout=60)
    else:
        with open(args["path"], "rb", buffering=0) as source:
            while data := source.read(1 << 20):
                yield data


def main(args):
    crc, size = 0, 0
    for piece in pieces(args):
        crc = zlib.crc32(piece, crc)
        size += len(piece)
    return {"sent": args["sent"], "got": crc, "bytes": size}
)";

constexpr size_t kInlineLimit = 1 << 20;  // OpenWhisk's, of a result
constexpr int kNamesToTry = 24;

const char* const kWays[] = {"inline", "durable file", "ephemeral file", "reference"};

constexpr int kRunsOfSmall = 300;  // up to 1 MB
constexpr int kRunsOfLarge = 100;

// A sequence of two actions whose nodes are known: placement is by hash, and each of the actions
// has a name that the hash sends where it is wanted.
struct Route {
  std::string name;      // "same node"
  std::string sequence;  // its action
  std::vector<std::string> nodes;
};

GatewayProcess::ActionSpec SpecOf(const std::string& name, const char* code) {
  return {name, code, {{"class", {{"*.ephemeral", "ephemeral"}, {"*.durable", "durable"}}}}, 512};
}

Result<std::string> NodeOf(const GatewayProcess& gateway, const std::string& action,
                           const json& arguments) {
  F3_ASSIGN_OR_RETURN(auto answer, gateway.Invoke(action, arguments));
  return answer.node;
}

Result<std::vector<Route>> MakeRoutes(GatewayProcess* gateway) {
  F3_RETURN_IF_ERROR(gateway->PutAction(SpecOf("produce", kProduce)));
  F3_ASSIGN_OR_RETURN(const std::string home,
                      NodeOf(*gateway, "produce", {{"way", "inline"}, {"bytes", 1}}));
  std::optional<Route> same, other;
  for (int i = 0; i < kNamesToTry && !(same && other); ++i) {
    const std::string name = "consume" + std::to_string(i);
    F3_RETURN_IF_ERROR(gateway->PutAction(SpecOf(name, kConsume)));
    F3_ASSIGN_OR_RETURN(const std::string node,
                        NodeOf(*gateway, name, {{"inline", ""}, {"sent", 0}}));
    std::optional<Route>& route = node == home ? same : other;
    if (route) continue;
    route =
        Route{node == home ? "same node" : "other node", "chain" + std::to_string(i), {home, node}};
    F3_RETURN_IF_ERROR(gateway->PutSequence(route->sequence, {"produce", name}));
  }
  if (!same || !other) return Status::Internal("no name of an action leads to another node");
  return std::vector<Route>{*same, *other};
}

json ArgumentsFor(const std::string& way, size_t bytes, int run) {
  json arguments = {{"way", way}, {"bytes", bytes}};
  if (way == "durable file") {
    arguments["path"] = std::string(kMountPath) + "/" + std::to_string(run) + ".durable";
  } else if (way == "ephemeral file") {
    arguments["path"] = std::string(kMountPath) + "/" + std::to_string(run) + ".ephemeral";
  }
  return arguments;
}

// The time of one chain, in milliseconds. What came is compared with what was sent.
Result<double> RunOnce(const GatewayProcess& gateway, const Route& route, const json& arguments) {
  auto answer = gateway.Invoke(route.sequence, arguments);
  // Removed by this process, not by the chain: that is not what is measured.
  if (arguments.contains("path")) ::unlink(gateway.OnHost(arguments["path"]).c_str());
  if (!answer.ok()) return answer.status();
  const json& result = answer->result();
  if (result.value("bytes", uint64_t{0}) != arguments["bytes"] ||
      result.value("sent", json()) != result.value("got", json(0))) {
    return Status::Corruption("the consumer read something else than was sent: " + result.dump());
  }
  return answer->micros / 1000;
}

// That the steps ran where the route says.
Status CheckNodes(const GatewayProcess& gateway, const Route& route, const json& arguments) {
  F3_ASSIGN_OR_RETURN(auto answer, gateway.Invoke(route.sequence, arguments));
  const json steps = answer.activation.value("logs", json::array());
  for (size_t i = 0; i < route.nodes.size(); ++i) {
    if (i >= steps.size()) return Status::Internal("a sequence without its steps' activations");
    F3_ASSIGN_OR_RETURN(const json locality, gateway.LocalityOf(steps[i]));
    if (locality.value("node", "") != route.nodes[i]) {
      return Status::Internal("step " + std::to_string(i) + " ran on " +
                              locality.value("node", "") + ", not on " + route.nodes[i]);
    }
  }
  return Status();
}

json Figures(const std::vector<double>& millis, int warmup) {
  const double p50 = Median(millis), p99 = Percentile(millis, 0.99);
  return {{"p50_ms", p50},
          {"p99_ms", p99},
          {"tail_to_median", p99 / p50},
          {"warmup", warmup},
          {"runs", millis.size()}};
}

std::string InWords(const json& figures) {
  if (figures.contains("refused")) return "refused";
  char text[64];
  std::snprintf(text, sizeof(text), "%.2f/%.2f ms (%.1fx)", figures.value("p50_ms", 0.0),
                figures.value("p99_ms", 0.0), figures.value("tail_to_median", 0.0));
  return text;
}

// One size over one route, all ways in turns.
Status MeasureSize(const Options& options, const GatewayProcess& gateway, const Route& route,
                   size_t bytes, Report* report) {
  const std::string name = SizeName(bytes) + ", " + route.name;
  int runs = bytes <= 1'000'000 ? kRunsOfSmall : kRunsOfLarge;
  if (options.runs > 0) runs = options.runs;
  std::map<std::string, std::vector<double>> millis;
  json figures = json::object();
  for (int run = -options.warmup; run < runs; ++run) {
    if (run % 10 == 0) options.say(name + ", run " + std::to_string(run));
    for (const std::string way : kWays) {
      if (figures.contains(way)) continue;
      auto took = RunOnce(gateway, route, ArgumentsFor(way, bytes, run + options.warmup));
      if (!took.ok() && way == "inline" && bytes > kInlineLimit) {
        figures[way] = {{"refused", took.status().message()}};
        continue;
      }
      F3_RETURN_IF_ERROR(took.status().WithContext(name + " by " + way));
      if (run >= 0) millis[way].push_back(*took);
    }
  }
  const std::string against = millis.contains("inline") ? "inline" : "durable file";
  for (const std::string way : kWays) {
    if (!millis.contains(way)) continue;
    figures[way] = Figures(millis[way], options.warmup);
    if (way == against) continue;
    report->measurements.push_back(
        {"chain of " + name + ": " + way, "ms", against, millis[way], millis[against], true, 0});
  }
  report->extra["chains"][name] = figures;
  std::string line = name + ":";
  for (const auto& [way, of] : figures.items()) line += "  " + way + " " + InWords(of);
  report->extra["summary"].push_back(line);
  return Status();
}

}  // namespace

Status MeasureChains(const Options& options, Report* report) {
  F3_ASSIGN_OR_RETURN(auto gateway,
                      GatewayProcess::Start(options, "chain", {"--placement", "hash"}));
  options.say("making containers");
  F3_ASSIGN_OR_RETURN(const auto routes, MakeRoutes(gateway.get()));
  report->extra["chains"] = json::object();
  report->extra["summary"] = {"chains, p50/p99 (tail to median):"};
  const size_t most = options.bytes == 0 ? 100'000'000 : options.bytes;
  for (size_t bytes : {size_t{1000}, size_t{1'000'000}, size_t{10'000'000}, size_t{100'000'000}}) {
    if (bytes > most) break;
    for (const Route& route : routes) {
      F3_RETURN_IF_ERROR(CheckNodes(*gateway, route, {{"way", "inline"}, {"bytes", 1}}));
      F3_RETURN_IF_ERROR(MeasureSize(options, *gateway, route, bytes, report));
    }
  }
  return Status();
}

}  // namespace f3::bench
