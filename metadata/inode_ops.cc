#include "metadata/inode_ops.h"

#include <sys/stat.h>

#include <algorithm>

#include "metadata/acl.h"

namespace f3::meta {

bool IsDir(const InodeRow& row) { return S_ISDIR(row.mode()); }
bool IsRegular(const InodeRow& row) { return S_ISREG(row.mode()); }

uint32_t WithoutSuid(uint32_t mode) {
  mode &= ~static_cast<uint32_t>(S_ISUID);
  if ((mode & S_IXGRP) != 0) mode &= ~static_cast<uint32_t>(S_ISGID);
  return mode;
}

Status CheckName(std::string_view name) {
  if (name.size() > kMaxNameBytes) {
    return Status::NameTooLong("a name of " + std::to_string(name.size()) +
                               " bytes; at most 255 are allowed");
  }
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string_view::npos ||
      name.find('\0') != std::string_view::npos) {
    return Status::InvalidArgument("not a file name: \"" + std::string(name) + "\"");
  }
  return Status();
}

Status CheckSize(uint64_t size) {
  if (size > static_cast<uint64_t>(INT64_MAX)) return Status::FileTooBig(std::to_string(size));
  return Status();
}

Result<InodeRow> GetDirectory(OpContext& context, Ino ino) {
  F3_ASSIGN_OR_RETURN(InodeRow row, GetInode(*context.txn, ino));
  if (!IsDir(row)) return Status::NotDirectory("inode " + std::to_string(ino));
  return row;
}

FileState StateOf(OpContext& context, const InodeRow& row, const LocationRow& location) {
  if (!IsRegular(row)) return STATE_NONE;
  for (const OpenCount& open : context.opens->Opens(row.ino())) {
    if (open.writers > 0) return STATE_WRITING;
  }
  if (row.file_class() != CLASS_EPHEMERAL) return STATE_SEALED;
  if (location.lost()) return STATE_LOST;
  if (location.home() == 0 || row.size() == 0) return STATE_SEALED;
  Holder holder;
  ObjectKey object{row.ino(), location.incarnation()};
  if (context.nodes->FillHolder(location.home(), object, 0, false, &holder) && holder.up()) {
    return STATE_SEALED;
  }
  for (const CopyRow& copy : location.copies()) {
    if (context.nodes->FillHolder(copy.node(), object, 0, false, &holder) && holder.up()) {
      return STATE_SEALED;
    }
  }
  return STATE_UNAVAILABLE;
}

Status FillAttr(OpContext& context, const InodeRow& row, Attr* attr) {
  attr->set_ino(row.ino());
  attr->set_mode(row.mode());
  attr->set_nlink(row.nlink());
  attr->set_uid(row.uid());
  attr->set_gid(row.gid());
  attr->set_rdev(row.rdev());
  attr->set_size(row.size());
  attr->set_atime_ns(row.atime_ns());
  attr->set_mtime_ns(row.mtime_ns());
  attr->set_ctime_ns(row.ctime_ns());
  attr->set_version(row.version());
  attr->set_file_class(row.file_class());
  attr->set_follow(row.follow());
  attr->set_tier(row.tier());
  attr->set_ttl_s(row.ttl_s());
  attr->set_allocated_bytes(row.allocated_bytes());
  if (!IsRegular(row)) return Status();
  F3_ASSIGN_OR_RETURN(LocationRow location, GetLocation(*context.txn, row.ino()));
  attr->set_incarnation(location.incarnation());
  attr->set_home(location.home());
  attr->set_replaced(location.replaced());
  attr->set_state(StateOf(context, row, location));
  return Status();
}

void InvalidateEntry(OpContext& context, Ino parent, std::string_view name) {
  Invalidate::Item item;
  item.set_ino(parent);
  item.set_name(std::string(name));
  context.effects.invalidate.push_back(std::move(item));
}

void InvalidateAttr(OpContext& context, Ino ino) {
  Invalidate::Item item;
  item.set_ino(ino);
  item.set_attr(true);
  context.effects.invalidate.push_back(std::move(item));
}

