// Checksums of sealed objects: computed by one thread of low priority, compared by Verify.
#include <fcntl.h>
#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

#include "storage_nodes/object_bytes.h"
#include "storage_nodes/object_store_impl.h"

namespace f3::storage {
namespace {

using Phase = ObjectState::Phase;

constexpr size_t kMaxUnchecked = 4096;

bool NeedsChecksums(const ObjectState& state) {
  return state.phase == Phase::kReady && state.record.sealed && !state.has_checksums;
}

}  // namespace

void ObjectStoreImpl::WantChecksums(const StateRef& state) {
  state->sealed_at_micros = options_.clock->MonotonicMicros();
  if (unchecked_.size() >= kMaxUnchecked) {
    unchecked_overflow_ = true;
    return;
  }
  unchecked_.push_back(state);
  unchecked_wake_.Signal();
}

StateRef ObjectStoreImpl::NextUnchecked(int64_t* wait_micros) {
  *wait_micros = 0;
  for (;;) {
    if (unchecked_.empty() && unchecked_overflow_) {
      unchecked_overflow_ = false;
      for (const auto& [key, state] : table_) {
        if (!NeedsChecksums(*state)) continue;
        if (unchecked_.size() >= kMaxUnchecked) {
          unchecked_overflow_ = true;
          break;
        }
        unchecked_.push_back(state);
      }
    }
    if (unchecked_.empty()) return nullptr;
    StateRef state = unchecked_.front();
    if (NeedsChecksums(*state) && settlers_ == 0) {
      const int64_t due = state->sealed_at_micros + options_.checksum_delay_micros;
      *wait_micros = due - options_.clock->MonotonicMicros();
      if (*wait_micros > 0) return nullptr;
    }
    unchecked_.pop_front();
    if (NeedsChecksums(*state)) return state;
  }
}

void ObjectStoreImpl::RunChecksums() {
  pthread_setname_np(pthread_self(), "f3-checksums");
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), 19);
  for (;;) {
    StateRef state;
    {
      MutexLock lock(mutex_);
      checking_.reset();
      changed_.SignalAll();
      for (;;) {
        if (stopping_) return;
        int64_t wait_micros = 0;
        state = NextUnchecked(&wait_micros);
        if (state != nullptr) break;
        if (unchecked_.empty()) settled_.SignalAll();
        if (wait_micros > 0) {
          unchecked_wake_.WaitFor(mutex_, wait_micros);
        } else {
          unchecked_wake_.Wait(mutex_);
        }
      }
      checking_ = state;
    }
    ChecksumOne(state);
  }
}

void ObjectStoreImpl::AwaitUnread(const StateRef& state) {
  while (checking_ == state) changed_.Wait(mutex_);
}

void ObjectStoreImpl::ChecksumOne(const StateRef& state) {
  const uint64_t content = state->content;
  ObjectRecord record;
  {
    MutexLock lock(mutex_);
    if (!NeedsChecksums(*state)) return;
    record = state->record;
  }
  Tier* tier = TierOf(record.tier);
  auto fd = tier->Open(state->key, O_RDONLY);
  if (!fd.ok()) return;  // removed or moved in between; a move brings checksums with it
  auto checksums = ComputeChecksums(fd->get(), tier->Path(state->key), record.size,
                                    [&] { return stopping_ || state->content != content; });
  if (!checksums.ok()) {
    if (!checksums.status().Is(Code::kInterrupted)) {
      spdlog::warn("cannot checksum an object: {}", checksums.status().message());
    }
    return;
  }
  MutexLock lock(mutex_);
  if (!NeedsChecksums(*state) || state->content != content) return;
  Catalogue::Batch batch;
  batch.PutChecksums(state->key, *checksums);
  Status status = catalogue_->Write(std::move(batch), /*sync=*/false);
  if (!status.ok()) {
    spdlog::warn("cannot keep checksums of object {}: {}", ToString(state->key), status.message());
    return;
  }
  state->has_checksums = true;
}

Status ObjectStoreImpl::SettleChecksums(int64_t timeout_micros) {
  const int64_t deadline = Clock::Real()->MonotonicMicros() + timeout_micros;
  MutexLock lock(mutex_);
  ++settlers_;
  unchecked_wake_.SignalAll();
  Status status;
  while (!stopping_ && (!unchecked_.empty() || unchecked_overflow_ || checking_ != nullptr)) {
    const int64_t left = deadline - Clock::Real()->MonotonicMicros();
    if (left <= 0) {
      status = Status::Timeout("computing the objects' checksums takes longer than was allowed");
      break;
    }
    settled_.WaitFor(mutex_, left);
  }
  --settlers_;
  return status;
}

Result<std::vector<std::string>> ObjectStoreImpl::Verify(bool repair) {
  std::vector<StateRef> states;
  {
    MutexLock lock(mutex_);
    for (const auto& [key, state] : table_) {
      if (state->record.sealed && state->has_checksums) states.push_back(state);
    }
  }
  std::vector<std::string> problems;
  for (const StateRef& state : states) {
    ObjectRecord record;
    std::vector<uint32_t> expected;
    const uint64_t content = state->content;
    {
      MutexLock lock(mutex_);
      if (state->phase != Phase::kReady || !state->record.sealed || !state->has_checksums) continue;
      record = state->record;
      F3_ASSIGN_OR_RETURN(expected, catalogue_->Checksums(state->key));
    }
    Tier* tier = TierOf(record.tier);
    auto fd = tier->Open(state->key, O_RDONLY);
    Status status = fd.ok()
                        ? CompareChecksums(fd->get(), tier->Path(state->key), record.size, expected,
                                           [&] { return stopping_ || state->content != content; })
                        : fd.status();
    std::function<void(const ObjectKey&)> listener;
    {
      MutexLock lock(mutex_);
      // What was removed, written or moved meanwhile says nothing about what was sealed.
      if (state->content != content || state->record.tier != record.tier) continue;
      if (status.ok()) {
        if (state->record.suspect) {
          ObjectRecord trusted = state->record;
          trusted.suspect = false;
          F3_RETURN_IF_ERROR(PutRecord(state, trusted, false));
        }
        continue;
      }
      listener = eviction_listener_;
    }
    problems.push_back(status.message());
    if (repair && record.role == Role::kCopy) {
      F3_RETURN_IF_ERROR(Remove(state->key));
      if (listener) listener(state->key);
    }
  }
  return problems;
}

}  // namespace f3::storage
