// RestApi: OpenWhisk's REST API, from a request to an answer, without a network. Thread-safe;
// blocking invocations hold the calling thread. Store, engine and keys must outlive it.
//
// Served: namespaces, actions, packages with bindings, activations, limits, and empty lists of
// triggers and rules, which the gateway does not have.
#ifndef F3_OPENWHISK_PLUGIN_GATEWAY_REST_H_
#define F3_OPENWHISK_PLUGIN_GATEWAY_REST_H_

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/status.h"
#include "openwhisk_plugin/gateway/auth.h"
#include "openwhisk_plugin/gateway/engine.h"
#include "openwhisk_plugin/gateway/store.h"

namespace f3::openwhisk {

struct RestRequest {
  std::string method;  // "GET"
  std::string path;    // decoded: "/api/v1/namespaces/_/actions"
  std::map<std::string, std::string> query;
  std::string authorization;  // the header's text
  std::string transaction;    // of X-Request-Id; empty: one is made
  std::string body;
};

struct RestReply {
  int status = 200;
  std::string body;  // JSON, but for /ping
  std::string content_type = "application/json";
  std::map<std::string, std::string> headers;
};

class RestApi {
 public:
  RestApi(Store* store, Engine* engine, AuthKeys* keys, Clock* clock);

  RestReply Handle(const RestRequest& request);
  // Before the body is read: the most that it may have; or an error reply (`status` ≥ 400) for who
  // may not call at all.
  RestReply Admit(const RestRequest& request, size_t* max_body_bytes);
  // For a body above that.
  static RestReply TooLarge(const RestRequest& request, size_t max_body_bytes);

 private:
  struct Context {
    const RestRequest* request;
    std::string transaction;
    Identity user;
    std::string name_space;          // the path's; "_" is the user's
    std::vector<std::string> parts;  // of the path after the collection
    bool own() const { return name_space == user.name_space; }
    std::string Query(const std::string& key) const;
    bool Flag(const std::string& key) const { return Query(key) == "true"; }
  };
  using Answer = Result<RestReply>;

  Answer Route(const RestRequest& request, const std::string& transaction);
  Answer RouteCollection(const std::string& collection, const Context& context);
  Answer Info(bool of_version) const;
  Answer GetLimits(const Context& context) const;

  Answer Actions(const Context& context);
  Answer ListActions(const Context& context);
  Answer ListPackageActions(const Context& context);
  Answer GetAction(const Context& context, const ActionName& name);
  Answer PutAction(const Context& context, const ActionName& name);
  Answer DeleteAction(const Context& context, const ActionName& name);
  Answer InvokeAction(const Context& context, const ActionName& name);
  Status CheckSequence(const Context& context, const ActionName& name, const Exec& exec);
  Status CheckHints(const ActionName& name, const ActionPut& put);

  Answer Packages(const Context& context);
  Answer ListPackages(const Context& context);
  Answer GetPackage(const Context& context, const std::string& name);
  Answer PutPackage(const Context& context, const std::string& name);
  Answer DeletePackage(const Context& context, const std::string& name);

  Answer Activations(const Context& context);
  Answer ListActivations(const Context& context);

  Store* const store_;
  Engine* const engine_;
  AuthKeys* const keys_;
  Clock* const clock_;
};

// The reply's parts that the resources share.
RestReply JsonReply(int status, const nlohmann::json& body);
// {"error": text, "code": transaction}, with OpenWhisk's status for it.
RestReply ErrorReply(const Status& status, const std::string& transaction);
// limit (default 30; 0: all that are allowed; at most 200) and skip. InvalidArgument.
struct Window {
  size_t skip = 0;
  size_t limit = 30;
};
Result<Window> ParseWindow(const std::map<std::string, std::string>& query);
// A whole number that is not negative. InvalidArgument names the key.
Result<int64_t> ParseNumber(const std::map<std::string, std::string>& query, const std::string& key,
                            int64_t absent);
Status MethodNotAllowed(const std::string& method);

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_GATEWAY_REST_H_
