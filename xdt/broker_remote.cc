// What other nodes' brokers ask of this one.
#include <utility>

#include "xdt/broker_impl.h"
#include "xdt/pull.h"

namespace f3::xdt {
namespace {

// Fewer bytes are copied and summed up sooner than another thread wakes up.
constexpr uint32_t kAtOnceBytes = 128 << 10;

}  // namespace

bool BrokerImpl::AnswersAtOnce(const ObjectKey& object, uint32_t length) const {
  return length <= kAtOnceBytes && owned_.InMemory(object);
}

Result<ReferenceKeys::OpenedTicket> BrokerImpl::OpenTicket(const ObjectRequest& request) const {
  F3_ASSIGN_OR_RETURN(ReferenceKeys::OpenedTicket opened, keys_.OpenTicket(request.token));
  if (opened.reference.object != request.object) {
    return Status::TokenInvalid("the reference is for another object");
  }
  return opened;
}

// Whether the owner has counted the pull is in the ticket; who may have the value, until when and
// in which pieces is decided here too.
Result<ContentRef> BrokerImpl::FindRelayed(const ReferenceKeys::OpenedTicket& opened,
                                           const ReadRequest& request) {
  const Reference& reference = opened.reference;
  F3_RETURN_IF_ERROR(CheckScope(reference, opened.ticket.name_space, opened.ticket.action));
  F3_RETURN_IF_ERROR(CheckValidity(reference, options_.clock->WallNanos() / 1000));
  F3_RETURN_IF_ERROR(CheckPiece(reference.length, request.offset, request.length));
  return puller_.FindCopy(reference);
}

void BrokerImpl::HandleRead(const ReadRequest& request, std::span<std::byte> into,
                            int64_t /*deadline_micros*/, ReadDone done) {
  auto opened = OpenTicket(request);
  if (!opened.ok()) return done(opened.status());
  const Reference& reference = opened->reference;
  const PullTicket& ticket = opened->ticket;
  // A copy is read under the owner's grant; the owner itself counts.
  const bool relay = ticket.granted && reference.owner != options_.node;
  if (!relay) TakeUp(reference);
  auto content = relay ? FindRelayed(*opened, request)
                       : owned_.BeginPiece(reference, ticket, request.offset, request.length);
  if (!content.ok()) return done(content.status());
  Status read = (*content)->Read(request.offset, into);
  if (!read.ok()) return done(read);
  if (!relay) owned_.EndPiece(reference.object, ticket.id, request.offset);
  served_bytes_ += into.size();
  ReadResult result;
  result.length = static_cast<uint32_t>(into.size());
  result.object_bytes = (*content)->bytes();
  result.version = reference.version;
  done(result);
}

void BrokerImpl::HandleWrite(const WriteRequest& /*request*/, std::span<const std::byte> /*bytes*/,
                             WriteDone done) {
  done(Status::NotPermitted("a buffer that was put does not change"));
}

void BrokerImpl::HandleControl(const ControlRequest& request, ControlDone done) {
  auto opened = OpenTicket(request);
  if (!opened.ok()) return done(opened.status());
  const Reference& reference = opened->reference;
  const PullTicket& ticket = opened->ticket;
  const Asker asker = {ticket.name_space, ticket.action};
  ControlResult result;
  TakeUp(reference);
  switch (request.op) {
    case ControlOp::kGrant: {
      auto grant = owned_.BeginGrant(reference, ticket);
      if (!grant.ok()) return done(grant.status());
      result.value = grant->holder;
      return done(result);
    }
    case ControlOp::kEndPull:
      owned_.EndPull(reference.object, ticket, (request.c & kPullComplete) != 0,
                     (request.c & kPullKeepsCopy) != 0);
      return done(result);
    case ControlOp::kDeleteBuffer: {
      Status deleted = owned_.Delete(reference, asker);
      if (!deleted.ok()) return done(deleted);
      return done(result);
    }
    case ControlOp::kStatBuffer: {
      auto info = owned_.Stat(reference, asker);
      if (!info.ok()) return done(info.status());
      result.value = info->left;
      result.object_bytes = info->bytes;
      result.mtime_ns = info->expires_wall_micros;
      return done(result);
    }
    default:
      done(Status::NotSupported("a buffer has no such operation"));
  }
}

}  // namespace f3::xdt
