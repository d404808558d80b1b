// From the name of an action to what is run: through packages and bindings, with the caller's
// rights and the parameters that are set on the way. Thread-safe functions of a Store.
#ifndef F3_OPENWHISK_PLUGIN_GATEWAY_RESOLVE_H_
#define F3_OPENWHISK_PLUGIN_GATEWAY_RESOLVE_H_

#include <nlohmann/json.hpp>
#include <string>

#include "common/status.h"
#include "openwhisk_plugin/gateway/auth.h"
#include "openwhisk_plugin/gateway/entities.h"
#include "openwhisk_plugin/gateway/store.h"

namespace f3::openwhisk {

struct ResolvedAction {
  Action action;          // where it really is, without code
  Parameters parameters;  // package, then binding, then action: later ones win
  std::string binding;    // "/ns/name" of the binding it was named through; empty: none
};

// NotFound; AccessDenied for what is another namespace's and not in a published package, whether
// it exists or not.
Result<ResolvedAction> ResolveAction(Store* store, const Identity& user, const ActionName& name);
// The package, with the parameters and the name of the one that it is bound to, if it is a binding.
struct ResolvedPackage {
  Package package;  // that holds the actions
  Parameters parameters;
  std::string binding;
};
Result<ResolvedPackage> ResolvePackage(Store* store, const Identity& user,
                                       const std::string& name_space, const std::string& name);

// A call's arguments over the parameters. The reserved `__f3` goes to `hints` (text, empty without
// one), and parameters with "init" to `environment`.
struct CallArguments {
  nlohmann::json arguments = nlohmann::json::object();
  nlohmann::json environment = nlohmann::json::object();
  std::string hints;
};
CallArguments MergeArguments(const Parameters& parameters, const nlohmann::json& payload);

// {"f3-mounts": …, "f3-hints": …} as far as the action has them.
nlohmann::json F3Annotations(const Annotations& annotations);

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_GATEWAY_RESOLVE_H_
