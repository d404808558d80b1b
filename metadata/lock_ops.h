// flock and fcntl locks. Each owner's ranges of one kind are one row; none waits here: a lock that
// is held is refused with Again, and the server tells waiters when it is freed.
#ifndef F3_METADATA_LOCK_OPS_H_
#define F3_METADATA_LOCK_OPS_H_

#include "common/status.h"
#include "metadata/op_context.h"
#include "metadata/schema.h"

namespace f3::meta {

Status DoGetLock(OpContext& context, const GetLockOp& op, Reply* reply);
Status DoSetLock(OpContext& context, const SetLockOp& op, Reply* reply);
Status DoReleaseLocks(OpContext& context, const ReleaseLocksOp& op, Reply* reply);
// Every lock of a session that is over.
Status ReleaseSessionLocks(OpContext& context, SessionId session);

// Replaces the part [range.start, range.end] of `locks` by `range`, splits what it cuts, merges
// neighbours of one type. Ends are inclusive. Pure; for tests too.
void ApplyLock(const LockRange& range, OwnerLocks* locks);

}  // namespace f3::meta

#endif  // F3_METADATA_LOCK_OPS_H_