void InvalidateData(OpContext& context, Ino ino) {
  Invalidate::Item item;
  item.set_ino(ino);
  item.set_attr(true);
  item.set_data(true);
  context.effects.invalidate.push_back(std::move(item));
}

void TouchDirectory(OpContext& context, InodeRow* directory) {
  directory->set_mtime_ns(context.now_ns);
  directory->set_ctime_ns(context.now_ns);
  PutInode(*context.txn, *directory);
  InvalidateAttr(context, directory->ino());
}

FileClass ResolveClass(const InodeRow& parent, FileClass hint) {
  if (parent.file_class() != CLASS_UNSET) return parent.file_class();
  return hint == CLASS_EPHEMERAL ? CLASS_EPHEMERAL : CLASS_DURABLE;
}

namespace {

// Applies the directory's default ACL, or the umask without one. Returns the final mode.
Result<uint32_t> InheritPermissions(OpContext& context, const InodeRow& parent, uint32_t mode,
                                    InodeRow* row) {
  if (S_ISLNK(mode)) return mode;
  auto stored = parent.has_acl() ? context.txn->Get(RowKey(Row::kXattr, parent.ino(), kAclDefault))
                                 : Result<std::string>(Status::NotFound("no default ACL"));
  if (!stored.ok()) {
    if (!stored.status().Is(Code::kNotFound)) return stored.status();
    return mode & ~(context.caller.umask() & 0777);
  }
  F3_ASSIGN_OR_RETURN(Acl acl, ParseAcl(*stored));
  uint32_t permissions = mode & 0777;
  InheritAcl(&acl, &permissions);
  bool extended = false;
  AclMode(acl, &extended);
  if (extended) {
    context.txn->Put(RowKey(Row::kXattr, row->ino(), kAclAccess), FormatAcl(acl));
    row->set_has_acl(true);
  }
  if (S_ISDIR(mode)) {
    context.txn->Put(RowKey(Row::kXattr, row->ino(), kAclDefault), *stored);
    row->set_has_acl(true);
  }
  return (mode & ~0777u) | permissions;
}

}  // namespace

Result<InodeRow> NewInode(OpContext& context, const InodeRow& parent, uint32_t mode) {
  InodeRow row;
  row.set_ino(context.ids->NextIno());
  // Nothing but a client's word says which number a replayed request had.
  if (context.replayed && (row.ino() > kMaxIno || GetInode(*context.txn, row.ino()).ok())) {
    return Status::InvalidArgument("the replayed inode number is another file's");
  }
  F3_ASSIGN_OR_RETURN(mode, InheritPermissions(context, parent, mode, &row));
  row.set_uid(context.caller.uid());
  row.set_gid(context.caller.gid());
  if ((parent.mode() & S_ISGID) != 0) {
    row.set_gid(parent.gid());
    if (S_ISDIR(mode)) mode |= S_ISGID;
  }
  row.set_mode(mode);
  row.set_nlink(S_ISDIR(mode) ? 2 : 1);
  row.set_parent(parent.ino());
  row.set_atime_ns(context.now_ns);
  row.set_mtime_ns(context.now_ns);
  row.set_ctime_ns(context.now_ns);
  row.set_version(1);
  if (S_ISDIR(mode)) {
    row.set_file_class(parent.file_class());
    row.set_tier(parent.tier());
    row.set_follow(parent.follow());
    row.set_follow_set(parent.follow_set());
    row.set_ttl_s(parent.ttl_s());
  }
  PutInode(*context.txn, row);
  return row;
}

uint32_t OpenHandles(const OpContext& context, Ino ino) {
  uint32_t handles = 0;
  for (const OpenCount& open : context.opens->Opens(ino)) handles += open.readers + open.writers;
  return handles;
}

uint32_t OpenHandlesElsewhere(const OpContext& context, Ino ino) {
  uint32_t handles = 0;
  for (const OpenCount& open : context.opens->Opens(ino)) {
    if (open.session != context.session) handles += open.readers + open.writers;
  }
  return handles;
}

