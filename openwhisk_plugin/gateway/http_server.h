// HttpServer: carries requests to a RestApi and answers back, over HTTP/1.1.
//
// A bounded number of threads, each with one connection at a time; further connections wait in the
// kernel. A body is read only after its caller was recognised and up to what the API admits; a peer
// that says nothing for some seconds is dropped. Start and Stop are called by one thread.
#ifndef F3_OPENWHISK_PLUGIN_GATEWAY_HTTP_SERVER_H_
#define F3_OPENWHISK_PLUGIN_GATEWAY_HTTP_SERVER_H_

#include <memory>
#include <string>

#include "common/status.h"
#include "openwhisk_plugin/gateway/rest.h"

namespace f3::openwhisk {

struct HttpServerOptions {
  std::string host = "127.0.0.1";
  int port = 3233;   // 0: any that is free
  int threads = 96;  // also how many calls may block at once
};

class HttpServer {
 public:
  // Io when the address cannot be listened at. `api` must outlive it.
  static Result<std::unique_ptr<HttpServer>> Start(const HttpServerOptions& options, RestApi* api);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const;
  void StopAccepting();
  // Also waits for the requests that are there: end their activations first.
  void Stop();

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_GATEWAY_HTTP_SERVER_H_
