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

Result<Responder::LinkRef> Responder::LinkTo(const std::string& peer) {
  auto found = links_.find(peer);
  if (found != links_.end()) return found->second;
  if (links_.size() >= kMaxLinks) return Status::Again("too many requesters");
  auto link = std::make_shared<Link>();
  link->peer = peer;
  F3_ASSIGN_OR_RETURN(link->endpoint, Endpoint::Open(fabric_, kLinkBuffers, [](auto) {}));
  F3_ASSIGN_OR_RETURN(link->address, link->endpoint->Resolve(peer));
  links_[peer] = link;
  return link;
}

void Responder::OnRequest(std::span<const std::byte> bytes) {
  auto message = Decode(bytes);
  if (!message.ok()) return;
  auto* request = std::get_if<RequestMessage>(&*message);
  if (request == nullptr) return;
  auto link = LinkTo(request->reply_to);
  if (!link.ok()) return;  // nobody to tell
  const int64_t now = options_.clock->MonotonicMicros();
  auto served = std::make_shared<Served>();
  served->request = std::move(*request);
  served->link = *link;
  served->link->used_micros = now;
  served->deadline_micros = now + std::min(served->request.patience_micros, kMaxPatienceMicros);
  if (served->request.epoch != *options_.epoch) {
    serving_.push_back(served);
    return Refuse(served, Status::WrongEpoch("the node has restarted since"));
  }
  if (options_.handler == nullptr || waiting_.size() >= kMaxWaiting) {
    serving_.push_back(served);
    return Refuse(served, Status::Again("the node serves no more requests now"));
  }
  waiting_.push_back(std::move(served));
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

// Sends what can be sent of an answer.
void Responder::Send(const ServedRef& served) {
  Link* link = served->link.get();
  if (link->endpoint == nullptr || link->broken) return;
  auto sent_later = [link = served->link](const Status& status, size_t) {
    if (!status.ok()) link->broken = true;
  };
  auto outcome = [&](const Status& sent) {
    if (sent.Is(Code::kAgain)) backlog_ = true;
    if (!sent.ok() && !sent.Is(Code::kAgain)) link->broken = true;
    return sent.ok();
  };
  if (served->stage == Stage::kReceiving && !served->ready_sent) {
    const ReadyMessage ready = {served->request.id, link->endpoint->address()};
    served->ready_sent =
        outcome(link->endpoint->SendMessage(link->address, Encode(ready), sent_later));
    return;
  }
  if (served->stage != Stage::kSending) return;
  if (!served->bytes_over && !served->bytes_sent) {
    served->bytes_sent = outcome(link->endpoint->SendBytes(
        link->address, served->request.tag, served->buffer.span().first(served->reply.length),
        [served](const Status& status, size_t) {
          if (!status.ok()) served->link->broken = true;
          served->bytes_over = true;
        }));
    if (!served->bytes_sent) return;
  }
  if (served->reply_sent) return;
  served->reply.id = served->request.id;
  served->reply_sent =
      outcome(link->endpoint->SendMessage(link->address, Encode(served->reply), sent_later));
}

int64_t Responder::Run() {
  int64_t due = INT64_MAX;
  main_->Poll();
  for (const auto& [peer, link] : links_) {
    if (link->endpoint != nullptr) link->endpoint->Poll();
  }
  const int64_t now = options_.clock->MonotonicMicros();
  while (!waiting_.empty() && serving_.size() < options_.max_served) {
    if (waiting_.front()->deadline_micros > now && !Begin(waiting_.front())) {
      due = std::min(due, now + kNoBufferMicros);
      break;
    }
    waiting_.pop_front();
  }
  backlog_ = false;
  for (const ServedRef& served : serving_) Send(served);
  if (backlog_) due = std::min(due, now + kBacklogMicros);
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
  for (auto it = links_.begin(); it != links_.end();) {
    Link* link = it->second.get();
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
    link->endpoint.reset();  // gives every buffer back
    it = links_.erase(it);
  }
  std::erase_if(serving_, [](const ServedRef& served) {
    if (served->stage == Stage::kHandling) return false;
    return served->link->endpoint == nullptr || (served->reply_sent && served->bytes_over);
  });
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
  waiting_.clear();
  serving_.clear();
  main_.reset();
}

}  // namespace f3::xdt
