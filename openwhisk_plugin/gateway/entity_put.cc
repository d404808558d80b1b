// What clients send with PUT: checked field by field, and applied to what is there.
#include <sodium.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "openwhisk_plugin/gateway/entities.h"
#include "openwhisk_plugin/gateway/json_text.h"

namespace f3::openwhisk {
namespace {

using nlohmann::json;

// A zip file in base64, as clients send one without saying so.
bool LooksLikeZip(const std::string& code) { return code.rfind("UEsDB", 0) == 0; }

bool IsBase64(const std::string& text) {
  size_t end = text.find_last_not_of('=');
  size_t letters = end == std::string::npos ? 0 : end + 1;
  if (text.size() % 4 != 0 || text.size() - letters > 2) return false;
  return std::all_of(text.begin(), text.begin() + static_cast<ptrdiff_t>(letters), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '+' ||
           c == '/';
  });
}

Status WrongType(const std::string& field, const std::string& wanted) {
  return Status::InvalidArgument("\"" + field + "\" must be " + wanted);
}

Status TooLarge(const std::string& what, size_t bytes, size_t most) {
  return Status::FileTooBig(what + " have " + std::to_string(bytes) + " bytes; at most " +
                            std::to_string(most) + " are allowed");
}

// Calls `take(key, item)` for each of [{"key", "value", …}].
template <typename Take>
Status ForEachPair(const json& body, const std::string& field, Take take) {
  const json& list = body.at(field);
  if (!list.is_array()) return WrongType(field, "a list of {\"key\", \"value\"}");
  for (const auto& item : list) {
    if (!item.is_object() || !item.contains("key") || !item["key"].is_string()) {
      return WrongType(field, "a list of {\"key\", \"value\"}");
    }
    std::string key = item["key"];
    if (key.empty()) return Status::InvalidArgument("a key in \"" + field + "\" is empty");
    take(std::move(key), item);
  }
  size_t bytes = DumpJson(list).size();
  if (bytes > kMaxPayloadBytes) return TooLarge(field, bytes, kMaxPayloadBytes);
  return Status();
}

json ValueOf(const json& item) { return item.contains("value") ? item["value"] : json(); }

Result<std::optional<Parameters>> ParseParameters(const json& body) {
  if (!body.contains("parameters")) return std::optional<Parameters>();
  Parameters parameters;
  F3_RETURN_IF_ERROR(ForEachPair(body, "parameters", [&](std::string key, const json& item) {
    bool init = item.contains("init") && IsTruthy(item["init"]);
    parameters[std::move(key)] = {ValueOf(item), init};
  }));
  return std::optional<Parameters>(std::move(parameters));
}

Status ParseAnnotations(const json& body, Annotations* annotations) {
  if (!body.contains("annotations")) return Status();
  return ForEachPair(body, "annotations", [&](std::string key, const json& item) {
    (*annotations)[std::move(key)] = ValueOf(item);
  });
}

Status ParseText(const json& object, const char* field, std::string* text) {
  if (!object.contains(field) || object[field].is_null()) return Status();
  if (!object[field].is_string()) return WrongType(field, "a text");
  *text = object[field];
  return Status();
}

// "MAJOR.MINOR.PATCH".
Status ParseVersion(const json& body, std::string* version) {
  F3_RETURN_IF_ERROR(ParseText(body, "version", version));
  if (version->empty()) return Status();
  int dots = 0;
  char before = '.';
  for (char c : *version) {
    bool digit = c >= '0' && c <= '9';
    if (!digit && (c != '.' || before == '.')) dots = 3;
    if (c == '.') ++dots;
    before = c;
  }
  if (dots == 2 && before != '.' && version->size() <= 20) return Status();
  return Status::InvalidArgument("\"version\" must be three numbers, as in 0.0.1");
}

Status ParsePublish(const json& body, std::optional<bool>* publish) {
  if (!body.contains("publish")) return Status();
  if (!body["publish"].is_boolean()) return WrongType("publish", "true or false");
  *publish = body["publish"].get<bool>();
  return Status();
}

Status ParseSequence(const json& exec, const std::string& own, Exec* out) {
  if (!exec.contains("components") || !exec["components"].is_array()) {
    return WrongType("exec.components", "a list of names of actions");
  }
  const json& components = exec["components"];
  if (components.empty()) return Status::InvalidArgument("the sequence has no components");
  if (components.size() > kMaxSequenceSteps) {
    return Status::InvalidArgument("the sequence has more than " +
                                   std::to_string(kMaxSequenceSteps) + " components");
  }
  for (const auto& component : components) {
    if (!component.is_string()) return WrongType("exec.components", "a list of names of actions");
    F3_ASSIGN_OR_RETURN(ActionName name, ParseActionName(component.get<std::string>(), own));
    out->components.push_back(name.ToString());
  }
  return Status();
}

Status ParseCode(const json& exec, Exec* out) {
  if (!exec.contains("code") || !exec["code"].is_string()) {
    return WrongType("exec.code", "a text: the source, or a zip file in base64");
  }
  out->code = exec["code"];
  if (out->code.empty()) return Status::InvalidArgument("\"exec.code\" is empty");
  if (out->code.size() > kMaxCodeBytes) {
    return TooLarge("exec.code", out->code.size(), kMaxCodeBytes);
  }
  out->binary = LooksLikeZip(out->code);
  if (exec.contains("binary")) {
    if (!exec["binary"].is_boolean()) return WrongType("exec.binary", "true or false");
    out->binary = exec["binary"];
  }
  if (out->binary && !IsBase64(out->code)) {
    return Status::InvalidArgument("\"exec.code\" is binary and is not base64");
  }
  return ParseText(exec, "main", &out->main);
}

Result<Exec> ParseExec(const json& exec, const std::string& own) {
  if (!exec.is_object()) return WrongType("exec", "an object");
  Exec out;
  F3_RETURN_IF_ERROR(ParseText(exec, "kind", &out.kind));
  if (out.is_sequence()) {
    F3_RETURN_IF_ERROR(ParseSequence(exec, own, &out));
    return out;
  }
  auto kind = ResolveKind(out.kind);
  if (!kind.ok()) return Status::InvalidArgument(kind.status().message());
  out.kind = *kind;
  F3_RETURN_IF_ERROR(ParseCode(exec, &out));
  return out;
}

Status ParseLimit(const json& limits, const char* field, const char* unit, int64_t min, int64_t max,
                  std::optional<int64_t>* out) {
  if (!limits.contains(field) || limits[field].is_null()) return Status();
  std::string name = std::string("limits.") + field;
  if (!limits[field].is_number_integer()) return WrongType(name, "a whole number");
  int64_t value = limits[field];
  if (value < min || value > max) {
    return Status::InvalidArgument("\"" + name + "\" is " + std::to_string(value) +
                                   "; allowed are " + std::to_string(min) + " to " +
                                   std::to_string(max) + unit);
  }
  *out = value;
  return Status();
}

Status ParseLimits(const json& body, ActionPut* put) {
  if (!body.contains("limits") || body["limits"].is_null()) return Status();
  const json& limits = body["limits"];
  if (!limits.is_object()) return WrongType("limits", "an object");
  F3_RETURN_IF_ERROR(ParseLimit(limits, "timeout", " milliseconds", kMinTimeoutMillis,
                                kMaxTimeoutMillis, &put->timeout_millis));
  F3_RETURN_IF_ERROR(
      ParseLimit(limits, "memory", " MB", kMinMemoryMb, kMaxMemoryMb, &put->memory_mb));
  F3_RETURN_IF_ERROR(ParseLimit(limits, "logs", " MB", 0, kMaxLogsMb, &put->logs_mb));
  std::optional<int64_t> concurrency;
  return ParseLimit(limits, "concurrency", "", 1, 1, &concurrency);
}

std::string NextVersion(const std::string& version) {
  size_t dot = version.rfind('.');
  return version.substr(0, dot + 1) + std::to_string(std::stoull(version.substr(dot + 1)) + 1);
}

uint64_t NewRevision() {
  uint64_t revision = 0;
  randombytes_buf(&revision, sizeof(revision));
  return revision;
}

}  // namespace

