#include "metadata/lock_ops.h"

#include <algorithm>
#include <vector>

#include "metadata/inode_ops.h"

namespace f3::meta {
namespace {

// Bounds what one owner can make the server store in one row.
constexpr int kMaxRanges = 4096;

bool Overlap(const LockRange& a, const LockRange& b) {
  return a.start() <= b.end() && b.start() <= a.end();
}

bool Excludes(const LockRange& a, const LockRange& b) {
  return Overlap(a, b) && (a.type() == LOCK_TYPE_WRITE || b.type() == LOCK_TYPE_WRITE);
}

// The first range of another owner that stands against `range`; false when there is none.
Result<bool> FindHolder(OpContext& context, Ino ino, SessionId session, uint64_t owner,
                        LockKind kind, const LockRange& range, LockRange* holder) {
  const std::string prefix = RowKey(Row::kLock, ino);
  F3_ASSIGN_OR_RETURN(auto rows, context.txn->Scan(prefix, PrefixEnd(prefix), SIZE_MAX));
  for (const auto& [key, value] : rows) {
    LockRow row;
    if (!row.ParseFromString(value)) return Status::Corruption("a lock row is damaged");
    if (row.kind() != kind || (row.session() == session && row.owner() == owner)) continue;
    for (const LockRange& held : row.ranges()) {
      if (!Excludes(held, range)) continue;
      *holder = held;
      // Of another host, its number would name some unrelated process here.
      if (row.session() != session) holder->set_pid(0);
      return true;
    }
  }
  return false;
}

Status CheckRange(const LockRange& range) {
  if (range.end() < range.start())
    return Status::InvalidArgument("a lock that ends before it begins");
  if (range.type() != LOCK_TYPE_READ && range.type() != LOCK_TYPE_WRITE &&
      range.type() != LOCK_TYPE_UNLOCK) {
    return Status::InvalidArgument("unknown lock type");
  }
  return Status();
}

}  // namespace

void ApplyLock(const LockRange& range, LockRow* row) {
  std::vector<LockRange> kept;
  for (const LockRange& held : row->ranges()) {
    if (!Overlap(held, range)) {
      kept.push_back(held);
      continue;
    }
    if (held.start() < range.start()) {
      kept.push_back(held);
      kept.back().set_end(range.start() - 1);
    }
    if (held.end() > range.end()) {
      kept.push_back(held);
      kept.back().set_start(range.end() + 1);
    }
  }
  if (range.type() != LOCK_TYPE_UNLOCK) kept.push_back(range);
  std::sort(kept.begin(), kept.end(),
            [](const LockRange& a, const LockRange& b) { return a.start() < b.start(); });
  row->clear_ranges();
  for (const LockRange& next : kept) {
    if (row->ranges_size() > 0) {
      LockRange* last = row->mutable_ranges(row->ranges_size() - 1);
      if (last->type() == next.type() && last->end() + 1 == next.start()) {
        last->set_end(next.end());
        continue;
      }
    }
    *row->add_ranges() = next;
  }
}

Status DoGetLock(OpContext& context, const GetLockOp& op, Reply* reply) {
  F3_RETURN_IF_ERROR(CheckRange(op.range()));
  F3_RETURN_IF_ERROR(GetInode(*context.txn, op.ino()).status());
  LockRange* holder = reply->mutable_lock();
  F3_ASSIGN_OR_RETURN(bool held, FindHolder(context, op.ino(), context.session, op.owner(),
                                            LOCK_FCNTL, op.range(), holder));
  if (!held) holder->set_type(LOCK_TYPE_UNLOCK);
  return Status();
}

Status DoSetLock(OpContext& context, const SetLockOp& op, Reply*) {
  if (context.session == 0) return Status::InvalidArgument("locks need a session");
  F3_RETURN_IF_ERROR(CheckRange(op.range()));
  if (!LockKind_IsValid(op.kind())) return Status::InvalidArgument("unknown kind of lock");
  F3_RETURN_IF_ERROR(GetInode(*context.txn, op.ino()).status());
  if (op.range().type() != LOCK_TYPE_UNLOCK) {
    LockRange holder;
    F3_ASSIGN_OR_RETURN(bool held, FindHolder(context, op.ino(), context.session, op.owner(),
                                              op.kind(), op.range(), &holder));
    if (held) {
      if (op.wait()) context.effects.lock_waiters.push_back(op.ino());
      return Status::Again("the range is locked by another owner");
    }
  }
  const std::string key = LockKey(op.ino(), context.session, op.owner(), op.kind());
  auto found = GetRow<LockRow>(*context.txn, key, "locks");
  LockRow row;
  if (found.ok()) {
    row = *found;
  } else if (!found.status().Is(Code::kNotFound)) {
    return found.status();
  }
  const bool had_any = row.ranges_size() > 0;
  row.set_session(context.session);
  row.set_owner(op.owner());
  row.set_kind(op.kind());
  ApplyLock(op.range(), &row);
  if (row.ranges_size() > kMaxRanges) return Status::NoLocks("too many lock ranges on one file");
  if (row.ranges_size() == 0) {
    if (!had_any) return Status();
    context.txn->Delete(key);
  } else {
    PutRow(*context.txn, key, row);
  }
  // Also a read lock may free: it may have been a write lock before.
  if (had_any) context.effects.locks_freed.push_back(op.ino());
  return Status();
}

Status DoReleaseLocks(OpContext& context, const ReleaseLocksOp& op, Reply*) {
  const std::string key = LockKey(op.ino(), context.session, op.owner(), op.kind());
  auto found = context.txn->Get(key);
  if (found.status().Is(Code::kNotFound)) return Status();
  if (!found.ok()) return found.status();
  context.txn->Delete(key);
  context.effects.locks_freed.push_back(op.ino());
  return Status();
}

Status ReleaseSessionLocks(OpContext& context, SessionId session, Ino ino) {
  const std::string prefix = RowKey(Row::kLock, ino, session);
  F3_ASSIGN_OR_RETURN(auto rows, context.txn->Scan(prefix, PrefixEnd(prefix), SIZE_MAX));
  for (const auto& [key, value] : rows) context.txn->Delete(key);
  if (!rows.empty()) context.effects.locks_freed.push_back(ino);
  return Status();
}

}  // namespace f3::meta
