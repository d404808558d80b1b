// Operations on where a file's bytes are: open, close, publish, copies.
// docs/design/0001-foundation.md, "Open files", is the table that OpenInode implements.
#ifndef F3_METADATA_LOCATION_OPS_H_
#define F3_METADATA_LOCATION_OPS_H_

#include <set>

#include "common/status.h"
#include "metadata/op_context.h"
#include "metadata/schema.h"

namespace f3::meta {

// The open replies carry at most this many block rows; BlockMap has the rest.
inline constexpr size_t kMaxInlineBlocks = 256;

// Opens a regular file for the calling session. `row` may be changed and is saved.
Status OpenInode(OpContext& context, InodeRow& row, const OpenFlags& flags, bool created,
                 Reply* reply);

Status DoOpen(OpContext& context, const OpenOp& op, Reply* reply);
Status DoClose(OpContext& context, const CloseOp& op, Reply* reply);
Status DoLocation(OpContext& context, const LocationOp& op, Reply* reply);
Status DoBlockMap(OpContext& context, const BlockMapOp& op, Reply* reply);
Status DoBeginPublish(OpContext& context, const BeginPublishOp& op, Reply* reply);
// What a session that is over had begun to publish.
Status DropIntents(OpContext& context, SessionId session);
Status DoPublish(OpContext& context, const PublishOp& op, Reply* reply);
Status DoAddCopy(OpContext& context, const AddCopyOp& op, Reply* reply);
Status DoDropCopy(OpContext& context, const DropCopyOp& op, Reply* reply);
Status DoLocate(OpContext& context, const LocateOp& op, Reply* reply);

// The node lost what it held, but for the objects in `present`: copies go, homes move to a copy or
// are lost.
Status NodeLostObjects(OpContext& context, NodeId node, const std::set<ObjectKey>& present);
// What a session that is over had open: like DoClose, but bytes that were never published are
// garbage, not a copy.
Status CloseEnded(OpContext& context, const CloseOp& op);
// One object that a registering node holds; false when the node may drop it.
Result<bool> ReconcileObject(OpContext& context, const InventoryItem& item);

}  // namespace f3::meta

#endif  // F3_METADATA_LOCATION_OPS_H_
