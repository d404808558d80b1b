#include "openwhisk_plugin/gateway/placement.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "xdt/reference.h"

namespace f3::openwhisk {
namespace {

using nlohmann::json;

constexpr double kWeight = 0.2;  // of a new measurement
constexpr size_t kMaxInputs = 256;
constexpr size_t kMaxActions = 10'000;
constexpr uint64_t kMinPulledBytes = 1 << 20;  // less says nothing of the bandwidth
constexpr double kMinPullMicros = 500;
constexpr double kMinBandwidth = 1e6;
constexpr double kMaxBandwidth = 100e9;

double Weigh(double old, double fresh) { return old + kWeight * (fresh - old); }

// Java's hash of a string, which OpenWhisk's balancer shards by.
int32_t JavaHash(const std::string& text) {
  uint32_t hash = 0;
  for (unsigned char c : text) hash = hash * 31 + c;
  return static_cast<int32_t>(hash);
}

double StartMicros(const StartCosts& costs, StartKind kind) {
  switch (kind) {
    case StartKind::kWarm:
      return static_cast<double>(costs.warm_micros);
    case StartKind::kPrewarmed:
      return static_cast<double>(costs.prewarmed_micros);
    case StartKind::kCold:
      break;
  }
  return static_cast<double>(costs.cold_micros);
}

double Score(const PlacementRequest& request, const Candidate& candidate) {
  double micros =
      StartMicros(request.costs, candidate.start) + static_cast<double>(candidate.wait_micros);
  if (request.locality != InputLocality::kOff && request.input_bytes > candidate.held_bytes) {
    double lacking = static_cast<double>(request.input_bytes - candidate.held_bytes);
    micros += lacking / request.costs.bytes_per_second * 1e6;
  }
  return micros;
}

std::vector<size_t> ByScore(const PlacementRequest& request, std::vector<size_t> order) {
  uint64_t most = 0;
  for (const auto& candidate : request.candidates) most = std::max(most, candidate.held_bytes);
  if (request.locality == InputLocality::kRequire) {
    std::erase_if(order, [&](size_t i) { return request.candidates[i].held_bytes < most; });
  }
  std::vector<double> scores;
  for (const auto& candidate : request.candidates) scores.push_back(Score(request, candidate));
  // Equal ones stay as they are, the home first.
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return scores[a] < scores[b]; });
  return order;
}

// The order of the hash, those that are free first; a random one when none is, as OpenWhisk does.
std::vector<size_t> ByHash(const PlacementRequest& request, std::vector<size_t> order) {
  auto first = std::stable_partition(order.begin(), order.end(),
                                     [&](size_t i) { return request.candidates[i].free; });
  if (first == order.begin()) {
    std::rotate(order.begin(),
                order.begin() + static_cast<ptrdiff_t>(request.random % order.size()), order.end());
  }
  return order;
}

// xdt/reference.h: always as long, base64url, and the first byte is the layout's version.
bool LooksLikeReference(const std::string& text) {
  static_assert(xdt::kLayout == 1, "'A' and 'Q' to 'f' are the first characters of layout 1");
  if (text.size() != xdt::kReferenceChars || text[0] != 'A') return false;
  if (!(text[1] >= 'Q' && text[1] <= 'Z') && !(text[1] >= 'a' && text[1] <= 'f')) return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
  });
}

bool IsBelow(const std::string& text, const std::string& mount) {
  return text.size() > mount.size() + 1 && text.rfind(mount, 0) == 0 && text[mount.size()] == '/';
}

void CollectArguments(const json& value, const std::vector<std::string>& mounts,
                      PlacementInputs* inputs) {
  if (inputs->paths.size() + inputs->references.size() >= kMaxInputs) return;
  if (value.is_structured()) {
    for (const auto& item : value) CollectArguments(item, mounts, inputs);
    return;
  }
  if (!value.is_string()) return;
  const auto& text = value.get_ref<const std::string&>();
  if (text.size() > 4096) return;
  if (LooksLikeReference(text)) {
    inputs->references.push_back(text);
  } else if (std::any_of(mounts.begin(), mounts.end(),
                         [&](const auto& mount) { return IsBelow(text, mount); })) {
    inputs->paths.push_back(text);
  }
}

