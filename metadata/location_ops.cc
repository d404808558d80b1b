// publish, copies, locate, and what a node's return or loss changes.
#include "metadata/location_ops.h"

#include <algorithm>
#include <map>

#include "metadata/inode_ops.h"

namespace f3::meta {
namespace {

void PutIntents(OpContext& context, Ino ino, const IntentRow& row) {
  PutRowUnlessEmpty(*context.txn, RowKey(Row::kIntent, ino), row);
}

Result<IntentRow> GetIntents(OpContext& context, Ino ino) {
  return GetRowOrEmpty<IntentRow>(*context.txn, RowKey(Row::kIntent, ino), "publish intents");
}

Status FinishIntent(OpContext& context, Ino ino, Generation generation) {
  F3_ASSIGN_OR_RETURN(IntentRow row, GetIntents(context, ino));
  const bool mine =
      std::any_of(row.intents().begin(), row.intents().end(), [&](const IntentRow::Intent& intent) {
        return intent.session() == context.session && intent.generation() == generation;
      });
  if (!mine) return Status::Stale("this publish attempt is over; begin another");
  EraseOfSession(context.session, row.mutable_intents());  // there is one at a time
  PutIntents(context, ino, row);
  return Status();
}

Status BlockToGarbage(OpContext& context, Ino ino, uint64_t index) {
  const std::string key = RowKey(Row::kBlock, ino, index);
  auto block = GetRow<BlockValue>(*context.txn, key, "block");
  if (block.status().Is(Code::kNotFound)) return Status();
  if (!block.ok()) return block.status();
  std::string garbage = RowKey(Row::kGarbage, ino, block->generation());
  AppendNumber(&garbage, index);
  context.txn->Put(garbage, "");
  context.txn->Delete(key);
  return Status();
}

Status PublishBlocks(OpContext& context, const PublishOp& op) {
  if (op.changed_size() > 0) {
    F3_RETURN_IF_ERROR(FinishIntent(context, op.ino(), op.generation()));
  }
  if (op.replace_blocks()) F3_RETURN_IF_ERROR(DropBlocks(context, op.ino(), 0));
  for (uint64_t index : op.dropped()) {
    F3_RETURN_IF_ERROR(BlockToGarbage(context, op.ino(), index));
  }
  for (const Block& block : op.changed()) {
    if (block.length() > kBlockBytes) return Status::InvalidArgument("a block is too long");
    F3_RETURN_IF_ERROR(BlockToGarbage(context, op.ino(), block.index()));
    BlockValue value;
    value.set_generation(block.generation());
    value.set_crc(block.crc());
    value.set_length(block.length());
    PutRow(*context.txn, RowKey(Row::kBlock, op.ino(), block.index()), value);
  }
  return DropBlocks(context, op.ino(), (op.size() + kBlockBytes - 1) / kBlockBytes);
}

// Changes the class: blocks go when the file becomes ephemeral.
Status ChangeClass(OpContext& context, FileClass to, InodeRow* row) {
  if (to == CLASS_UNSET || to == row->file_class()) return Status();
  row->set_file_class(to);
  if (to == CLASS_EPHEMERAL) return DropBlocks(context, row->ino(), 0);
  return Status();
}

void ForgetCopies(OpContext& context, Ino ino, Version older_than, LocationRow* location) {
  for (const CopyRow& copy : location->copies()) {
    context.effects.drops.push_back({copy.node(), {ino, copy.incarnation()}, older_than - 1});
  }
  location->clear_copies();
}

}  // namespace

Status DoPublish(OpContext& context, const PublishOp& op, Reply* reply) {
  F3_ASSIGN_OR_RETURN(InodeRow row, GetInode(*context.txn, op.ino()));
  F3_ASSIGN_OR_RETURN(LocationRow before, GetLocation(*context.txn, op.ino()));
  F3_RETURN_IF_ERROR(CheckSize(op.size()));
  if (!FileClass_IsValid(op.file_class())) return Status::InvalidArgument("unknown file class");
  if (context.node == 0 || before.home() != context.node ||
      before.incarnation() != op.incarnation()) {
    return Status::Stale("this node is no longer where inode " + std::to_string(op.ino()) +
                         " is written");
  }
  LocationRow location = before;
  const bool size_changed = op.size() != row.size();
  F3_RETURN_IF_ERROR(ChangeClass(context, op.file_class(), &row));
  if (row.file_class() == CLASS_DURABLE) {
    F3_RETURN_IF_ERROR(PublishBlocks(context, op));
    context.effects.durability = Durability::kSynced;
  }
  if (op.sync()) context.effects.durability = Durability::kSynced;
  row.set_size(op.size());
  row.set_allocated_bytes(op.allocated_bytes());
  row.set_mtime_ns(op.mtime_ns() != 0 ? op.mtime_ns() : context.now_ns);
  row.set_ctime_ns(context.now_ns);
  if (op.kill_suid()) {
    row.set_mode(WithoutSuid(row.mode()));
    context.txn->Delete(RowKey(Row::kXattr, op.ino(), "security.capability"));
  }
  if (op.content_changed() || size_changed) {
    row.set_version(row.version() + 1);
    ForgetCopies(context, op.ino(), row.version(), &location);
    if (location.truncated()) location.set_replaced(row.version());
    location.clear_truncated();
    InvalidateData(context, op.ino());
  } else {
    InvalidateAttr(context, op.ino());
  }
  PutInode(*context.txn, row);
  PutLocation(*context.txn, op.ino(), before, location);
  if (op.close_writers() > 0) {
    CloseOp close;
    close.set_ino(op.ino());
    close.set_incarnation(op.incarnation());
    close.set_writers(op.close_writers());
    F3_RETURN_IF_ERROR(DoClose(context, close, reply));
    auto still_there = GetInode(*context.txn, op.ino());
    if (!still_there.ok()) return Status();  // it was unlinked, and this was the last close
  }
  return FillAttr(context, row, reply->mutable_attr());
}

Status DoBeginPublish(OpContext& context, const BeginPublishOp& op, Reply* reply) {
  F3_ASSIGN_OR_RETURN(InodeRow file, GetInode(*context.txn, op.ino()));
  if (!IsRegular(file)) return Status::InvalidArgument("only files are published");
  F3_ASSIGN_OR_RETURN(IntentRow row, GetIntents(context, op.ino()));
  // An earlier attempt of this session that was not finished is given up.
  EraseOfSession(context.session, row.mutable_intents());
  reply->set_number(context.ids->NextUnique());
  IntentRow::Intent* intent = row.add_intents();
  intent->set_session(context.session);
  intent->set_generation(reply->number());
  PutIntents(context, op.ino(), row);
  return Status();
}

Status DropIntents(OpContext& context, SessionId session) {
  const std::string prefix = RowKey(Row::kIntent);
  F3_ASSIGN_OR_RETURN(auto rows, context.txn->Scan(prefix, PrefixEnd(prefix), SIZE_MAX));
  for (const auto& [key, value] : rows) {
    IntentRow row;
    if (!row.ParseFromString(value)) return Status::Corruption("a publish intent is damaged");
    if (!EraseOfSession(session, row.mutable_intents())) continue;
    PutIntents(context, NumberAt(key, 1), row);
  }
  return Status();
}

Status DoBlockMap(OpContext& context, const BlockMapOp& op, Reply* reply) {
  constexpr uint32_t kMaxRows = 4096;
  F3_RETURN_IF_ERROR(GetInode(*context.txn, op.ino()).status());
  const std::string end = PrefixEnd(RowKey(Row::kBlock, op.ino()));
  F3_ASSIGN_OR_RETURN(auto rows, context.txn->Scan(RowKey(Row::kBlock, op.ino(), op.first()), end,
                                                   std::clamp(op.count(), 1u, kMaxRows)));
  for (const auto& [key, value] : rows) {
    BlockValue block;
    if (!block.ParseFromString(value)) return Status::Corruption("a block row is damaged");
    Block* out = reply->add_blocks();
    out->set_index(NumberAt(key, 9));
    out->set_generation(block.generation());
    out->set_crc(block.crc());
    out->set_length(block.length());
  }
  return Status();
}

Status DoAddCopy(OpContext& context, const AddCopyOp& op, Reply*) {
  F3_ASSIGN_OR_RETURN(InodeRow row, GetInode(*context.txn, op.ino()));
  F3_ASSIGN_OR_RETURN(LocationRow before, GetLocation(*context.txn, op.ino()));
  if (context.node == 0) return Status::InvalidArgument("only a node can hold a copy");
  if (!IsRegular(row) || op.incarnation() == 0) {
    return Status::InvalidArgument("only files have copies");
  }
  if (row.version() != op.version() ||
      (before.incarnation() != op.incarnation() && before.incarnation() != 0)) {
    return Status::Stale("the copy is of an older version");
  }
  LocationRow location = before;
  location.set_incarnation(op.incarnation());
  if (location.home() == context.node) return Status();
  for (const CopyRow& copy : location.copies()) {
    if (copy.node() == context.node) return Status();
  }
  CopyRow* copy = location.add_copies();
  copy->set_node(context.node);
  copy->set_incarnation(op.incarnation());
  PutLocation(*context.txn, op.ino(), before, location);
  return Status();
}

Status DoDropCopy(OpContext& context, const DropCopyOp& op, Reply*) {
  F3_ASSIGN_OR_RETURN(LocationRow before, GetLocation(*context.txn, op.ino()));
  LocationRow location = before;
  auto* copies = location.mutable_copies();
  for (int i = copies->size() - 1; i >= 0; --i) {
    const CopyRow& copy = copies->Get(i);
    if (copy.node() == context.node && copy.incarnation() == op.incarnation()) {
      copies->DeleteSubrange(i, 1);
    }
  }
  PutLocation(*context.txn, op.ino(), before, location);
  return Status();
}

Status DoLocate(OpContext& context, const LocateOp& op, Reply* reply) {
  constexpr int kMaxInodes = 10'000;
  if (op.inos_size() > kMaxInodes) {
    return Status::InvalidArgument("locate takes at most 10000 files at once");
  }
  std::map<NodeId, uint64_t> bytes;
  for (uint64_t ino : op.inos()) {
    auto row = GetInode(*context.txn, ino);
    if (!row.ok()) continue;
    F3_ASSIGN_OR_RETURN(LocationRow location, GetLocation(*context.txn, ino));
    if (location.home() != 0 && !location.lost()) bytes[location.home()] += row->size();
    for (const CopyRow& copy : location.copies()) bytes[copy.node()] += row->size();
  }
  auto* scores = reply->mutable_located()->mutable_scores();
  for (const auto& [node, held] : bytes) {
    Holder holder;
    if (!context.nodes->FillHolder(node, {}, 0, false, &holder)) continue;
    NodeScore* score = scores->Add();
    score->set_node(holder.name());
    score->set_bytes(held);
    score->set_up(holder.up());
  }
  std::sort(scores->begin(), scores->end(), [](const NodeScore& a, const NodeScore& b) {
    if (a.up() != b.up()) return a.up();
    return a.bytes() > b.bytes();
  });
  return Status();
}

Status NodeLostObjects(OpContext& context, NodeId node, const std::set<ObjectKey>& present) {
  const std::string prefix = RowKey(Row::kHeld, node);
  F3_ASSIGN_OR_RETURN(auto held, context.txn->Scan(prefix, PrefixEnd(prefix), SIZE_MAX));
  for (const auto& [key, value] : held) {
    const Ino ino = NumberAt(key, 9);
    auto row = GetInode(*context.txn, ino);
    F3_ASSIGN_OR_RETURN(LocationRow before, GetLocation(*context.txn, ino));
    if (present.count({ino, before.incarnation()}) != 0) continue;
    LocationRow location = before;
    auto* copies = location.mutable_copies();
    for (int i = copies->size() - 1; i >= 0; --i) {
      if (copies->Get(i).node() == node) copies->DeleteSubrange(i, 1);
    }
    if (location.home() == node) {
      location.set_home(0);
      if (row.ok() && row->file_class() == CLASS_EPHEMERAL && row->size() > 0) {
        if (copies->size() > 0) {
          location.set_home(copies->Get(0).node());
          copies->DeleteSubrange(0, 1);
        } else {
          location.set_home(node);
          location.set_lost(true);
        }
      }
    }
    PutLocation(*context.txn, ino, before, location);
    InvalidateAttr(context, ino);
  }
  return Status();
}

Result<bool> ReconcileObject(OpContext& context, const InventoryItem& item) {
  auto row = GetInode(*context.txn, item.ino());
  if (row.status().Is(Code::kStale)) return false;
  if (!row.ok()) return row.status();
  F3_ASSIGN_OR_RETURN(LocationRow before, GetLocation(*context.txn, item.ino()));
  if (!IsRegular(*row) || item.incarnation() == 0) return false;
  if (item.incarnation() != before.incarnation()) return false;
  if (before.home() == context.node) {
    if (!before.lost()) return true;
    // The bytes are there after all.
    LocationRow location = before;
    location.set_lost(false);
    PutLocation(*context.txn, item.ino(), before, location);
    InvalidateAttr(context, item.ino());
    return true;
  }
  for (const CopyRow& copy : before.copies()) {
    if (copy.node() == context.node) return item.version() == row->version();
  }
  if (item.home() || item.writing() || item.version() != row->version()) return false;
  AddCopyOp add;
  add.set_ino(item.ino());
  add.set_incarnation(item.incarnation());
  add.set_version(item.version());
  Reply ignored;
  F3_RETURN_IF_ERROR(DoAddCopy(context, add, &ignored));
  return true;
}

}  // namespace f3::meta
