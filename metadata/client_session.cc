// The session: registration, the stream of events, heartbeats, replay to a restarted server.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "metadata/client_impl.h"

namespace f3::meta {
namespace {

constexpr int64_t kFirstReconnectMicros = 50'000;
constexpr int64_t kMaxReconnectMicros = 1'000'000;
// Heartbeats per session timeout; leases are given up one interval before the server may do so.
constexpr int64_t kHeartbeats = 6;

}  // namespace

std::shared_ptr<SessionStream> SessionStream::Start(ClientImpl* client, const Hello& hello) {
  std::shared_ptr<SessionStream> stream(new SessionStream(client));
  stream->self_ = stream;
  {
    MutexLock lock(stream->mutex_);
    client->Authorize(stream->context_.get());
    client->stub_->async()->Session(stream->context_.get(), stream.get());
  }
  ClientEvent first;
  *first.mutable_hello() = hello;
  stream->Send(first);
  stream->StartRead(&stream->event_);
  stream->StartCall();
  return stream;
}

void SessionStream::Send(const ClientEvent& event) {
  MutexLock lock(mutex_);
  if (over_) return;
  queue_.push_back(event);
  NextLocked();
}

void SessionStream::Cancel() {
  MutexLock lock(mutex_);
  if (context_ != nullptr) context_->TryCancel();
}

void SessionStream::NextLocked() {
  if (writing_ || over_ || queue_.empty()) return;
  writing_ = true;
  StartWrite(&queue_.front());
}

void SessionStream::OnWriteDone(bool ok) {
  MutexLock lock(mutex_);
  writing_ = false;
  queue_.pop_front();
  if (!ok) over_ = true;
  NextLocked();
}

void SessionStream::OnReadDone(bool ok) {
  if (!ok) {
    MutexLock lock(mutex_);
    over_ = true;
    return;
  }
  client_->OnServerEvent(this, std::move(event_));
  event_.Clear();
  StartRead(&event_);
}

void SessionStream::OnDone(const grpc::Status&) {
  std::shared_ptr<SessionStream> self = std::move(self_);
  {
    std::unique_ptr<grpc::ClientContext> over;  // without the lock
    MutexLock lock(mutex_);
    over_ = true;
    over = std::move(context_);
  }
  client_->OnStreamDone(this);
}

Status ClientImpl::Register() {
  Request request;
  *request.mutable_register_node() = options_.node;
  Reply reply;
  F3_RETURN_IF_ERROR(Call(std::move(request), &reply));
  Registered(reply.registered());
  const int64_t give_up = options_.clock->MonotonicMicros() + options_.call_timeout_micros;
  MutexLock lock(mutex_);
  while (!welcome_ || holding_) {
    const int64_t left = give_up - options_.clock->MonotonicMicros();
    if (left <= 0) return Away({grpc::StatusCode::DEADLINE_EXCEEDED, ""});
    changed_.WaitFor(mutex_, left);
  }
  return Status();
}

void ClientImpl::Registered(const RegisterReply& reply) {
  bool first = false;
  {
    MutexLock lock(mutex_);
    first = session_timeout_micros_ == 0;
    session_ = reply.session();
    node_ = reply.node();
    server_epoch_ = reply.server_epoch();
    session_timeout_micros_ = reply.session_timeout_us();
    retained_.clear();
    holding_ = true;
    welcome_ = false;
    confirmed_micros_ = options_.clock->MonotonicMicros();
  }
  listener_->OnRegistered(reply);
  StartStream();
  if (first) timers_.After(reply.session_timeout_us() / kHeartbeats, [this] { Heartbeat(); });
}

void ClientImpl::StartStream() {
  Hello hello;
  for (const CloseOp& open : listener_->OpenFiles()) *hello.add_reclaim() = open;
  MutexLock lock(mutex_);
  if (stopping_ || stream_ != nullptr) return;
  hello.set_session(session_);
  heartbeats_.clear();
  ++streams_;
  stream_ = SessionStream::Start(this, hello);
}

void ClientImpl::OnStreamDone(const SessionStream* stream) {
  MutexLock lock(mutex_);
  --streams_;
  if (stream_.get() == stream) {
    stream_ = nullptr;
    welcome_ = false;
    // The server may have restarted: what it forgot has to be replayed before anything else.
    holding_ = true;
    reconnect_micros_ =
        std::clamp(2 * reconnect_micros_, kFirstReconnectMicros, kMaxReconnectMicros);
    if (!stopping_ && expired_ != session_) {
      timers_.After(reconnect_micros_, [this, session = session_] {
        {
          MutexLock again(mutex_);
          if (session_ != session || expired_ == session) return;
        }
        StartStream();
      });
    }
  }
  changed_.SignalAll();
}

void ClientImpl::SendToServer(const ClientEvent& event) {
  std::shared_ptr<SessionStream> stream;
  {
    MutexLock lock(mutex_);
    stream = stream_;
  }
  if (stream != nullptr) stream->Send(event);
}

void ClientImpl::Acknowledge(uint64_t id) {
  ClientEvent event;
  event.set_ack(id);
  SendToServer(event);
}

void ClientImpl::OnServerEvent(const SessionStream* stream, ServerEvent event) {
  SessionId session = 0;
  {
    MutexLock lock(mutex_);
    if (stream_.get() != stream || stopping_) return;
    session = session_;
  }
  if (event.event_case() == ServerEvent::kAlive) return HeartbeatAnswered();
  if (event.event_case() == ServerEvent::kExpired) return Expired(session);
  if (!events_.TrySubmit([this, event = std::move(event)] { HandleEvent(event); })) {
    // What is not acknowledged is sent again on the next stream.
    MutexLock lock(mutex_);
    if (stream_ != nullptr) stream_->Cancel();
  }
}

void ClientImpl::HandleEvent(const ServerEvent& event) {
  switch (event.event_case()) {
    case ServerEvent::kWelcome:
      return HandleWelcome(event.welcome());
    case ServerEvent::kInvalidate:
      return listener_->OnInvalidate(event.invalidate(),
                                     [this, id = event.invalidate().id()] { Acknowledge(id); });
    case ServerEvent::kDrop:
      listener_->OnDrop(event.drop());
      return Acknowledge(event.drop().id());
    case ServerEvent::kLockAvailable:
      return listener_->OnLockAvailable(event.lock_available());
    case ServerEvent::kFence:
      return listener_->OnFence(event.fence().session(),
                                [this, id = event.fence().id()] { Acknowledge(id); });
    case ServerEvent::kWriterElsewhere:
      return listener_->OnWriterElsewhere(event.writer_elsewhere());
    default:
      return;
  }
}

void ClientImpl::HandleWelcome(const Welcome& welcome) {
  bool restarted = false;
  {
    MutexLock lock(mutex_);
    if (stream_ == nullptr) return;
    restarted = welcome.server_epoch() != server_epoch_;
    server_epoch_ = welcome.server_epoch();
    if (restarted) {
      holding_ = true;
      synced_sequence_ = welcome.recovered_sequence();
    }
  }
  if (restarted) {
    spdlog::info("the metadata server has restarted");
    leased_ = false;
    listener_->OnLeasesLost();
    if (!Replay(welcome.recovered_sequence())) return;  // the next server welcomes us again
  }
  ClientEvent ready;
  *ready.mutable_heartbeat() = listener_->Usage();
  MutexLock lock(mutex_);
  if (stream_ == nullptr) return;
  heartbeats_.push_back(options_.clock->MonotonicMicros());
  stream_->Send(ready);
  confirmed_micros_ = options_.clock->MonotonicMicros();
  reconnect_micros_ = 0;
  leased_ = true;
  welcome_ = true;
  holding_ = false;
  changed_.SignalAll();
}

bool ClientImpl::Replay(uint64_t recovered_sequence) {
  std::vector<Retained> lost;
  {
    MutexLock lock(mutex_);
    lost.swap(retained_);
  }
  std::erase_if(lost, [&](const Retained& r) { return r.sequence <= recovered_sequence; });
  std::stable_sort(lost.begin(), lost.end(),
                   [](const Retained& a, const Retained& b) { return a.sequence < b.sequence; });
  for (Retained& retained : lost) retained.sequence = kNotReplayed;
  bool away = false;
  for (Retained& retained : lost) {
    if (away) break;
    Reply reply;
    const Status status = StartAndWait(retained.request, true, &reply);
    if (status.ok()) {
      retained.sequence = reply.sequence();
    } else if (status.Is(Code::kUnavailable) || status.Is(Code::kTimeout)) {
      away = true;
    } else {
      spdlog::error(
          "what the metadata server had confirmed cannot be done again after its crash: "
          "{}",
          status.ToString());
      retained.sequence = 0;
    }
  }
  MutexLock lock(mutex_);
  for (Retained& retained : lost) {
    if (retained.sequence > synced_sequence_) retained_.push_back(std::move(retained));
  }
  return !away;
}

void ClientImpl::Expired(SessionId session) {
  {
    MutexLock lock(mutex_);
    if (stopping_ || session != session_ || expired_ == session) return;
    expired_ = session;
    holding_ = true;
    welcome_ = false;
    if (stream_ != nullptr) stream_->Cancel();
    stream_ = nullptr;
  }
  const bool queued = events_.TrySubmit([this] {
    spdlog::warn("the session with the metadata server is over; registering again");
    leased_ = false;
    listener_->OnExpired();
    RegisterAgain(kFirstReconnectMicros);
  });
  if (!queued) spdlog::error("too many events of the metadata server are waiting");
}

void ClientImpl::RegisterAgain(int64_t pause_micros) {
  Request request;
  *request.mutable_register_node() = options_.node;
  Start(std::move(request), true, [this, pause_micros](const Status& status, const Reply& reply) {
    if (status.ok()) {
      auto registered = [this, reply = reply.registered()] { Registered(reply); };
      if (events_.TrySubmit(std::move(registered))) return;
    }
    {
      MutexLock lock(mutex_);
      if (stopping_) return;
    }
    spdlog::warn("registering with the metadata server: {}", status.ToString());
    timers_.After(pause_micros, [this, pause_micros] {
      RegisterAgain(std::min(2 * pause_micros, kMaxReconnectMicros));
    });
  });
}

void ClientImpl::Heartbeat() {
  ClientEvent event;
  *event.mutable_heartbeat() = listener_->Usage();
  bool lost = false;
  int64_t interval = 0;
  {
    MutexLock lock(mutex_);
    if (stopping_) return;
    const int64_t now = options_.clock->MonotonicMicros();
    interval = session_timeout_micros_ / kHeartbeats;
    if (stream_ != nullptr && welcome_) {
      heartbeats_.push_back(now);
      stream_->Send(event);
    }
    lost = leased_ && now - confirmed_micros_ > session_timeout_micros_ - interval;
  }
  if (lost) {
    leased_ = false;
    const bool queued = events_.TrySubmit([this] {
      spdlog::warn("the metadata server is silent: cached metadata is dropped");
      listener_->OnLeasesLost();
    });
    if (!queued) spdlog::error("too many events of the metadata server are waiting");
  }
  timers_.After(interval, [this] { Heartbeat(); });
}

void ClientImpl::HeartbeatAnswered() {
  {
    MutexLock lock(mutex_);
    if (heartbeats_.empty()) return;
    confirmed_micros_ = heartbeats_.front();
    heartbeats_.pop_front();
    if (leased_ || !welcome_) return;
  }
  // After the caches were dropped.
  if (!events_.TrySubmit([this] { leased_ = true; })) {
    spdlog::error("too many events of the metadata server are waiting");
  }
}

}  // namespace f3::meta
