// The way of one operation: tokens, attempts, answers.
#include <algorithm>
#include <chrono>
#include <utility>

#include "metadata/client_impl.h"
#include "metadata/request_kind.h"

namespace f3::meta {
namespace {

constexpr int64_t kFirstPauseMicros = 20'000;
constexpr int64_t kMaxPauseMicros = 500'000;
constexpr int64_t kHoldPauseMicros = 10'000;

}  // namespace

Status ClientImpl::Call(Request request, Reply* reply) {
  return StartAndWait(std::move(request), false, reply);
}

Status ClientImpl::StartAndWait(Request request, bool resuming, Reply* reply) {
  struct Waiter {
    Mutex mutex;
    CondVar answered;
    bool done F3_GUARDED_BY(mutex) = false;
    Status status F3_GUARDED_BY(mutex);
    Reply reply F3_GUARDED_BY(mutex);
  };
  auto waiter = std::make_shared<Waiter>();
  Start(std::move(request), resuming, [waiter](const Status& status, Reply answer) {
    MutexLock lock(waiter->mutex);
    waiter->status = status;
    waiter->reply = std::move(answer);
    waiter->done = true;
    waiter->answered.SignalAll();
  });
  MutexLock lock(waiter->mutex);
  while (!waiter->done) waiter->answered.Wait(waiter->mutex);
  *reply = std::move(waiter->reply);
  return waiter->status;
}

void ClientImpl::CallAsync(Request request, std::function<void(Status, Reply)> done) {
  Start(std::move(request), false, std::move(done));
}

void ClientImpl::Start(Request request, bool resuming, Done done) {
  auto call = std::make_shared<Pending>();
  call->mutation = IsMutation(request);
  call->request = std::move(request);
  call->done = std::move(done);
  call->resuming = resuming;
  call->deadline_micros = options_.clock->MonotonicMicros() + options_.call_timeout_micros;
  {
    MutexLock lock(mutex_);
    pending_.insert(call);
  }
  Attempt(call);
}

// What the request says of session and token. False: it has to wait `pause`, or failed.
bool ClientImpl::PrepareLocked(const PendingRef& call, Status* failed, int64_t* pause) {
  if (stopping_) {
    *failed = Status::Unavailable("the connection to the metadata server is being closed");
    return false;
  }
  if (holding_ && !call->resuming) {
    *pause = kHoldPauseMicros;
    return false;
  }
  Request& request = call->request;
  if (request.op_case() == Request::kRegisterNode) return true;
  if (call->mutation && request.token() != 0) {
    if (request.session() != session_) {
      *failed = Status::SessionExpired("this node's session with the metadata server ended");
      return false;
    }
  } else {
    request.set_session(session_);
    if (call->mutation && session_ != 0) {
      request.set_token(++last_token_);
      outstanding_.insert(request.token());
    }
  }
  if (call->mutation && session_ != 0) {
    // A replayed token is below all others: nothing is acknowledged with it.
    request.set_acked_token(call->resuming || outstanding_.empty() ? 0 : *outstanding_.begin() - 1);
  }
  return true;
}

void ClientImpl::Authorize(grpc::ClientContext* context) const {
  context->AddMetadata("authorization", key_.bearer());
}

void ClientImpl::Attempt(const PendingRef& call) {
  Status failed;
  int64_t pause = 0;
  {
    MutexLock lock(mutex_);
    call->retrying = false;
    if (PrepareLocked(call, &failed, &pause)) {
      call->context = std::make_unique<grpc::ClientContext>();
      Authorize(call->context.get());
      // A mutation may have to wait for the end of another client's session.
      const int64_t patience =
          options_.call_timeout_micros + (call->mutation ? session_timeout_micros_ : 0);
      call->context->set_deadline(std::chrono::system_clock::now() +
                                  std::chrono::microseconds(patience));
      call->reply.Clear();
      call->sent = true;
      call->sent_micros = options_.clock->MonotonicMicros();
    }
  }
  if (!failed.ok()) return Finish(call, failed);
  if (pause != 0) return TryAgain(call, pause, Away({grpc::StatusCode::UNAVAILABLE, ""}));
  stub_->async()->Call(call->context.get(), &call->request, &call->reply,
                       [this, call](const grpc::Status& status) { OnReply(call, status); });
}

Status ClientImpl::Away(const grpc::Status& status) const {
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
    return Status::Timeout("the metadata server at " + options_.server +
                           " did not answer in time; `f3 status` shows whether it runs");
  }
  return Status::Unavailable("cannot reach the metadata server at " + options_.server +
                             "; check the address and that it runs (`f3 status`)");
}

