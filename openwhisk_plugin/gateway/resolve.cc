#include "openwhisk_plugin/gateway/resolve.h"

#include <utility>

#include "openwhisk_plugin/gateway/json_text.h"

namespace f3::openwhisk {
namespace {

constexpr const char* kHintsParameter = "__f3";

Status Denied(const std::string& what) {
  return Status::AccessDenied("the authentication does not allow access to " + what);
}

}  // namespace

Result<ResolvedPackage> ResolvePackage(Store* store, const Identity& user,
                                       const std::string& name_space, const std::string& name) {
  bool own = name_space == user.name_space;
  auto package = store->GetPackage(name_space, name);
  // Whether somebody else's private package exists is nobody's business.
  if (!own && (package.status().Is(Code::kNotFound) || (package.ok() && !package->publish))) {
    return Denied("/" + name_space + "/" + name);
  }
  if (!package.ok()) return package.status();
  ResolvedPackage resolved{*package, package->parameters, ""};
  if (!package->is_binding()) return resolved;
  resolved.binding = "/" + name_space + "/" + name;
  auto bound = store->GetPackage(package->bound_namespace, package->bound_name);
  if (bound.status().Is(Code::kNotFound)) {
    return Status::NotFound(resolved.binding + " is bound to a package that does not exist");
  }
  if (!bound.ok()) return bound.status();
  // It may have been made private, or a binding, since.
  if ((bound->name_space != name_space && !bound->publish) || bound->is_binding()) {
    return Denied("/" + bound->name_space + "/" + bound->name);
  }
  resolved.parameters = Merge(bound->parameters, package->parameters);
  resolved.package = *std::move(bound);
  return resolved;
}

Result<ResolvedAction> ResolveAction(Store* store, const Identity& user, const ActionName& name) {
  ResolvedAction resolved;
  ActionName real = name;
  if (!name.package.empty()) {
    F3_ASSIGN_OR_RETURN(ResolvedPackage package,
                        ResolvePackage(store, user, name.name_space, name.package));
    real.name_space = package.package.name_space;
    real.package = package.package.name;
    resolved.binding = package.binding;
    resolved.parameters = std::move(package.parameters);
  } else if (name.name_space != user.name_space) {
    return Denied(name.ToString());
  }
  F3_ASSIGN_OR_RETURN(resolved.action, store->GetAction(real));
  resolved.parameters = Merge(std::move(resolved.parameters), resolved.action.parameters);
  return resolved;
}

CallArguments MergeArguments(const Parameters& parameters, const nlohmann::json& payload) {
  CallArguments call;
  nlohmann::json values = nlohmann::json::object();
  for (const auto& [key, parameter] : parameters) values[key] = parameter.value;
  if (payload.is_object()) values.update(payload);
  auto hints = values.find(kHintsParameter);
  if (hints != values.end()) {
    call.hints = DumpJson(*hints);
    values.erase(hints);
  }
  for (const auto& [key, parameter] : parameters) {
    auto value = values.find(key);
    if (!parameter.init || value == values.end()) continue;
    call.environment[key] = std::move(*value);
    values.erase(value);
  }
  call.arguments = std::move(values);
  return call;
}

nlohmann::json F3Annotations(const Annotations& annotations) {
  nlohmann::json out = nlohmann::json::object();
  for (const char* key : {"f3-mounts", "f3-hints"}) {
    auto it = annotations.find(key);
    if (it != annotations.end()) out[key] = it->second;
  }
  return out;
}

}  // namespace f3::openwhisk
