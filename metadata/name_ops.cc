// Operations that give or take one name: create, make_node, link, unlink.
#include <sys/stat.h>

#include <algorithm>

#include "metadata/inode_ops.h"
#include "metadata/location_ops.h"

namespace f3::meta {
namespace {

// Links are counted in 32 bits; this leaves room.
constexpr uint32_t kMaxLinks = 1u << 30;

void AddDentry(OpContext& context, Ino parent, const std::string& name, const InodeRow& row) {
  DentryRow dentry;
  dentry.set_ino(row.ino());
  dentry.set_mode(row.mode() & S_IFMT);
  PutRow(*context.txn, RowKey(Row::kDentry, parent, name), dentry);
  InvalidateEntry(context, parent, name);
}

// The directory that will hold a new name. Stale when it was removed meanwhile.
Result<InodeRow> ParentForNewName(OpContext& context, Ino parent, const std::string& name) {
  F3_RETURN_IF_ERROR(CheckName(name));
  F3_ASSIGN_OR_RETURN(InodeRow row, GetDirectory(context, parent));
  if (row.nlink() == 0) return Status::NotFound("the directory was removed");
  return row;
}

Status NameIsFree(OpContext& context, Ino parent, const std::string& name) {
  auto existing = GetDentry(*context.txn, parent, name);
  if (existing.ok()) return Status::Exists(name);
  return existing.status().Is(Code::kNotFound) ? Status() : existing.status();
}

// Its time, and what whoever changes it will ask for next.
Status ChangeDirectory(OpContext& context, InodeRow* directory, Reply* reply) {
  TouchDirectory(context, directory);
  return FillAttr(context, *directory, reply->mutable_parent());
}

void ApplyFileSettings(const InodeRow& parent, const CreateOp& op, InodeRow* row) {
  row->set_file_class(ResolveClass(parent, op.hint_class()));
  const Tier hint = Tier_IsValid(op.hint_tier()) ? op.hint_tier() : TIER_UNSET;
  row->set_tier(parent.tier() != TIER_UNSET ? parent.tier() : hint);
  if (parent.follow_set()) {
    row->set_follow(parent.follow());
  } else {
    row->set_follow(op.has_hint_follow() && op.hint_follow());
  }
  row->set_ttl_s(parent.ttl_s() != 0 ? parent.ttl_s() : std::min(op.hint_ttl_s(), kMaxTtlSeconds));
}

Status OpenExisting(OpContext& context, const CreateOp& op, Ino ino, Reply* reply) {
  if (op.exclusive()) return Status::Exists(op.name());
  F3_ASSIGN_OR_RETURN(InodeRow row, GetInode(*context.txn, ino));
  if (IsDir(row)) return Status::IsDirectory(op.name());
  if (IsRegular(row)) {
    F3_RETURN_IF_ERROR(OpenInode(context, row, op.flags(), false, reply));
  }
  // OpenInode may have changed the row (truncation).
  F3_ASSIGN_OR_RETURN(row, GetInode(*context.txn, ino));
  return FillAttr(context, row, reply->mutable_entry()->mutable_attr());
}

}  // namespace

Status DoCreate(OpContext& context, const CreateOp& op, Reply* reply) {
  if (context.session == 0) return Status::InvalidArgument("creating files needs a session");
  InodeRow parent;
  if (op.tmpfile()) {
    F3_ASSIGN_OR_RETURN(parent, GetDirectory(context, op.parent()));
  } else {
    F3_ASSIGN_OR_RETURN(parent, ParentForNewName(context, op.parent(), op.name()));
    auto existing = GetDentry(*context.txn, op.parent(), op.name());
    if (existing.ok()) return OpenExisting(context, op, existing->ino(), reply);
    if (!existing.status().Is(Code::kNotFound)) return existing.status();
  }
  F3_ASSIGN_OR_RETURN(InodeRow row, NewInode(context, parent, S_IFREG | (op.mode() & 07777)));
  ApplyFileSettings(parent, op, &row);
  if (op.tmpfile()) {
    row.set_nlink(0);
    context.txn->Put(RowKey(Row::kOrphan, row.ino()), "");
  } else {
    row.set_name(op.name());
    AddDentry(context, op.parent(), op.name(), row);
    F3_RETURN_IF_ERROR(ChangeDirectory(context, &parent, reply));
  }
  PutInode(*context.txn, row);
  F3_RETURN_IF_ERROR(OpenInode(context, row, op.flags(), true, reply));
  reply->mutable_open()->set_created(true);
  return FillAttr(context, row, reply->mutable_entry()->mutable_attr());
}

Status DoMakeNode(OpContext& context, const MakeNodeOp& op, Reply* reply) {
  F3_ASSIGN_OR_RETURN(InodeRow parent, ParentForNewName(context, op.parent(), op.name()));
  F3_RETURN_IF_ERROR(NameIsFree(context, op.parent(), op.name()));
  const uint32_t type = op.mode() & S_IFMT;
  if (type != S_IFDIR && type != S_IFLNK && type != S_IFIFO && type != S_IFSOCK &&
      type != S_IFCHR && type != S_IFBLK && type != S_IFREG) {
    return Status::InvalidArgument("unknown file type");
  }
  if (type == S_IFLNK && (op.target().empty() || op.target().size() > 4095)) {
    return Status::NameTooLong("a symbolic link's target has 1 to 4095 bytes");
  }
  F3_ASSIGN_OR_RETURN(InodeRow row, NewInode(context, parent, op.mode() & (S_IFMT | 07777)));
  row.set_name(op.name());
  if (type == S_IFLNK) {
    row.set_target(op.target());
    row.set_size(op.target().size());
  }
  if (type == S_IFCHR || type == S_IFBLK) row.set_rdev(op.rdev());
  if (type == S_IFREG) {
    CreateOp hints;
    hints.set_hint_class(op.hint_class());
    hints.set_hint_tier(op.hint_tier());
    ApplyFileSettings(parent, hints, &row);
  }
  if (type == S_IFDIR) parent.set_nlink(parent.nlink() + 1);
  PutInode(*context.txn, row);
  AddDentry(context, op.parent(), op.name(), row);
  F3_RETURN_IF_ERROR(ChangeDirectory(context, &parent, reply));
  return FillAttr(context, row, reply->mutable_entry()->mutable_attr());
}

Status DoLink(OpContext& context, const LinkOp& op, Reply* reply) {
  F3_ASSIGN_OR_RETURN(InodeRow parent, ParentForNewName(context, op.new_parent(), op.new_name()));
  F3_ASSIGN_OR_RETURN(InodeRow row, GetInode(*context.txn, op.ino()));
  if (IsDir(row)) return Status::NotPermitted("directories have one name");
  if (row.nlink() >= kMaxLinks) return Status::TooManyLinks(op.new_name());
  F3_RETURN_IF_ERROR(NameIsFree(context, op.new_parent(), op.new_name()));
  if (IsRegular(row) && row.file_class() == CLASS_EPHEMERAL &&
      ResolveClass(parent, op.hint_class()) == CLASS_DURABLE && op.new_parent() != row.parent()) {
    return Status::CrossDevice("an ephemeral file cannot be linked where files are durable");
  }
  if (row.nlink() == 0) {
    auto orphan = context.txn->Get(RowKey(Row::kOrphan, row.ino()));
    if (!orphan.ok()) return Status::NotFound("the file was removed");
    context.txn->Delete(RowKey(Row::kOrphan, row.ino()));
    row.set_parent(op.new_parent());
    row.set_name(op.new_name());
  }
  row.set_nlink(row.nlink() + 1);
  row.set_ctime_ns(context.now_ns);
  PutInode(*context.txn, row);
  InvalidateAttr(context, row.ino());
  AddDentry(context, op.new_parent(), op.new_name(), row);
  F3_RETURN_IF_ERROR(ChangeDirectory(context, &parent, reply));
  return FillAttr(context, row, reply->mutable_entry()->mutable_attr());
}

Status DoUnlink(OpContext& context, const UnlinkOp& op, Reply* reply) {
  if (op.name() == "." || op.name() == "..") {
    return op.directory() ? Status::InvalidArgument(op.name()) : Status::IsDirectory(op.name());
  }
  F3_ASSIGN_OR_RETURN(InodeRow parent, GetDirectory(context, op.parent()));
  F3_ASSIGN_OR_RETURN(DentryRow dentry, GetDentry(*context.txn, op.parent(), op.name()));
  F3_ASSIGN_OR_RETURN(InodeRow row, GetInode(*context.txn, dentry.ino()));
  if (op.directory()) {
    if (!IsDir(row)) return Status::NotDirectory(op.name());
    const std::string prefix = RowKey(Row::kDentry, row.ino());
    F3_ASSIGN_OR_RETURN(auto entries, context.txn->Scan(prefix, PrefixEnd(prefix), 1));
    if (!entries.empty()) return Status::NotEmpty(op.name());
    parent.set_nlink(parent.nlink() - 1);
  } else if (IsDir(row)) {
    return Status::IsDirectory(op.name());
  }
  context.txn->Delete(RowKey(Row::kDentry, op.parent(), op.name()));
  InvalidateEntry(context, op.parent(), op.name());
  F3_RETURN_IF_ERROR(ChangeDirectory(context, &parent, reply));
  F3_RETURN_IF_ERROR(DropLink(context, &row));
  return FillAttr(context, row, reply->mutable_attr());
}

Result<std::vector<Ino>> ExpiredFiles(Transaction& txn, int64_t now_ns, size_t limit) {
  const std::string end = RowKey(Row::kExpiry, static_cast<uint64_t>(now_ns));
  F3_ASSIGN_OR_RETURN(auto rows, txn.Scan(RowKey(Row::kExpiry), end, limit));
  std::vector<Ino> expired;
  for (const auto& [key, value] : rows) expired.push_back(NumberAt(key, 9));
  return expired;
}

Status ExpireFile(OpContext& context, Ino ino) {
  F3_ASSIGN_OR_RETURN(InodeRow row, GetInode(*context.txn, ino));
  if (row.expires_ns() == 0 || row.expires_ns() > context.now_ns) return Status();  // opened again
  if (row.nlink() == 0) {
    SetExpiry(context, &row, 0);
    PutInode(*context.txn, row);
    return DeleteIfUnused(context, row, 0);
  }
  auto dentry = GetDentry(*context.txn, row.parent(), row.name());
  if (dentry.ok() && dentry->ino() == ino) {
    UnlinkOp op;
    op.set_parent(row.parent());
    op.set_name(row.name());
    Reply ignored;
    F3_RETURN_IF_ERROR(DoUnlink(context, op, &ignored));
    // Other names of it live on, without an end.
    auto left = GetInode(*context.txn, ino);
    if (!left.ok()) return Status();
    row = std::move(left).value();
  }
  SetExpiry(context, &row, 0);
  PutInode(*context.txn, row);
  return Status();
}

}  // namespace f3::meta
