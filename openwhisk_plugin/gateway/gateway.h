// Gateway: the whole of `f3 gateway` but for flags and signals: store, keys, engine, API, server.
// Start and Stop are called by one thread; between them it serves on its own threads.
#ifndef F3_OPENWHISK_PLUGIN_GATEWAY_GATEWAY_H_
#define F3_OPENWHISK_PLUGIN_GATEWAY_GATEWAY_H_

#include <functional>
#include <memory>
#include <string>

#include "common/status.h"
#include "openwhisk_plugin/gateway/auth.h"
#include "openwhisk_plugin/gateway/engine.h"
#include "openwhisk_plugin/gateway/http_server.h"
#include "openwhisk_plugin/gateway/rest.h"
#include "openwhisk_plugin/gateway/store.h"

namespace f3::openwhisk {

struct GatewayOptions {
  std::string data_dir;   // LevelDB of the store; made when it is missing
  std::string auth_file;  // see AuthKeys
  StoreOptions store;
  EngineOptions engine;
  HttpServerOptions http;
  // Removes containers of an earlier process. Called when the store is open, so that no other
  // gateway works with the same data, and before the first container; null: nothing to do.
  std::function<Status()> remove_leftovers;
};

class Gateway {
 public:
  static Result<std::unique_ptr<Gateway>> Start(const GatewayOptions& options,
                                                const ContainerFactory& factory);
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  int port() const { return http_->port(); }
  // Callers that wait get the errors of their activations; containers are removed.
  void Stop();

 private:
  Gateway() = default;
  std::unique_ptr<AuthKeys> keys_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<RestApi> api_;
  std::unique_ptr<HttpServer> http_;
};

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_GATEWAY_GATEWAY_H_
