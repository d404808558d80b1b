// Extended attributes: stored ones, ACLs, and the user.f3.* ones that are the file's own fields.
#include <sys/stat.h>

#include <charconv>

#include "metadata/acl.h"
#include "metadata/inode_ops.h"

namespace f3::meta {
namespace {

constexpr size_t kMaxValueBytes = 65536;
constexpr std::string_view kOurs = "user.f3.";

bool IsOurs(std::string_view name) { return name.substr(0, kOurs.size()) == kOurs; }

Status CheckXattrName(std::string_view name) {
  if (name.size() > kMaxNameBytes) return Status::Range("the attribute's name is too long");
  for (std::string_view space : {"user.", "trusted.", "security."}) {
    if (name.size() > space.size() && name.substr(0, space.size()) == space) return Status();
  }
  if (name == kAclAccess || name == kAclDefault) return Status();
  return Status::NotSupported("attribute \"" + std::string(name) +
                              "\": only user., trusted., security. and POSIX ACLs are kept");
}

std::string_view StateName(FileState state) {
  switch (state) {
    case STATE_WRITING:
      return "writing";
    case STATE_SEALED:
      return "sealed";
    case STATE_LOST:
      return "lost";
    case STATE_UNAVAILABLE:
      return "unavailable";
    default:
      return "none";
  }
}

std::string NodeName(OpContext& context, NodeId node) {
  Holder holder;
  if (!context.nodes->FillHolder(node, {}, 0, false, &holder)) return std::to_string(node);
  return holder.name();
}

// The value of a user.f3.* attribute; NoAttribute for one that is not set or not ours to know.
Result<std::string> OurValue(OpContext& context, const InodeRow& row, std::string_view field) {
  const Status none = Status::NoAttribute("not set");
  if (field == "class") {
    if (row.file_class() == CLASS_UNSET) return none;
    return std::string(row.file_class() == CLASS_EPHEMERAL ? "ephemeral" : "durable");
  }
  if (field == "tier") {
    if (row.tier() == TIER_UNSET) return none;
    return std::string(row.tier() == TIER_MEMORY ? "memory" : "disk");
  }
  if (field == "follow") {
    if (!row.follow_set() && !row.follow()) return none;
    return std::string(row.follow() ? "1" : "0");
  }
  if (field == "ttl") {
    if (row.ttl_s() == 0) return none;
    return std::to_string(row.ttl_s());
  }
  if (!IsRegular(row)) return none;
  F3_ASSIGN_OR_RETURN(LocationRow location, GetLocation(*context.txn, row.ino()));
  if (field == "state") return std::string(StateName(StateOf(context, row, location)));
  if (field == "version") return std::to_string(row.version());
  if (field == "home") {
    return location.home() == 0 ? std::string() : NodeName(context, location.home());
  }
  if (field == "copies") {
    std::string names;
    for (const CopyRow& copy : location.copies()) {
      if (!names.empty()) names += ",";
      names += NodeName(context, copy.node());
    }
    return names;
  }
  return none;
}

Status BadValue(std::string_view field, std::string_view value, std::string_view allowed) {
  return Status::InvalidArgument("user.f3." + std::string(field) + ": \"" + std::string(value) +
                                 "\" is not " + std::string(allowed));
}

Status SetClass(InodeRow* row, std::string_view value) {
  FileClass wanted;
  if (value == "ephemeral") {
    wanted = CLASS_EPHEMERAL;
  } else if (value == "durable") {
    wanted = CLASS_DURABLE;
  } else {
    return BadValue("class", value, "ephemeral or durable");
  }
  if (IsRegular(*row) && row->file_class() != wanted) {
    return Status::NeedsConversion("the file's content has to move first");
  }
  if (!IsDir(*row) && !IsRegular(*row)) {
    return Status::NotPermitted("only files and directories have a class");
  }
  row->set_file_class(wanted);
  return Status();
}

Status SetOurs(InodeRow* row, std::string_view field, std::string_view value) {
  if (field == "class") return SetClass(row, value);
  if (field == "tier") {
    if (value != "memory" && value != "disk") return BadValue(field, value, "memory or disk");
    row->set_tier(value == "memory" ? TIER_MEMORY : TIER_DISK);
    return Status();
  }
  if (field == "follow") {
    if (value != "0" && value != "1") return BadValue(field, value, "0 or 1");
    row->set_follow(value == "1");
    row->set_follow_set(true);
    return Status();
  }
  if (field == "ttl") {
    uint64_t seconds = 0;
    auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), seconds);
    if (error != std::errc() || end != value.data() + value.size() || seconds > kMaxTtlSeconds) {
      return BadValue(field, value, "a number of seconds up to 1000000000");
    }
    row->set_ttl_s(seconds);
    return Status();
  }
  for (std::string_view known : {"state", "home", "copies", "version"}) {
    if (field == known) {
      return Status::NotPermitted("user.f3." + std::string(field) + " can only be read");
    }
  }
  return Status::InvalidArgument("user.f3." + std::string(field) +
                                 " is unknown; there are class, tier, follow and ttl");
}

