// What functions ask of the broker, one method each.
#include <algorithm>
#include <utility>

#include "xdt/broker_impl.h"

namespace f3::xdt {
namespace {

// Below this, allocating takes less than handing it to another thread.
constexpr uint64_t kQuickBytes = 256 << 10;
// What few bytes cost beside themselves.
constexpr uint64_t kSmallOverhead = 256;
constexpr int64_t kRetryMicros = 20'000;
constexpr int64_t kMaxTimeoutMicros = 3600ll * 1'000'000;

}  // namespace

bool BrokerImpl::OnPacket(const ConnectionRef& connection, std::span<const std::byte> packet) {
  auto request = DecodeClientRequest(packet);
  if (!request.ok()) return false;
  auto call = std::make_shared<Call>();
  {
    MutexLock lock(mutex_);
    call->session = sessions_.at(connection->id());
  }
  call->head = request->head;
  call->text = std::string(request->text);
  call->deadline_micros = options_.clock->MonotonicMicros() +
                          std::min<int64_t>(request->head.timeout_us, kMaxTimeoutMicros);
  switch (request->head.op) {
    case XDT_OP_HELLO:
      Hello(call);
      break;
    case XDT_OP_ALLOC:
      Alloc(call);
      break;
    case XDT_OP_DISCARD:
    case XDT_OP_RELEASE:
      call->session->Release(call->head.handle);
      break;
    case XDT_OP_PUT:
      Put(call);
      break;
    case XDT_OP_PUT_INLINE:
      PutInline(call, request->data);
      break;
    case XDT_OP_GET:
      Get(call);
      break;
    case XDT_OP_WAIT:
      Wait(call);
      break;
    case XDT_OP_DELETE:
      Delete(call);
      break;
    default:
      Stat(call);
  }
  return true;
}

bool BrokerImpl::Reply(const CallRef& call, xdt_reply head, std::string_view text,
                       const Connection::Data& data, int fd) {
  head.op = call->head.op;
  head.id = call->head.id;
  const size_t data_bytes = data == nullptr ? 0 : data->size();
  return call->session->connection()->Send(EncodeClientReply(head, text, data_bytes), data, fd);
}

void BrokerImpl::Fail(const CallRef& call, const Status& status) {
  ++refused_;
  if (call->local) return call->local(status);
  call->session->connection()->Send(EncodeClientError(call->head, status), nullptr, -1);
}

void BrokerImpl::Later(const CallRef& call, std::function<void()> work) {
  if (!work_.TrySubmit(std::move(work))) Fail(call, Status::Again("the broker has too much to do"));
}

void BrokerImpl::Reserve(const CallRef& call, uint64_t bytes,
                         std::function<void(BufferPool::Share)> next) {
  const auto& account = call->session->sandbox().account;
  auto share = pool_.TryReserve(bytes, account);
  if (share.ok()) return next(std::move(share).value());
  if (!share.status().Is(Code::kAgain)) return Fail(call, share.status());
  owned_.DropLingering();
  puller_.DropCopies(bytes);
  share = pool_.TryReserve(bytes, account);
  if (share.ok()) return next(std::move(share).value());
  pool_.Wait(bytes, account, call->deadline_micros,
             [this, call, next = std::move(next)](Result<BufferPool::Share> waited) {
               if (!waited.ok()) return Fail(call, waited.status());
               next(std::move(waited).value());
             });
}

void BrokerImpl::Hello(const CallRef& call) {
  xdt_reply head{};
  head.a = options_.memory_bytes;
  Reply(call, head, options_.name);
}

void BrokerImpl::Alloc(const CallRef& call) {
  if (call->head.a == 0) return Fail(call, Status::InvalidArgument("a buffer has a byte at least"));
  Reserve(call, SharedBuffer::MemoryOf(call->head.a),
          [this, call](BufferPool::Share share) { Allocated(call, std::move(share)); });
}

void BrokerImpl::Allocated(const CallRef& call, BufferPool::Share share) {
  if (share.bytes() <= kQuickBytes) return MakeBuffer(call, std::move(share));
  auto held = std::make_shared<BufferPool::Share>(std::move(share));
  Later(call, [this, call, held] { MakeBuffer(call, std::move(*held)); });
}

void BrokerImpl::MakeBuffer(const CallRef& call, BufferPool::Share share) {
  auto buffer = SharedBuffer::Create(call->head.a);
  if (!buffer.ok()) return Fail(call, buffer.status());
  // The descriptor lives until it is sent, whatever becomes of the session.
  UniqueFd fd((*buffer)->CopyFd());
  auto handle = call->session->Add(Filling{std::move(share), std::move(*buffer)});
  if (!handle.ok()) return Fail(call, handle.status());
  xdt_reply head{};
  head.handle = *handle;
  head.a = call->head.a;
  if (!Reply(call, head, {}, nullptr, fd.get())) call->session->Release(*handle);
}

void BrokerImpl::Put(const CallRef& call) {
  auto taken = call->session->TakeFilling(call->head.handle);
  if (!taken.ok()) return Fail(call, taken.status());
  if (call->head.a > taken->buffer->bytes()) {
    return Fail(call, Status::InvalidArgument("the buffer is not that long"));
  }
  auto filling = std::make_shared<Filling>(std::move(taken).value());
  if (filling->buffer->seals_at_once()) return SealAndAdd(call, filling);
  Later(call, [this, call, filling] { SealAndAdd(call, filling); });
}

// The function has removed its mapping. If another is left, say in a child that it forked, what is
// there now is copied: nobody can be made to let go of a mapping.
void BrokerImpl::SealAndAdd(const CallRef& call, const std::shared_ptr<Filling>& filling) {
  const uint64_t length = call->head.a;
  Status sealed = filling->buffer->Seal();
  if (sealed.ok()) {
    return AddObject(call, std::make_shared<Content>(std::move(filling->buffer), length,
                                                     std::move(filling->share)));
  }
  if (!sealed.Is(Code::kBusy)) return Fail(call, sealed);
  const uint64_t bytes = SharedBuffer::MemoryOf(std::max<uint64_t>(length, 1));
  Reserve(call, bytes, [this, call, filling](BufferPool::Share share) {
    auto held = std::make_shared<BufferPool::Share>(std::move(share));
    Later(call, [this, call, filling, held] {
      const Content mutable_content(std::move(filling->buffer), call->head.a,
                                    std::move(filling->share));
      auto copy = Content::Load(mutable_content, std::move(*held));
      if (!copy.ok()) return Fail(call, copy.status());
      AddObject(call, std::move(copy).value());
    });
  });
}

void BrokerImpl::PutInline(const CallRef& call, std::span<const std::byte> data) {
  std::string bytes(reinterpret_cast<const char*>(data.data()), data.size());
  Reserve(call, data.size() + kSmallOverhead,
          [this, call, bytes = std::move(bytes)](BufferPool::Share share) mutable {
            AddObject(call, std::make_shared<Content>(std::move(bytes), std::move(share)));
          });
}

void BrokerImpl::AddObject(const CallRef& call, ContentRef content) {
  const Sandbox& sandbox = call->session->sandbox();
  OwnedObjects::Terms terms;
  terms.lifetime_micros = options_.default_lifetime_micros;
  if (call->head.b != 0) {
    terms.lifetime_micros = static_cast<int64_t>(
        std::min<uint64_t>(call->head.b, static_cast<uint64_t>(keys_.max_lifetime_micros())));
  }
  terms.allowance = call->head.n;
  terms.name_space = sandbox.asker.name_space;
  terms.action = keys_.ActionTag({sandbox.scope.name_space, call->text});
  const uint64_t bytes = content->bytes();
  auto reference = owned_.Add(std::move(content), terms);
  if (!reference.ok()) return Fail(call, reference.status());
  ++puts_;
  put_bytes_ += bytes;
  xdt_reply head{};
  head.a = bytes;
  // If the function is gone the object stays until it expires, as if it had died right after.
  Reply(call, head, keys_.Seal(*reference));
}

void BrokerImpl::Get(const CallRef& call) {
  auto reference = keys_.Open(call->text);
  if (!reference.ok()) return Fail(call, reference.status());
  // Before it costs a retrieval.
  if (reference->length > XDT_INLINE_BYTES) {
    Status room = call->session->CheckRoomForView(reference->length);
    if (!room.ok()) return Fail(call, room);
  }
  if (reference->owner != options_.node) {
    return GetElsewhere(call, *reference, reference->owner);
  }
  WithOwned(call, *reference, [this, call, reference = *reference] { GetHere(call, reference); });
}

void BrokerImpl::GetHere(const CallRef& call, const Reference& reference) {
  auto content = owned_.Take(reference, call->session->sandbox().asker);
  if (content.status().Is(Code::kRefEarlierEpoch)) {
    return GetMoved(call, reference, content.status());
  }
  if (!content.ok()) {
    const int64_t now = options_.clock->MonotonicMicros();
    // A retrieval under way elsewhere may yet fail and be free again.
    if (!content.status().Is(Code::kBusy) || now + kRetryMicros >= call->deadline_micros) {
      return Fail(call, content.status());
    }
    return timers_.After(kRetryMicros, [this, call, reference] { GetHere(call, reference); });
  }
  auto retrieval = std::make_shared<Retrieval>(&owned_, reference.object);
  if ((*content)->spilled()) return GetSpilled(call, *content, retrieval);
  retrieval->got = ReplyContent(call, *content);
}

void BrokerImpl::GetSpilled(const CallRef& call, const ContentRef& content,
                            const std::shared_ptr<Retrieval>& retrieval) {
  Reserve(call, SharedBuffer::MemoryOf(std::max<uint64_t>(content->bytes(), 1)),
          [this, call, content, retrieval](BufferPool::Share share) {
            auto held = std::make_shared<BufferPool::Share>(std::move(share));
            Later(call, [this, call, content, retrieval, held] {
              auto loaded = Content::Load(*content, std::move(*held));
              if (!loaded.ok()) return Fail(call, loaded.status());
              owned_.Replace(retrieval->object, content, *loaded);
              retrieval->got = ReplyContent(call, *loaded);
            });
          });
}

Puller::Want BrokerImpl::WantOf(const CallRef& call, const Reference& reference) {
  const Sandbox& sandbox = call->session->sandbox();
  Puller::Want want;
  want.text = call->text;
  want.reference = reference;
  want.asker = sandbox.asker;
  want.account = sandbox.account;
  want.deadline_micros = call->deadline_micros;
  want.owner = reference.owner;
  return want;
}

// The owner has stopped or restarted: it may have left the value to whoever is asked for it next.
void BrokerImpl::GetMoved(const CallRef& call, const Reference& reference,
                          const Status& otherwise) {
  if (!drained_.enabled()) return Fail(call, otherwise);
  Later(call, [this, call, reference, otherwise] {
    auto value = drained_.Take(reference, options_.node);
    if (value.ok()) {
      owned_.Adopt(value->reference, value->content, value->counted);
      return GetHere(call, reference);
    }
    auto taken = drained_.TakenBy(reference);
    // By this node before it restarted: then it is gone.
    if (!taken.ok() || (*taken == options_.node && !owned_.Adopted(reference.object))) {
      return Fail(call, otherwise);
    }
    if (*taken == options_.node) return GetHere(call, reference);
    GetElsewhere(call, reference, *taken);
  });
}

void BrokerImpl::GetElsewhere(const CallRef& call, const Reference& reference, NodeId owner) {
  Puller::Want want = WantOf(call, reference);
  want.stream = (call->head.flags & XDT_FLAG_STREAM) != 0;
  want.owner = owner;
  ++pulls_;
  puller_.Get(std::move(want), [this, call, reference, owner](Result<Puller::Got> got) {
    if (!got.ok() && owner == reference.owner &&
        (got.status().Is(Code::kRefEarlierEpoch) || got.status().Is(Code::kNotFound))) {
      return GetMoved(call, reference, got.status());
    }
    if (!got.ok()) return Fail(call, got.status());
    pulled_bytes_ += got->content != nullptr ? got->content->bytes() : got->incoming->bytes();
    if (got->content != nullptr) {
      ReplyContent(call, got->content);
    } else {
      ReplyStream(call, got->incoming);
    }
  });
}

bool BrokerImpl::ReplyContent(const CallRef& call, const ContentRef& content) {
  if (call->local) return GiveContent(call, content);
  xdt_reply head{};
  head.a = content->bytes();
  head.b = content->bytes();
  if (content->is_inline()) {
    head.flags = XDT_FLAG_INLINE;
    // The content is held until it was sent.
    if (!Reply(call, head, {}, Connection::Data(content, &content->inline_bytes()))) return false;
  } else {
    auto handle = call->session->Add(std::make_shared<View>(content, nullptr));
    if (!handle.ok()) {
      Fail(call, handle.status());
      return false;
    }
    head.handle = *handle;
    if (!Reply(call, head, {}, nullptr, content->fd())) return false;
  }
  ++gets_;
  got_bytes_ += content->bytes();
  return true;
}

void BrokerImpl::ReplyStream(const CallRef& call, const IncomingRef& incoming) {
  if (call->local) return GiveStream(call, incoming);
  auto view = std::make_shared<View>(nullptr, incoming);
  auto handle = call->session->Add(view);
  if (!handle.ok()) return Fail(call, handle.status());
  xdt_reply head{};
  head.handle = *handle;
  head.a = view->bytes();
  head.b = view->available();
  ++gets_;
  got_bytes_ += view->bytes();
  Reply(call, head, {}, nullptr, view->fd());
}

void BrokerImpl::Wait(const CallRef& call) {
  ViewRef view = call->session->FindView(call->head.handle);
  if (view == nullptr) return Fail(call, Status::NotFound("there is no such buffer to read"));
  const auto answer = [this, call, view](const Result<uint64_t>& here) {
    if (!here.ok()) return Fail(call, here.status());
    xdt_reply head{};
    head.b = *here;
    Reply(call, head);
  };
  if (view->incoming() == nullptr) return answer(view->available());
  view->incoming()->Await(call->head.a, call->deadline_micros, answer);
}

void BrokerImpl::Delete(const CallRef& call) {
  auto reference = keys_.Open(call->text);
  if (!reference.ok()) return Fail(call, reference.status());
  const Sandbox& sandbox = call->session->sandbox();
  const auto answer = [this, call](const Status& status) {
    if (!status.ok()) return Fail(call, status);
    Reply(call, xdt_reply{});
  };
  if (reference->owner == options_.node) {
    return WithOwned(call, *reference, [this, answer, reference = *reference, &sandbox, call] {
      answer(owned_.Delete(reference, sandbox.asker));
    });
  }
  const Puller::Want want = WantOf(call, *reference);
  puller_.Control(ControlOp::kDeleteBuffer, want,
                  [answer](const Result<ControlResult>& deleted) { answer(deleted.status()); });
}

void BrokerImpl::Stat(const CallRef& call) {
  auto reference = keys_.Open(call->text);
  if (!reference.ok()) return Fail(call, reference.status());
  const Sandbox& sandbox = call->session->sandbox();
  const auto answer = [this, call](const Result<OwnedObjects::Info>& info) {
    if (!info.ok()) return Fail(call, info.status());
    xdt_reply head{};
    head.a = info->bytes;
    head.b = info->left;
    const int64_t left = info->expires_wall_micros - options_.clock->WallNanos() / 1000;
    head.n = static_cast<uint32_t>(std::clamp<int64_t>(left / 1000, 0, UINT32_MAX));
    Reply(call, head);
  };
  if (reference->owner == options_.node) {
    return WithOwned(call, *reference, [this, answer, reference = *reference, &sandbox, call] {
      answer(owned_.Stat(reference, sandbox.asker));
    });
  }
  const Puller::Want want = WantOf(call, *reference);
  puller_.Control(ControlOp::kStatBuffer, want, [answer](const Result<ControlResult>& told) {
    if (!told.ok()) return answer(told.status());
    answer(OwnedObjects::Info{told->object_bytes, told->value, told->mtime_ns});
  });
}

}  // namespace f3::xdt
