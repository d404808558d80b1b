// /namespaces/NS/actions
#include <algorithm>
#include <set>
#include <utility>

#include "common/mutex.h"
#include "openwhisk_plugin/gateway/json_text.h"
#include "openwhisk_plugin/gateway/rest.h"

namespace f3::openwhisk {
namespace {

using nlohmann::json;

constexpr int64_t kMaxBlockingMillis = 60'000;

// Where a blocking call waits for its activation.
class Waiter {
 public:
  void Set(const Activation& activation) {
    MutexLock lock(mutex_);
    activation_ = activation;
    over_ = true;
    ended_.SignalAll();
  }
  // Null when it is not over after `micros`; valid as long as this.
  const Activation* Wait(int64_t micros) {
    int64_t deadline = Clock::Real()->MonotonicMicros() + micros;
    MutexLock lock(mutex_);
    while (!over_) {
      int64_t left = deadline - Clock::Real()->MonotonicMicros();
      if (left <= 0) return nullptr;
      ended_.WaitFor(mutex_, left);
    }
    return &activation_;
  }

 private:
  Mutex mutex_;
  CondVar ended_;
  bool over_ F3_GUARDED_BY(mutex_) = false;
  Activation activation_ F3_GUARDED_BY(mutex_);
};

RestReply WithId(RestReply reply, const std::string& id) {
  reply.headers["X-OpenWhisk-Activation-Id"] = id;
  return reply;
}

int StatusOf(Outcome outcome) {
  switch (outcome) {
    case Outcome::kSuccess:
      return 200;
    case Outcome::kApplicationError:
    case Outcome::kDeveloperError:
      return 502;
    case Outcome::kWhiskError:
      break;
  }
  return 500;
}

template <typename Item, typename ToSummary>
RestReply ListReplyOf(const std::vector<Item>& items, const Window& window, ToSummary summary) {
  json list = json::array();
  for (size_t i = window.skip; i < items.size() && list.size() < window.limit; ++i) {
    list.push_back(summary(items[i]));
  }
  return JsonReply(200, list);
}

}  // namespace

RestApi::Answer RestApi::Actions(const Context& context) {
  const std::string& method = context.request->method;
  const auto& parts = context.parts;
  if (parts.empty()) return method == "GET" ? ListActions(context) : MethodNotAllowed(method);
  if (parts.size() > 2) return Status::NotFound("the requested resource does not exist");
  // "actions/PACKAGE/" lists; "actions/NAME" does not.
  if (parts.size() == 1 && context.request->path.back() == '/') {
    return method == "GET" ? ListPackageActions(context) : MethodNotAllowed(method);
  }
  ActionName name{context.name_space, parts.size() == 2 ? parts[0] : "", parts.back()};
  F3_RETURN_IF_ERROR(CheckName("action", name.name));
  if (!name.package.empty()) F3_RETURN_IF_ERROR(CheckName("package", name.package));
  if (method == "GET") return GetAction(context, name);
  if (method == "POST") return InvokeAction(context, name);
  if (method != "PUT" && method != "DELETE") return MethodNotAllowed(method);
  if (!context.own()) {
    return Status::AccessDenied("the authentication does not allow to change " + name.ToString());
  }
  return method == "PUT" ? PutAction(context, name) : DeleteAction(context, name);
}

RestApi::Answer RestApi::ListActions(const Context& context) {
  if (!context.own()) {
    return Status::AccessDenied("the authentication does not allow access to /" +
                                context.name_space);
  }
  F3_ASSIGN_OR_RETURN(auto actions, store_->ListActions(context.name_space, nullptr));
  F3_ASSIGN_OR_RETURN(Window window, ParseWindow(context.request->query));
  if (context.Flag("count")) return JsonReply(200, {{"actions", actions.size()}});
  return ListReplyOf(actions, window, [](const Action& action) { return SummaryJson(action); });
}

RestApi::Answer RestApi::ListPackageActions(const Context& context) {
  F3_ASSIGN_OR_RETURN(auto package,
                      ResolvePackage(store_, context.user, context.name_space, context.parts[0]));
  F3_ASSIGN_OR_RETURN(auto actions,
                      store_->ListActions(package.package.name_space, &package.package.name));
  F3_ASSIGN_OR_RETURN(Window window, ParseWindow(context.request->query));
  if (context.Flag("count")) return JsonReply(200, {{"actions", actions.size()}});
  return ListReplyOf(actions, window, [](const Action& action) { return SummaryJson(action); });
}

RestApi::Answer RestApi::GetAction(const Context& context, const ActionName& name) {
  F3_ASSIGN_OR_RETURN(ResolvedAction resolved, ResolveAction(store_, context.user, name));
  Action action = std::move(resolved.action);
  bool with_code = context.Query("code") != "false" && !action.exec.is_sequence();
  if (with_code) {
    F3_ASSIGN_OR_RETURN(action.exec.code, store_->GetCode(action.id));
  }
  // With the package's parameters, as they would be in a call.
  if (!name.package.empty()) action.parameters = resolved.parameters;
  return JsonReply(200, ToJson(action, with_code));
}

Status RestApi::CheckHints(const ActionName& name, const ActionPut& put) {
  json annotations = F3Annotations(put.annotations);
  std::string call_hints;
  if (put.parameters) {
    auto it = put.parameters->find("__f3");
    if (it != put.parameters->end()) call_hints = DumpJson(it->second.value);
  }
  if (annotations.empty() && call_hints.empty()) return Status();
  return engine_->CheckHints(name.name_space, annotations, call_hints);
}

// Its components exist, and none of them leads back to it.
Status RestApi::CheckSequence(const Context& context, const ActionName& name, const Exec& exec) {
  std::vector<std::string> open = exec.components;
  std::set<std::string> seen;
  for (size_t i = 0; i < open.size(); ++i) {
    const std::string text = open[i];
    if (!seen.insert(text).second) continue;
    F3_ASSIGN_OR_RETURN(ActionName component, ParseActionName(text, context.user.name_space));
    auto resolved = ResolveAction(store_, context.user, component);
    if (component == name || (resolved.ok() && resolved->action.id == name)) {
      return Status::InvalidArgument("the sequence would contain itself, by " + text);
    }
    if (resolved.ok()) {
      const auto& further = resolved->action.exec.components;
      open.insert(open.end(), further.begin(), further.end());
    } else if (i < exec.components.size()) {
      // What a component lacks is told when it runs.
      bool missing = resolved.status().Is(Code::kNotFound);
      return missing ? Status::InvalidArgument("the component " + text +
                                               " of the sequence does not exist")
                     : resolved.status();
    }
  }
  return Status();
}

RestApi::Answer RestApi::PutAction(const Context& context, const ActionName& name) {
  F3_ASSIGN_OR_RETURN(json body, ParseJson(context.request->body, "the request's body"));
  F3_ASSIGN_OR_RETURN(ActionPut put, ParseActionPut(body, context.user.name_space));
  if (put.exec && put.exec->is_sequence()) {
    F3_RETURN_IF_ERROR(CheckSequence(context, name, *put.exec));
  }
  F3_RETURN_IF_ERROR(CheckHints(name, put));
  bool overwrite = context.Flag("overwrite");
  int64_t now_millis = clock_->WallNanos() / 1'000'000;
  auto changed = store_->ChangeAction(name, [&](const Action* before) -> Result<Action> {
    if (before != nullptr && !overwrite) {
      return Status::Exists("the action " + name.ToString() + " exists already");
    }
    return ApplyPut(put, before, name, now_millis);
  });
  if (!changed.ok()) return changed.status();
  if (!changed->exec.is_sequence() && changed->exec.code.empty()) {
    F3_ASSIGN_OR_RETURN(changed->exec.code, store_->GetCode(name));
  }
  return JsonReply(200, ToJson(*changed, true));
}

RestApi::Answer RestApi::DeleteAction(const Context& /*context*/, const ActionName& name) {
  F3_ASSIGN_OR_RETURN(Action action, store_->DeleteAction(name));
  return JsonReply(200, ToJson(action, false));
}

RestApi::Answer RestApi::InvokeAction(const Context& context, const ActionName& name) {
  json payload = json::object();
  if (!context.request->body.empty()) {
    F3_ASSIGN_OR_RETURN(payload, ParseJson(context.request->body, "the request's body"));
  }
  if (!payload.is_object()) return Status::InvalidArgument("the arguments must be a JSON object");
  F3_ASSIGN_OR_RETURN(int64_t timeout_millis,
                      ParseNumber(context.request->query, "timeout", kMaxBlockingMillis));
  Engine::Request request;
  F3_ASSIGN_OR_RETURN(request.target, ResolveAction(store_, context.user, name));
  const auto& annotations = request.target.action.annotations;
  auto final_annotation = annotations.find("final");
  if (final_annotation != annotations.end() && IsTruthy(final_annotation->second)) {
    for (const auto& [key, value] : payload.items()) {
      auto set = request.target.parameters.find(key);
      if (set != request.target.parameters.end() && !set->second.value.is_null()) {
        return Status::InvalidArgument("the parameter \"" + key +
                                       "\" is final and cannot be given");
      }
    }
  }
  request.user = context.user;
  request.transaction = context.transaction;
  request.payload = std::move(payload);
  auto waiter = std::make_shared<Waiter>();
  F3_ASSIGN_OR_RETURN(std::string id,
                      engine_->Invoke(std::move(request), [waiter](const Activation& activation) {
                        waiter->Set(activation);
                      }));
  bool blocking = context.Flag("blocking");
  const Activation* activation =
      blocking ? waiter->Wait(std::min(timeout_millis, kMaxBlockingMillis) * 1000) : nullptr;
  if (activation == nullptr) return WithId(JsonReply(202, {{"activationId", id}}), id);
  return WithId(
      JsonReply(StatusOf(activation->response.outcome),
                context.Flag("result") ? activation->response.result : activation->ToJson()),
      id);
}

}  // namespace f3::openwhisk
