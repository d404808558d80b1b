// Entities of OpenWhisk's API and their JSON: actions, packages, activations. Values; not
// thread-safe. What a client sends is checked here and nowhere else.
#ifndef F3_OPENWHISK_PLUGIN_GATEWAY_ENTITIES_H_
#define F3_OPENWHISK_PLUGIN_GATEWAY_ENTITIES_H_

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "common/status.h"
#include "openwhisk_plugin/gateway/names.h"

namespace f3::openwhisk {

// As OpenWhisk has them by default.
inline constexpr size_t kMaxPayloadBytes = 1'048'576;  // parameters, annotations, results
inline constexpr size_t kMaxCodeBytes = 48ull << 20;
inline constexpr size_t kMaxSequenceSteps = 50;
inline constexpr int64_t kMinTimeoutMillis = 100;
inline constexpr int64_t kMaxTimeoutMillis = 300'000;
inline constexpr int64_t kMinMemoryMb = 128;
inline constexpr int64_t kMaxMemoryMb = 512;
inline constexpr int64_t kMaxLogsMb = 10;

struct Parameter {
  nlohmann::json value;
  bool init = false;  // goes into the environment at /init instead of the arguments of /run
};
using Parameters = std::map<std::string, Parameter>;
using Annotations = std::map<std::string, nlohmann::json>;

struct Limits {
  int64_t timeout_millis = 60'000;
  int64_t memory_mb = 256;
  int64_t logs_mb = 10;
};

// Code of a kind, or a sequence of other actions.
struct Exec {
  std::string kind;  // "python:3", "nodejs:18", "sequence"
  std::string code;  // text, or a zip file in base64 when `binary`; empty where it was not loaded
  std::string main;  // empty: "main"
  bool binary = false;
  std::vector<std::string> components;  // "/ns/package/name"

  bool is_sequence() const { return kind == "sequence"; }
};

struct Action {
  ActionName id;
  Exec exec;
  Parameters parameters;
  Annotations annotations;
  Limits limits;
  std::string version = "0.0.1";
  bool publish = false;
  int64_t updated_millis = 0;
  uint64_t revision = 0;  // random, new with each change; names the containers that run it
};

struct Package {
  std::string name_space;
  std::string name;
  // Of a binding: the package that it stands for.
  std::string bound_namespace;
  std::string bound_name;
  Parameters parameters;
  Annotations annotations;
  std::string version = "0.0.1";
  bool publish = false;
  int64_t updated_millis = 0;

  bool is_binding() const { return !bound_name.empty(); }
};

// What came of an activation; numbers as in "statusCode".
enum class Outcome { kSuccess = 0, kApplicationError = 1, kDeveloperError = 2, kWhiskError = 3 };

struct Response {
  Outcome outcome = Outcome::kSuccess;
  nlohmann::json result = nlohmann::json::object();

  // {"error": TEXT}
  static Response Error(Outcome outcome, const std::string& text);
  nlohmann::json ToJson() const;  // {"status", "statusCode", "success", "result", "size"}
};

struct Activation {
  std::string id;
  std::string name_space;  // of who invoked
  std::string name;        // of the action, without package
  std::string version;
  std::string subject;
  std::string cause;  // activation of the enclosing sequence
  int64_t start_millis = 0;
  int64_t end_millis = 0;
  std::optional<int64_t> duration_millis;  // of a sequence: its steps' sum; else from start to end
  Response response;
  std::vector<std::string> logs;  // of a sequence: its steps' activations
  Annotations annotations;

  nlohmann::json ToJson() const;
  nlohmann::json SummaryJson() const;  // of lists: without response, logs and subject
};

// What PUT sends; a field that is absent leaves what is there.
struct ActionPut {
  std::optional<Exec> exec;
  std::optional<Parameters> parameters;
  Annotations annotations;
  std::vector<std::string> deleted_annotations;
  std::optional<int64_t> timeout_millis, memory_mb, logs_mb;
  std::optional<bool> publish;
  std::string version;
};
struct PackagePut {
  bool has_binding = false;
  std::string bound_namespace, bound_name;
  std::optional<Parameters> parameters;
  std::optional<Annotations> annotations;
  std::optional<bool> publish;
  std::string version;
};

// InvalidArgument names the field; FileTooBig says which limit. `own`: the caller's namespace,
// which "_" stands for.
Result<ActionPut> ParseActionPut(const nlohmann::json& body, const std::string& own);
Result<PackagePut> ParsePackagePut(const nlohmann::json& body, const std::string& own);
// The action that a PUT makes of `before` (null: a new one). InvalidArgument when there is nothing
// to run. `now_millis`: wall clock.
Result<Action> ApplyPut(const ActionPut& put, const Action* before, const ActionName& id,
                        int64_t now_millis);
Package ApplyPut(const PackagePut& put, const Package* before, const std::string& name_space,
                 const std::string& name, int64_t now_millis);

// The kinds that there are, with their other names: "nodejs:default" is "nodejs:18". NotFound.
Result<std::string> ResolveKind(const std::string& kind);
const std::vector<std::string>& Kinds();

// `over` wins.
Parameters Merge(Parameters base, const Parameters& over);
nlohmann::json ToJson(const Parameters& parameters);    // [{"key", "value"}]
nlohmann::json ToJson(const Annotations& annotations);  // [{"key", "value"}]
nlohmann::json ToJson(const Limits& limits);
nlohmann::json ToJson(const Action& action, bool with_code);
nlohmann::json SummaryJson(const Action& action);
// `actions`: summaries, as an array.
nlohmann::json ToJson(const Package& package);
// As OpenWhisk takes a value for a boolean: not null, false, 0 or empty.
bool IsTruthy(const nlohmann::json& value);

// Storage form: ToJson and what only this gateway knows. Corruption when it is not such a row.
std::string ToRow(const Action& action);  // without code
Result<Action> ActionFromRow(const std::string& row);
std::string ToRow(const Package& package);
Result<Package> PackageFromRow(const std::string& row);

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_GATEWAY_ENTITIES_H_
