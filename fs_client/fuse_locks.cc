// fcntl and flock locks. The server never lets a lock request wait: a request that must wait is
// parked here and asked again when the server says that something was freed.
#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <utility>

#include "fs_client/fuse_session_impl.h"

namespace f3::fs {
namespace {

meta::LockRange RangeOf(const struct flock& lock) {
  meta::LockRange range;
  range.set_type(lock.l_type == F_UNLCK   ? meta::LOCK_TYPE_UNLOCK
                 : lock.l_type == F_RDLCK ? meta::LOCK_TYPE_READ
                                          : meta::LOCK_TYPE_WRITE);
  range.set_start(static_cast<uint64_t>(lock.l_start));
  const uint64_t length = static_cast<uint64_t>(lock.l_len);
  range.set_end(length == 0 ? INT64_MAX : range.start() + length - 1);
  range.set_pid(static_cast<uint32_t>(lock.l_pid));
  return range;
}

}  // namespace

void FuseImpl::GetLock(const ReqRef& req, uint64_t node, uint64_t owner, struct flock lock) {
  meta::Request request;
  request.mutable_get_lock()->set_ino(nodes_->ToIno(node));
  request.mutable_get_lock()->set_owner(owner);
  *request.mutable_get_lock()->mutable_range() = RangeOf(lock);
  CallMeta(req, std::move(request), [req](const Status& status, const meta::Reply& reply) {
    if (!status.ok()) return req->Error(status);
    fuse_lk_out out = {};
    const meta::LockRange& held = reply.lock();
    out.lk.start = held.start();
    out.lk.end = held.end();
    out.lk.type = held.type() == meta::LOCK_TYPE_UNLOCK ? F_UNLCK
                  : held.type() == meta::LOCK_TYPE_READ ? F_RDLCK
                                                        : F_WRLCK;
    out.lk.pid = held.pid();
    req->Send(&out, sizeof(out));
  });
}

void FuseImpl::SetLock(const ReqRef& req, uint64_t node, uint64_t owner, const struct flock& lock,
                       bool wait) {
  meta::Request request;
  meta::SetLockOp* op = request.mutable_set_lock();
  op->set_ino(nodes_->ToIno(node));
  op->set_owner(owner);
  op->set_kind(meta::LOCK_FCNTL);
  *op->mutable_range() = RangeOf(lock);
  if (op->range().type() != meta::LOCK_TYPE_UNLOCK) {
    MutexLock guard(locks_mutex_);
    lockers_[op->ino()].insert(owner);
  }
  SendLock(req, std::move(request), wait);
}

void FuseImpl::Flock(const ReqRef& req, uint64_t node, uint64_t owner, int op) {
  meta::Request request;
  meta::SetLockOp* set = request.mutable_set_lock();
  set->set_ino(nodes_->ToIno(node));
  set->set_owner(owner);
  set->set_kind(meta::LOCK_FLOCK);
  meta::LockRange* range = set->mutable_range();
  const int kind = op & ~LOCK_NB;
  range->set_type(kind == LOCK_UN   ? meta::LOCK_TYPE_UNLOCK
                  : kind == LOCK_SH ? meta::LOCK_TYPE_READ
                                    : meta::LOCK_TYPE_WRITE);
  range->set_end(INT64_MAX);
  range->set_pid(static_cast<uint32_t>(req->pid()));
  SendLock(req, std::move(request), (op & LOCK_NB) == 0);
}

void FuseImpl::SendLock(const ReqRef& req, meta::Request request, bool wait) {
  auto lock = std::make_shared<LockWait>();
  lock->req = req;
  lock->request = std::move(request);
  *lock->request.mutable_caller() = req->caller();
  const meta::SetLockOp& op = lock->request.set_lock();
  if (op.range().type() == meta::LOCK_TYPE_UNLOCK) wait = false;
  lock->request.mutable_set_lock()->set_wait(wait);
  if (wait) {
    {
      MutexLock guard(locks_mutex_);
      lock->id = next_lock_++;
      lock_waits_[lock->id] = lock;
    }
    fuse_req_interrupt_func(
        req->req(),
        [](fuse_req_t interrupted, void* data) {
          static_cast<FuseImpl*>(fuse_req_userdata(interrupted))
              ->InterruptLock(reinterpret_cast<uintptr_t>(data));
        },
        reinterpret_cast<void*>(static_cast<uintptr_t>(lock->id)));
  }
  TryLock(lock);
}

void FuseImpl::TryLock(const std::shared_ptr<LockWait>& lock) {
  const Ino ino = lock->request.set_lock().ino();
  {
    MutexLock guard(locks_mutex_);
    lock->parked = false;
    if (lock->id != 0) lock->round = lock_round_.try_emplace(ino, lock_rounds_).first->second;
  }
  options_.meta->CallAsync(lock->request, [this, lock](const Status& status, const meta::Reply&) {
    LockAnswered(lock, status);
  });
}

void FuseImpl::LockAnswered(const std::shared_ptr<LockWait>& lock, const Status& status) {
  const meta::SetLockOp& op = lock->request.set_lock();
  bool retry = false;
  {
    MutexLock guard(locks_mutex_);
    if (status.Is(Code::kAgain) && lock->id != 0 && !lock->interrupted) {
      // Something may have been freed between the server's answer and now.
      retry = lock_round_[op.ino()] != lock->round;
      lock->parked = !retry;
      if (!retry) return;
    }
    if (!retry) lock_waits_.erase(lock->id);
    if (lock_waits_.empty()) lock_round_.clear();
  }
  if (retry) return TryLock(lock);
  if (lock->interrupted && status.Is(Code::kAgain)) return lock->req->Error(EINTR);
  if (!status.ok() || op.range().type() == meta::LOCK_TYPE_UNLOCK) return lock->req->Error(status);
  options_.files->AfterLock(op.ino(), [lock](const Status& fresh) { lock->req->Error(fresh); });
}

void FuseImpl::InterruptLock(uint64_t id) {
  std::shared_ptr<LockWait> lock;
  {
    MutexLock guard(locks_mutex_);
    auto found = lock_waits_.find(id);
    if (found == lock_waits_.end()) return;
    found->second->interrupted = true;
    if (!found->second->parked) return;  // its answer is on the way
    lock = found->second;
    lock_waits_.erase(found);
  }
  lock->req->Error(EINTR);
}

void FuseImpl::OnLockAvailable(Ino ino) {
  std::vector<std::shared_ptr<LockWait>> parked;
  {
    MutexLock guard(locks_mutex_);
    auto round = lock_round_.find(ino);
    if (round == lock_round_.end()) return;
    round->second = ++lock_rounds_;
    bool any = false;
    for (const auto& [id, lock] : lock_waits_) {
      if (lock->request.set_lock().ino() != ino) continue;
      any = true;
      if (lock->parked) parked.push_back(lock);
    }
    if (!any) lock_round_.erase(round);
    for (const auto& lock : parked) lock->parked = false;
  }
  for (const auto& lock : parked) TryLock(lock);
}

// The server may have forgotten who waits; when the mount ends, waiting is over.
void FuseImpl::RetryAllLocks() {
  bool over = false;
  {
    MutexLock lock(mutex_);
    over = unmounted_;
  }
  std::vector<std::shared_ptr<LockWait>> parked;
  {
    MutexLock guard(locks_mutex_);
    for (auto& [ino, round] : lock_round_) round = ++lock_rounds_;
    for (const auto& [id, lock] : lock_waits_) {
      if (over) lock->interrupted = true;
      if (!lock->parked) continue;
      lock->parked = false;
      parked.push_back(lock);
    }
    if (over) lock_waits_.clear();
  }
  for (const auto& lock : parked) {
    if (over) {
      lock->req->Error(EINTR);
    } else {
      TryLock(lock);
    }
  }
}

void FuseImpl::ReleaseLocks(Ino ino, uint64_t owner, meta::LockKind kind,
                            std::function<void()> done) {
  if (kind == meta::LOCK_FCNTL) {
    bool locked = false;
    {
      MutexLock guard(locks_mutex_);
      auto found = lockers_.find(ino);
      locked = found != lockers_.end() && found->second.erase(owner) > 0;
      if (locked && found->second.empty()) lockers_.erase(found);
    }
    if (!locked) return done();
  }
  meta::Request request;
  request.mutable_release_locks()->set_ino(ino);
  request.mutable_release_locks()->set_owner(owner);
  request.mutable_release_locks()->set_kind(kind);
  options_.meta->CallAsync(std::move(request),
                           [done = std::move(done)](const Status&, const meta::Reply&) { done(); });
}

}  // namespace f3::fs
