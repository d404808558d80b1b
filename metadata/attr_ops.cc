// setattr. Who may do it was checked by the client's kernel (default_permissions).
#include <sys/stat.h>

#include "metadata/acl.h"
#include "metadata/inode_ops.h"

namespace f3::meta {
namespace {

Status ChangeMode(OpContext& context, InodeRow* row, uint32_t permissions) {
  row->set_mode((row->mode() & S_IFMT) | (permissions & 07777));
  if (!row->has_acl()) return Status();
  const std::string key = RowKey(Row::kXattr, row->ino(), kAclAccess);
  auto stored = context.txn->Get(key);
  if (stored.status().Is(Code::kNotFound)) return Status();
  if (!stored.ok()) return stored.status();
  F3_ASSIGN_OR_RETURN(Acl acl, ParseAcl(*stored));
  ChmodAcl(&acl, permissions);
  context.txn->Put(key, FormatAcl(acl));
  return Status();
}

// A size set here is that of a file whose bytes are nowhere yet, or of one that nobody opened: the
// client that holds the bytes publishes instead.
Status ChangeSize(OpContext& context, InodeRow* row, uint64_t size) {
  if (IsDir(*row)) return Status::IsDirectory("a directory has no size to set");
  if (!IsRegular(*row)) return Status::InvalidArgument("not a regular file");
  F3_RETURN_IF_ERROR(CheckSize(size));
  if (size == row->size()) return Status();
  if (row->file_class() == CLASS_EPHEMERAL && row->size() != 0) {
    return Status::InvalidArgument("the size of an ephemeral file is set at its home");
  }
  if (size < row->size()) {
    return Status::InvalidArgument("a file is shortened by the client that stages it");
  }
  row->set_size(size);
  row->set_version(row->version() + 1);
  row->set_mtime_ns(context.now_ns);
  InvalidateData(context, row->ino());
  return Status();
}

}  // namespace

Status DoSetAttr(OpContext& context, const SetAttrOp& op, Reply* reply) {
  F3_ASSIGN_OR_RETURN(InodeRow row, GetInode(*context.txn, op.ino()));
  if (op.has_uid() || op.has_gid()) {
    if (op.has_uid()) row.set_uid(op.uid());
    if (op.has_gid()) row.set_gid(op.gid());
    if (!IsDir(row)) row.set_mode(WithoutSuid(row.mode()));
    context.txn->Delete(RowKey(Row::kXattr, row.ino(), "security.capability"));
  }
  if (op.has_mode()) F3_RETURN_IF_ERROR(ChangeMode(context, &row, op.mode()));
  if (op.has_size()) F3_RETURN_IF_ERROR(ChangeSize(context, &row, op.size()));
  if (op.kill_suid()) row.set_mode(WithoutSuid(row.mode()));
  if (op.atime_now()) row.set_atime_ns(context.now_ns);
  if (op.mtime_now()) row.set_mtime_ns(context.now_ns);
  if (op.has_atime_ns()) row.set_atime_ns(op.atime_ns());
  if (op.has_mtime_ns()) row.set_mtime_ns(op.mtime_ns());
  row.set_ctime_ns(context.now_ns);
  PutInode(*context.txn, row);
  InvalidateAttr(context, row.ino());
  return FillAttr(context, row, reply->mutable_attr());
}

}  // namespace f3::meta
