// Room in the tiers. What passthrough writes is seen by asking the file system, never by counting.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "common/units.h"
#include "storage_nodes/object_bytes.h"
#include "storage_nodes/object_store_impl.h"

namespace f3::storage {
namespace {

using Phase = ObjectState::Phase;

int IndexOf(TierKind kind) { return kind == TierKind::kDisk; }

}  // namespace

uint64_t ObjectStoreImpl::ObjectBytes(TierKind tier) const {
  uint64_t bytes = closed_bytes_[IndexOf(tier)];
  for (const ObjectImpl* handle : handles_) {
    struct stat st;
    if (handle->tier() == tier && ::fstat(handle->read_fd(), &st) == 0) {
      bytes += static_cast<uint64_t>(st.st_blocks) * 512;
    }
  }
  return bytes;
}

Result<ObjectStoreImpl::Room> ObjectStoreImpl::RoomOf(TierKind tier) const {
  F3_ASSIGN_OR_RETURN(Tier::Space space, TierOf(tier)->space());
  Room room;
  if (tier == TierKind::kDisk && options_.disk_capacity_bytes > 0) {
    MutexLock lock(mutex_);
    room.capacity = options_.disk_capacity_bytes;
    room.used = ObjectBytes(tier);
  } else {
    // A disk is shared with the catalogue and with whatever else lives there.
    room.capacity =
        tier == TierKind::kDisk ? space.capacity_bytes / 100 * 95 : space.capacity_bytes;
    room.used = space.capacity_bytes - space.free_bytes;
  }
  room.free = room.capacity > room.used ? room.capacity - room.used : 0;
  room.free = std::min(room.free, space.free_bytes);
  return room;
}

Status ObjectStoreImpl::Full(TierKind tier, const Room& room, uint64_t wanted) const {
  const bool memory = tier == TierKind::kMemory;
  return Status::TierFull(std::string(TierName(tier)) + " " + TierOf(tier)->dir() +
                          " is full: " + FormatBytes(room.used) + " of " +
                          FormatBytes(room.capacity) + " used, " + FormatBytes(wanted) +
                          " wanted, and no unused copy is left to evict; remove ephemeral files, " +
                          (memory ? "use the disk tier, or give the node a larger memory tier"
                                  : "or give the node more disk"));
}

Status ObjectStoreImpl::MakeRoom(TierKind tier, uint64_t bytes) {
  if (TierOf(tier) == nullptr) {
    return Status::NotSupported("this node has no memory tier; use the disk tier");
  }
  for (;;) {
    F3_ASSIGN_OR_RETURN(Room room, RoomOf(tier));
    if (room.free >= bytes) return Status();
    if (bytes > room.capacity) return Full(tier, room, bytes);
    if (EvictOne(tier)) continue;
    // Nothing is left to evict, but others may have evicted since.
    F3_ASSIGN_OR_RETURN(room, RoomOf(tier));
    if (room.free >= bytes) return Status();
    if (tier == TierKind::kDisk) return Full(tier, room, bytes);
    MutexLock spill(spill_mutex_);
    std::vector<StateRef> candidates;
    {
      MutexLock lock(mutex_);
      candidates = SpillCandidates();
    }
    bool moved = false;
    for (const StateRef& state : candidates) {
      auto freed = MoveToDisk(state);
      if (freed.status().Is(Code::kTierFull)) return Full(tier, room, bytes);
      if (!freed.ok()) return freed.status();
      moved = *freed > 0;
      if (moved) break;
    }
    if (!moved) return Full(tier, room, bytes);
  }
}

bool ObjectStoreImpl::EvictOne(TierKind tier) {
  ObjectKey key;
  std::function<void(const ObjectKey&)> listener;
  {
    // Until the blocks are free: who then finds nothing to evict sees the room that this made.
    MutexLock evicting(evict_mutex_);
    UniqueFd last;
    MutexLock lock(mutex_);
    auto& lru = lru_[IndexOf(tier)];
    if (lru.empty()) return false;
    StateRef state = lru.front();
    key = state->key;
    listener = eviction_listener_;
    if (!RemoveReady(state, &last).ok()) {
      // Keeps its row, so it is not gone; but do not choose it again and again.
      DropFromLru(state);
      return !lru.empty();
    }
    AwaitUnread(state);
  }
  if (listener) listener(key);
  return true;
}

std::vector<StateRef> ObjectStoreImpl::SpillCandidates() {
  std::vector<StateRef> candidates;
  for (const auto& [key, state] : table_) {
    if (state->phase == Phase::kReady && state->record.tier == TierKind::kMemory &&
        (state->record.role == Role::kHome || state->record.role == Role::kStaging) &&
        state->handle_raw == nullptr) {
      candidates.push_back(state);
    }
  }
  std::sort(candidates.begin(), candidates.end(),
            [](const StateRef& a, const StateRef& b) { return a->last_used < b->last_used; });
  return candidates;
}

Status ObjectStoreImpl::Spill(uint64_t at_least_bytes) {
  if (memory_ == nullptr) return Status();
  MutexLock spill(spill_mutex_);
  std::vector<StateRef> candidates;
  {
    MutexLock lock(mutex_);
    candidates = SpillCandidates();
  }
  uint64_t moved = 0;
  for (const StateRef& state : candidates) {
    if (moved >= at_least_bytes) break;
    F3_ASSIGN_OR_RETURN(uint64_t freed, MoveToDisk(state));
    moved += freed;
  }
  return Status();
}

Result<uint64_t> ObjectStoreImpl::MoveToDisk(const StateRef& state) {
  {
    MutexLock lock(mutex_);
    if (state->phase != Phase::kReady || state->handle_raw != nullptr ||
        state->record.tier != TierKind::kMemory) {
      return 0;
    }
    state->phase = Phase::kMoving;
    state->cancel_move = false;
    UpdateLru(state);
    ++state->content;  // a reader of checksums would keep the memory that this is to free
    AwaitUnread(state);
  }
  auto freed = CopyToDisk(state);
  MutexLock lock(mutex_);
  state->phase = Phase::kReady;
  UpdateLru(state);
  if (state->record.sealed && !state->has_checksums) WantChecksums(state);
  changed_.SignalAll();
  if (freed.status().Is(Code::kInterrupted) || freed.status().Is(Code::kBusy)) return 0;
  return freed;
}

// The new file and its name are durable before the row says so, and the old file goes last: at
// every moment the row names a complete file.
Result<uint64_t> ObjectStoreImpl::CopyToDisk(const StateRef& state) {
  const ObjectKey key = state->key;
  // Nobody writes; who wants to must ask for the object, which ends the move.
  F3_ASSIGN_OR_RETURN(UniqueFd lease, memory_->Open(key, O_RDONLY));
  F3_RETURN_IF_ERROR(TakeReadLease(lease.get(), memory_->Path(key)));
  struct stat st;
  if (::fstat(lease.get(), &st) != 0) {
    return Status::FromErrno(errno, "stat " + memory_->Path(key));
  }
  const uint64_t allocated = static_cast<uint64_t>(st.st_blocks) * 512;
  F3_RETURN_IF_ERROR(MakeRoom(TierKind::kDisk, allocated));
  F3_ASSIGN_OR_RETURN(UniqueFd copy, disk_->CreateNameless());
  auto checksums = CopyContent(lease.get(), copy.get(), memory_->Path(key),
                               static_cast<uint64_t>(st.st_size), [&] {
                                 MutexLock lock(mutex_);
                                 return state->cancel_move;
                               });
  if (checksums.status().Is(Code::kNoSpace)) {
    F3_ASSIGN_OR_RETURN(Room room, RoomOf(TierKind::kDisk));
    return Full(TierKind::kDisk, room, allocated);
  }
  if (!checksums.ok()) return checksums.status();
  if (::fdatasync(copy.get()) != 0) return Status::FromErrno(errno, "sync " + disk_->Path(key));
  F3_RETURN_IF_ERROR(disk_->Unlink(key));  // a leftover without a row
  F3_RETURN_IF_ERROR(disk_->Name(copy, key));
  Status status = disk_->SyncName(key);

  MutexLock lock(mutex_);
  if (status.ok()) {
    ObjectRecord record = state->record;
    record.tier = TierKind::kDisk;
    Catalogue::Batch batch;
    batch.Put(key, record);
    if (record.sealed) batch.PutChecksums(key, *checksums);
    status = catalogue_->Write(std::move(batch), /*sync=*/false);
    if (status.ok()) {
      AccountClosed(state, false);
      state->record = record;
      state->has_checksums = record.sealed;
      struct stat copied = {};
      ::fstat(copy.get(), &copied);
      state->size = static_cast<uint64_t>(copied.st_size);
      state->allocated_bytes = static_cast<uint64_t>(copied.st_blocks) * 512;
      AccountClosed(state, true);
    }
  }
  if (!status.ok()) {
    disk_->Unlink(key).PermitUnchecked();  // without a row it is removed at the next start
    return status;
  }
  F3_RETURN_IF_ERROR(memory_->Unlink(key));
  return std::max<uint64_t>(allocated, 1);
}

void ObjectStoreImpl::UpdateLru(const StateRef& state) {
  const bool evictable = state->phase == Phase::kReady && state->record.sealed &&
                         state->record.role == Role::kCopy && state->handle_raw == nullptr;
  if (!evictable) return DropFromLru(state);
  if (state->in_lru) return;
  auto& lru = lru_[IndexOf(state->record.tier)];
  state->lru = lru.insert(lru.end(), state);
  state->in_lru = true;
}

void ObjectStoreImpl::DropFromLru(const StateRef& state) {
  if (!state->in_lru) return;
  state->in_lru = false;
  lru_[IndexOf(state->record.tier)].erase(state->lru);
}

void ObjectStoreImpl::AccountClosed(const StateRef& state, bool closed) {
  if (state->accounted == closed) return;
  state->accounted = closed;
  uint64_t& total = closed_bytes_[IndexOf(state->record.tier)];
  total = closed ? total + state->allocated_bytes : total - state->allocated_bytes;
}

void ObjectStoreImpl::SetEvictionListener(std::function<void(const ObjectKey&)> listener) {
  MutexLock lock(mutex_);
  eviction_listener_ = std::move(listener);
}

ObjectStore::Usage ObjectStoreImpl::usage() const {
  Usage usage;
  for (TierKind tier : {TierKind::kMemory, TierKind::kDisk}) {
    if (TierOf(tier) == nullptr) continue;
    auto room = RoomOf(tier);
    if (!room.ok()) continue;
    (tier == TierKind::kMemory ? usage.memory_used : usage.disk_used) = room->used;
    (tier == TierKind::kMemory ? usage.memory_capacity : usage.disk_capacity) = room->capacity;
  }
  MutexLock lock(mutex_);
  usage.objects = table_.size();
  for (const auto& [key, state] : table_) {
    if (state->phase != Phase::kCreating && state->record.role == Role::kCopy) {
      usage.copies_bytes += InfoOf(*state).allocated_bytes;
    }
  }
  return usage;
}

}  // namespace f3::storage
