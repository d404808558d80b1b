// Pieces that several operations share. All work on the context's transaction only.
#ifndef F3_METADATA_INODE_OPS_H_
#define F3_METADATA_INODE_OPS_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "common/status.h"
#include "metadata/op_context.h"
#include "metadata/schema.h"

namespace f3::meta {

// Some thirty years; as nanoseconds they can be added to the time.
inline constexpr uint64_t kMaxTtlSeconds = 1'000'000'000;

bool IsDir(const InodeRow& row);
bool IsRegular(const InodeRow& row);
// A mode without setuid, and without setgid where that means "run as group" (the group may
// execute).
uint32_t WithoutSuid(uint32_t mode);

// Refuses "", ".", "..", '/' and NUL, and names that are too long.
Status CheckName(std::string_view name);
// NotDirectory, or Stale when the directory is gone.
Result<InodeRow> GetDirectory(OpContext& context, Ino ino);

// The row as callers see it, with location and state.
Status FillAttr(OpContext& context, const InodeRow& row, Attr* attr);
FileState StateOf(OpContext& context, const InodeRow& row, const LocationRow& location);

void InvalidateEntry(OpContext& context, Ino parent, std::string_view name);
void InvalidateAttr(OpContext& context, Ino ino);
void InvalidateData(OpContext& context, Ino ino);
// Sets mtime and ctime of a directory whose entries changed, and saves it.
void TouchDirectory(OpContext& context, InodeRow* directory);

// A new inode row with owner, mode (umask or default ACL), times and inherited settings; saved,
// with its ACLs, but without a name. `mode` has the type.
Result<InodeRow> NewInode(OpContext& context, const InodeRow& parent, uint32_t mode);

// What a name's place says of a file's class, and where its hint ends. A hint that is no class that
// this server knows counts as none.
FileClass ResolveClass(const InodeRow& parent, FileClass hint);

// Takes one name away: saves the row with one link less, or deletes the file, or makes it an orphan
// while it is open. One that `lingers` stays for a second, for those who are about to open it.
Status DropLink(OpContext& context, InodeRow* row, bool lingers = false);
// Deletes an inode that has no name and that nobody has open (`closing`: readers and writers that
// the calling session is about to give back).
Status DeleteIfUnused(OpContext& context, const InodeRow& row, uint32_t closing);
// Moves all blocks of the file to the garbage list.
Status DropBlocks(OpContext& context, Ino ino, uint64_t first_index);

// All opens of the inode, those of the caller's session, and those of the others.
uint32_t OpenHandles(const OpContext& context, Ino ino);
uint32_t OpenHandlesHere(const OpContext& context, Ino ino);
uint32_t OpenHandlesElsewhere(const OpContext& context, Ino ino);
uint32_t WritersElsewhere(const OpContext& context, Ino ino);

// FileTooBig when it is more than a file offset can be.
Status CheckSize(uint64_t size);

// Sets or clears the file's expiry row. `at_ns` 0 clears.
void SetExpiry(OpContext& context, InodeRow* row, int64_t at_ns);

// Themes, by file: read_ops.cc, attr_ops.cc, xattr_ops.cc, name_ops.cc, rename_op.cc, scan_ops.cc.
Status DoLookup(OpContext& context, const LookupOp& op, Reply* reply);
Status DoGetAttr(OpContext& context, const GetAttrOp& op, Reply* reply);
Status DoResolve(OpContext& context, const ResolveOp& op, Reply* reply);
Status DoReadlink(OpContext& context, const ReadlinkOp& op, Reply* reply);
Status DoReadDir(OpContext& context, const ReadDirOp& op, Reply* reply);
Status DoStatFs(OpContext& context, const StatFsOp& op, Reply* reply);
Status DoListVolumes(OpContext& context, Reply* reply);
Status DoCreateVolume(OpContext& context, const CreateVolumeOp& op, Reply* reply);
Status DoSetAttr(OpContext& context, const SetAttrOp& op, Reply* reply);
Status DoGetXattr(OpContext& context, const GetXattrOp& op, Reply* reply);
Status DoListXattr(OpContext& context, const ListXattrOp& op, Reply* reply);
Status DoSetXattr(OpContext& context, const SetXattrOp& op, Reply* reply);
Status DoRemoveXattr(OpContext& context, const RemoveXattrOp& op, Reply* reply);
Status DoCreate(OpContext& context, const CreateOp& op, Reply* reply);
Status DoMakeNode(OpContext& context, const MakeNodeOp& op, Reply* reply);
Status DoLink(OpContext& context, const LinkOp& op, Reply* reply);
Status DoUnlink(OpContext& context, const UnlinkOp& op, Reply* reply);
Status DoRename(OpContext& context, const RenameOp& op, Reply* reply);
Status DoScan(OpContext& context, const ScanOp& op, Reply* reply);
Status DoDropGarbage(OpContext& context, const DropGarbageOp& op, Reply* reply);

// Files whose TTL is over at `now_ns`, and the end of one.
Result<std::vector<Ino>> ExpiredFiles(Transaction& txn, int64_t now_ns, size_t limit);
Status ExpireFile(OpContext& context, Ino ino);

}  // namespace f3::meta

#endif  // F3_METADATA_INODE_OPS_H_
