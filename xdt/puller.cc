#include "xdt/puller.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "xdt/pull.h"

namespace f3::xdt {
namespace {

constexpr int64_t kTicketMicros = 15'000'000;
constexpr int64_t kLaterMicros = 5'000;
constexpr int64_t kRequestMicros = 5'000'000;

}  // namespace

Puller::~Puller() = default;

void Puller::Get(Want want, Done done) {
  if (stopping()) return done(Status::Unavailable("the node is stopping"));
  std::make_shared<Pull>(this, std::move(want), std::move(done))->Start();
}

std::optional<Peer> Puller::KnownOwner(const Want& want) const {
  auto peer = options_.nodes->Known(want.owner);
  // It has restarted since: nobody is at its old address, which takes a while to find out.
  const bool old = peer && want.owner == want.reference.owner && peer->epoch < want.reference.epoch;
  return old ? std::nullopt : peer;
}

void Puller::Control(ControlOp op, const Want& want,
                     std::function<void(Result<ControlResult>)> done) {
  auto ask = [this, op, want, done = std::move(done)] {
    Result<Peer> peer = Status::Unavailable("where the buffer's node is is not known");
    if (auto known = KnownOwner(want)) {
      peer = *known;
    } else {
      peer = options_.nodes->Ask(want.owner);
    }
    if (!peer.ok()) return done(peer.status());
    PullTicket ticket;
    ticket.from = options_.node;
    ticket.name_space = want.asker.name_space;
    ticket.action = want.asker.action;
    ticket.expires_wall_micros = options_.clock->WallNanos() / 1000 + kTicketMicros;
    ControlRequest request;
    request.token = options_.keys->SealTicket(want.text, ticket);
    request.object = want.reference.object;
    request.op = op;
    auto answered = [this, peer, want, request, done](const Result<ControlResult>& answer) {
      if (!answer.status().Is(Code::kWrongEpoch)) return done(answer);
      // It has restarted; what it says of an old reference is the answer.
      auto again = [this, want, request, done] {
        auto fresh = options_.nodes->Ask(want.owner);
        if (!fresh.ok()) return done(fresh.status());
        options_.engine->Control(*fresh, request, want.deadline_micros, done);
      };
      if (!options_.work->TrySubmit(again)) done(Status::Again("the broker has too much to do"));
    };
    options_.engine->Control(*peer, request, want.deadline_micros, answered);
  };
  if (!options_.work->TrySubmit(ask)) ask();
}

IncomingRef Puller::JoinCopy(const Reference& reference) {
  MutexLock lock(mutex_);
  auto at = copies_.find({reference.owner, reference.object});
  if (at == copies_.end() || !at->second.incoming->status().ok()) return nullptr;
  IncomingRef incoming = at->second.incoming;
  if (incoming->content() != nullptr) {
    incoming->AddReader();
  } else if (!incoming->AddReaderToOthers()) {
    return nullptr;
  }
  at->second.order = next_order_++;
  return incoming;
}

void Puller::KeepCopy(const Reference& reference, const IncomingRef& incoming) {
  MutexLock lock(mutex_);
  Copy& copy = copies_[{reference.owner, reference.object}];
  if (copy.incoming != nullptr && copy.incoming->content() != nullptr) return;
  copy = {incoming, reference.expires_wall_micros, next_order_++};
}

void Puller::ControlLater(const Peer& peer, ControlRequest request) {
  {
    MutexLock lock(mutex_);
    later_.emplace_back(peer, std::move(request));
    if (later_.size() > 1) return;
  }
  options_.timers->After(kLaterMicros, [this] { SendLater(); });
}

void Puller::SendLater() {
  std::vector<std::pair<Peer, ControlRequest>> requests;
  {
    MutexLock lock(mutex_);
    requests.swap(later_);
  }
  const int64_t deadline = options_.clock->MonotonicMicros() + kRequestMicros;
  for (const auto& [peer, request] : requests) {
    options_.engine->Control(peer, request, deadline, [](const Result<ControlResult>& answer) {
      answer.status().PermitUnchecked();
    });
  }
}

Result<ContentRef> Puller::FindCopy(const Reference& reference) {
  MutexLock lock(mutex_);
  auto at = copies_.find({reference.owner, reference.object});
  ContentRef content = at == copies_.end() ? nullptr : at->second.incoming->content();
  if (content == nullptr) return Status::ObjectMissing("this node has no copy of the buffer");
  return content;
}

void Puller::DropCopies(uint64_t bytes) {
  std::vector<IncomingRef> dropped;  // freed without the lock
  MutexLock lock(mutex_);
  while (bytes > 0) {
    auto oldest = copies_.end();
    for (auto at = copies_.begin(); at != copies_.end(); ++at) {
      const ContentRef content = at->second.incoming->content();
      // In use: by this variable and the Incoming at least, that by the map alone.
      if (content == nullptr || content.use_count() > 2 || at->second.incoming.use_count() > 1) {
        continue;
      }
      if (oldest == copies_.end() || at->second.order < oldest->second.order) oldest = at;
    }
    if (oldest == copies_.end()) return;
    bytes -= std::min(bytes, oldest->second.incoming->bytes());
    dropped.push_back(std::move(oldest->second.incoming));
    copies_.erase(oldest);
  }
}

void Puller::Sweep() {
  std::vector<IncomingRef> dropped;
  MutexLock lock(mutex_);
  const int64_t now = options_.clock->WallNanos() / 1000;
  for (auto at = copies_.begin(); at != copies_.end();) {
    auto here = at++;
    if (here->second.expires_wall_micros > now && here->second.incoming->status().ok()) continue;
    dropped.push_back(std::move(here->second.incoming));
    copies_.erase(here);
  }
}

uint64_t Puller::copied_bytes() const {
  MutexLock lock(mutex_);
  uint64_t sum = 0;
  for (const auto& [key, copy] : copies_) {
    if (copy.incoming->content() != nullptr) sum += copy.incoming->bytes();
  }
  return sum;
}

bool Puller::stopping() const {
  MutexLock lock(mutex_);
  return stopping_;
}

void Puller::Shutdown() {
  std::map<CopyKey, Copy> copies;
  MutexLock lock(mutex_);
  stopping_ = true;
  copies.swap(copies_);
}

}  // namespace f3::xdt