void ApplyHints(const json& hints, PlacementInputs* inputs) {
  if (!hints.is_object()) return;
  auto locality = hints.find("locality");
  if (locality != hints.end()) {
    if (*locality == "require") inputs->locality = InputLocality::kRequire;
    if (*locality == "prefer") inputs->locality = InputLocality::kPrefer;
    if (*locality == "off") inputs->locality = InputLocality::kOff;
  }
  auto globs = hints.find("inputs");
  if (globs == hints.end() || !globs->is_array()) return;
  inputs->paths.clear();
  for (const auto& glob : *globs) {
    if (glob.is_string() && inputs->paths.size() < kMaxInputs) inputs->paths.push_back(glob);
  }
}

std::vector<std::string> MountPaths(const json& annotations) {
  std::vector<std::string> paths;
  auto mounts = annotations.find("f3-mounts");
  if (mounts == annotations.end() || !mounts->is_array()) return paths;
  for (const auto& mount : *mounts) {
    if (!mount.is_object()) continue;
    auto path = mount.find("path");
    if (path == mount.end()) {
      paths.emplace_back("/mnt/f3");
    } else if (path->is_string()) {
      paths.push_back(*path);
    }
  }
  return paths;
}

}  // namespace

std::vector<size_t> HashOrder(const std::string& name_space, const std::string& action,
                              size_t nodes) {
  std::vector<size_t> order;
  if (nodes == 0) return order;
  auto hash =
      static_cast<size_t>(std::abs(static_cast<int64_t>(JavaHash(name_space) ^ JavaHash(action))));
  std::vector<size_t> steps;  // with each of them every node is reached
  for (size_t step = 1; step <= nodes; ++step) {
    if (std::gcd(step, nodes) == 1 && std::all_of(steps.begin(), steps.end(), [&](size_t other) {
          return std::gcd(step, other) == 1;
        })) {
      steps.push_back(step);
    }
  }
  size_t step = steps[hash % steps.size()];
  size_t node = hash % nodes;
  for (size_t i = 0; i < nodes; ++i) {
    order.push_back(node);
    node = (node + step) % nodes;
  }
  return order;
}

std::vector<size_t> ChoosePlacement(const PlacementRequest& request) {
  std::vector<size_t> order =
      HashOrder(request.name_space, request.action, request.candidates.size());
  if (order.empty()) return order;
  switch (request.policy) {
    case PlacementPolicy::kLocate:
      return ByScore(request, std::move(order));
    case PlacementPolicy::kRandom:
      std::sort(order.begin(), order.end());
      std::rotate(order.begin(),
                  order.begin() + static_cast<ptrdiff_t>(request.random % order.size()),
                  order.end());
      return order;
    case PlacementPolicy::kHash:
      break;
  }
  return ByHash(request, std::move(order));
}

StartCosts PlacementCosts::Get() const {
  MutexLock lock(mutex_);
  return costs_;
}

void PlacementCosts::AddStart(StartKind kind, int64_t micros) {
  MutexLock lock(mutex_);
  int64_t* cost = kind == StartKind::kWarm        ? &costs_.warm_micros
                  : kind == StartKind::kPrewarmed ? &costs_.prewarmed_micros
                                                  : &costs_.cold_micros;
  *cost = static_cast<int64_t>(Weigh(static_cast<double>(*cost), static_cast<double>(micros)));
}

void PlacementCosts::AddRun(const std::string& action, uint64_t pulled_bytes, int64_t micros) {
  MutexLock lock(mutex_);
  auto local = local_micros_.find(action);
  double took = static_cast<double>(micros);
  if (pulled_bytes == 0) {
    if (local != local_micros_.end()) {
      local->second = Weigh(local->second, took);
    } else if (local_micros_.size() < kMaxActions) {
      local_micros_[action] = took;
    }
    return;
  }
  if (pulled_bytes < kMinPulledBytes) return;
  double pull_micros = local == local_micros_.end() ? took : took - local->second;
  double rate = static_cast<double>(pulled_bytes) / std::max(pull_micros, kMinPullMicros) * 1e6;
  // While nobody knows what the action itself takes, the rate is a lower bound.
  if (local == local_micros_.end() && rate < costs_.bytes_per_second) return;
  costs_.bytes_per_second =
      std::clamp(Weigh(costs_.bytes_per_second, rate), kMinBandwidth, kMaxBandwidth);
}

PlacementInputs FindInputs(const json& annotations, const json& call_hints, const json& arguments) {
  PlacementInputs inputs;
  auto hints = annotations.find("f3-hints");
  if (hints != annotations.end()) ApplyHints(*hints, &inputs);
  ApplyHints(call_hints, &inputs);
  CollectArguments(arguments, MountPaths(annotations), &inputs);
  return inputs;
}

}  // namespace f3::openwhisk
