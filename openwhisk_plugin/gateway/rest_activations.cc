// /namespaces/NS/activations
#include <utility>

#include "openwhisk_plugin/gateway/rest.h"

namespace f3::openwhisk {

using nlohmann::json;

RestApi::Answer RestApi::Activations(const Context& context) {
  if (context.request->method != "GET") return MethodNotAllowed(context.request->method);
  const auto& parts = context.parts;
  if (parts.empty()) return ListActivations(context);
  if (parts.size() > 2) return Status::NotFound("the requested resource does not exist");
  F3_RETURN_IF_ERROR(CheckActivationId(parts[0]));
  F3_ASSIGN_OR_RETURN(json record, store_->GetActivation(context.name_space, parts[0]));
  if (parts.size() == 1) return JsonReply(200, record);
  if (parts[1] == "logs") return JsonReply(200, {{"logs", record["logs"]}});
  if (parts[1] == "result") return JsonReply(200, record["response"]);
  return Status::NotFound("the requested resource does not exist");
}

RestApi::Answer RestApi::ListActivations(const Context& context) {
  const auto& parameters = context.request->query;
  F3_ASSIGN_OR_RETURN(Window window, ParseWindow(parameters));
  Store::Query query;
  query.skip = window.skip;
  query.limit = window.limit;
  query.full = context.Flag("docs");
  F3_ASSIGN_OR_RETURN(query.since_millis, ParseNumber(parameters, "since", 0));
  F3_ASSIGN_OR_RETURN(query.upto_millis, ParseNumber(parameters, "upto", -1));
  // "package/name" is listed by its name.
  std::string name = context.Query("name");
  query.name = name.substr(name.rfind('/') + 1);
  if (context.Flag("count")) {
    return JsonReply(200, {{"activations", store_->CountActivations(context.name_space, query)}});
  }
  F3_ASSIGN_OR_RETURN(auto found, store_->ListActivations(context.name_space, query));
  return JsonReply(200, json(std::move(found)));
}

}  // namespace f3::openwhisk