uint32_t OpenHandlesHere(const OpContext& context, Ino ino) {
  return OpenHandles(context, ino) - OpenHandlesElsewhere(context, ino);
}

uint32_t WritersElsewhere(const OpContext& context, Ino ino) {
  uint32_t writers = 0;
  for (const OpenCount& open : context.opens->Opens(ino)) {
    if (open.session != context.session) writers += open.writers;
  }
  return writers;
}

Status DropBlocks(OpContext& context, Ino ino, uint64_t first_index) {
  constexpr size_t kPage = 4096;
  const std::string end = PrefixEnd(RowKey(Row::kBlock, ino));
  std::string begin = RowKey(Row::kBlock, ino, first_index);
  for (;;) {
    F3_ASSIGN_OR_RETURN(auto rows, context.txn->Scan(begin, end, kPage));
    for (const auto& [key, value] : rows) {
      BlockValue block;
      if (!block.ParseFromString(value)) return Status::Corruption("a block row is damaged");
      context.txn->Delete(key);
      std::string garbage = RowKey(Row::kGarbage, ino, block.generation());
      AppendNumber(&garbage, NumberAt(key, 9));
      context.txn->Put(garbage, "");
    }
    if (rows.size() < kPage) return Status();
    begin = rows.back().first + std::string(1, '\0');
  }
}

Status DeleteIfUnused(OpContext& context, const InodeRow& row, uint32_t closing) {
  const Ino ino = row.ino();
  const bool lingers = row.expires_ns() > context.now_ns;
  if (lingers || (IsRegular(row) && OpenHandles(context, ino) > closing)) {
    context.txn->Put(RowKey(Row::kOrphan, ino), "");
    return Status();
  }
  context.txn->Delete(RowKey(Row::kOrphan, ino));
  InodeRow gone = row;
  SetExpiry(context, &gone, 0);
  context.txn->Delete(RowKey(Row::kInode, ino));
  const std::string begin = RowKey(Row::kXattr, ino);
  F3_ASSIGN_OR_RETURN(auto xattrs, context.txn->Scan(begin, PrefixEnd(begin), SIZE_MAX));
  for (const auto& [key, value] : xattrs) context.txn->Delete(key);
  if (!IsRegular(row)) return Status();
  F3_RETURN_IF_ERROR(DropBlocks(context, ino, 0));
  F3_ASSIGN_OR_RETURN(LocationRow location, GetLocation(*context.txn, ino));
  ObjectKey object{ino, location.incarnation()};
  if (location.home() != 0) context.effects.drops.push_back({location.home(), object});
  for (const CopyRow& copy : location.copies()) {
    context.effects.drops.push_back({copy.node(), {ino, copy.incarnation()}});
  }
  PutLocation(*context.txn, ino, location, LocationRow());
  return Status();
}

namespace {
constexpr int64_t kLingerNanos = 1'000'000'000;
}  // namespace

Status DropLink(OpContext& context, InodeRow* row, bool lingers) {
  row->set_ctime_ns(context.now_ns);
  row->set_nlink(IsDir(*row) ? 0 : row->nlink() - 1);
  InvalidateAttr(context, row->ino());
  if (row->nlink() == 0) {
    SetExpiry(context, row, lingers && IsRegular(*row) ? context.now_ns + kLingerNanos : 0);
  }
  PutInode(*context.txn, *row);
  return row->nlink() == 0 ? DeleteIfUnused(context, *row, 0) : Status();
}

void SetExpiry(OpContext& context, InodeRow* row, int64_t at_ns) {
  if (row->expires_ns() == at_ns) return;
  if (row->expires_ns() != 0) {
    context.txn->Delete(RowKey(Row::kExpiry, static_cast<uint64_t>(row->expires_ns()), row->ino()));
  }
  if (at_ns != 0) {
    context.txn->Put(RowKey(Row::kExpiry, static_cast<uint64_t>(at_ns), row->ino()), "");
  }
  row->set_expires_ns(at_ns);
}

}  // namespace f3::meta