const std::vector<std::string>& Kinds() {
  static const std::vector<std::string> kKinds = {"nodejs:18", "python:3"};
  return kKinds;
}

Result<std::string> ResolveKind(const std::string& kind) {
  if (kind == "nodejs:18" || kind == "nodejs:default" || kind == "nodejs:20") return Kinds()[0];
  if (kind == "python:3" || kind == "python:default") return Kinds()[1];
  return Status::NotFound("kind \"" + kind.substr(0, 64) +
                          "\" is not one of nodejs:18, python:3, sequence");
}

Result<ActionPut> ParseActionPut(const json& body, const std::string& own) {
  if (!body.is_object()) return Status::InvalidArgument("an action must be a JSON object");
  ActionPut put;
  if (body.contains("exec") && !body["exec"].is_null()) {
    F3_ASSIGN_OR_RETURN(put.exec, ParseExec(body["exec"], own));
  }
  F3_ASSIGN_OR_RETURN(put.parameters, ParseParameters(body));
  F3_RETURN_IF_ERROR(ParseAnnotations(body, &put.annotations));
  if (body.contains("delAnnotations") && !body["delAnnotations"].is_null()) {
    if (!body["delAnnotations"].is_array()) return WrongType("delAnnotations", "a list of keys");
    for (const auto& key : body["delAnnotations"]) {
      if (!key.is_string()) return WrongType("delAnnotations", "a list of keys");
      put.deleted_annotations.push_back(key);
    }
  }
  F3_RETURN_IF_ERROR(ParseLimits(body, &put));
  F3_RETURN_IF_ERROR(ParsePublish(body, &put.publish));
  F3_RETURN_IF_ERROR(ParseVersion(body, &put.version));
  return put;
}

