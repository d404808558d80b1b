#include "metadata/lock_ops.h"

#include <algorithm>
#include <vector>

#include "metadata/inode_ops.h"

namespace f3::meta {
namespace {

// Bounds what one owner can make the server store of one file.
constexpr int kMaxRanges = 4096;

bool Overlap(const LockRange& a, const LockRange& b) {
  return a.start() <= b.end() && b.start() <= a.end();
}

bool Excludes(const LockRange& a, const LockRange& b) {
  return Overlap(a, b) && (a.type() == LOCK_TYPE_WRITE || b.type() == LOCK_TYPE_WRITE);
}

// The first range of another owner that stands against `range`; false when there is none.
bool FindHolder(const LockRow& row, SessionId session, uint64_t owner, LockKind kind,
                const LockRange& range, LockRange* holder) {
  for (const OwnerLocks& locks : row.owners()) {
    if (locks.kind() != kind || (locks.session() == session && locks.owner() == owner)) continue;
    for (const LockRange& held : locks.ranges()) {
      if (!Excludes(held, range)) continue;
      *holder = held;
      // Of another host, its number would name some unrelated process here.
      if (locks.session() != session) holder->set_pid(0);
      return true;
    }
  }
  return false;
}

Result<LockRow> GetLocks(OpContext& context, Ino ino) {
  return GetRowOrEmpty<LockRow>(*context.txn, RowKey(Row::kLock, ino), "locks");
}

void PutLocks(OpContext& context, Ino ino, const LockRow& row) {
  PutRowUnlessEmpty(*context.txn, RowKey(Row::kLock, ino), row);
}

// The owner's place in the row; its end when the owner has no lock there.
int FindOwner(const LockRow& row, SessionId session, uint64_t owner, LockKind kind) {
  int i = 0;
  while (i < row.owners_size() &&
         (row.owners(i).session() != session || row.owners(i).owner() != owner ||
          row.owners(i).kind() != kind)) {
    ++i;
  }
  return i;
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

void ApplyLock(const LockRange& range, OwnerLocks* locks) {
  std::vector<LockRange> kept;
  for (const LockRange& held : locks->ranges()) {
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
  locks->clear_ranges();
  for (const LockRange& next : kept) {
    if (locks->ranges_size() > 0) {
      LockRange* last = locks->mutable_ranges(locks->ranges_size() - 1);
      if (last->type() == next.type() && last->end() + 1 == next.start()) {
        last->set_end(next.end());
        continue;
      }
    }
    *locks->add_ranges() = next;
  }
}

Status DoGetLock(OpContext& context, const GetLockOp& op, Reply* reply) {
  F3_RETURN_IF_ERROR(CheckRange(op.range()));
  F3_RETURN_IF_ERROR(GetInode(*context.txn, op.ino()).status());
  LockRange* holder = reply->mutable_lock();
  F3_ASSIGN_OR_RETURN(const LockRow row, GetLocks(context, op.ino()));
  if (!FindHolder(row, context.session, op.owner(), LOCK_FCNTL, op.range(), holder)) {
    holder->set_type(LOCK_TYPE_UNLOCK);
  }
  return Status();
}

Status DoSetLock(OpContext& context, const SetLockOp& op, Reply*) {
  if (context.session == 0) return Status::InvalidArgument("locks need a session");
  F3_RETURN_IF_ERROR(CheckRange(op.range()));
  if (!LockKind_IsValid(op.kind())) return Status::InvalidArgument("unknown kind of lock");
  F3_RETURN_IF_ERROR(GetInode(*context.txn, op.ino()).status());
  F3_ASSIGN_OR_RETURN(LockRow row, GetLocks(context, op.ino()));
  LockRange holder;
  if (op.range().type() != LOCK_TYPE_UNLOCK &&
      FindHolder(row, context.session, op.owner(), op.kind(), op.range(), &holder)) {
    if (op.wait()) context.effects.lock_waiters.push_back(op.ino());
    return Status::Again("the range is locked by another owner");
  }
  const int i = FindOwner(row, context.session, op.owner(), op.kind());
  const bool had_any = i < row.owners_size();
  if (!had_any && op.range().type() == LOCK_TYPE_UNLOCK) return Status();
  OwnerLocks* locks = had_any ? row.mutable_owners(i) : row.add_owners();
  locks->set_session(context.session);
  locks->set_owner(op.owner());
  locks->set_kind(op.kind());
  ApplyLock(op.range(), locks);
  if (locks->ranges_size() > kMaxRanges) {
    return Status::NoLocks("too many lock ranges on one file");
  }
  if (locks->ranges_size() == 0) row.mutable_owners()->DeleteSubrange(i, 1);
  PutLocks(context, op.ino(), row);
  // Also a read lock may free: it may have been a write lock before.
  if (had_any) context.effects.locks_freed.push_back(op.ino());
  return Status();
}

Status DoReleaseLocks(OpContext& context, const ReleaseLocksOp& op, Reply*) {
  F3_ASSIGN_OR_RETURN(LockRow row, GetLocks(context, op.ino()));
  const int i = FindOwner(row, context.session, op.owner(), op.kind());
  if (i == row.owners_size()) return Status();
  row.mutable_owners()->DeleteSubrange(i, 1);
  PutLocks(context, op.ino(), row);
  context.effects.locks_freed.push_back(op.ino());
  return Status();
}

Status ReleaseSessionLocks(OpContext& context, SessionId session) {
  const std::string prefix = RowKey(Row::kLock);
  F3_ASSIGN_OR_RETURN(auto rows, context.txn->Scan(prefix, PrefixEnd(prefix), SIZE_MAX));
  for (const auto& [key, value] : rows) {
    LockRow row;
    if (!row.ParseFromString(value)) return Status::Corruption("a lock row is damaged");
    if (!EraseOfSession(session, row.mutable_owners())) continue;
    PutLocks(context, NumberAt(key, 1), row);
    context.effects.locks_freed.push_back(NumberAt(key, 1));
  }
  return Status();
}

}  // namespace f3::meta