Status RemoveOurs(InodeRow* row, std::string_view field) {
  if (field == "class" && IsDir(*row)) {
    row->set_file_class(CLASS_UNSET);
  } else if (field == "tier") {
    row->set_tier(TIER_UNSET);
  } else if (field == "follow") {
    row->set_follow(false);
    row->set_follow_set(false);
  } else if (field == "ttl") {
    row->set_ttl_s(0);
  } else {
    return Status::NotPermitted("user.f3." + std::string(field) + " cannot be removed");
  }
  return Status();
}

// The mode bits follow the access list; a list that says no more than they do is not kept.
Status SetAcl(OpContext& context, InodeRow* row, std::string_view name, std::string_view value) {
  if (S_ISLNK(row->mode())) return Status::NotSupported("a symbolic link has no ACL");
  F3_ASSIGN_OR_RETURN(Acl acl, ParseAcl(value));
  const std::string key = RowKey(Row::kXattr, row->ino(), name);
  if (name == kAclDefault) {
    if (!IsDir(*row)) return Status::AccessDenied("only a directory has a default ACL");
    if (acl.empty()) {
      context.txn->Delete(key);
    } else {
      context.txn->Put(key, value);
      row->set_has_acl(true);
    }
    return Status();
  }
  bool extended = false;
  if (!acl.empty()) row->set_mode((row->mode() & ~0777u) | AclMode(acl, &extended));
  if (extended) {
    context.txn->Put(key, value);
    row->set_has_acl(true);
  } else {
    context.txn->Delete(key);
  }
  return Status();
}

}  // namespace

Status DoGetXattr(OpContext& context, const GetXattrOp& op, Reply* reply) {
  F3_ASSIGN_OR_RETURN(InodeRow row, GetInode(*context.txn, op.ino()));
  if (IsOurs(op.name())) {
    auto value = OurValue(context, row, std::string_view(op.name()).substr(kOurs.size()));
    if (!value.ok()) return value.status();
    reply->set_data(*value);
    return Status();
  }
  F3_RETURN_IF_ERROR(CheckXattrName(op.name()));
  auto value = context.txn->Get(RowKey(Row::kXattr, op.ino(), op.name()));
  if (value.status().Is(Code::kNotFound)) return Status::NoAttribute(op.name());
  if (!value.ok()) return value.status();
  reply->set_data(*value);
  return Status();
}

