// Operations that only read, and volumes.
#include <sys/stat.h>

#include <algorithm>

#include "metadata/inode_ops.h"

namespace f3::meta {

Status DoLookup(OpContext& context, const LookupOp& op, Reply* reply) {
  if (op.name().size() > kMaxNameBytes) return CheckName(op.name());
  F3_ASSIGN_OR_RETURN(InodeRow parent, GetDirectory(context, op.parent()));
  Ino ino = 0;
  if (op.name() == ".") {
    ino = parent.ino();
  } else if (op.name() == "..") {
    ino = parent.parent();
  } else {
    F3_ASSIGN_OR_RETURN(DentryRow dentry, GetDentry(*context.txn, op.parent(), op.name()));
    ino = dentry.ino();
  }
  F3_ASSIGN_OR_RETURN(InodeRow row, GetInode(*context.txn, ino));
  return FillAttr(context, row, reply->mutable_entry()->mutable_attr());
}

namespace {

Status CheckWithin(OpContext& context, InodeRow row, Ino top) {
  while (row.ino() != top) {
    if (row.nlink() == 0 || row.parent() == row.ino()) {
      return Status::Stale("the inode is not in this mount");
    }
    F3_ASSIGN_OR_RETURN(row, GetInode(*context.txn, row.parent()));
  }
  return Status();
}

}  // namespace

Status DoGetAttr(OpContext& context, const GetAttrOp& op, Reply* reply) {
  F3_ASSIGN_OR_RETURN(InodeRow row, GetInode(*context.txn, op.ino()));
  if (op.within() != 0) F3_RETURN_IF_ERROR(CheckWithin(context, row, op.within()));
  return FillAttr(context, row, reply->mutable_attr());
}

Status DoResolve(OpContext& context, const ResolveOp& op, Reply* reply) {
  auto volume = GetRow<VolumeRow>(*context.txn, RowKey(Row::kVolume) + op.volume(),
                                  "volume \"" + op.volume() + "\"");
  if (volume.status().Is(Code::kNotFound)) {
    return Status::NotFound("there is no volume \"" + op.volume() +
                            "\"; `f3 volume list` shows those that are");
  }
  if (!volume.ok()) return volume.status();
  F3_ASSIGN_OR_RETURN(InodeRow row, GetInode(*context.txn, volume->root()));
  std::string_view rest = op.path();
  while (!rest.empty()) {
    size_t slash = rest.find('/');
    std::string_view name = rest.substr(0, slash);
    rest = slash == std::string_view::npos ? "" : rest.substr(slash + 1);
    if (name.empty() || name == ".") continue;
    if (name == "..") return Status::InvalidArgument("\"..\" in the path " + op.path());
    if (!IsDir(row)) return Status::NotDirectory(op.path());
    auto dentry = GetDentry(*context.txn, row.ino(), name);
    if (!dentry.ok()) return dentry.status().WithContext(op.path());
    F3_ASSIGN_OR_RETURN(row, GetInode(*context.txn, dentry->ino()));
  }
  return FillAttr(context, row, reply->mutable_entry()->mutable_attr());
}

Status DoReadlink(OpContext& context, const ReadlinkOp& op, Reply* reply) {
  F3_ASSIGN_OR_RETURN(InodeRow row, GetInode(*context.txn, op.ino()));
  if (!S_ISLNK(row.mode())) return Status::InvalidArgument("not a symbolic link");
  reply->set_data(row.target());
  return Status();
}

Status DoReadDir(OpContext& context, const ReadDirOp& op, Reply* reply) {
  constexpr uint32_t kMaxEntries = 1024;
  F3_ASSIGN_OR_RETURN(InodeRow parent, GetDirectory(context, op.ino()));
  const std::string prefix = RowKey(Row::kDentry, op.ino());
  std::string begin = prefix + op.after();
  if (!op.after().empty()) begin.push_back('\0');
  size_t limit = std::clamp(op.max_entries(), 1u, kMaxEntries);
  F3_ASSIGN_OR_RETURN(auto rows, context.txn->Scan(begin, PrefixEnd(prefix), limit));
  for (const auto& [key, value] : rows) {
    DentryRow dentry;
    if (!dentry.ParseFromString(value)) return Status::Corruption("a directory entry is damaged");
    DirEntry* entry = reply->add_entries();
    entry->set_name(key.substr(prefix.size()));
    entry->set_ino(dentry.ino());
    entry->set_mode(dentry.mode());
    if (!op.with_attrs()) continue;
    F3_ASSIGN_OR_RETURN(InodeRow row, GetInode(*context.txn, dentry.ino()));
    F3_RETURN_IF_ERROR(FillAttr(context, row, entry->mutable_entry()->mutable_attr()));
  }
  reply->set_last(rows.size() < limit);
  // ".." for the caller, who has no other way to learn it.
  reply->set_number(parent.parent());
  return Status();
}

Status DoStatFs(OpContext& context, const StatFsOp& op, Reply* reply) {
  F3_RETURN_IF_ERROR(GetDirectory(context, op.root()).status());
  reply->mutable_statfs();  // capacity is the nodes' and the stores'; the server adds it
  return Status();
}

Status DoListVolumes(OpContext& context, Reply* reply) {
  const std::string prefix = RowKey(Row::kVolume);
  F3_ASSIGN_OR_RETURN(auto rows, context.txn->Scan(prefix, PrefixEnd(prefix), SIZE_MAX));
  for (const auto& [key, value] : rows) reply->add_names(key.substr(1));
  return Status();
}

Status DoCreateVolume(OpContext& context, const CreateVolumeOp& op, Reply* reply) {
  F3_RETURN_IF_ERROR(CheckName(op.name()));
  const std::string key = RowKey(Row::kVolume) + op.name();
  auto existing = context.txn->Get(key);
  if (existing.ok()) return Status::Exists("volume \"" + op.name() + "\" exists already");
  if (!existing.status().Is(Code::kNotFound)) return existing.status();
  InodeRow nowhere;
  context.caller.set_uid(op.uid());
  context.caller.set_gid(op.gid());
  context.caller.set_umask(0);
  F3_ASSIGN_OR_RETURN(InodeRow root, NewInode(context, nowhere, S_IFDIR | (op.mode() & 07777)));
  root.set_parent(root.ino());  // ".." of a root is the root
  PutInode(*context.txn, root);
  VolumeRow volume;
  volume.set_root(root.ino());
  PutRow(*context.txn, key, volume);
  context.effects.durability = Durability::kSynced;
  return FillAttr(context, root, reply->mutable_entry()->mutable_attr());
}

}  // namespace f3::meta
