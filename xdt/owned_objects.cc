#include "xdt/owned_objects.h"

#include <sodium.h>

#include <algorithm>
#include <utility>

namespace f3::xdt {
namespace {

constexpr size_t kMaxHolders = 16;
// Of one object at one time; a requester that wants more is a fault.
constexpr size_t kMaxPulls = 4096;

size_t PiecesOf(uint64_t bytes) {
  return std::max<size_t>(1, (bytes + kPieceBytes - 1) / kPieceBytes);
}

Status Exhausted() {
  return Status::RefExhausted("the reference has no retrievals left, or was deleted");
}

}  // namespace

Status CheckPiece(uint64_t bytes, uint64_t offset, uint64_t length) {
  const bool starts = offset % kPieceBytes == 0 && offset / kPieceBytes < PiecesOf(bytes);
  if (starts && length == std::min<uint64_t>(kPieceBytes, bytes - offset)) return Status();
  return Status::InvalidArgument("a pull asks for whole pieces");
}

Result<Reference> OwnedObjects::Add(ContentRef content, const Terms& terms) {
  Object object;
  Reference& reference = object.reference;
  reference.kind = ReferenceKind::kBuffer;
  reference.owner = options_.node;
  reference.epoch = options_.epoch;
  reference.length = content->bytes();
  reference.expires_wall_micros = Now() + terms.lifetime_micros;
  reference.allowance = terms.allowance;
  reference.name_space = terms.name_space;
  reference.action = terms.action;
  object.content = std::move(content);
  MutexLock lock(mutex_);
  if (drained_) return Status::Unavailable("the node is stopping");
  if (objects_.size() >= options_.max_objects) {
    return Status::Again("the node holds too many buffers; delete some or let them expire");
  }
  const Ino number = next_++;
  uint64_t generation = 0;
  randombytes_buf(&generation, sizeof(generation));
  reference.object = {kBufferBit | number, generation};
  const Reference made = reference;
  Insert(std::move(object));
  return made;
}

void OwnedObjects::Insert(Object object) {
  const ObjectKey key = object.reference.object;
  object.age = by_age_.insert(by_age_.end(), key);
  by_expiry_.emplace(object.reference.expires_wall_micros, key);
  objects_.emplace(key, std::move(object));
}

void OwnedObjects::Adopt(const Reference& reference, ContentRef content, uint32_t counted) {
  Object object;
  object.reference = reference;
  object.content = std::move(content);
  object.counted = counted;
  MutexLock lock(mutex_);
  if (drained_ || objects_.contains(reference.object)) return;
  if (adopted_.insert(reference.object).second) {
    adopted_by_expiry_.emplace(reference.expires_wall_micros, reference.object);
  }
  Insert(std::move(object));
}

bool OwnedObjects::Adopted(const ObjectKey& object) const {
  MutexLock lock(mutex_);
  return adopted_.contains(object);
}

Result<OwnedObjects::Object*> OwnedObjects::Find(const Reference& reference, const Asker& asker) {
  F3_RETURN_IF_ERROR(CheckScope(reference, asker.name_space, asker.action));
  if (drained_) return Status::Unavailable("the buffer's node is stopping");
  // Whatever has become of its node and its bytes.
  F3_RETURN_IF_ERROR(CheckValidity(reference, Now()));
  auto at = objects_.find(reference.object);
  const bool ours = reference.owner == options_.node && reference.epoch == options_.epoch;
  if (at == objects_.end() && !ours && !adopted_.contains(reference.object)) {
    return Status::RefEarlierEpoch(
        "the node that held the buffer has restarted since; its buffers are gone");
  }
  if (at == objects_.end()) return Exhausted();
  return &at->second;
}

bool OwnedObjects::UsedUp(const Object& object) const {
  return object.reference.allowance != 0 && object.counted >= object.reference.allowance;
}

size_t OwnedObjects::Reserved(const Object& object) const {
  return static_cast<size_t>(std::count_if(object.pulls.begin(), object.pulls.end(),
                                           [](const auto& pull) { return !pull.second.counted; }));
}

Result<ContentRef> OwnedObjects::Take(const Reference& reference, const Asker& asker) {
  MutexLock lock(mutex_);
  F3_ASSIGN_OR_RETURN(Object * object, Find(reference, asker));
  if (UsedUp(*object)) return Exhausted();
  const uint32_t allowance = object->reference.allowance;
  if (allowance != 0 && object->counted + Reserved(*object) >= allowance) {
    return Status::Busy("every retrieval that is left is under way");
  }
  ++object->counted;
  if (UsedUp(*object)) active_.insert(reference.object);
  ContentRef content = object->content;
  return content;
}

void OwnedObjects::EndTake(const ObjectKey& key, bool got) {
  MutexLock lock(mutex_);
  auto at = objects_.find(key);
  if (at == objects_.end()) return;
  if (!got && at->second.counted > 0) --at->second.counted;
  DropIfOver(at);
}

Result<OwnedObjects::Pull*> OwnedObjects::Join(Object* object, const PullTicket& ticket) {
  auto found = object->pulls.find(ticket.id);
  if (found == object->pulls.end()) {
    if (UsedUp(*object)) return Exhausted();
    const uint32_t allowance = object->reference.allowance;
    if ((allowance != 0 && object->counted + Reserved(*object) >= allowance) ||
        object->pulls.size() >= kMaxPulls) {
      return Status::Busy("every retrieval that is left is under way");
    }
    Pull pull;
    pull.pieces_left = PiecesOf(object->reference.length);
    pull.served.resize(pull.pieces_left);
    found = object->pulls.emplace(ticket.id, std::move(pull)).first;
    active_.insert(object->reference.object);
  }
  found->second.expires_wall_micros =
      std::max(found->second.expires_wall_micros, ticket.expires_wall_micros);
  return &found->second;
}

Result<ContentRef> OwnedObjects::BeginPiece(const Reference& reference, const PullTicket& ticket,
                                            uint64_t offset, uint32_t length) {
  MutexLock lock(mutex_);
  F3_ASSIGN_OR_RETURN(Object * object, Find(reference, {ticket.name_space, ticket.action}));
  F3_RETURN_IF_ERROR(CheckPiece(object->reference.length, offset, length));
  F3_RETURN_IF_ERROR(Join(object, ticket).status());
  ContentRef content = object->content;
  return content;
}

void OwnedObjects::EndPiece(const ObjectKey& key, const PullId& id, uint64_t offset) {
  MutexLock lock(mutex_);
  auto at = objects_.find(key);
  if (at == objects_.end()) return;
  auto found = at->second.pulls.find(id);
  if (found == at->second.pulls.end()) return;
  Pull& pull = found->second;
  const size_t piece = offset / kPieceBytes;
  if (pull.served[piece]) return;
  pull.served[piece] = true;
  if (--pull.pieces_left > 0 || pull.counted) return;
  pull.counted = true;
  ++at->second.counted;
}

Result<OwnedObjects::Grant> OwnedObjects::BeginGrant(const Reference& reference,
                                                     const PullTicket& ticket) {
  MutexLock lock(mutex_);
  F3_ASSIGN_OR_RETURN(Object * object, Find(reference, {ticket.name_space, ticket.action}));
  F3_ASSIGN_OR_RETURN(Pull * pull, Join(object, ticket));
  if (!pull->counted) {
    pull->counted = true;
    ++object->counted;
  }
  // In turn: the owner, then each node that has a copy.
  const size_t turn = object->next_holder++ % (object->holders.size() + 1);
  return Grant{turn == 0 ? options_.node : object->holders[turn - 1]};
}

void OwnedObjects::EndPull(const ObjectKey& key, const PullTicket& ticket, bool complete,
                           bool keeps_copy) {
  MutexLock lock(mutex_);
  auto at = objects_.find(key);
  if (at == objects_.end()) return;
  Object& object = at->second;
  auto found = object.pulls.find(ticket.id);
  if (found == object.pulls.end()) return;
  const Pull& pull = found->second;
  // One that was granted and failed before the owner had served all of it.
  if (!complete && pull.counted && pull.pieces_left > 0) --object.counted;
  object.pulls.erase(found);
  auto& holders = object.holders;
  if (complete && keeps_copy && holders.size() < kMaxHolders &&
      std::find(holders.begin(), holders.end(), ticket.from) == holders.end()) {
    holders.push_back(ticket.from);
  }
  DropIfOver(at);
}

void OwnedObjects::DropIfOver(Objects::iterator at) {
  if (UsedUp(at->second) && at->second.pulls.empty()) Drop(at);
}

void OwnedObjects::Drop(Objects::iterator at) {
  auto [from, to] = by_expiry_.equal_range(at->second.reference.expires_wall_micros);
  for (auto it = from; it != to; ++it) {
    if (it->second != at->first) continue;
    by_expiry_.erase(it);
    break;
  }
  by_age_.erase(at->second.age);
  active_.erase(at->first);
  objects_.erase(at);
}

bool OwnedObjects::InMemory(const ObjectKey& object) const {
  MutexLock lock(mutex_);
  auto at = objects_.find(object);
  return at != objects_.end() && at->second.reference.epoch == options_.epoch &&
         !at->second.content->spilled();
}

Status OwnedObjects::Delete(const Reference& reference, const Asker& asker) {
  MutexLock lock(mutex_);
  F3_RETURN_IF_ERROR(Find(reference, asker).status());
  Drop(objects_.find(reference.object));
  return Status();
}

Result<OwnedObjects::Info> OwnedObjects::Stat(const Reference& reference, const Asker& asker) {
  MutexLock lock(mutex_);
  F3_ASSIGN_OR_RETURN(const Object* object, Find(reference, asker));
  if (UsedUp(*object)) return Exhausted();
  const uint32_t allowance = object->reference.allowance;
  return Info{object->reference.length,
              allowance == 0 ? UINT64_MAX : uint64_t{allowance} - object->counted,
              object->reference.expires_wall_micros};
}

void OwnedObjects::Sweep() {
  MutexLock lock(mutex_);
  const int64_t now = Now();
  while (!adopted_by_expiry_.empty() && adopted_by_expiry_.begin()->first <= now) {
    adopted_.erase(adopted_by_expiry_.begin()->second);
    adopted_by_expiry_.erase(adopted_by_expiry_.begin());
  }
  while (!by_expiry_.empty() && by_expiry_.begin()->first <= now) {
    Drop(objects_.find(by_expiry_.begin()->second));
  }
  for (auto it = active_.begin(); it != active_.end();) {
    auto at = objects_.find(*it++);
    Object& object = at->second;
    std::erase_if(object.pulls,
                  [now](const auto& pull) { return pull.second.expires_wall_micros < now; });
    if (object.pulls.empty() && !UsedUp(object)) active_.erase(at->first);
    DropIfOver(at);
  }
}

void OwnedObjects::DropLingering() {
  MutexLock lock(mutex_);
  for (auto it = active_.begin(); it != active_.end();) {
    auto at = objects_.find(*it++);
    if (UsedUp(at->second)) Drop(at);
  }
}

ContentRef OwnedObjects::OldestIdle(ObjectKey* key) {
  MutexLock lock(mutex_);
  for (const ObjectKey& each : by_age_) {
    const Object& object = objects_.at(each);
    if (object.content->memory_bytes() == 0 || object.content.use_count() > 1) continue;
    *key = object.reference.object;
    return object.content;
  }
  return nullptr;
}

void OwnedObjects::Replace(const ObjectKey& key, const ContentRef& old, ContentRef copy) {
  MutexLock lock(mutex_);
  auto at = objects_.find(key);
  if (at != objects_.end() && at->second.content == old) at->second.content = std::move(copy);
}

std::vector<OwnedObjects::Listed> OwnedObjects::Drain() {
  MutexLock lock(mutex_);
  drained_ = true;
  std::vector<Listed> list;
  for (const auto& [key, object] : objects_) {
    if (UsedUp(object) || object.reference.expires_wall_micros <= Now()) continue;
    list.push_back({object.reference, object.content, object.counted});
  }
  objects_.clear();
  by_age_.clear();
  by_expiry_.clear();
  active_.clear();
  return list;
}

size_t OwnedObjects::count() const {
  MutexLock lock(mutex_);
  return objects_.size();
}

}  // namespace f3::xdt
