#include "openwhisk_plugin/gateway/http_server.h"

#include <httplib.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <thread>
#include <utility>

#include "common/executor.h"

namespace f3::openwhisk {
namespace {

constexpr time_t kPeerSeconds = 10;      // between two reads or writes of a connection
constexpr time_t kKeepAliveSeconds = 2;  // an idle connection holds a thread
constexpr size_t kRequestsPerConnection = 1000;
constexpr int kBacklog = 512;
constexpr size_t kMaxAcceptedWaiting = 64;
// What is read and thrown away so that a refused client sees the answer instead of a reset.
constexpr size_t kMaxDrainedBytes = 256ull << 20;
constexpr size_t kMaxDrainedOfStrangers = 1 << 20;

// httplib's queue of connections on our bounded executor: accepting waits while it is full.
class Connections : public httplib::TaskQueue {
 public:
  explicit Connections(int threads) : executor_("f3-http", threads, kMaxAcceptedWaiting) {}
  void enqueue(std::function<void()> task) override { executor_.Submit(std::move(task)); }
  void shutdown() override { executor_.Shutdown(); }

 private:
  Executor executor_;
};

class Server : public httplib::Server {
 public:
  // httplib asks the kernel for 5 connections that wait to be accepted.
  void WidenBacklog() { ::listen(svr_sock_, kBacklog); }
};

RestRequest FromHttp(const httplib::Request& from) {
  RestRequest request;
  request.method = from.method;
  request.path = from.path;
  for (const auto& [key, value] : from.params) request.query[key] = value;
  request.authorization = from.get_header_value("Authorization");
  request.transaction = from.get_header_value("X-Request-Id");
  return request;
}

void ToHttp(const RestReply& reply, httplib::Response* to) {
  to->status = reply.status;
  for (const auto& [key, value] : reply.headers) to->set_header(key, value);
  to->set_content(reply.body, reply.content_type);
}

bool HasBody(const httplib::Request& from) {
  return from.has_header("Content-Length") || from.has_header("Transfer-Encoding");
}

}  // namespace

struct HttpServer::Impl {
  RestApi* api;
  Server server;
  int port = 0;
  std::thread thread;
  std::atomic<bool> ended{false};  // the thread's work is over
  bool stopped = false;

  void Plain(const httplib::Request& from, httplib::Response* to) {
    ToHttp(api->Handle(FromHttp(from)), to);
  }
  void WithBody(const httplib::Request& from, httplib::Response* to,
                const httplib::ContentReader& read);
};

void HttpServer::Impl::WithBody(const httplib::Request& from, httplib::Response* to,
                                const httplib::ContentReader& read) {
  RestRequest request = FromHttp(from);
  size_t max_bytes = 0;
  RestReply refusal = api->Admit(request, &max_bytes);
  bool admitted = refusal.status < 400;
  size_t drained = admitted ? kMaxDrainedBytes : kMaxDrainedOfStrangers;
  size_t seen = 0;
  // Without a length httplib would read until the peer hangs up.
  if (HasBody(from) && !from.is_multipart_form_data()) {
    read([&](const char* data, size_t length) {
      seen += length;
      if (admitted && seen <= max_bytes) {
        request.body.append(data, length);
      } else {
        request.body = std::string();
      }
      return seen <= drained;
    });
  }
  if (!admitted) {
    ToHttp(refusal, to);
  } else if (seen > max_bytes) {
    ToHttp(RestApi::TooLarge(request, max_bytes), to);
  } else {
    ToHttp(api->Handle(request), to);
  }
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

HttpServer::~HttpServer() { Stop(); }

int HttpServer::port() const { return impl_->port; }

Result<std::unique_ptr<HttpServer>> HttpServer::Start(const HttpServerOptions& options,
                                                      RestApi* api) {
  auto impl = std::make_unique<Impl>();
  Impl* raw = impl.get();
  impl->api = api;
  Server& server = impl->server;
  server.new_task_queue = [threads = options.threads] { return new Connections(threads); };
  server.set_read_timeout(kPeerSeconds);
  server.set_write_timeout(kPeerSeconds);
  server.set_keep_alive_timeout(kKeepAliveSeconds);
  server.set_keep_alive_max_count(kRequestsPerConnection);
  server.set_payload_max_length(kMaxDrainedBytes);
  server.set_tcp_nodelay(true);
  auto plain = [raw](const httplib::Request& from, httplib::Response& to) {
    raw->Plain(from, &to);
  };
  auto with_body = [raw](const httplib::Request& from, httplib::Response& to,
                         const httplib::ContentReader& read) { raw->WithBody(from, &to, read); };
  server.Get(".*", plain).Delete(".*", plain).Put(".*", with_body).Post(".*", with_body);
  server.set_exception_handler(
      [](const httplib::Request& from, httplib::Response& to, std::exception_ptr /*error*/) {
        spdlog::error("request {} {} failed", from.method, from.path);
        to.status = 500;
      });
  if (options.port == 0) {
    impl->port = server.bind_to_any_port(options.host);
  } else {
    impl->port = server.bind_to_port(options.host, options.port) ? options.port : -1;
  }
  if (impl->port < 0) {
    return Status::Io("cannot listen at " + options.host + ":" + std::to_string(options.port) +
                      "; is another program there?");
  }
  server.WidenBacklog();
  impl->thread = std::thread([raw] {
    raw->server.listen_after_bind();
    raw->ended = true;
  });
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

void HttpServer::StopAccepting() {
  if (impl_->stopped) return;
  impl_->stopped = true;
  // httplib ignores a stop that comes before its loop has begun.
  while (!impl_->server.is_running() && !impl_->ended) std::this_thread::yield();
  impl_->server.stop();
}

void HttpServer::Stop() {
  if (!impl_->thread.joinable()) return;
  StopAccepting();
  impl_->thread.join();
}

}  // namespace f3::openwhisk
