// gRPC around MetadataCore: authentication, unary calls, and one stream per session.
#include "metadata/server.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <deque>
#include <fstream>
#include <iterator>
#include <utility>

#include "metadata/core.h"
#include "metadata/metadata.grpc.pb.h"

namespace f3::meta {
namespace {

constexpr int kMaxMessageBytes = 16 << 20;
// A client that takes no events for so long has lost its connection.
constexpr size_t kMaxQueuedEvents = 100'000;
constexpr auto kStopGrace = std::chrono::seconds(2);

class Stream;

// Outlives its stream: sessions hold it.
class StreamSink : public EventSink {
 public:
  explicit StreamSink(Stream* stream) : stream_(stream) {}
  void Send(const ServerEvent& event) override;
  void Close() override;
  void WriteDone(bool ok);
  void StreamGone() {
    MutexLock lock(mutex_);
    stream_ = nullptr;
  }

 private:
  void Next() F3_REQUIRES(mutex_);

  Mutex mutex_;
  Stream* stream_ F3_GUARDED_BY(mutex_);
  std::deque<ServerEvent> queue_ F3_GUARDED_BY(mutex_);
  bool writing_ F3_GUARDED_BY(mutex_) = false;
  bool closing_ F3_GUARDED_BY(mutex_) = false;
  bool finished_ F3_GUARDED_BY(mutex_) = false;
};

class Stream : public grpc::ServerBidiReactor<ClientEvent, ServerEvent> {
 public:
  explicit Stream(MetadataCore* core) : core_(core), sink_(std::make_shared<StreamSink>(this)) {
    StartRead(&event_);
  }
  void OnReadDone(bool ok) override {
    if (!ok) return sink_->Close();
    if (session_ == 0) {
      if (!event_.has_hello() || event_.hello().session() == 0) return sink_->Close();
      SessionId session = event_.hello().session();
      if (!core_->Hello(event_.hello(), sink_)) return;
      session_ = session;
    } else {
      core_->OnEvent(session_, event_);
    }
    event_.Clear();
    StartRead(&event_);
  }
  void OnWriteDone(bool ok) override { sink_->WriteDone(ok); }
  void OnCancel() override { sink_->Close(); }
  void OnDone() override {
    if (session_ != 0) core_->Detach(session_, sink_.get());
    sink_->StreamGone();
    delete this;
  }

 private:
  MetadataCore* const core_;
  const std::shared_ptr<StreamSink> sink_;
  ClientEvent event_;
  SessionId session_ = 0;
};

void StreamSink::Send(const ServerEvent& event) {
  MutexLock lock(mutex_);
  if (stream_ == nullptr || closing_) return;
  queue_.push_back(event);
  if (queue_.size() > kMaxQueuedEvents) closing_ = true;
  Next();
}

void StreamSink::Close() {
  MutexLock lock(mutex_);
  closing_ = true;
  Next();
}

void StreamSink::WriteDone(bool ok) {
  MutexLock lock(mutex_);
  writing_ = false;
  queue_.pop_front();
  if (!ok) {
    closing_ = true;
    queue_.clear();
  }
  Next();
}

// gRPC calls back from its own threads, never from within StartWrite or Finish.
void StreamSink::Next() {
  if (stream_ == nullptr || writing_ || finished_) return;
  if (!queue_.empty()) {
    writing_ = true;
    stream_->StartWrite(&queue_.front());
  } else if (closing_) {
    finished_ = true;
    stream_->Finish(grpc::Status::OK);
  }
}

class Refused : public grpc::ServerBidiReactor<ClientEvent, ServerEvent> {
 public:
  explicit Refused(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

class Service : public Metadata::CallbackService {
 public:
  Service(MetadataCore* core, const ClusterKey& key) : core_(core), key_(key) {}

  grpc::ServerUnaryReactor* Call(grpc::CallbackServerContext* context, const Request* request,
                                 Reply* reply) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    if (!Authentic(*context)) {
      reactor->Finish(NotAuthentic());
      return reactor;
    }
    core_->Handle(*request, [reactor, reply](Reply answer) {
      *reply = std::move(answer);
      reactor->Finish(grpc::Status::OK);
    });
    return reactor;
  }

  grpc::ServerBidiReactor<ClientEvent, ServerEvent>* Session(
      grpc::CallbackServerContext* context) override {
    if (!Authentic(*context)) return new Refused(NotAuthentic());
    return new Stream(core_);
  }

 private:
  bool Authentic(const grpc::CallbackServerContext& context) const {
    const auto& metadata = context.client_metadata();
    auto found = metadata.find("authorization");
    return found != metadata.end() &&
           key_.IsBearer(std::string_view(found->second.data(), found->second.size()));
  }
  static grpc::Status NotAuthentic() {
    return {grpc::StatusCode::UNAUTHENTICATED, "the cluster secret differs"};
  }

  MetadataCore* const core_;
  const ClusterKey key_;
};

Result<std::string> ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return Status::BadConfig("cannot read " + path);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

Result<std::shared_ptr<grpc::ServerCredentials>> Credentials(
    const MetadataServer::Options& options) {
  if (options.tls_cert_file.empty() != options.tls_key_file.empty()) {
    return Status::BadConfig("TLS needs both a certificate and its key");
  }
  if (options.tls_cert_file.empty()) return grpc::InsecureServerCredentials();
  grpc::SslServerCredentialsOptions ssl;
  F3_ASSIGN_OR_RETURN(std::string cert, ReadFile(options.tls_cert_file));
  F3_ASSIGN_OR_RETURN(std::string key, ReadFile(options.tls_key_file));
  ssl.pem_key_cert_pairs.push_back({std::move(key), std::move(cert)});
  return grpc::SslServerCredentials(ssl);
}

class GrpcServer : public MetadataServer {
 public:
  GrpcServer(std::unique_ptr<MetadataCore> core, const ClusterKey& key)
      : core_(std::move(core)), service_(core_.get(), key) {}
  ~GrpcServer() override { Stop(); }

  Status Listen(const Options& options) {
    F3_ASSIGN_OR_RETURN(auto credentials, Credentials(options));
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort(options.listen, credentials, &port);
    builder.RegisterService(&service_);
    builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
    builder.SetMaxSendMessageSize(kMaxMessageBytes);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1000);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port == 0) {
      return Status::Unavailable("cannot listen at " + options.listen +
                                 "; is the address this host's, and the port free?");
    }
    address_ = options.listen.substr(0, options.listen.rfind(':')) + ":" + std::to_string(port);
    return Status();
  }

  std::string address() const override { return address_; }

  void Stop() override {
    if (stopped_.exchange(true)) return;
    core_->Stop();
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now() + kStopGrace);
  }

 private:
  const std::unique_ptr<MetadataCore> core_;
  Service service_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  std::atomic<bool> stopped_{false};
};

}  // namespace

Result<std::unique_ptr<MetadataServer>> MetadataServer::Start(const Options& options,
                                                              const ClusterKey& key,
                                                              std::unique_ptr<KvStore> store) {
  MetadataCore::Options core_options;
  core_options.session_timeout_micros = options.session_timeout_micros;
  core_options.token_lifetime_micros = options.token_lifetime_micros;
  core_options.sync_interval_micros = options.sync_interval_micros;
  core_options.clock = options.clock;
  F3_ASSIGN_OR_RETURN(auto core, MetadataCore::Create(core_options, key, std::move(store)));
  auto server = std::make_unique<GrpcServer>(std::move(core), key);
  F3_RETURN_IF_ERROR(server->Listen(options));
  return std::unique_ptr<MetadataServer>(std::move(server));
}

}  // namespace f3::meta
