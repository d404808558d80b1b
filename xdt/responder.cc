#include "xdt/responder.h"

#include <algorithm>
#include <utility>

#include "common/crc32c.h"

namespace f3::xdt {
namespace {

constexpr int kMainBuffers = 128;
constexpr int kLinkBuffers = 2;  // links only send, and receive tagged bytes
constexpr size_t kMaxWaiting = 4096;
constexpr size_t kMaxLinks = 1024;
constexpr size_t kMaxStrangers = 1024;
// Links that are being connected, at one time.
constexpr size_t kMaxConnecting = 16;
// A requester that cannot be connected to for so long is not there; or while others wait.
constexpr int64_t kConnectMicros = 2'000'000;
constexpr int64_t kCrowdedConnectMicros = 250'000;
constexpr int64_t kMaxConnectRetryMicros = 10'000;
// The longest that a requester may ask this node to keep trying.
constexpr int64_t kMaxPatienceMicros = 3'600'000'000;
// After a deadline: the requester has given up, and its endpoint with it.
constexpr int64_t kGraceMicros = 2'000'000;
constexpr int64_t kBacklogMicros = 500;
constexpr int64_t kNoBufferMicros = 2'000;
constexpr int64_t kIdleMicros = 60'000'000;

ReplyMessage ErrorReply(const Status& status) {
  ReplyMessage reply;
  reply.code = status.code();
  reply.text = status.message();
  return reply;
}

}  // namespace

Status Responder::Open() {
  auto main = Endpoint::Open(fabric_, kMainBuffers, [this](auto bytes) { OnRequest(bytes); });
  if (!main.ok()) return main.status();
  main_ = std::move(main).value();
  return Status();
}

Result<Responder::LinkRef> Responder::OpenLink(const std::string& peer) {
  if (links_.size() >= kMaxLinks) return Status::Again("too many requesters");
  auto link = std::make_shared<Link>();
  link->peer = peer;
  if (!spare_.empty()) {
    link->endpoint = std::move(spare_.back());
    spare_.pop_back();
  } else {
    F3_ASSIGN_OR_RETURN(link->endpoint, Endpoint::Open(fabric_, kLinkBuffers, [](auto) {}));
  }
  F3_ASSIGN_OR_RETURN(link->address, link->endpoint->Resolve(peer));
  links_[peer] = link;
  return link;
}

void Responder::OnRequest(std::span<const std::byte> bytes) {
  auto message = Decode(bytes);
  if (!message.ok()) return;
  auto* request = std::get_if<RequestMessage>(&*message);
  if (request == nullptr) return;
  const int64_t now = options_.clock->MonotonicMicros();
  auto served = std::make_shared<Served>();
  served->request = std::move(*request);
  served->deadline_micros = now + std::min(served->request.patience_micros, kMaxPatienceMicros);
  auto link = links_.find(served->request.reply_to);
  if (link != links_.end()) return Admit(served, link->second, now);
  // Nobody to tell, or too many to tell anybody.
  if (!Endpoint::IsAddress(served->request.reply_to)) return;
  if (strangers_.size() < kMaxStrangers) strangers_.push_back(std::move(served));
}

int64_t Responder::AdmitStranger(int64_t now) {
  while (!strangers_.empty()) {
    const ServedRef served = strangers_.front();
    auto found = links_.find(served->request.reply_to);
    const bool late = served->deadline_micros <= now;
    // Whoever is connected, or not any more, makes room; CloseLinks says when.
    if (!late && found == links_.end() && connecting_ >= kMaxConnecting) return INT64_MAX;
    strangers_.pop_front();
    if (late) continue;
    if (found != links_.end()) {
      Admit(served, found->second, now);
      continue;
    }
    auto link = OpenLink(served->request.reply_to);
    if (link.ok()) Admit(served, *link, now);
    // It took a while: others first.
    return strangers_.empty() ? INT64_MAX : now;
  }
  return INT64_MAX;
}

void Responder::Admit(const ServedRef& served, const LinkRef& link, int64_t now) {
  served->link = link;
  link->used_micros = now;
  if (served->request.epoch != *options_.epoch) {
    serving_.push_back(served);
    return Refuse(served, Status::WrongEpoch("the node has restarted since"));
  }
  if (options_.handler == nullptr || waiting_.size() >= kMaxWaiting) {
    serving_.push_back(served);
    return Refuse(served, Status::Again("the node serves no more requests now"));
  }
  waiting_.push_back(served);
}

bool Responder::NeedsBuffer(const Served& served) const {
  return served.request.operation != Operation::kControl && served.request.length > 0;
}

// False: no buffer is free.
bool Responder::Begin(const ServedRef& served) {
  if (NeedsBuffer(*served)) {
    auto buffer = options_.buffers->Allocate(served->request.length, 0);
    if (!buffer.ok()) return false;
    served->buffer = std::move(buffer).value();
  }
  serving_.push_back(served);
  const RequestMessage& request = served->request;
  const bool bytes_follow = request.operation == Operation::kWrite && request.length > 0;
  if (!bytes_follow || request.bytes_inline) {
    if (bytes_follow) {
      std::copy_n(reinterpret_cast<const std::byte*>(request.bytes.data()), request.bytes.size(),
                  served->buffer.data());
    }
    Handle(served);
    return true;
  }
  served->stage = Stage::kReceiving;
  auto receive = served->link->endpoint->ReceiveBytes(
      request.tag, served->buffer.span(), [this, served](const Status& status, size_t bytes) {
        served->receive = nullptr;
        if (served->stage != Stage::kReceiving) return;
        if (!status.ok() || bytes != served->request.length) {
          return Refuse(served, Status::BadMessage("the bytes of the write did not arrive"));
        }
        Handle(served);
      });
  if (!receive.ok()) {
    Refuse(served, receive.status());
  } else {
    served->receive = *receive;
    Send(served);
  }
  return true;
}

void Responder::Refuse(const ServedRef& served, const Status& status) {
  served->bytes_over = true;
  served->reply = ErrorReply(status);
  served->stage = Stage::kSending;
  Send(served);
}

void Responder::Handle(const ServedRef& served) {
  served->stage = Stage::kHandling;
  ++with_handler_;
  auto run = [this, served] {
    switch (served->request.operation) {
      case Operation::kRead:
        return HandleRead(served);
      case Operation::kWrite:
        return HandleWrite(served);
      default:
        return HandleControl(served);
    }
  };
  const RequestMessage& request = served->request;
  served->at_once = request.operation != Operation::kWrite &&
                    options_.handler->AnswersAtOnce(request.object, request.length);
  if (served->at_once) return run();
  if (options_.handlers->TrySubmit(run)) return;
  --with_handler_;
  Refuse(served, Status::Again("the node serves no more requests now"));
}

void Responder::HandleRead(const ServedRef& served) {
  const RequestMessage& message = served->request;
  ReadRequest request;
  request.token = message.token;
  request.object = message.object;
  request.version = message.version;
  request.offset = message.offset;
  request.length = message.length;
  request.follow = message.follow;
  std::span<std::byte> into =
      served->buffer.valid() ? served->buffer.span() : std::span<std::byte>();
  options_.handler->HandleRead(
      request, into, served->deadline_micros, [this, served, into](const Result<ReadResult>& read) {
        if (!read.ok()) return Handled(served, ErrorReply(read.status()));
        ReplyMessage reply;
        reply.length = std::min<uint32_t>(read->length, static_cast<uint32_t>(into.size()));
        reply.object_bytes = read->object_bytes;
        reply.version = read->version;
        reply.writing = read->writing;
        const auto bytes = into.first(reply.length);
        reply.crc = Crc32c(bytes);
        if (into.size() <= kMaxInlineBytes) {
          reply.bytes_inline = true;
          reply.bytes.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        }
        counters_.bytes_served += reply.length;
        Handled(served, std::move(reply));
      });
}

void Responder::HandleWrite(const ServedRef& served) {
  const RequestMessage& message = served->request;
  std::span<const std::byte> bytes;
  if (served->buffer.valid()) bytes = served->buffer.span();
  if (Crc32c(bytes) != message.crc) {
    ++counters_.checksum_failures;
    return Handled(served, ErrorReply(Status::Checksum("the bytes changed on their way")));
  }
  WriteRequest request;
  request.token = message.token;
  request.object = message.object;
  request.version = message.version;
  request.offset = message.offset;
  request.append = message.append;
  options_.handler->HandleWrite(request, bytes, [this, served](const Result<WriteResult>& written) {
    if (!written.ok()) return Handled(served, ErrorReply(written.status()));
    ReplyMessage reply;
    reply.value = written->offset;
    reply.object_bytes = written->object_bytes;
    Handled(served, std::move(reply));
  });
}

void Responder::HandleControl(const ServedRef& served) {
  const RequestMessage& message = served->request;
  ControlRequest request;
  request.token = message.token;
  request.object = message.object;
  request.version = message.version;
  request.op = message.control;
  request.a = message.a;
  request.b = message.b;
  request.c = message.c;
  options_.handler->HandleControl(request, [this, served](const Result<ControlResult>& result) {
    if (!result.ok()) return Handled(served, ErrorReply(result.status()));
    ReplyMessage reply;
    reply.value = result->value;
    reply.object_bytes = result->object_bytes;
    reply.mtime_ns = result->mtime_ns;
    reply.allocated_bytes = result->allocated_bytes;
    Handled(served, std::move(reply));
  });
}

// From any thread.
void Responder::Handled(const ServedRef& served, ReplyMessage reply) {
  if (served->at_once) return Answer(served, std::move(reply));
  options_.post(
      [this, served, reply = std::move(reply)]() mutable { Answer(served, std::move(reply)); });
}

void Responder::Answer(const ServedRef& served, ReplyMessage reply) {
  --with_handler_;
  served->reply = std::move(reply);
  served->stage = Stage::kSending;
  const bool bytes_follow = served->request.operation == Operation::kRead &&
                            served->reply.code == Code::kOk && served->reply.length > 0 &&
                            !served->reply.bytes_inline;
  served->bytes_over = !bytes_follow;
  if (!closed_) Send(served);
}

bool Responder::Sent(Link* link, const Status& status) {
  if (status.Is(Code::kAgain)) {
    const int64_t now = options_.clock->MonotonicMicros();
    int64_t pause = kBacklogMicros;
    if (!link->connected) {
      // Each try costs, and those who are not there are tried for a while.
      if (link->connecting_since == 0) {
        link->connecting_since = now;
        ++connecting_;
      }
      pause = std::clamp((now - link->connecting_since) / 4, pause, kMaxConnectRetryMicros);
      link->next_try_micros = now + pause;
    }
    send_due_micros_ = std::min(send_due_micros_, now + pause);
    return false;
  }
  if (!status.ok()) {
    link->broken = true;
    return false;
  }
  if (Connecting(*link)) --connecting_;
  link->connected = true;
  return true;
}

// Sends what can be sent of an answer.
void Responder::Send(const ServedRef& served) {
  Link* link = served->link.get();
  if (link->endpoint == nullptr || link->broken) return;
  if (!link->connected && link->next_try_micros > options_.clock->MonotonicMicros()) {
    send_due_micros_ = std::min(send_due_micros_, link->next_try_micros);
    return;
  }
  auto sent_later = [link = served->link](const Status& status, size_t) {
    if (!status.ok()) link->broken = true;
  };
  if (served->stage == Stage::kReceiving && !served->ready_sent) {
    const ReadyMessage ready = {served->request.id, link->endpoint->address()};
    served->ready_sent =
        Sent(link, link->endpoint->SendMessage(link->address, Encode(ready), sent_later));
    return;
  }
  if (served->stage != Stage::kSending) return;
  if (!served->bytes_over && !served->bytes_sent) {
    const auto bytes = served->buffer.span().first(served->reply.length);
    auto over = [served](const Status& status, size_t) {
      if (!status.ok()) served->link->broken = true;
      served->bytes_over = true;
    };
    served->bytes_sent =
        Sent(link, link->endpoint->SendBytes(link->address, served->request.tag, bytes, over));
    if (!served->bytes_sent) return;
  }
  if (served->reply_sent) return;
  served->reply.id = served->request.id;
  served->reply_sent =
      Sent(link, link->endpoint->SendMessage(link->address, Encode(served->reply), sent_later));
}

int64_t Responder::Run() {
  main_->Poll();
  for (const auto& [peer, link] : links_) {
    if (link->endpoint != nullptr) link->endpoint->Poll();
  }
  const int64_t now = options_.clock->MonotonicMicros();
  int64_t due = AdmitStranger(now);
  while (!waiting_.empty() && serving_.size() < options_.max_served) {
    const ServedRef& next = waiting_.front();
    const bool over = next->deadline_micros <= now || next->link->endpoint == nullptr;
    if (!over && !Begin(next)) {
      due = std::min(due, now + kNoBufferMicros);
      break;
    }
    waiting_.pop_front();
  }
  send_due_micros_ = INT64_MAX;
  for (const ServedRef& served : serving_) Send(served);
  due = std::min(due, send_due_micros_);
  ExpireAndClose(now, &due);
  return due == INT64_MAX ? due : std::max<int64_t>(due - options_.clock->MonotonicMicros(), 0);
}

void Responder::ExpireAndClose(int64_t now, int64_t* due) {
  for (const ServedRef& served : serving_) {
    if (served->stage == Stage::kHandling) continue;
    const int64_t until = served->deadline_micros + kGraceMicros;
    if (until <= now && !(served->reply_sent && served->bytes_over)) served->link->broken = true;
    *due = std::min(*due, until);
  }
  CloseLinks(now, due);
  std::erase_if(serving_, [](const ServedRef& served) {
    if (served->stage == Stage::kHandling) return false;
    return served->link->endpoint == nullptr || (served->reply_sent && served->bytes_over);
  });
}

void Responder::CloseLinks(int64_t now, int64_t* due) {
  const int64_t connect = strangers_.empty() ? kConnectMicros : kCrowdedConnectMicros;
  for (auto it = links_.begin(); it != links_.end();) {
    Link* link = it->second.get();
    if (Connecting(*link)) {
      link->broken |= now - link->connecting_since > connect;
      *due = std::min(*due, link->connecting_since + connect);
    }
    const bool idle = now - link->used_micros > kIdleMicros;
    if (!link->broken && !idle) {
      ++it;
      continue;
    }
    const bool used = std::any_of(serving_.begin(), serving_.end(),
                                  [&](const ServedRef& s) { return s->link.get() == link; });
    if (!link->broken && used) {
      ++it;
      continue;
    }
    CloseLink(link);
    it = links_.erase(it);
  }
  if (strangers_.empty() && connecting_ == 0) spare_.clear();
}

void Responder::CloseLink(Link* link) {
  if (Connecting(*link)) {
    --connecting_;
    if (link->endpoint->idle()) spare_.push_back(std::move(link->endpoint));
  }
  link->endpoint.reset();  // gives every buffer back
}

void Responder::AddWaits(std::vector<int>* fds, std::vector<fid*>* queues) const {
  fds->push_back(main_->wait_fd());
  queues->push_back(main_->queue());
  for (const auto& [peer, link] : links_) {
    if (link->endpoint == nullptr) continue;
    fds->push_back(link->endpoint->wait_fd());
    queues->push_back(link->endpoint->queue());
  }
}

void Responder::Shutdown() {
  closed_ = true;
  for (const auto& [peer, link] : links_) link->endpoint.reset();
  links_.clear();
  strangers_.clear();
  spare_.clear();
  waiting_.clear();
  serving_.clear();
  main_.reset();
}

}  // namespace f3::xdt
