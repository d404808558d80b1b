#include "storage_nodes/object_store.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <fstream>

#include "common/units.h"
#include "storage_nodes/object_bytes.h"
#include "storage_nodes/object_store_impl.h"

namespace f3::storage {
namespace {

using Phase = ObjectState::Phase;

// A tier with less than this left takes no new object.
constexpr uint64_t kMinRoomBytes = 64 << 10;

// Freeing this much takes long enough not to do it under the lock.
constexpr uint64_t kSlowUnlinkBytes = 1 << 20;

// Rows of the catalogue.
constexpr char kStoreRow[] = "store";  // names the store in its tiers' owner files
constexpr char kUuidRow[] = "uuid";    // tier_uuid()
constexpr char kBootRow[] = "boot";    // host start in which the catalogue was last open
constexpr char kCleanRow[] = "clean";  // "1": closed in order, so no row was lost with the host

Result<std::string> RandomId() {
  unsigned char bytes[16];
  if (::getrandom(bytes, sizeof(bytes), 0) != static_cast<ssize_t>(sizeof(bytes))) {
    return Status::FromErrno(errno, "get random bytes");
  }
  std::string text;
  for (unsigned char byte : bytes) {
    char hex[3];
    snprintf(hex, sizeof(hex), "%02x", byte);
    text += hex;
  }
  return text;
}

std::string KernelBootId() {
  std::ifstream in("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(in, id);
  return id.empty() ? "unknown" : id;
}

Status Missing(const ObjectKey& key) {
  return Status::ObjectMissing("object " + ToString(key) + " is not on this node");
}

}  // namespace

Result<std::unique_ptr<ObjectStore>> ObjectStore::Open(const Options& options) {
  if (options.disk_dir.empty()) {
    return Status::BadConfig("an object store needs a directory for its disk tier");
  }
  auto store = std::make_unique<ObjectStoreImpl>(options);
  F3_RETURN_IF_ERROR(store->Start());
  return std::unique_ptr<ObjectStore>(std::move(store));
}

Status ObjectStoreImpl::Start() {
  F3_RETURN_IF_ERROR(OpenTiers());
  F3_ASSIGN_OR_RETURN(catalogue_, Catalogue::Open(options_.disk_dir + "/catalogue"));
  bool fresh = false;
  F3_RETURN_IF_ERROR(Identify(&fresh));
  F3_RETURN_IF_ERROR(Reconcile(fresh));
  checksum_thread_ = std::thread([this] { RunChecksums(); });
  return Status();
}

ObjectStoreImpl::~ObjectStoreImpl() {
  if (!checksum_thread_.joinable()) return;  // Start failed
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    unchecked_wake_.SignalAll();
    settled_.SignalAll();
  }
  checksum_thread_.join();
  Catalogue::Batch batch;
  batch.PutText(kCleanRow, "1");
  Status status = catalogue_->Write(std::move(batch), /*sync=*/true);
  if (!status.ok()) spdlog::warn("cannot close the object catalogue: {}", status.message());
}

Status ObjectStoreImpl::OpenTiers() {
  F3_ASSIGN_OR_RETURN(disk_, Tier::Open(TierKind::kDisk, options_.disk_dir, options_.env));
  if (!options_.memory_dir.empty()) {
    F3_ASSIGN_OR_RETURN(memory_, Tier::Open(TierKind::kMemory, options_.memory_dir, options_.env));
  }
  return Status();
}

// Each tier says which store it belongs to, so that no configuration mistake lets one node clear
// another's tier. A tmpfs that a reboot emptied has no owner; a store that lost its catalogue can
// use nothing of what its tiers hold.
Status ObjectStoreImpl::Identify(bool* fresh) {
  F3_ASSIGN_OR_RETURN(std::string store_id, catalogue_->Text(kStoreRow));
  *fresh = store_id.empty();
  if (*fresh) {
    F3_ASSIGN_OR_RETURN(store_id, RandomId());
    Catalogue::Batch batch;
    batch.PutText(kStoreRow, store_id);
    F3_RETURN_IF_ERROR(catalogue_->Write(std::move(batch), /*sync=*/true));
    F3_RETURN_IF_ERROR(options_.env->SyncDir(options_.disk_dir));
  }
  for (Tier* tier : {disk_.get(), memory_.get()}) {
    if (tier == nullptr || tier->owner() == store_id) continue;
    if (!tier->owner().empty()) {
      if (!*fresh) {
        return Status::BadConfig(std::string(TierName(tier->kind())) + " " + tier->dir() +
                                 " belongs to another node; give this node a directory of its "
                                 "own, or empty that one");
      }
      spdlog::warn("{} {} holds objects of a catalogue that is gone; removing them",
                   TierName(tier->kind()), tier->dir());
    }
    F3_RETURN_IF_ERROR(tier->SetOwner(store_id));
    F3_RETURN_IF_ERROR(options_.env->SyncDir(tier->dir()));
  }
  return Status();
}

Status ObjectStoreImpl::Reconcile(bool fresh) {
  const std::string boot_id = options_.boot_id.empty() ? KernelBootId() : options_.boot_id;
  F3_ASSIGN_OR_RETURN(std::string last_boot, catalogue_->Text(kBootRow));
  F3_ASSIGN_OR_RETURN(std::string clean, catalogue_->Text(kCleanRow));
  F3_ASSIGN_OR_RETURN(tier_uuid_, catalogue_->Text(kUuidRow));
  // After a restart of the host, bytes that never reached the device are gone, and with a store
  // that was not closed perhaps the newest rows too.
  const bool host_restarted = !fresh && last_boot != boot_id;
  const bool rows_may_be_lost = host_restarted && clean != "1";

  struct File {
    uint64_t size = 0, allocated_bytes = 0;
    bool known = false;
  };
  std::unordered_map<ObjectKey, File, ObjectKeyHash> files[2];
  for (Tier* tier : {memory_.get(), disk_.get()}) {
    if (tier == nullptr) continue;
    auto& found = files[tier == disk_.get()];
    F3_RETURN_IF_ERROR(tier->Scan([&](const ObjectKey& key, const struct stat& st) {
      found[key] = {static_cast<uint64_t>(st.st_size), static_cast<uint64_t>(st.st_blocks) * 512};
    }));
  }
  std::unordered_set<ObjectKey, ObjectKeyHash> checksummed;
  F3_RETURN_IF_ERROR(
      catalogue_->ForEachChecksum([&](const ObjectKey& key) { checksummed.insert(key); }));

  std::vector<std::pair<ObjectKey, ObjectRecord>> rows;
  F3_RETURN_IF_ERROR(catalogue_->ForEach(
      [&](const ObjectKey& key, const ObjectRecord& record) { rows.emplace_back(key, record); }));

  Catalogue::Batch batch;
  MutexLock lock(mutex_);
  for (const auto& [key, stored] : rows) {
    ObjectRecord record = stored;
    auto& tier_files = files[record.tier == TierKind::kDisk];
    auto file = tier_files.find(key);
    const bool has_checksums = checksummed.contains(key);
    bool keep = file != tier_files.end() && record.role != Role::kFilling &&
                (record.sealed || record.role != Role::kCopy);
    if (keep && record.sealed) keep = file->second.size == record.size;
    if (keep && host_restarted) {
      keep = record.sealed && has_checksums;
      record.suspect = true;
    }
    if (!keep) {
      batch.Remove(key);
      if (record.role == Role::kHome) {
        lost_homes_.push_back(
            {key, record.role, record.tier, record.version, !record.sealed, record.size, 0});
      }
      continue;
    }
    if (record != stored) batch.Put(key, record);
    file->second.known = true;
    auto state = std::make_shared<ObjectState>();
    state->key = key;
    state->phase = Phase::kReady;
    state->record = record;
    state->has_checksums = record.sealed && has_checksums;
    state->size = file->second.size;
    state->allocated_bytes = file->second.allocated_bytes;
    table_[key] = state;
    AccountClosed(state, true);
    Touch(state);
    UpdateLru(state);
    if (record.sealed && !has_checksums) WantChecksums(state);
  }
  if (tier_uuid_.empty() || !lost_homes_.empty() || rows_may_be_lost) {
    F3_ASSIGN_OR_RETURN(tier_uuid_, RandomId());
    batch.PutText(kUuidRow, tier_uuid_);
  }
  batch.PutText(kBootRow, boot_id);
  batch.PutText(kCleanRow, "0");
  F3_RETURN_IF_ERROR(catalogue_->Write(std::move(batch), /*sync=*/true));

  uint64_t removed = 0;
  for (Tier* tier : {memory_.get(), disk_.get()}) {
    if (tier == nullptr) continue;
    for (const auto& [key, file] : files[tier == disk_.get()]) {
      if (file.known) continue;
      F3_RETURN_IF_ERROR(tier->Unlink(key));
      ++removed;
    }
  }
  if (!lost_homes_.empty()) {
    spdlog::warn("{} ephemeral files that lived on this node are lost (first: object {})",
                 lost_homes_.size(), ToString(lost_homes_[0].key));
  }
  spdlog::info("object store {}: {} objects kept, {} leftover files removed", options_.disk_dir,
               table_.size(), removed);
  return Status();
}

Result<std::shared_ptr<Object>> ObjectStoreImpl::Create(const ObjectKey& key, Role role,
                                                        TierKind tier, uint64_t reserve_bytes) {
  if (TierOf(tier) == nullptr) {
    return Status::NotSupported("this node has no memory tier; use the disk tier");
  }
  auto state = std::make_shared<ObjectState>();
  state->key = key;
  state->record.role = role;
  state->record.tier = tier;
  {
    MutexLock lock(mutex_);
    if (!table_.try_emplace(key, state).second) {
      return Status::Exists("object " + ToString(key) + " is on this node already");
    }
  }
  UniqueFd read_fd, work_fd;
  Status status = CreateFile(state, reserve_bytes, &read_fd, &work_fd);
  std::shared_ptr<ObjectImpl> handle;
  {
    MutexLock lock(mutex_);
    // The file exists before its row: a crash in between leaves a file without a row, which the
    // next start removes. The other way round it would leave a home that looks lost.
    if (status.ok()) status = PutRecord(state, state->record, false);
    if (status.ok()) {
      state->phase = Phase::kReady;
      handle = NewHandle(state, std::move(read_fd), std::move(work_fd));
    } else {
      if (work_fd.valid()) TierOf(tier)->Unlink(key).PermitUnchecked();  // the first error counts
      EraseFromTable(state);
    }
    changed_.SignalAll();
  }
  if (!status.ok()) return status;
  return std::shared_ptr<Object>(std::move(handle));
}

Status ObjectStoreImpl::CreateFile(const StateRef& state, uint64_t reserve_bytes, UniqueFd* read_fd,
                                   UniqueFd* work_fd) {
  const TierKind kind = state->record.tier;
  Tier* tier = TierOf(kind);
  const uint64_t room = std::max(reserve_bytes, kMinRoomBytes);
  F3_RETURN_IF_ERROR(MakeRoom(kind, room));
  // A leftover of this name has no row and belongs to nobody.
  auto file = tier->Create(state->key);
  if (file.status().Is(Code::kExists)) {
    F3_RETURN_IF_ERROR(tier->Unlink(state->key));
    file = tier->Create(state->key);
  }
  if (!file.ok()) return file.status();
  *work_fd = *std::move(file);
  if (reserve_bytes > 0) {
    // Others write at the same time, so the room may be gone again: make it once more.
    for (int attempt = 0;; ++attempt) {
      if (::fallocate(work_fd->get(), FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(reserve_bytes)) ==
          0) {
        break;
      }
      if (errno == EINTR) continue;
      if (errno != ENOSPC && errno != EDQUOT) {
        return Status::FromErrno(
            errno, "allocate " + FormatBytes(reserve_bytes) + " for " + tier->Path(state->key));
      }
      F3_ASSIGN_OR_RETURN(Room left, RoomOf(kind));
      if (attempt > 0) return Full(kind, left, reserve_bytes);
      F3_RETURN_IF_ERROR(MakeRoom(kind, room));
    }
  }
  F3_ASSIGN_OR_RETURN(*read_fd, tier->Open(state->key, O_RDONLY));
  return Status();
}

Result<std::shared_ptr<Object>> ObjectStoreImpl::Find(const ObjectKey& key) {
  for (;;) {
    StateRef state;
    std::shared_ptr<ObjectImpl> handle;
    {
      MutexLock lock(mutex_);
      auto it = table_.find(key);
      if (it == table_.end() || it->second->phase == Phase::kCreating) return Missing(key);
      state = it->second;
      if (state->phase == Phase::kMoving) {
        state->cancel_move = true;  // the mover looks at it once per MiB
        while (state->phase == Phase::kMoving) changed_.Wait(mutex_);
        continue;
      }
      Touch(state);
      handle = state->handle.lock();
      if (handle != nullptr) return std::shared_ptr<Object>(std::move(handle));
      if (!state->record.suspect) {
        F3_ASSIGN_OR_RETURN(handle, OpenHandle(state));
        return std::shared_ptr<Object>(std::move(handle));
      }
    }
    F3_RETURN_IF_ERROR(VerifySuspect(state));
  }
}

Result<std::shared_ptr<ObjectImpl>> ObjectStoreImpl::OpenHandle(const StateRef& state) {
  Tier* tier = TierOf(state->record.tier);
  auto read_fd = tier->Open(state->key, O_RDONLY);
  if (read_fd.status().Is(Code::kNotFound)) {
    return Status::ObjectMissing(tier->Path(state->key) + " was removed by somebody else");
  }
  if (!read_fd.ok()) return read_fd.status();
  UniqueFd work_fd;
  if (state->record.sealed) {
    work_fd.Reset(::fcntl(read_fd->get(), F_DUPFD_CLOEXEC, 0));
    if (!work_fd.valid()) return Status::FromErrno(errno, "open " + tier->Path(state->key));
  } else {
    F3_ASSIGN_OR_RETURN(work_fd, tier->Open(state->key, O_RDWR));
  }
  return NewHandle(state, *std::move(read_fd), std::move(work_fd));
}

// The host restarted since the object was sealed: its bytes count only if they are what was sealed.
Status ObjectStoreImpl::VerifySuspect(const StateRef& state) {
  Tier* tier = nullptr;
  ObjectRecord record;
  std::vector<uint32_t> checksums;
  {
    MutexLock lock(mutex_);
    if (state->phase != Phase::kReady || !state->record.suspect) return Status();
    record = state->record;
    tier = TierOf(record.tier);
    F3_ASSIGN_OR_RETURN(checksums, catalogue_->Checksums(state->key));
  }
  F3_ASSIGN_OR_RETURN(UniqueFd fd, tier->Open(state->key, O_RDONLY));
  Status status = CompareChecksums(fd.get(), tier->Path(state->key), record.size, checksums,
                                   [this] { return stopping_.load(); });
  if (status.Is(Code::kCorruption) && record.role == Role::kCopy) {
    spdlog::warn("dropping a damaged copy: {}", status.message());
    F3_RETURN_IF_ERROR(Remove(state->key));
    return Missing(state->key);
  }
  F3_RETURN_IF_ERROR(status);
  MutexLock lock(mutex_);
  if (state->phase != Phase::kReady || state->record != record) return Status();
  record.suspect = false;
  return PutRecord(state, record, false);
}

Status ObjectStoreImpl::Rekey(const ObjectKey& key, const ObjectKey& new_key) {
  MutexLock lock(mutex_);
  auto it = table_.find(key);
  if (it == table_.end() || it->second->phase == Phase::kCreating) return Missing(key);
  StateRef state = it->second;
  if (state->phase == Phase::kMoving || state->handle_raw != nullptr) {
    return Status::Busy("object " + ToString(key) + " is in use and keeps its name");
  }
  if (key == new_key) return Status();
  if (table_.contains(new_key)) {
    return Status::Exists("object " + ToString(new_key) + " is on this node already");
  }
  Tier* tier = TierOf(state->record.tier);
  // A leftover of the new name has no row and belongs to nobody.
  F3_RETURN_IF_ERROR(tier->Unlink(new_key));
  F3_RETURN_IF_ERROR(tier->Link(key, new_key));
  auto moved = std::make_shared<ObjectState>();
  moved->key = new_key;
  moved->phase = Phase::kReady;
  moved->record = state->record;
  moved->size = state->size;
  moved->allocated_bytes = state->allocated_bytes;
  Catalogue::Batch batch;
  batch.Remove(key);
  batch.Put(new_key, moved->record);
  if (state->has_checksums) {
    auto checksums = catalogue_->Checksums(key);
    if (checksums.ok()) {
      batch.PutChecksums(new_key, *checksums);
      moved->has_checksums = true;
    }
  }
  Status status = catalogue_->Write(std::move(batch), /*sync=*/false);
  if (!status.ok()) {
    tier->Unlink(new_key).PermitUnchecked();  // the first error counts
    return status;
  }
  EraseFromTable(state);
  table_[new_key] = moved;
  AccountClosed(moved, true);
  Touch(moved);
  UpdateLru(moved);
  if (moved->record.sealed && !moved->has_checksums) WantChecksums(moved);
  // A crash before this leaves a second name without a row.
  return tier->Unlink(key);
}

Status ObjectStoreImpl::Remove(const ObjectKey& key) {
  UniqueFd last;  // closed without the lock, because that frees the blocks
  MutexLock lock(mutex_);
  StateRef state;
  for (;;) {
    auto it = table_.find(key);
    if (it == table_.end()) return Status();
    state = it->second;
    if (state->phase == Phase::kReady) break;
    state->cancel_move = true;
    changed_.Wait(mutex_);
  }
  return RemoveReady(state, &last);
}

Status ObjectStoreImpl::RemoveReady(const StateRef& state, UniqueFd* last) {
  // The row goes first: a crash in between leaves a file without a row, which the next start
  // removes. The other way round it would leave a home that looks lost.
  Catalogue::Batch batch;
  batch.Remove(state->key);
  F3_RETURN_IF_ERROR(catalogue_->Write(std::move(batch), /*sync=*/false));
  Tier* tier = TierOf(state->record.tier);
  EraseFromTable(state);
  if (state->handle_raw == nullptr && state->allocated_bytes >= kSlowUnlinkBytes) {
    auto fd = tier->Open(state->key, O_RDONLY);
    if (fd.ok()) *last = *std::move(fd);
  }
  return tier->Unlink(state->key);
}

std::vector<ObjectInfo> ObjectStoreImpl::List() {
  MutexLock lock(mutex_);
  std::vector<ObjectInfo> infos;
  infos.reserve(table_.size());
  for (const auto& [key, state] : table_) {
    if (state->phase != Phase::kCreating) infos.push_back(InfoOf(*state));
  }
  return infos;
}

std::shared_ptr<ObjectImpl> ObjectStoreImpl::NewHandle(const StateRef& state, UniqueFd read_fd,
                                                       UniqueFd work_fd) {
  auto handle = std::make_shared<ObjectImpl>(this, state, state->record.tier, std::move(read_fd),
                                             std::move(work_fd));
  AccountClosed(state, false);
  state->handle = handle;
  state->handle_raw = handle.get();
  handles_.insert(handle.get());
  UpdateLru(state);
  return handle;
}

void ObjectStoreImpl::OnHandleGone(ObjectImpl* handle, const StateRef& state, uint64_t size,
                                   uint64_t allocated) {
  MutexLock lock(mutex_);
  handles_.erase(handle);
  if (state->handle_raw != handle) return;
  state->handle_raw = nullptr;
  state->size = size;
  state->allocated_bytes = allocated;
  if (state->phase == Phase::kRemoved) return;
  AccountClosed(state, true);
  Touch(state);
  UpdateLru(state);
}

Status ObjectStoreImpl::PutRecord(const StateRef& state, const ObjectRecord& record,
                                  bool drop_checksums) {
  F3_RETURN_IF_ERROR(StillThere(*state));
  Catalogue::Batch batch;
  batch.Put(state->key, record);
  bool has_checksums = state->has_checksums && !drop_checksums;
  if (drop_checksums) batch.DropChecksums(state->key);
  const bool sealing = record.sealed && !state->record.sealed;
  if (sealing && !state->offered_checksums.empty()) {
    const uint64_t wanted = (record.size + kChecksumBytes - 1) / kChecksumBytes;
    if (state->offered_checksums.size() == wanted) {
      batch.PutChecksums(state->key, state->offered_checksums);
      has_checksums = true;
    }
    state->offered_checksums.clear();
  }
  F3_RETURN_IF_ERROR(catalogue_->Write(std::move(batch), /*sync=*/false));
  state->record = record;
  state->has_checksums = has_checksums;
  UpdateLru(state);
  if (sealing && !has_checksums) WantChecksums(state);
  return Status();
}

Status ObjectStoreImpl::StillThere(const ObjectState& state) const {
  if (state.phase != Phase::kRemoved) return Status();
  return Status::ObjectMissing("object " + ToString(state.key) + " was removed from this node");
}

void ObjectStoreImpl::EraseFromTable(const StateRef& state) {
  DropFromLru(state);
  AccountClosed(state, false);
  state->phase = Phase::kRemoved;
  ++state->content;
  table_.erase(state->key);
  changed_.SignalAll();
}

void ObjectStoreImpl::Touch(const StateRef& state) { state->last_used = ++use_counter_; }

ObjectInfo ObjectStoreImpl::InfoOf(const ObjectState& state) const {
  ObjectInfo info;
  info.key = state.key;
  info.role = state.record.role;
  info.tier = state.record.tier;
  info.version = state.record.version;
  info.writing = !state.record.sealed;
  info.size = state.size;
  info.allocated_bytes = state.allocated_bytes;
  if (state.handle_raw != nullptr) {
    struct stat st = {};
    ::fstat(state.handle_raw->read_fd(), &st);
    info.size = static_cast<uint64_t>(st.st_size);
    info.allocated_bytes = static_cast<uint64_t>(st.st_blocks) * 512;
  }
  return info;
}

}  // namespace f3::storage
