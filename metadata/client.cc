// Connecting and shutting down.
#include "metadata/client.h"

#include <fstream>
#include <iterator>
#include <utility>

#include "metadata/client_impl.h"

namespace f3::meta {
namespace {

constexpr int kMaxMessageBytes = 16 << 20;
constexpr size_t kMaxQueuedEvents = 1u << 20;
constexpr int64_t kGoodbyeMicros = 1'000'000;

Result<std::shared_ptr<grpc::ChannelCredentials>> Credentials(const std::string& ca_file) {
  if (ca_file.empty()) return grpc::InsecureChannelCredentials();
  std::ifstream in(ca_file, std::ios::binary);
  if (!in) return Status::BadConfig("cannot read the TLS authority " + ca_file);
  grpc::SslCredentialsOptions options;
  options.pem_root_certs.assign(std::istreambuf_iterator<char>(in), {});
  return grpc::SslCredentials(options);
}

grpc::ChannelArguments Arguments() {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  // A server that vanished without a word is noticed within these.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 3000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 3000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return arguments;
}

}  // namespace

Result<std::unique_ptr<MetaClient>> MetaClient::Connect(const Options& options,
                                                        const ClusterKey& key,
                                                        SessionListener* listener) {
  auto client = std::make_unique<ClientImpl>(options, key, listener);
  F3_RETURN_IF_ERROR(client->Open());
  return std::unique_ptr<MetaClient>(std::move(client));
}

ClientImpl::ClientImpl(const Options& options, const ClusterKey& key, SessionListener* listener)
    : options_(options),
      key_(key),
      listener_(listener),
      timers_(options.clock, true),
      events_("f3-meta-events", 1, kMaxQueuedEvents) {}

Status ClientImpl::Open() {
  F3_ASSIGN_OR_RETURN(auto credentials, Credentials(options_.tls_ca_file));
  channel_ = grpc::CreateCustomChannel(options_.server, credentials, Arguments());
  stub_ = Metadata::NewStub(channel_);
  if (options_.node.name().empty()) {
    Request request;
    request.mutable_list_volumes();
    Reply reply;
    return Call(std::move(request), &reply);
  }
  return Register();
}

SessionId ClientImpl::session() const {
  MutexLock lock(mutex_);
  return session_;
}

NodeId ClientImpl::node() const {
  MutexLock lock(mutex_);
  return node_;
}

bool ClientImpl::connected() const {
  if (options_.node.name().empty()) return channel_->GetState(false) == GRPC_CHANNEL_READY;
  MutexLock lock(mutex_);
  return welcome_ && !holding_;
}

void ClientImpl::Shutdown() {
  std::shared_ptr<SessionStream> stream;
  std::vector<PendingRef> waiting;
  {
    MutexLock lock(mutex_);
    if (!stopping_) {
      stopping_ = true;
      stream = stream_;
      for (const PendingRef& call : pending_) {
        if (call->retrying) {
          waiting.push_back(call);
        } else if (call->context != nullptr) {
          call->context->TryCancel();
        }
      }
    }
  }
  for (const PendingRef& call : waiting) {
    Finish(call, Status::Unavailable("the connection to the metadata server is being closed"));
  }
  if (stream != nullptr) {
    ClientEvent goodbye;
    goodbye.set_goodbye(true);
    stream->Send(goodbye);
  }
  const int64_t give_up = options_.clock->MonotonicMicros() + kGoodbyeMicros;
  {
    MutexLock lock(mutex_);
    while (streams_ > 0) {
      const int64_t left = give_up - options_.clock->MonotonicMicros();
      if (left <= 0) break;
      changed_.WaitFor(mutex_, left);
    }
    if (stream_ != nullptr) stream_->Cancel();
    while (streams_ > 0 || !pending_.empty() || delivering_ > 0) changed_.Wait(mutex_);
  }
  timers_.Shutdown();
  events_.Shutdown();
}

}  // namespace f3::meta
