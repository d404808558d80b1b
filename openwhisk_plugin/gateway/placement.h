// Placement: which node an activation runs on (docs/design/0003-openwhisk.md).
//
//   score(node) = start, cold or warm + bytes that it lacks / bandwidth + expected wait
//
// The least wins. ChoosePlacement is pure; PlacementCosts, which learns what the score is made of,
// is thread-safe.
#ifndef F3_OPENWHISK_PLUGIN_GATEWAY_PLACEMENT_H_
#define F3_OPENWHISK_PLUGIN_GATEWAY_PLACEMENT_H_

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "common/mutex.h"

namespace f3::openwhisk {

enum class PlacementPolicy {
  kLocate,  // the score
  kRandom,
  kHash,  // as OpenWhisk's sharding balancer: a home by name, further nodes by a fixed step
};
enum class InputLocality { kPrefer, kRequire, kOff };
enum class StartKind { kWarm, kPrewarmed, kCold };

struct Candidate {
  StartKind start = StartKind::kCold;
  bool free = true;         // would begin at once
  int64_t wait_micros = 0;  // expected, in its queue
  uint64_t held_bytes = 0;  // of the inputs
};

struct StartCosts {
  int64_t warm_micros = 5'000;
  int64_t prewarmed_micros = 60'000;
  int64_t cold_micros = 500'000;
  double bytes_per_second = 200e6;
};

struct PlacementRequest {
  PlacementPolicy policy = PlacementPolicy::kLocate;
  InputLocality locality = InputLocality::kPrefer;
  uint64_t input_bytes = 0;
  std::string name_space;
  std::string action;
  uint64_t random = 0;  // a random number; used by kRandom, and by kHash when no node is free
  StartCosts costs;
  std::vector<Candidate> candidates;  // the nodes, always in the same order
};

// Of `candidates`, best first; the caller takes the first that accepts. With kRequire only nodes
// that hold as much as the one that holds most. Empty when there are no candidates.
std::vector<size_t> ChoosePlacement(const PlacementRequest& request);

// The nodes from the action's home on, each once.
std::vector<size_t> HashOrder(const std::string& name_space, const std::string& action,
                              size_t nodes);

// Exponentially weighted measurements.
class PlacementCosts {
 public:
  StartCosts Get() const;
  // What it took to get a container ready.
  void AddStart(StartKind kind, int64_t micros);
  // A run of `action` that had to pull so many bytes of its inputs (0: none). How fast bytes come
  // follows from what runs that pull take longer.
  void AddRun(const std::string& action, uint64_t pulled_bytes, int64_t micros);

 private:
  mutable Mutex mutex_;
  StartCosts costs_ F3_GUARDED_BY(mutex_);
  std::map<std::string, double> local_micros_ F3_GUARDED_BY(mutex_);  // of runs that pull nothing
};

// What of an action's annotations, the call's hints and the arguments concerns placement. Lenient:
// the agent has checked the annotations, and checks the call's hints before the run.
struct PlacementInputs {
  InputLocality locality = InputLocality::kPrefer;
  std::vector<std::string> paths;
  std::vector<std::string> references;
};
// `annotations`: {"f3-mounts": …, "f3-hints": …}. Arguments count that name a path below one of the
// mounts, or look like an XDT reference, anywhere in the JSON; at most 256.
PlacementInputs FindInputs(const nlohmann::json& annotations, const nlohmann::json& call_hints,
                           const nlohmann::json& arguments);

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_GATEWAY_PLACEMENT_H_