Status DoListXattr(OpContext& context, const ListXattrOp& op, Reply* reply) {
  F3_ASSIGN_OR_RETURN(InodeRow row, GetInode(*context.txn, op.ino()));
  const std::string prefix = RowKey(Row::kXattr, op.ino());
  F3_ASSIGN_OR_RETURN(auto rows, context.txn->Scan(prefix, PrefixEnd(prefix), SIZE_MAX));
  for (const auto& [key, value] : rows) {
    std::string name = key.substr(prefix.size());
    // Nobody else may read these (xattr(7)), so that a copy of what is listed would fail.
    if (name.starts_with("trusted.") && context.caller.uid() != 0) continue;
    reply->add_names(std::move(name));
  }
  // Computed attributes are not listed, so that `cp -a` does not try to set them; of the settable
  // ones only what is set explicitly is.
  if (IsDir(row)) {
    for (std::string_view field : {"class", "tier", "follow", "ttl"}) {
      if (OurValue(context, row, field).ok()) {
        reply->add_names(std::string(kOurs) + std::string(field));
      }
    }
  }
  return Status();
}

Status DoSetXattr(OpContext& context, const SetXattrOp& op, Reply* reply) {
  F3_ASSIGN_OR_RETURN(InodeRow row, GetInode(*context.txn, op.ino()));
  if (op.value().size() > kMaxValueBytes) {
    return Status::Range("an attribute's value has at most 65536 bytes");
  }
  if (IsOurs(op.name())) {
    std::string_view field = std::string_view(op.name()).substr(kOurs.size());
    const Status existing = OurValue(context, row, field).status();
    if (!existing.ok() && !existing.Is(Code::kNoAttribute)) return existing;
    F3_RETURN_IF_ERROR(SetOurs(&row, field, op.value()));
    // Of a file that nobody has open, this counts as its last close.
    if (field == "ttl" && IsRegular(row) && context.opens->Opens(row.ino()).empty()) {
      const int64_t ns = static_cast<int64_t>(row.ttl_s()) * 1'000'000'000;
      SetExpiry(context, &row, row.ttl_s() == 0 ? 0 : context.now_ns + ns);
    }
    if (op.create() && existing.ok()) return Status::Exists(op.name());
    if (op.replace() && !existing.ok()) return Status::NoAttribute(op.name());
  } else {
    F3_RETURN_IF_ERROR(CheckXattrName(op.name()));
    const std::string key = RowKey(Row::kXattr, op.ino(), op.name());
    auto existing = context.txn->Get(key);
    if (!existing.ok() && !existing.status().Is(Code::kNotFound)) return existing.status();
    if (op.create() && existing.ok()) return Status::Exists(op.name());
    if (op.replace() && !existing.ok()) return Status::NoAttribute(op.name());
    if (op.name() == kAclAccess || op.name() == kAclDefault) {
      F3_RETURN_IF_ERROR(SetAcl(context, &row, op.name(), op.value()));
    } else {
      context.txn->Put(key, op.value());
    }
  }
  row.set_ctime_ns(context.now_ns);
  PutInode(*context.txn, row);
  InvalidateAttr(context, row.ino());
  return FillAttr(context, row, reply->mutable_attr());
}

Status DoRemoveXattr(OpContext& context, const RemoveXattrOp& op, Reply* reply) {
  F3_ASSIGN_OR_RETURN(InodeRow row, GetInode(*context.txn, op.ino()));
  if (IsOurs(op.name())) {
    std::string_view field = std::string_view(op.name()).substr(kOurs.size());
    F3_RETURN_IF_ERROR(OurValue(context, row, field).status());
    F3_RETURN_IF_ERROR(RemoveOurs(&row, field));
  } else {
    F3_RETURN_IF_ERROR(CheckXattrName(op.name()));
    const std::string key = RowKey(Row::kXattr, op.ino(), op.name());
    auto existing = context.txn->Get(key);
    if (existing.status().Is(Code::kNotFound)) return Status::NoAttribute(op.name());
    if (!existing.ok()) return existing.status();
    context.txn->Delete(key);
  }
  row.set_ctime_ns(context.now_ns);
  PutInode(*context.txn, row);
  InvalidateAttr(context, row.ino());
  return FillAttr(context, row, reply->mutable_attr());
}

}  // namespace f3::meta