void ClientImpl::OnReply(const PendingRef& call, const grpc::Status& status) {
  {
    std::unique_ptr<grpc::ClientContext> over;  // without the lock
    MutexLock lock(mutex_);
    over = std::move(call->context);
  }
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
      break;
    case grpc::StatusCode::UNAUTHENTICATED:
      return Finish(call, Status::Unauthenticated("the metadata server at " + options_.server +
                                                  " has another cluster secret; copy its secret "
                                                  "file here"));
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return Finish(call, Status::InvalidArgument("the request is too large for the metadata "
                                                  "server: " +
                                                  status.error_message()));
    case grpc::StatusCode::UNIMPLEMENTED:
    case grpc::StatusCode::INVALID_ARGUMENT:
      return Finish(call, Status::Internal(
                              "the server at " + options_.server +
                              " is no metadata server of this version: " + status.error_message()));
    default:
      return TryAgain(call, 0, Away(status));
  }
  const Code code = call->reply.code() == 0 ? Code::kOk : CodeFromNumber(call->reply.code());
  {
    MutexLock lock(mutex_);
    if (call->reply.synced_sequence() > synced_sequence_ &&
        call->reply.server_epoch() == server_epoch_) {
      synced_sequence_ = call->reply.synced_sequence();
      const uint64_t synced = synced_sequence_;
      std::erase_if(retained_, [synced](const Retained& r) { return r.sequence <= synced; });
    }
  }
  if (code == Code::kGrace) {
    // The server is there; waiting for its other clients does not count.
    call->deadline_micros +=
        options_.clock->MonotonicMicros() - call->sent_micros + kFirstPauseMicros;
    return TryAgain(call, kFirstPauseMicros, Status::Grace(call->reply.message()));
  }
  if (code == Code::kUnavailable) {
    return TryAgain(call, 0, Status::Unavailable(call->reply.message()));
  }
  if (code == Code::kSessionExpired && call->request.session() != 0) {
    Expired(call->request.session());
    if (!call->mutation) {
      return TryAgain(call, kHoldPauseMicros, Status::SessionExpired(call->reply.message()));
    }
  }
  Finish(call, code == Code::kOk ? Status() : Status(code, call->reply.message()));
}

void ClientImpl::TryAgain(const PendingRef& call, int64_t pause_micros, const Status& reason) {
  if (pause_micros == 0) {
    call->pause_micros =
        std::min(std::max(2 * call->pause_micros, kFirstPauseMicros), kMaxPauseMicros);
    pause_micros = call->pause_micros;
  }
  if (options_.clock->MonotonicMicros() + pause_micros >= call->deadline_micros) {
    return Finish(call, reason);
  }
  bool stopping = false;
  {
    MutexLock lock(mutex_);
    stopping = stopping_;
    call->retrying = !stopping;
  }
  if (stopping) return Finish(call, reason);
  timers_.After(pause_micros, [this, call] {
    {
      MutexLock lock(mutex_);
      if (!pending_.contains(call)) return;
    }
    Attempt(call);
  });
}

void ClientImpl::RetainLocked(const Pending& call) {
  const Reply& reply = call.reply;
  if (reply.sequence() <= synced_sequence_ || call.request.session() != session_) return;
  Retained retained{reply.sequence(), call.request};
  if (reply.has_entry()) retained.request.set_replay_ino(reply.entry().attr().ino());
  if (reply.has_open()) retained.request.set_replay_unique(reply.open().incarnation());
  if (reply.number() != 0) retained.request.set_replay_unique(reply.number());
  retained_.push_back(std::move(retained));
}

void ClientImpl::Finish(const PendingRef& call, const Status& status) {
  {
    MutexLock lock(mutex_);
    if (pending_.erase(call) == 0) return;  // Shutdown was first
    ++delivering_;
    if (call->mutation && call->request.token() != 0 && !call->resuming) {
      outstanding_.erase(call->request.token());
      if (status.ok()) RetainLocked(*call);
    }
  }
  if (!leased_) WithdrawGrants(&call->reply);
  call->done(status, std::move(call->reply));
  MutexLock lock(mutex_);
  --delivering_;
  changed_.SignalAll();
}

}  // namespace f3::meta
