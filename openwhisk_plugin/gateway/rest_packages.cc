// /namespaces/NS/packages
#include <utility>

#include "openwhisk_plugin/gateway/json_text.h"
#include "openwhisk_plugin/gateway/rest.h"

namespace f3::openwhisk {

using nlohmann::json;

RestApi::Answer RestApi::Packages(const Context& context) {
  const std::string& method = context.request->method;
  if (context.parts.empty()) {
    return method == "GET" ? ListPackages(context) : MethodNotAllowed(method);
  }
  if (context.parts.size() > 1) return Status::NotFound("the requested resource does not exist");
  const std::string& name = context.parts[0];
  F3_RETURN_IF_ERROR(CheckName("package", name));
  if (method == "GET") return GetPackage(context, name);
  if (method != "PUT" && method != "DELETE") return MethodNotAllowed(method);
  if (!context.own()) {
    return Status::AccessDenied("the authentication does not allow to change /" +
                                context.name_space + "/" + name);
  }
  return method == "PUT" ? PutPackage(context, name) : DeletePackage(context, name);
}

RestApi::Answer RestApi::ListPackages(const Context& context) {
  F3_ASSIGN_OR_RETURN(Window window, ParseWindow(context.request->query));
  F3_ASSIGN_OR_RETURN(auto packages, store_->ListPackages(context.name_space));
  json list = json::array();
  size_t count = 0;
  for (const auto& package : packages) {
    // Of another namespace, those that everybody may use.
    bool visible = package.publish || (context.own() && !context.Flag("public"));
    if (!visible) continue;
    if (count++ < window.skip || list.size() >= window.limit) continue;
    json summary = ToJson(package);
    summary.erase("parameters");
    if (!package.is_binding()) summary["binding"] = false;
    list.push_back(std::move(summary));
  }
  if (context.Flag("count")) return JsonReply(200, {{"packages", count}});
  return JsonReply(200, list);
}

RestApi::Answer RestApi::GetPackage(const Context& context, const std::string& name) {
  F3_ASSIGN_OR_RETURN(ResolvedPackage resolved,
                      ResolvePackage(store_, context.user, context.name_space, name));
  F3_ASSIGN_OR_RETURN(Package shown, store_->GetPackage(context.name_space, name));
  shown.parameters = resolved.parameters;
  json body = ToJson(shown);
  body["actions"] = json::array();
  body["feeds"] = json::array();
  F3_ASSIGN_OR_RETURN(auto actions,
                      store_->ListActions(resolved.package.name_space, &resolved.package.name));
  for (const auto& action : actions) {
    body["actions"].push_back({{"name", action.id.name},
                               {"version", action.version},
                               {"annotations", ToJson(action.annotations)}});
  }
  return JsonReply(200, body);
}

RestApi::Answer RestApi::PutPackage(const Context& context, const std::string& name) {
  json body = json::object();
  if (!context.request->body.empty()) {
    F3_ASSIGN_OR_RETURN(body, ParseJson(context.request->body, "the request's body"));
  }
  F3_ASSIGN_OR_RETURN(PackagePut put, ParsePackagePut(body, context.user.name_space));
  if (put.has_binding) {
    auto bound = ResolvePackage(store_, context.user, put.bound_namespace, put.bound_name);
    if (bound.status().Is(Code::kNotFound)) {
      return Status::InvalidArgument("the binding is to a package that does not exist");
    }
    if (!bound.ok()) return bound.status();
    if (!bound->binding.empty()) {
      return Status::InvalidArgument("a package cannot be bound to a binding");
    }
  }
  bool overwrite = context.Flag("overwrite");
  int64_t now_millis = clock_->WallNanos() / 1'000'000;
  auto changed = store_->ChangePackage(
      context.name_space, name, [&](const Package* before) -> Result<Package> {
        if (before != nullptr && !overwrite) {
          return Status::Exists("the package /" + context.name_space + "/" + name +
                                " exists already");
        }
        if (before != nullptr && put.has_binding && !before->is_binding()) {
          return Status::Exists("a package that holds actions cannot become a binding");
        }
        return ApplyPut(put, before, context.name_space, name, now_millis);
      });
  if (!changed.ok()) return changed.status();
  return JsonReply(200, ToJson(*changed));
}

RestApi::Answer RestApi::DeletePackage(const Context& context, const std::string& name) {
  F3_ASSIGN_OR_RETURN(Package package,
                      store_->DeletePackage(context.name_space, name, context.Flag("force")));
  return JsonReply(200, ToJson(package));
}

}  // namespace f3::openwhisk
