// rename, with NOREPLACE and EXCHANGE.
#include <sys/stat.h>

#include "metadata/inode_ops.h"

namespace f3::meta {
namespace {

struct Side {
  InodeRow parent;
  InodeRow row;
  bool exists = false;
};

Result<Side> LoadSide(OpContext& context, Ino parent, const std::string& name) {
  Side side;
  F3_ASSIGN_OR_RETURN(side.parent, GetDirectory(context, parent));
  auto dentry = GetDentry(*context.txn, parent, name);
  if (dentry.status().Is(Code::kNotFound)) return side;
  if (!dentry.ok()) return dentry.status();
  F3_ASSIGN_OR_RETURN(side.row, GetInode(*context.txn, dentry->ino()));
  side.exists = true;
  return side;
}

// Whether another session may have looked this file up and be about to open it: that open comes
// before the rename that replaces the file, not to nothing. A look that met an earlier change gave
// no lease on the file, but who looks has one on the directory.
bool MaySoonOpen(const OpContext& context, const Side& replaced) {
  if (context.leased_elsewhere == nullptr) return false;
  return context.leased_elsewhere->count(replaced.row.ino()) > 0 ||
         context.leased_elsewhere->count(replaced.parent.ino()) > 0;
}

// InvalidArgument when `directory` is `below` or one of its ancestors.
Status NotInOwnSubtree(OpContext& context, Ino directory, const InodeRow& below) {
  InodeRow row = below;
  for (;;) {
    if (row.ino() == directory) {
      return Status::InvalidArgument("a directory cannot be moved into itself");
    }
    if (row.parent() == row.ino()) return Status();
    F3_ASSIGN_OR_RETURN(row, GetInode(*context.txn, row.parent()));
  }
}

// Ruling 7 of the design: moving to a place must not weaken what the place promises.
Status CheckClass(const Side& from, const InodeRow& new_parent, FileClass hint) {
  if (IsRegular(from.row) && from.row.file_class() == CLASS_EPHEMERAL &&
      from.parent.ino() != new_parent.ino() && ResolveClass(new_parent, hint) == CLASS_DURABLE) {
    return Status::NeedsConversion("the file becomes durable at its new place");
  }
  return Status();
}

Status CheckReplace(OpContext& context, const Side& from, const Side& to,
                    const std::string& new_name) {
  if (IsDir(to.row)) {
    if (!IsDir(from.row)) return Status::IsDirectory(new_name);
    const std::string prefix = RowKey(Row::kDentry, to.row.ino());
    F3_ASSIGN_OR_RETURN(auto entries, context.txn->Scan(prefix, PrefixEnd(prefix), 1));
    if (!entries.empty()) return Status::NotEmpty(new_name);
  } else if (IsDir(from.row)) {
    return Status::NotDirectory(new_name);
  }
  return Status();
}

void PutDentry(OpContext& context, Ino parent, const std::string& name, InodeRow* row) {
  DentryRow dentry;
  dentry.set_ino(row->ino());
  dentry.set_mode(row->mode() & S_IFMT);
  PutRow(*context.txn, RowKey(Row::kDentry, parent, name), dentry);
  row->set_parent(parent);
  row->set_name(name);
  row->set_ctime_ns(context.now_ns);
  PutInode(*context.txn, *row);
  InvalidateAttr(context, row->ino());
}

// A directory's link count has one for each subdirectory's "..".
void MoveDotDot(const InodeRow& child, InodeRow* from, InodeRow* to) {
  if (!IsDir(child) || from->ino() == to->ino()) return;
  from->set_nlink(from->nlink() - 1);
  to->set_nlink(to->nlink() + 1);
}

void SaveParents(OpContext& context, Side* from, Side* to) {
  if (from->parent.ino() == to->parent.ino()) {
    TouchDirectory(context, &to->parent);
    return;
  }
  TouchDirectory(context, &from->parent);
  TouchDirectory(context, &to->parent);
}

Status Exchange(OpContext& context, const RenameOp& op, Side* from, Side* to) {
  if (!to->exists) return Status::NotFound(op.new_name());
  F3_RETURN_IF_ERROR(CheckClass(*to, from->parent, op.hint_class_back()));
  if (IsDir(to->row)) F3_RETURN_IF_ERROR(NotInOwnSubtree(context, to->row.ino(), from->parent));
  MoveDotDot(from->row, &from->parent, &to->parent);
  MoveDotDot(to->row, &to->parent, &from->parent);
  PutDentry(context, op.new_parent(), op.new_name(), &from->row);
  PutDentry(context, op.parent(), op.name(), &to->row);
  SaveParents(context, from, to);
  return Status();
}

}  // namespace

Status DoRename(OpContext& context, const RenameOp& op, Reply* reply) {
  F3_RETURN_IF_ERROR(CheckName(op.name()));
  F3_RETURN_IF_ERROR(CheckName(op.new_name()));
  F3_ASSIGN_OR_RETURN(Side from, LoadSide(context, op.parent(), op.name()));
  if (!from.exists) return Status::NotFound(op.name());
  F3_ASSIGN_OR_RETURN(Side to, LoadSide(context, op.new_parent(), op.new_name()));
  if (to.parent.nlink() == 0) return Status::NotFound("the new directory was removed");
  if (to.exists && op.no_replace()) return Status::Exists(op.new_name());
  if (IsDir(from.row)) F3_RETURN_IF_ERROR(NotInOwnSubtree(context, from.row.ino(), to.parent));
  F3_RETURN_IF_ERROR(CheckClass(from, to.parent, op.hint_class()));
  // Two names of one file: nothing to do, says POSIX.
  if (to.exists && to.row.ino() == from.row.ino()) {
    return FillAttr(context, from.row, reply->mutable_entry()->mutable_attr());
  }
  InvalidateEntry(context, op.parent(), op.name());
  InvalidateEntry(context, op.new_parent(), op.new_name());
  if (op.exchange()) {
    F3_RETURN_IF_ERROR(Exchange(context, op, &from, &to));
    return FillAttr(context, from.row, reply->mutable_entry()->mutable_attr());
  }
  if (to.exists) {
    F3_RETURN_IF_ERROR(CheckReplace(context, from, to, op.new_name()));
    if (IsDir(to.row)) to.parent.set_nlink(to.parent.nlink() - 1);
    F3_RETURN_IF_ERROR(DropLink(context, &to.row, /*lingers=*/MaySoonOpen(context, to)));
  }
  // One row in the transaction for a parent that is both sides.
  if (from.parent.ino() == to.parent.ino()) from.parent = to.parent;
  MoveDotDot(from.row, &from.parent, &to.parent);
  context.txn->Delete(RowKey(Row::kDentry, op.parent(), op.name()));
  PutDentry(context, op.new_parent(), op.new_name(), &from.row);
  SaveParents(context, &from, &to);
  return FillAttr(context, from.row, reply->mutable_entry()->mutable_attr());
}

}  // namespace f3::meta
