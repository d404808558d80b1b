#include "xdt/pull.h"

#include <sodium.h>

#include <algorithm>
#include <utility>

#include "xdt/libxdt/protocol.h"

namespace f3::xdt {
namespace {

// A ticket is made for each request and outlives it by this much; the owner keeps a pull's place
// for so long after its last request.
constexpr int64_t kTicketMicros = 15'000'000;
// One request for one piece.
constexpr int64_t kRequestMicros = 5'000'000;
// The same of a node that has a copy: the owner is there to be asked instead.
constexpr int64_t kRelayMicros = 2'000'000;
constexpr int64_t kRetryMicros = 20'000;
// A stream has no deadline of its own; it ends when nothing has come for so long.
constexpr int64_t kStallMicros = 30'000'000;
// What few bytes cost beside themselves.
constexpr uint64_t kSmallOverhead = 256;

bool MayPass(const Status& status) {
  switch (status.code()) {
    case Code::kBusy:
    case Code::kAgain:
    case Code::kTimeout:
    case Code::kPeerUnreachable:
    case Code::kWrongEpoch:
    case Code::kChecksum:
    case Code::kUnavailable:
      return true;
    default:
      return false;
  }
}

// What the broker looks for the new owner on.
Status MovedAway() {
  return Status::RefEarlierEpoch("the node that held the buffer has stopped and left it to others");
}

}  // namespace

Puller::Pull::Pull(Puller* puller, Want want, Done done)
    : puller_(puller), want_(std::move(want)), done_(std::move(done)) {
  randombytes_buf(id_.data(), id_.size());
  progress_micros_ = Now();
}

bool Puller::Pull::Moved() const {
  const auto& moved = puller_->options_.moved;
  return moved && want_.owner == want_.reference.owner && moved(want_.reference);
}

std::string Puller::Pull::Token(bool granted, int64_t for_micros) const {
  PullTicket ticket;
  ticket.id = id_;
  ticket.from = puller_->options_.node;
  ticket.name_space = want_.asker.name_space;
  ticket.action = want_.asker.action;
  ticket.granted = granted;
  ticket.expires_wall_micros =
      puller_->options_.clock->WallNanos() / 1000 + for_micros + kTicketMicros;
  return puller_->options_.keys->SealTicket(want_.text, ticket);
}

void Puller::Pull::WithOwner(bool ask, std::function<void(const Peer&)> next) {
  if (!ask) {
    if (auto peer = puller_->KnownOwner(want_)) return next(*peer);
  }
  auto find = [self = shared_from_this(), next = std::move(next)] {
    auto peer = self->puller_->options_.nodes->Ask(self->want_.owner);
    if (peer.ok()) return next(*peer);
    self->RetryOrEnd(peer.status(), [self, next] { self->WithOwner(true, next); });
  };
  if (!puller_->options_.work->TrySubmit(find)) {
    Finish(Status::Again("the broker has too much to do"));
  }
}

void Puller::Pull::RetryOrEnd(const Status& status, std::function<void()> again) {
  const int64_t now = Now();
  if (!MayPass(status) || now + kRetryMicros >= want_.deadline_micros || puller_->stopping()) {
    // What was asked for in time and not given is late, whatever it was that did not answer.
    return Finish(status.Is(Code::kWrongEpoch)
                      ? Status::Unavailable("the buffer's node does not answer")
                      : status);
  }
  if (status.Is(Code::kWrongEpoch) || status.Is(Code::kPeerUnreachable)) {
    auto submit = [self = shared_from_this(), again] {
      // Its address or epoch may be another by now.
      auto look = [self, again] {
        if (self->Moved()) return self->Finish(MovedAway());
        self->puller_->options_.nodes->Ask(self->want_.owner).status().PermitUnchecked();
        again();
      };
      if (!self->puller_->options_.work->TrySubmit(look)) again();
    };
    return puller_->options_.timers->After(kRetryMicros, submit);
  }
  puller_->options_.timers->After(kRetryMicros, std::move(again));
}

void Puller::Pull::Start() {
  if (!OnePiece() && Shared()) return AskGrant();
  Reserve();
}

void Puller::Pull::AskGrant() {
  WithOwner(false, [self = shared_from_this()](const Peer& peer) {
    ControlRequest request;
    // The owner may hear of it again only when it is over: a holder, or another getter, serves it.
    request.token =
        self->Token(false, std::max<int64_t>(self->want_.deadline_micros - self->Now(), 0));
    request.object = self->want_.reference.object;
    request.op = ControlOp::kGrant;
    const int64_t deadline = std::min(self->want_.deadline_micros, self->Now() + kRequestMicros);
    self->puller_->options_.engine->Control(
        peer, request, deadline,
        [self](const Result<ControlResult>& grant) { self->OnGrant(grant); });
  });
}

void Puller::Pull::OnGrant(const Result<ControlResult>& grant) {
  if (!grant.ok()) {
    return RetryOrEnd(grant.status(), [self = shared_from_this()] { self->AskGrant(); });
  }
  if (IncomingRef joined = puller_->JoinCopy(want_.reference)) return Follow(joined);
  {
    MutexLock lock(mutex_);
    const NodeId holder = static_cast<NodeId>(grant->value);
    if (holder != want_.owner && holder != puller_->options_.node) holder_ = holder;
  }
  Reserve();
}

void Puller::Pull::Follow(const IncomingRef& joined) {
  const uint64_t wanted = want_.stream ? 1 : joined->bytes();
  joined->Await(wanted, want_.deadline_micros,
                [self = shared_from_this(), joined](const Result<uint64_t>& here) {
                  if (!here.ok()) {
                    joined->RemoveReader();
                    // The other's deadline, or its end, is not this one's.
                    if (joined->status().ok()) return self->Finish(here.status());
                    return self->RetryOrEnd(here.status(), [self] { self->AskGrant(); });
                  }
                  // Not before the bytes are here: a retrieval without them is given back.
                  joined->Await(
                      joined->bytes(), Incoming::kNever,
                      [self](const Result<uint64_t>& all) { self->TellOwner(all.ok(), false); });
                  ContentRef content = joined->content();
                  if (content != nullptr) joined->RemoveReader();
                  self->Finish(Got{content, content != nullptr ? nullptr : joined});
                });
}

void Puller::Pull::Reserve() {
  const uint64_t length = want_.reference.length;
  const uint64_t bytes =
      length <= XDT_INLINE_BYTES ? length + kSmallOverhead : SharedBuffer::MemoryOf(length);
  auto share = puller_->options_.pool->TryReserve(bytes, want_.account);
  if (share.ok()) return Begin(std::move(share).value());
  if (!share.status().Is(Code::kAgain)) return Finish(share.status());
  puller_->options_.pool->Wait(bytes, want_.account, want_.deadline_micros,
                               [self = shared_from_this()](Result<BufferPool::Share> waited) {
                                 if (!waited.ok()) return self->Finish(waited.status());
                                 self->Begin(std::move(waited).value());
                               });
}

void Puller::Pull::Begin(BufferPool::Share share) {
  if (OnePiece()) {
    share_ = std::move(share);
    if (want_.reference.length > XDT_INLINE_BYTES) MakeTarget();
    return ReadWhole();
  }
  auto held = std::make_shared<BufferPool::Share>(std::move(share));
  // Allocating its pages takes a while.
  const bool submitted = puller_->options_.work->TrySubmit([self = shared_from_this(), held] {
    auto incoming = Incoming::Create(self->want_.reference.length, std::move(*held),
                                     self->puller_->options_.timers);
    if (!incoming.ok()) return self->Finish(incoming.status());
    self->incoming_ = *incoming;
    self->incoming_->AddReader();
    if (self->Shared()) self->puller_->KeepCopy(self->want_.reference, self->incoming_);
    {
      MutexLock lock(self->mutex_);
      for (size_t i = 0; i < self->incoming_->pieces(); ++i) self->todo_.push_back(i);
      self->progress_micros_ = self->Now();
    }
    const uint64_t wanted = self->want_.stream ? 1 : self->incoming_->bytes();
    self->incoming_->Await(
        wanted, self->want_.deadline_micros, [self](const Result<uint64_t>& here) {
          if (here.ok()) {
            ContentRef content = self->incoming_->content();
            if (content != nullptr) self->incoming_->RemoveReader();
            return self->Finish(Got{content, content != nullptr ? nullptr : self->incoming_});
          }
          // Nobody waits for it any more; the pieces see that.
          self->incoming_->RemoveReader();
          self->Finish(here.status());
        });
    self->Pump();
  });
  if (!submitted) Finish(Status::Again("the broker has too much to do"));
}

void Puller::Pull::MakeTarget() {
  auto make = [self = shared_from_this()] {
    auto target = SharedBuffer::Create(self->want_.reference.length);
    std::function<void()> then;
    {
      MutexLock lock(self->mutex_);
      self->target_ = std::move(target);
      then = std::exchange(self->with_target_, nullptr);
    }
    if (then) then();
  };
  if (!puller_->options_.work->TrySubmit(make)) make();
}

void Puller::Pull::ReadWhole() {
  WithOwner(false, [self = shared_from_this()](const Peer& peer) {
    const auto again = [self] { self->ReadWhole(); };
    const uint32_t length = static_cast<uint32_t>(self->want_.reference.length);
    auto allocated = self->puller_->options_.buffers->Allocate(std::max<size_t>(length, 1), 0);
    if (!allocated.ok()) return self->RetryOrEnd(allocated.status(), again);
    auto buffer = std::make_shared<hwalloc::Buffer>(std::move(allocated).value());
    ReadRequest request;
    request.token = self->Token(false);
    request.object = self->want_.reference.object;
    request.length = length;
    request.done_at_once = length <= XDT_INLINE_BYTES;
    const int64_t deadline = std::min(self->want_.deadline_micros, self->Now() + kRequestMicros);
    self->puller_->options_.engine->Read(peer, request, buffer->span().first(length), deadline,
                                         [self, buffer, again](const Result<ReadResult>& read) {
                                           if (!read.ok())
                                             return self->RetryOrEnd(read.status(), again);
                                           self->OnWhole(read, buffer);
                                         });
  });
}

void Puller::Pull::OnWhole(const Result<ReadResult>& read,
                           const std::shared_ptr<hwalloc::Buffer>& buffer) {
  if (read->length != want_.reference.length) {
    return Finish(Status::Io("the buffer's node sent fewer bytes than the buffer has"));
  }
  TellOwner(true, false);
  const std::span<const std::byte> bytes = buffer->span().first(read->length);
  if (bytes.size() <= XDT_INLINE_BYTES) {
    std::string copy(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return Finish(Got{std::make_shared<Content>(std::move(copy), std::move(share_)), nullptr});
  }
  {
    MutexLock lock(mutex_);
    if (!target_) {
      with_target_ = [self = shared_from_this(), buffer, bytes] { self->FillTarget(bytes); };
      return;
    }
  }
  FillTarget(bytes);
}

void Puller::Pull::FillTarget(std::span<const std::byte> bytes) {
  Result<std::unique_ptr<SharedBuffer>> target = Status::Internal("a pull without a buffer");
  {
    MutexLock lock(mutex_);
    target = std::move(*target_);
  }
  if (!target.ok()) return Finish(target.status());
  Status filled = (*target)->Fill(bytes);
  if (!filled.ok()) return Finish(filled);
  Finish(
      Got{std::make_shared<Content>(std::move(*target), bytes.size(), std::move(share_)), nullptr});
}

void Puller::Pull::Pump() {
  for (;;) {
    size_t piece = 0;
    std::shared_ptr<hwalloc::Buffer> buffer;
    {
      MutexLock lock(mutex_);
      if (over_) return;
      if (incoming_->abandoned() || puller_->stopping()) {
        todo_.clear();
        failure_ = Status::Interrupted("nobody waits for the buffer any more");
        if (in_flight_ > 0) return;
        break;
      }
      if (todo_.empty() || in_flight_ >= puller_->options_.window) return;
      const uint64_t at = uint64_t{todo_.front()} * kPieceBytes;
      auto allocated = puller_->options_.buffers->Allocate(
          std::min<uint64_t>(kPieceBytes, want_.reference.length - at), 0);
      if (!allocated.ok()) {
        // Each piece that comes back pumps again.
        if (in_flight_ == 0 && !std::exchange(waiting_, true)) {
          puller_->options_.timers->After(kRetryMicros, [self = shared_from_this()] {
            {
              MutexLock relock(self->mutex_);
              self->waiting_ = false;
            }
            self->Pump();
          });
        }
        return;
      }
      buffer = std::make_shared<hwalloc::Buffer>(std::move(allocated).value());
      piece = todo_.front();
      todo_.pop_front();
      ++in_flight_;
    }
    ReadPiece(piece, std::move(buffer));
  }
  EndPieces(Status::Interrupted("nobody waits for the buffer any more"));
}

void Puller::Pull::ReadPiece(size_t piece, std::shared_ptr<hwalloc::Buffer> buffer) {
  NodeId holder = 0;
  {
    MutexLock lock(mutex_);
    holder = holder_;
  }
  const bool granted = holder != 0;
  auto peer = granted ? puller_->options_.nodes->Known(holder) : puller_->KnownOwner(want_);
  if (!peer) {
    return OnPieceFailed(piece, granted, Status::WrongEpoch("where the node is is not known yet"));
  }
  ReadRequest request;
  request.token = Token(granted);
  request.object = want_.reference.object;
  request.offset = uint64_t{piece} * kPieceBytes;
  request.length = static_cast<uint32_t>(buffer->size());
  const auto into = buffer->span();
  puller_->options_.engine->Read(
      *peer, request, into, Now() + (granted ? kRelayMicros : kRequestMicros),
      [self = shared_from_this(), piece, granted, buffer, into](const Result<ReadResult>& read) {
        if (!read.ok()) return self->OnPieceFailed(piece, granted, read.status());
        self->OnPiece(piece, granted, read, into);
      });
}

void Puller::Pull::OnPiece(size_t piece, bool relayed, const Result<ReadResult>& read,
                           std::span<const std::byte> bytes) {
  if (read->length != bytes.size()) {
    return OnPieceFailed(piece, relayed,
                         Status::Io("the buffer's node sent fewer bytes than it has"));
  }
  {
    MutexLock lock(mutex_);
    if (over_) return;
    progress_micros_ = Now();
  }
  // Complete before its readers are told, so that whoever asks for it next finds it so.
  const bool last = incoming_->Arrived(piece, bytes);
  bool failed = false;
  {
    MutexLock lock(mutex_);
    --in_flight_;
    failed = !failure_.ok() && in_flight_ == 0;
  }
  if (last) return EndPieces(incoming_->status());
  if (failed) return EndPieces(Status::Interrupted("nobody waits for the buffer any more"));
  Pump();
}

void Puller::Pull::OnPieceFailed(size_t piece, bool relayed, const Status& status) {
  bool end = false;
  Status failure;
  {
    MutexLock lock(mutex_);
    --in_flight_;
    if (over_) return;
    // A node that only has a copy decides nothing; the owner does.
    holder_ = 0;
    const int64_t now = Now();
    const bool late =
        want_.stream ? now > progress_micros_ + kStallMicros : now >= want_.deadline_micros;
    if ((!relayed && !MayPass(status)) || late || puller_->stopping()) {
      if (failure_.ok()) failure_ = status;
      todo_.clear();
    } else if (failure_.ok()) {
      todo_.push_front(piece);
    }
    failure = failure_;
    end = !failure_.ok() && in_flight_ == 0;
  }
  // Readers are told at once; pieces that are under way come to nothing.
  if (!failure.ok()) incoming_->Fail(failure);
  if (end) return EndPieces(failure);
  if (!failure.ok()) return;
  auto pump = [self = shared_from_this()] { self->Pump(); };
  puller_->options_.timers->After(kRetryMicros, [self = shared_from_this(), pump] {
    // The owner may have another address or epoch by now.
    auto look = [self, pump] {
      if (self->Moved()) return self->EndPieces(MovedAway());
      self->puller_->options_.nodes->Ask(self->want_.owner).status().PermitUnchecked();
      pump();
    };
    if (!self->puller_->options_.work->TrySubmit(look)) pump();
  });
}

void Puller::Pull::EndPieces(const Status& status) {
  {
    MutexLock lock(mutex_);
    if (std::exchange(over_, true)) return;
  }
  if (!status.ok()) incoming_->Fail(status);
  TellOwner(status.ok(), status.ok() && Shared());
}

void Puller::Pull::TellOwner(bool complete, bool keeps_copy) {
  {
    MutexLock lock(mutex_);
    if (std::exchange(told_, true)) return;
  }
  auto peer = puller_->KnownOwner(want_);
  if (!peer || puller_->stopping()) return;  // its ticket ends by itself
  ControlRequest request;
  request.token = Token(false);
  request.object = want_.reference.object;
  request.op = ControlOp::kEndPull;
  request.done_at_once = true;
  request.c = (complete ? kPullComplete : 0) | (keeps_copy ? kPullKeepsCopy : 0);
  // The owner counted it when it had served it all. It has few bytes, that may stay a little.
  if (complete && OnePiece()) return puller_->ControlLater(*peer, std::move(request));
  puller_->options_.engine->Control(
      *peer, request, Now() + kRequestMicros,
      [](const Result<ControlResult>& ended) { ended.status().PermitUnchecked(); });
}

void Puller::Pull::Finish(Result<Got> got) {
  Done done;
  {
    MutexLock lock(mutex_);
    done = std::exchange(done_, nullptr);
  }
  if (!got.ok() && incoming_ == nullptr) TellOwner(false, false);
  if (done) done(std::move(got));
}

}  // namespace f3::xdt
