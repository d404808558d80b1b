#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "storage_nodes/object_store_impl.h"

namespace f3::storage {
namespace {

// Preallocated bytes past the end that are worth giving back when an object is sealed.
constexpr uint64_t kReserveSlackBytes = 64 << 10;

uint64_t AllocatedBytes(const struct stat& st) { return static_cast<uint64_t>(st.st_blocks) * 512; }

}  // namespace

ObjectImpl::ObjectImpl(ObjectStoreImpl* store, StateRef state, TierKind tier, UniqueFd read_fd,
                       UniqueFd work_fd)
    : store_(store),
      state_(std::move(state)),
      key_(state_->key),
      tier_(tier),
      read_fd_(std::move(read_fd)),
      work_fd_(std::move(work_fd)) {}

ObjectImpl::~ObjectImpl() {
  struct stat st = {};
  ::fstat(read_fd_.get(), &st);
  store_->OnHandleGone(this, state_, static_cast<uint64_t>(st.st_size), AllocatedBytes(st));
}

std::string ObjectImpl::path() const { return store_->TierOf(tier_)->Path(key_); }

ObjectInfo ObjectImpl::info() const {
  struct stat st = {};
  ::fstat(read_fd_.get(), &st);
  MutexLock lock(store_->mutex_);
  ObjectInfo info = store_->InfoOf(*state_);
  info.size = static_cast<uint64_t>(st.st_size);
  info.allocated_bytes = AllocatedBytes(st);
  return info;
}

Status ObjectImpl::OpenForWriting() {
  F3_ASSIGN_OR_RETURN(UniqueFd fd, Reopen(read_fd_.get(), O_RDWR, path()));
  if (::dup3(fd.get(), work_fd_.get(), O_CLOEXEC) < 0) {
    return Status::FromErrno(errno, "reopen " + path());
  }
  return Status();
}

Status ObjectImpl::CloseForWriting() {
  if (::dup3(read_fd_.get(), work_fd_.get(), O_CLOEXEC) < 0) {
    return Status::FromErrno(errno, "reopen " + path());
  }
  return Status();
}

Status ObjectImpl::BeginWriting(Role role) {
  MutexLock op(op_mutex_);
  bool sealed = false;
  {
    MutexLock lock(store_->mutex_);
    F3_RETURN_IF_ERROR(store_->StillThere(*state_));
    sealed = state_->record.sealed;
    ++state_->content;
    state_->offered_checksums.clear();
    ObjectRecord record = state_->record;
    record.sealed = false;
    record.suspect = false;
    record.role = role;
    if (record == state_->record && !state_->has_checksums) return Status();
    F3_RETURN_IF_ERROR(store_->PutRecord(state_, record, /*drop_checksums=*/true));
  }
  return sealed ? OpenForWriting() : Status();
}

Status ObjectImpl::Seal(Version version, Role role) {
  MutexLock op(op_mutex_);
  bool was_sealed = false;
  {
    MutexLock lock(store_->mutex_);
    F3_RETURN_IF_ERROR(store_->StillThere(*state_));
    was_sealed = state_->record.sealed;
    if (was_sealed) {
      ObjectRecord record = state_->record;
      record.version = version;
      record.role = role;
      return record == state_->record ? Status() : store_->PutRecord(state_, record, false);
    }
  }
  // Our own descriptor would be the writer that the lease looks for.
  F3_RETURN_IF_ERROR(CloseForWriting());
  Status status = TakeReadLease(read_fd_.get(), path());
  if (status.ok()) {
    struct stat st;
    if (::fstat(read_fd_.get(), &st) != 0) {
      status = Status::FromErrno(errno, "stat " + path());
    } else {
      MutexLock lock(store_->mutex_);
      ObjectRecord record = state_->record;
      record.sealed = true;
      record.version = version;
      record.role = role;
      record.size = static_cast<uint64_t>(st.st_size);
      status = store_->PutRecord(state_, record, false);
    }
    DropReadLease(read_fd_.get());
  }
  if (!status.ok()) {
    OpenForWriting().PermitUnchecked();  // the caller gets the first error
    return status;
  }
  TrimReserve();
  return Status();
}

// Gives back what was allocated ahead and not used. Failing to is no harm.
void ObjectImpl::TrimReserve() {
  struct stat st;
  if (::fstat(read_fd_.get(), &st) != 0 ||
      AllocatedBytes(st) <= static_cast<uint64_t>(st.st_size) + kReserveSlackBytes) {
    return;
  }
  auto fd = Reopen(read_fd_.get(), O_RDWR, path());
  if (!fd.ok()) return;
  if (::ftruncate(fd->get(), st.st_size) == 0) {
    const struct timespec times[2] = {st.st_atim, st.st_mtim};
    ::futimens(fd->get(), times);
  }
}

Status ObjectImpl::SetPublished(Version version) {
  MutexLock op(op_mutex_);
  MutexLock lock(store_->mutex_);
  if (state_->phase == ObjectState::Phase::kRemoved) return Status();
  ObjectRecord record = state_->record;
  record.version = version;
  return store_->PutRecord(state_, record, false);
}

void ObjectImpl::SetChecksums(std::vector<uint32_t> checksums) {
  MutexLock lock(store_->mutex_);
  if (!state_->record.sealed) state_->offered_checksums = std::move(checksums);
}

std::vector<uint32_t> ObjectImpl::Checksums() const {
  MutexLock lock(store_->mutex_);
  if (!state_->record.sealed || !state_->has_checksums ||
      state_->phase == ObjectState::Phase::kRemoved) {
    return {};
  }
  auto checksums = store_->catalogue_->Checksums(key_);
  return checksums.ok() ? *std::move(checksums) : std::vector<uint32_t>();
}

}  // namespace f3::storage
