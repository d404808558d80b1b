#include "openwhisk_plugin/gateway/entities.h"

#include <utility>

#include "openwhisk_plugin/gateway/json_text.h"

namespace f3::openwhisk {
namespace {

using nlohmann::json;

const char* OutcomeText(Outcome outcome) {
  switch (outcome) {
    case Outcome::kSuccess:
      return "success";
    case Outcome::kApplicationError:
      return "application error";
    case Outcome::kDeveloperError:
      return "action developer error";
    case Outcome::kWhiskError:
      break;
  }
  return "whisk internal error";
}

Parameters ParametersFromRow(const json& list) {
  Parameters parameters;
  for (const auto& item : list) {
    parameters[item.at("key")] = {item.at("value"), item.value("init", false)};
  }
  return parameters;
}

Annotations AnnotationsFromRow(const json& list) {
  Annotations annotations;
  for (const auto& item : list) annotations[item.at("key")] = item.at("value");
  return annotations;
}

json ExecJson(const Exec& exec, bool with_code) {
  if (exec.is_sequence()) return {{"kind", exec.kind}, {"components", exec.components}};
  json out = {{"kind", exec.kind}, {"binary", exec.binary}};
  if (with_code) out["code"] = exec.code;
  if (!exec.main.empty()) out["main"] = exec.main;
  return out;
}

}  // namespace

Response Response::Error(Outcome outcome, const std::string& text) {
  return {outcome, json{{"error", text}}};
}

json Response::ToJson() const {
  return {{"status", OutcomeText(outcome)},
          {"statusCode", static_cast<int>(outcome)},
          {"success", outcome == Outcome::kSuccess},
          {"size", DumpJson(result).size()},
          {"result", result}};
}

json Activation::SummaryJson() const {
  json out = {{"activationId", id},
              {"namespace", name_space},
              {"name", name},
              {"version", version},
              {"publish", false},
              {"start", start_millis},
              {"end", end_millis},
              {"duration", duration_millis.value_or(end_millis - start_millis)},
              {"statusCode", static_cast<int>(response.outcome)},
              {"annotations", openwhisk::ToJson(annotations)}};
  if (!cause.empty()) out["cause"] = cause;
  return out;
}

json Activation::ToJson() const {
  json out = SummaryJson();
  out["subject"] = subject;
  out["response"] = response.ToJson();
  out["logs"] = logs;
  return out;
}

Parameters Merge(Parameters base, const Parameters& over) {
  for (const auto& [key, parameter] : over) base[key] = parameter;
  return base;
}

json ToJson(const Parameters& parameters) {
  json list = json::array();
  for (const auto& [key, parameter] : parameters) {
    json item = {{"key", key}, {"value", parameter.value}};
    if (parameter.init) item["init"] = true;
    list.push_back(std::move(item));
  }
  return list;
}

json ToJson(const Annotations& annotations) {
  json list = json::array();
  for (const auto& [key, value] : annotations) list.push_back({{"key", key}, {"value", value}});
  return list;
}

json ToJson(const Limits& limits) {
  return {{"timeout", limits.timeout_millis},
          {"memory", limits.memory_mb},
          {"logs", limits.logs_mb},
          {"concurrency", 1}};
}

json ToJson(const Action& action, bool with_code) {
  return {{"namespace", action.id.path()},
          {"name", action.id.name},
          {"version", action.version},
          {"publish", action.publish},
          {"exec", ExecJson(action.exec, with_code)},
          {"parameters", ToJson(action.parameters)},
          {"annotations", ToJson(action.annotations)},
          {"limits", ToJson(action.limits)},
          {"updated", action.updated_millis}};
}

json SummaryJson(const Action& action) {
  return {{"namespace", action.id.path()},
          {"name", action.id.name},
          {"version", action.version},
          {"publish", action.publish},
          {"exec", {{"binary", action.exec.binary}}},
          {"annotations", ToJson(action.annotations)},
          {"limits", ToJson(action.limits)},
          {"updated", action.updated_millis}};
}

json ToJson(const Package& package) {
  json binding = json::object();
  if (package.is_binding()) {
    binding = {{"namespace", package.bound_namespace}, {"name", package.bound_name}};
  }
  return {{"namespace", package.name_space},
          {"name", package.name},
          {"version", package.version},
          {"publish", package.publish},
          {"binding", binding},
          {"parameters", ToJson(package.parameters)},
          {"annotations", ToJson(package.annotations)},
          {"updated", package.updated_millis}};
}

bool IsTruthy(const json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number()) return value.get<double>() != 0;
  if (value.is_string()) return !value.get_ref<const std::string&>().empty();
  return !value.is_null();
}

std::string ToRow(const Action& action) {
  json row = ToJson(action, false);
  row["package"] = action.id.package;
  row["revision"] = action.revision;
  return DumpJson(row);
}

Result<Action> ActionFromRow(const std::string& row) {
  try {
    json value = json::parse(row);
    Action action;
    std::string path = value.at("namespace");
    action.id = {path.substr(0, path.find('/')), value.at("package"), value.at("name")};
    const json& exec = value.at("exec");
    action.exec.kind = exec.at("kind");
    action.exec.binary = exec.value("binary", false);
    action.exec.main = exec.value("main", "");
    action.exec.components = exec.value("components", std::vector<std::string>());
    action.parameters = ParametersFromRow(value.at("parameters"));
    action.annotations = AnnotationsFromRow(value.at("annotations"));
    const json& limits = value.at("limits");
    action.limits = {limits.at("timeout"), limits.at("memory"), limits.at("logs")};
    action.version = value.at("version");
    action.publish = value.at("publish");
    action.updated_millis = value.at("updated");
    action.revision = value.at("revision");
    return action;
  } catch (const json::exception& error) {
    return Status::Corruption(std::string("the row of an action cannot be read: ") + error.what());
  }
}

std::string ToRow(const Package& package) { return DumpJson(ToJson(package)); }

Result<Package> PackageFromRow(const std::string& row) {
  try {
    json value = json::parse(row);
    Package package;
    package.name_space = value.at("namespace");
    package.name = value.at("name");
    package.bound_namespace = value.at("binding").value("namespace", "");
    package.bound_name = value.at("binding").value("name", "");
    package.parameters = ParametersFromRow(value.at("parameters"));
    package.annotations = AnnotationsFromRow(value.at("annotations"));
    package.version = value.at("version");
    package.publish = value.at("publish");
    package.updated_millis = value.at("updated");
    return package;
  } catch (const json::exception& error) {
    return Status::Corruption(std::string("the row of a package cannot be read: ") + error.what());
  }
}

}  // namespace f3::openwhisk
