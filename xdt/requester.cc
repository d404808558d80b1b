#include "xdt/requester.h"

#include <sodium.h>

#include <algorithm>
#include <utility>

namespace f3::xdt {
namespace {

constexpr int kMessageBuffers = 48;
// A peer that cannot be connected to for so long is not there.
constexpr int64_t kConnectMicros = 2'000'000;
// For the fabric to give back a buffer after a cancel, before the link is closed.
constexpr int64_t kCancelMicros = 100'000;
constexpr int64_t kBacklogMicros = 500;
constexpr int64_t kIdleMicros = 60'000'000;

// Cannot be guessed. Tags: providers keep the top bits for themselves.
uint64_t RandomNumber() {
  uint64_t number = 0;
  randombytes_buf(&number, sizeof(number));
  return number >> 2;
}

}  // namespace

void Requester::Add(Outgoing request) {
  auto& link = links_[request.peer];
  if (link == nullptr) {
    link = std::make_unique<Link>();
    link->peer = request.peer;
    link->next_id = RandomNumber();
  }
  link->waiting.push_back(std::move(request));
}

Status Requester::OpenLink(Link* link) {
  auto endpoint = Endpoint::Open(fabric_, kMessageBuffers,
                                 [this, link](auto bytes) { OnMessage(link, bytes); });
  if (!endpoint.ok()) return endpoint.status();
  F3_ASSIGN_OR_RETURN(link->address, (*endpoint)->Resolve(link->peer));
  link->endpoint = std::move(endpoint).value();
  link->connecting_since = 0;
  return Status();
}

int64_t Requester::Run() {
  int64_t due = INT64_MAX;
  const int64_t now = clock_->MonotonicMicros();
  for (auto it = links_.begin(); it != links_.end();) {
    Link* link = it->second.get();
    if (link->endpoint != nullptr) link->endpoint->Poll();
    StartCalls(link, now, &due);
    CheckDeadlines(link, now, &due);
    if (link->broken) {
      CloseLink(link, Status::PeerUnreachable("the connection to " + link->peer + " broke"));
    }
    const bool idle = link->calls.empty() && link->waiting.empty();
    if (!idle) link->used_micros = now;
    if (idle && now - link->used_micros > kIdleMicros) {
      it = links_.erase(it);
    } else {
      ++it;
    }
  }
  return due == INT64_MAX ? due : std::max<int64_t>(due - clock_->MonotonicMicros(), 0);
}

void Requester::StartCalls(Link* link, int64_t now, int64_t* due) {
  while (!link->waiting.empty() && link->calls.size() < max_in_flight_) {
    Outgoing& next = link->waiting.front();
    if (next.not_before_micros > now) {
      *due = std::min({*due, next.not_before_micros, next.deadline_micros});
      break;
    }
    Outgoing request = std::move(next);
    link->waiting.pop_front();
    StartCall(link, std::move(request));
  }
  link->backlog = false;
  std::vector<std::shared_ptr<Call>> unsent;  // sending may end a call
  for (const auto& [id, call] : link->calls) {
    if (!call->sent || (!call->ready.empty() && !call->bytes_sent)) unsent.push_back(call);
  }
  for (const auto& call : unsent) SendCall(link, call);
  if (link->backlog) {
    if (link->connecting_since == 0) link->connecting_since = now;
    *due = std::min(*due, now + kBacklogMicros);
  } else {
    link->connecting_since = 0;
  }
}

void Requester::StartCall(Link* link, Outgoing request) {
  if (link->endpoint == nullptr) {
    Status opened = OpenLink(link);
    if (!opened.ok()) return request.done(opened);
  }
  auto call = std::make_shared<Call>();
  call->out = std::move(request);
  RequestMessage& message = call->out.message;
  message.id = link->next_id++;
  message.tag = RandomNumber();
  message.reply_to = link->endpoint->address();
  link->calls[message.id] = call;
  if (message.operation != Operation::kRead || call->out.into.size() <= kMaxInlineBytes) return;
  auto received = link->endpoint->ReceiveBytes(
      message.tag, call->out.into, [this, link, call](const Status& status, size_t bytes) {
        call->receive = nullptr;
        --call->pending;
        if (!call->settled && !status.ok()) {
          call->settled = true;
          call->answer = status;
        } else if (call->bytes_follow && (!status.ok() || bytes < call->answer->length)) {
          call->answer = status.ok() ? Status::BadMessage("fewer bytes than announced") : status;
          call->bytes_follow = false;
        }
        FinishIfOver(link, call);
      });
  if (!received.ok()) return Settle(link, call, received.status());
  call->receive = *received;
  ++call->pending;
}

// Sends what can be sent of a call.
void Requester::SendCall(Link* link, const std::shared_ptr<Call>& call) {
  if (call->settled || link->endpoint == nullptr) return;
  RequestMessage& message = call->out.message;
  auto sent_later = [link, call](const Status& status, size_t) {
    if (!status.ok() && !call->settled) link->broken = true;
  };
  if (!call->sent) {
    message.patience_micros =
        std::max<int64_t>(call->out.deadline_micros - clock_->MonotonicMicros(), 0);
    const std::string text = Encode(message);
    Status sent = text.empty() ? Status::InvalidArgument("the request is too long to be sent")
                               : link->endpoint->SendMessage(link->address, text, sent_later);
    if (sent.Is(Code::kAgain)) {
      link->backlog = true;
      return;
    }
    if (sent.Is(Code::kInvalidArgument)) return Settle(link, call, sent);
    if (!sent.ok()) {
      link->broken = true;
      return;
    }
    call->sent = true;
  }
  if (call->ready.empty() || call->bytes_sent) return;
  auto to = link->endpoint->Resolve(call->ready);
  if (!to.ok()) return Settle(link, call, to.status());
  Status sent = link->endpoint->SendBytes(*to, message.tag, call->out.bytes,
                                          [this, link, call](const Status& status, size_t) {
                                            --call->pending;
                                            if (!status.ok() && !call->settled) link->broken = true;
                                            FinishIfOver(link, call);
                                          });
  if (sent.Is(Code::kAgain)) {
    link->backlog = true;
    return;
  }
  if (!sent.ok()) {
    link->broken = true;
    return;
  }
  call->bytes_sent = true;
  ++call->pending;
}

void Requester::CheckDeadlines(Link* link, int64_t now, int64_t* due) {
  // A peer to which nothing can be sent: whoever waits for it should try another holder soon.
  if (link->connecting_since != 0 && now - link->connecting_since > kConnectMicros) {
    return CloseLink(link, Status::PeerUnreachable("cannot connect to " + link->peer));
  }
  std::vector<std::shared_ptr<Call>> late;
  for (const auto& [id, call] : link->calls) {
    const int64_t until = call->settled ? call->give_up_micros : call->out.deadline_micros;
    if (until != 0 && until <= now) {
      late.push_back(call);
    } else if (until != 0) {
      *due = std::min(*due, until);
    }
  }
  for (const auto& call : late) {
    if (call->settled) {
      return CloseLink(link, Status::PeerUnreachable(link->peer + " went silent"));
    }
    Settle(link, call, Status::Timeout(link->peer + " did not answer in time"));
    if (call->give_up_micros != 0) *due = std::min(*due, call->give_up_micros);
  }
  std::deque<Outgoing> left;
  std::vector<Outgoing> expired;
  for (Outgoing& waiting : link->waiting) {
    if (waiting.deadline_micros <= now) {
      expired.push_back(std::move(waiting));
    } else {
      *due = std::min(*due, waiting.deadline_micros);
      left.push_back(std::move(waiting));
    }
  }
  link->waiting = std::move(left);
  for (Outgoing& request : expired) {
    request.done(Status::Timeout("too many requests to " + link->peer + " are under way"));
  }
}

void Requester::OnMessage(Link* link, std::span<const std::byte> bytes) {
  auto message = Decode(bytes);
  if (!message.ok()) return;
  if (auto* ready = std::get_if<ReadyMessage>(&*message)) {
    auto found = link->calls.find(ready->id);
    if (found == link->calls.end()) return;
    const std::shared_ptr<Call> call = found->second;
    if (call->settled || call->out.message.operation != Operation::kWrite) return;
    if (call->ready.empty()) call->ready = ready->address;
    return SendCall(link, call);
  }
  auto* reply = std::get_if<ReplyMessage>(&*message);
  if (reply == nullptr) return;
  auto found = link->calls.find(reply->id);
  if (found == link->calls.end()) return;
  const std::shared_ptr<Call> call = found->second;
  if (call->settled) return;
  if (reply->length > call->out.into.size()) {
    return Settle(link, call, Status::BadMessage("more bytes than were asked for"));
  }
  if (reply->code != Code::kOk) return Settle(link, call, Status(reply->code, reply->text));
  Settle(link, call, std::move(*reply));
}

// The answer is known; the call is over once the fabric has given back the buffers.
void Requester::Settle(Link* link, const std::shared_ptr<Call>& call, Result<ReplyMessage> answer) {
  if (call->settled) return;
  call->settled = true;
  call->answer = std::move(answer);
  call->bytes_follow = call->answer.ok() && call->answer->length > 0 &&
                       !call->answer->bytes_inline &&
                       call->out.message.operation == Operation::kRead;
  const int64_t now = clock_->MonotonicMicros();
  if (call->receive != nullptr && !call->bytes_follow) {
    call->give_up_micros = now + kCancelMicros;
    link->endpoint->Cancel(call->receive);
  } else if (call->pending > 0) {
    call->give_up_micros = std::max(call->out.deadline_micros, now + kCancelMicros);
  }
  FinishIfOver(link, call);
}

void Requester::FinishIfOver(Link* link, const std::shared_ptr<Call>& call) {
  if (!call->settled || call->pending > 0) return;
  if (link->calls.erase(call->out.message.id) == 0) return;
  auto done = std::move(call->out.done);
  if (call->answer.ok() && call->answer->bytes_inline) {
    const std::string& bytes = call->answer->bytes;
    std::copy_n(reinterpret_cast<const std::byte*>(bytes.data()), bytes.size(),
                call->out.into.begin());
  }
  done(std::move(call->answer));
}

void Requester::CloseLink(Link* link, const Status& status) {
  link->broken = false;
  link->connecting_since = 0;
  if (link->endpoint == nullptr) return;
  // From here on the fabric touches no buffer of this link.
  link->endpoint.reset();
  ++reconnects_;
  auto calls = std::move(link->calls);
  link->calls.clear();
  for (const auto& [id, call] : calls) {
    if (call->settled && !call->answer.ok()) {
      call->out.done(call->answer.status());
    } else {
      call->out.done(status);
    }
  }
}

void Requester::AddWaits(std::vector<int>* fds, std::vector<fid*>* queues) const {
  for (const auto& [peer, link] : links_) {
    if (link->endpoint == nullptr) continue;
    fds->push_back(link->endpoint->wait_fd());
    queues->push_back(link->endpoint->queue());
  }
}

void Requester::Shutdown(const Status& status) {
  for (auto& [peer, link] : links_) {
    CloseLink(link.get(), status);
    std::deque<Outgoing> waiting = std::move(link->waiting);
    for (Outgoing& request : waiting) request.done(status);
  }
  links_.clear();
}

}  // namespace f3::xdt
