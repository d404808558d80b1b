// open and close: roles, open counts, and what the last close ends.
#include <algorithm>

#include "metadata/inode_ops.h"
#include "metadata/location_ops.h"

namespace f3::meta {
namespace {

constexpr int64_t kNanosPerSecond = 1'000'000'000;

bool CallerIsHome(const OpContext& context, const LocationRow& location) {
  return location.home() != 0 && location.home() == context.node;
}

void AddHolder(OpContext& context, NodeId node, const ObjectKey& object, bool write, bool home,
               OpenReply* open) {
  Holder holder;
  if (!context.nodes->FillHolder(node, object, context.session, write, &holder)) return;
  holder.set_home(home);
  *open->add_holders() = std::move(holder);
}

// Who has the object, the home first; nodes that are down come last.
void FillHolders(OpContext& context, Ino ino, const LocationRow& location, bool write,
                 OpenReply* open) {
  ObjectKey object{ino, location.incarnation()};
  if (location.home() != 0) AddHolder(context, location.home(), object, write, true, open);
  for (const CopyRow& copy : location.copies()) {
    if (copy.incarnation() != location.incarnation() || copy.node() == context.node) continue;
    AddHolder(context, copy.node(), object, false, false, open);
  }
  std::stable_partition(open->mutable_holders()->begin(), open->mutable_holders()->end(),
                        [](const Holder& holder) { return holder.up(); });
}

Status FillBlocks(OpContext& context, const InodeRow& row, OpenReply* open) {
  if (row.file_class() != CLASS_DURABLE) {
    open->set_blocks_complete(true);
    return Status();
  }
  const std::string prefix = RowKey(Row::kBlock, row.ino());
  F3_ASSIGN_OR_RETURN(auto rows,
                      context.txn->Scan(prefix, PrefixEnd(prefix), kMaxInlineBlocks + 1));
  open->set_blocks_complete(rows.size() <= kMaxInlineBlocks);
  if (rows.size() > kMaxInlineBlocks) rows.pop_back();
  for (const auto& [key, value] : rows) {
    BlockValue block;
    if (!block.ParseFromString(value)) return Status::Corruption("a block row is damaged");
    Block* out = open->add_blocks();
    out->set_index(NumberAt(key, 9));
    out->set_generation(block.generation());
    out->set_crc(block.crc());
    out->set_length(block.length());
  }
  return Status();
}

void RemoveCopy(LocationRow* location, NodeId node) {
  auto* copies = location->mutable_copies();
  for (int i = copies->size() - 1; i >= 0; --i) {
    if (copies->Get(i).node() == node) copies->DeleteSubrange(i, 1);
  }
}

bool HasCurrent(const InodeRow& row, const LocationRow& location, const OpenFlags& flags) {
  return flags.have_incarnation() != 0 && flags.have_incarnation() == location.incarnation() &&
         flags.have_version() == row.version();
}

// The caller becomes the home of a new object; what others hold of the old one is garbage when the
// file is ephemeral (a durable file's copies stay good until the next publish). The old home's
// object stays for those who read it.
void MoveHome(OpContext& context, InodeRow* row, const OpenFlags& flags, LocationRow* location,
              OpenReply* open) {
  const bool ephemeral = row->file_class() == CLASS_EPHEMERAL;
  const Incarnation old = location->incarnation();
  const bool keep_content = !flags.truncate() && row->size() > 0;
  if (ephemeral) {
    if (location->home() != 0 && !location->lost()) {
      context.effects.drops.push_back(
          {location->home(), {row->ino(), old}, UINT64_MAX, /*after_readers=*/true});
    }
    for (const CopyRow& copy : location->copies()) {
      // The caller's own copy may be what the new object is made from.
      if (copy.node() == context.node && keep_content) continue;
      context.effects.drops.push_back({copy.node(), {row->ino(), copy.incarnation()}, UINT64_MAX});
    }
    location->clear_copies();
  } else {
    RemoveCopy(location, context.node);
  }
  location->set_home(context.node);
  location->set_incarnation(context.ids->NextUnique());
  location->set_lost(false);
  if (keep_content) open->set_source_incarnation(old);
}

// Decides the role of an open for writing and records a new home.
Status OpenForWriting(OpContext& context, InodeRow* row, const OpenFlags& flags,
                      LocationRow* location, OpenReply* open) {
  const bool ephemeral = row->file_class() == CLASS_EPHEMERAL;
  const bool writers_elsewhere = WritersElsewhere(context, row->ino()) > 0;
  const bool handles_elsewhere = OpenHandlesElsewhere(context, row->ino()) > 0;
  const bool current = HasCurrent(*row, *location, flags);
  const bool replaced = flags.truncate() && row->size() > 0;
  open->set_role(ROLE_HOME);
  if (location->lost() && !flags.truncate() && row->size() > 0) {
    return Status::Lost("the file's bytes are gone with their node; truncate or remove it");
  }
  if (CallerIsHome(context, *location)) {
    // The object is here already, and a truncation happens in it; but not under readers elsewhere,
    // who keep what they opened, unless handles here must see the truncation.
    if (ephemeral && replaced && handles_elsewhere && !writers_elsewhere &&
        OpenHandlesHere(context, row->ino()) == 0) {
      MoveHome(context, row, flags, location, open);
    }
  } else if (writers_elsewhere) {
    open->set_role(ROLE_REMOTE);
  } else if (!ephemeral) {
    if (current) {
      // The caller's copy becomes the staging object as it is.
      RemoveCopy(location, context.node);
      location->set_home(context.node);
      open->set_source_incarnation(location->incarnation());
    } else {
      MoveHome(context, row, flags, location, open);
    }
  } else if (location->home() == 0 || location->lost() || replaced ||
             (!handles_elsewhere && (row->size() == 0 || current))) {
    MoveHome(context, row, flags, location, open);
  } else {
    open->set_role(ROLE_REMOTE);  // also where somebody elsewhere holds an empty object open
  }
  // An ephemeral file is empty from the truncating open on; a durable one keeps its published
  // content until the next publish.
  if (ephemeral && replaced) {
    row->set_size(0);
    row->set_allocated_bytes(0);
    row->set_version(row->version() + 1);
    row->set_mtime_ns(context.now_ns);
    row->set_ctime_ns(context.now_ns);
    for (const CopyRow& copy : location->copies()) {
      context.effects.drops.push_back(
          {copy.node(), {row->ino(), copy.incarnation()}, row->version() - 1});
    }
    location->clear_copies();
    location->set_replaced(row->version());
    InvalidateData(context, row->ino());
  } else if (replaced) {
    location->set_truncated(true);
  }
  if (open->role() == ROLE_REMOTE) {
    context.effects.writer_elsewhere.push_back(
        {location->home(), {row->ino(), location->incarnation()}, UINT64_MAX});
  }
  return Status();
}

}  // namespace

Status OpenInode(OpContext& context, InodeRow& row, const OpenFlags& flags, bool created,
                 Reply* reply) {
  if (context.session == 0) return Status::InvalidArgument("opening files needs a session");
  if (flags.truncate() && !flags.write()) {
    return Status::InvalidArgument("truncation at open needs an open for writing");
  }
  OpenReply* open = reply->mutable_open();
  F3_ASSIGN_OR_RETURN(LocationRow before, GetLocation(*context.txn, row.ino()));
  LocationRow location = before;
  open->set_written_elsewhere(!created && WritersElsewhere(context, row.ino()) > 0);
  if (flags.write()) {
    F3_RETURN_IF_ERROR(OpenForWriting(context, &row, flags, &location, open));
    location.set_touched(location.touched() + 1);
    PutLocation(*context.txn, row.ino(), before, location);
  }
  const bool expires = row.expires_ns() != 0 && row.nlink() > 0;
  if (expires) SetExpiry(context, &row, 0);
  if (flags.write() || created || expires) PutInode(*context.txn, row);
  open->set_incarnation(location.incarnation());
  // When the home moved, the content to begin from is where it was.
  LocationRow source = open->source_incarnation() != 0 ? before : location;
  FillHolders(context, row.ino(), source, open->role() == ROLE_REMOTE, open);
  F3_RETURN_IF_ERROR(FillBlocks(context, row, open));
  OpenChange change{row.ino(), location.incarnation(), 0, 0};
  (flags.write() ? change.writers : change.readers) = 1;
  context.effects.opens.push_back(change);
  return FillAttr(context, row, reply->mutable_attr());
}

Status DoOpen(OpContext& context, const OpenOp& op, Reply* reply) {
  F3_ASSIGN_OR_RETURN(InodeRow row, GetInode(*context.txn, op.ino()));
  if (!IsRegular(row)) return Status::InvalidArgument("only regular files are opened here");
  return OpenInode(context, row, op.flags(), false, reply);
}

Status DoLocation(OpContext& context, const LocationOp& op, Reply* reply) {
  F3_ASSIGN_OR_RETURN(InodeRow row, GetInode(*context.txn, op.ino()));
  F3_ASSIGN_OR_RETURN(LocationRow location, GetLocation(*context.txn, op.ino()));
  OpenReply* open = reply->mutable_open();
  open->set_incarnation(location.incarnation());
  open->set_written_elsewhere(WritersElsewhere(context, op.ino()) > 0);
  FillHolders(context, op.ino(), location, op.write(), open);
  F3_RETURN_IF_ERROR(FillBlocks(context, row, open));
  return FillAttr(context, row, reply->mutable_attr());
}

namespace {

// `published`: what the home holds is what was published last.
Status CloseInode(OpContext& context, const CloseOp& op, bool published) {
  // A session gives back no more than it has: others' opens keep the file.
  OpenCount own;
  for (const OpenCount& open : context.opens->Opens(op.ino())) {
    if (open.session == context.session) own = open;
  }
  const uint32_t closing_readers = std::min(op.readers(), own.readers);
  const uint32_t closing_writers = std::min(op.writers(), own.writers);
  context.effects.opens.push_back({op.ino(), op.incarnation(), -static_cast<int>(closing_readers),
                                   -static_cast<int>(closing_writers)});
  auto found = GetInode(*context.txn, op.ino());
  if (found.status().Is(Code::kStale)) return Status();  // deleted by somebody's last close
  if (!found.ok()) return found.status();
  InodeRow row = std::move(found).value();
  const uint32_t closing = closing_readers + closing_writers;
  const uint32_t open_now = OpenHandles(context, op.ino());
  const bool last = open_now <= closing;
  uint32_t writers = 0;
  for (const OpenCount& open : context.opens->Opens(op.ino())) writers += open.writers;
  if (closing_writers > 0 && writers <= closing_writers && row.file_class() == CLASS_DURABLE) {
    // Nobody writes any more: what was the staging object is a copy of what was published.
    F3_ASSIGN_OR_RETURN(LocationRow before, GetLocation(*context.txn, op.ino()));
    if (before.home() != 0) {
      LocationRow location = before;
      location.set_home(0);
      if (published) {
        CopyRow* copy = location.add_copies();
        copy->set_node(before.home());
        copy->set_incarnation(before.incarnation());
      } else {
        context.effects.drops.push_back({before.home(), {op.ino(), before.incarnation()}});
      }
      PutLocation(*context.txn, op.ino(), before, location);
    }
  }
  if (!last) return Status();
  if (row.nlink() == 0) return DeleteIfUnused(context, row, closing);
  if (row.ttl_s() > 0) {
    SetExpiry(context, &row, context.now_ns + static_cast<int64_t>(row.ttl_s()) * kNanosPerSecond);
    PutInode(*context.txn, row);
  }
  return Status();
}

}  // namespace

Status DoClose(OpContext& context, const CloseOp& op, Reply*) {
  return CloseInode(context, op, true);
}

Status CloseEnded(OpContext& context, const CloseOp& op) { return CloseInode(context, op, false); }

}  // namespace f3::meta