Result<PackagePut> ParsePackagePut(const json& body, const std::string& own) {
  if (!body.is_object()) return Status::InvalidArgument("a package must be a JSON object");
  PackagePut put;
  if (body.contains("binding") && !body["binding"].is_null() && !body["binding"].empty()) {
    const json& binding = body["binding"];
    if (!binding.is_object()) return WrongType("binding", "an object {\"namespace\", \"name\"}");
    F3_RETURN_IF_ERROR(ParseText(binding, "namespace", &put.bound_namespace));
    F3_RETURN_IF_ERROR(ParseText(binding, "name", &put.bound_name));
    if (put.bound_namespace == "_" || put.bound_namespace.empty()) put.bound_namespace = own;
    F3_RETURN_IF_ERROR(CheckName("namespace", put.bound_namespace));
    F3_RETURN_IF_ERROR(CheckName("package", put.bound_name));
    put.has_binding = true;
  }
  F3_ASSIGN_OR_RETURN(put.parameters, ParseParameters(body));
  if (body.contains("annotations")) {
    put.annotations.emplace();
    F3_RETURN_IF_ERROR(ParseAnnotations(body, &*put.annotations));
  }
  F3_RETURN_IF_ERROR(ParsePublish(body, &put.publish));
  F3_RETURN_IF_ERROR(ParseVersion(body, &put.version));
  return put;
}

Result<Action> ApplyPut(const ActionPut& put, const Action* before, const ActionName& id,
                        int64_t now_millis) {
  Action action;
  if (before != nullptr) {
    action = *before;
    action.version = NextVersion(before->version);
  } else {
    action.annotations["provide-api-key"] = false;
  }
  if (before == nullptr && !put.exec) {
    return Status::InvalidArgument("\"exec\" is missing: a new action needs code or components");
  }
  action.id = id;
  if (put.exec) action.exec = *put.exec;
  if (put.parameters) action.parameters = *put.parameters;
  for (const auto& key : put.deleted_annotations) action.annotations.erase(key);
  for (const auto& [key, value] : put.annotations) action.annotations[key] = value;
  action.annotations["exec"] = action.exec.kind;
  size_t annotation_bytes = DumpJson(ToJson(action.annotations)).size();
  if (annotation_bytes > kMaxPayloadBytes) {
    return TooLarge("annotations", annotation_bytes, kMaxPayloadBytes);
  }
  if (put.timeout_millis) action.limits.timeout_millis = *put.timeout_millis;
  if (put.memory_mb) action.limits.memory_mb = *put.memory_mb;
  if (put.logs_mb) action.limits.logs_mb = *put.logs_mb;
  if (put.publish) action.publish = *put.publish;
  if (!put.version.empty()) action.version = put.version;
  action.updated_millis = now_millis;
  action.revision = NewRevision();
  return action;
}

Package ApplyPut(const PackagePut& put, const Package* before, const std::string& name_space,
                 const std::string& name, int64_t now_millis) {
  Package package;
  if (before != nullptr) {
    package = *before;
    package.version = NextVersion(before->version);
  }
  package.name_space = name_space;
  package.name = name;
  if (put.has_binding) {
    package.bound_namespace = put.bound_namespace;
    package.bound_name = put.bound_name;
  }
  if (put.parameters) package.parameters = *put.parameters;
  if (put.annotations) package.annotations = *put.annotations;
  if (put.publish) package.publish = *put.publish;
  if (!put.version.empty()) package.version = put.version;
  package.updated_millis = now_millis;
  return package;
}

}  // namespace f3::openwhisk
