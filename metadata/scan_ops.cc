// Pages over the whole namespace, for fsck and for the collection of blocks.
#include <sys/stat.h>

#include <algorithm>

#include "common/utf8.h"
#include "metadata/inode_ops.h"

namespace f3::meta {
namespace {

constexpr uint32_t kMaxItems = 1000;

BlockRow* AddBlock(ScanReply* scan, Ino ino, Generation generation, uint64_t index) {
  BlockRow* row = scan->add_blocks();
  row->set_ino(ino);
  row->mutable_block()->set_generation(generation);
  row->mutable_block()->set_index(index);
  return row;
}

Status ScanInode(OpContext& context, std::string_view value, ScanReply* scan) {
  InodeRow row;
  if (!row.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
    return Status::Corruption("an inode row is damaged");
  }
  return FillAttr(context, row, scan->add_inodes());
}

Status ScanBlock(std::string_view key, std::string_view value, ScanReply* scan) {
  BlockValue block;
  if (!block.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
    return Status::Corruption("a block row is damaged");
  }
  BlockRow* row = AddBlock(scan, NumberAt(key, 1), block.generation(), NumberAt(key, 9));
  row->mutable_block()->set_crc(block.crc());
  row->mutable_block()->set_length(block.length());
  return Status();
}

// A reader that opened the file before its blocks were replaced may still need them, unless its
// node is the file's home and so has the bytes.
bool NeededByReader(OpContext& context, Ino ino, NodeId home) {
  for (const OpenCount& open : context.opens->Opens(ino)) {
    if (open.readers > 0 && (home == 0 || context.nodes->NodeOfSession(open.session) != home)) {
      return true;
    }
  }
  return false;
}

Status ScanGarbage(OpContext& context, std::string_view key, ScanReply* scan) {
  const Ino ino = NumberAt(key, 1);
  F3_ASSIGN_OR_RETURN(LocationRow location, GetLocation(*context.txn, ino));
  if (NeededByReader(context, ino, location.home())) return Status();
  AddBlock(scan, ino, NumberAt(key, 9), NumberAt(key, 17));
  return Status();
}

// Names the directory entries of one directory count towards, and checks each.
Status CheckDirectory(OpContext& context, const InodeRow& row, ScanReply* scan) {
  const std::string prefix = RowKey(Row::kDentry, row.ino());
  F3_ASSIGN_OR_RETURN(auto entries, context.txn->Scan(prefix, PrefixEnd(prefix), SIZE_MAX));
  uint32_t directories = 0;
  for (const auto& [key, value] : entries) {
    DentryRow dentry;
    if (!dentry.ParseFromString(value)) {
      scan->add_problems("entry \"" + ValidUtf8(key.substr(prefix.size())) + "\" of directory " +
                         std::to_string(row.ino()) + " is damaged");
      continue;
    }
    auto target = GetInode(*context.txn, dentry.ino());
    if (!target.ok()) {
      scan->add_problems("entry \"" + ValidUtf8(key.substr(prefix.size())) + "\" of directory " +
                         std::to_string(row.ino()) + " names inode " +
                         std::to_string(dentry.ino()) + ", which does not exist");
      continue;
    }
    if (!IsDir(*target)) continue;
    ++directories;
    if (target->parent() != row.ino()) {
      scan->add_problems("directory " + std::to_string(dentry.ino()) +
                         " does not lead back to its parent " + std::to_string(row.ino()));
    }
  }
  if (row.nlink() != directories + 2) {
    scan->add_problems("directory " + std::to_string(row.ino()) + " has " +
                       std::to_string(directories) + " subdirectories but a link count of " +
                       std::to_string(row.nlink()));
  }
  return Status();
}

Status CheckFile(OpContext& context, const InodeRow& row, ScanReply* scan) {
  const std::string name = "inode " + std::to_string(row.ino());
  if (row.nlink() == 0) {
    auto orphan = context.txn->Get(RowKey(Row::kOrphan, row.ino()));
    if (!orphan.ok()) scan->add_problems(name + " has no name and is not recorded as open");
    // One that was replaced by a rename lingers until it expires.
    if (orphan.ok() && OpenHandles(context, row.ino()) == 0 && row.expires_ns() == 0) {
      scan->add_problems(name + " has no name and nobody has it open");
    }
  }
  if (!IsRegular(row)) return Status();
  const std::string prefix = RowKey(Row::kBlock, row.ino());
  F3_ASSIGN_OR_RETURN(auto blocks, context.txn->Scan(prefix, PrefixEnd(prefix), SIZE_MAX));
  if (row.file_class() == CLASS_EPHEMERAL && !blocks.empty()) {
    scan->add_problems(name + " is ephemeral but has durable blocks");
  }
  if (!blocks.empty() && NumberAt(blocks.back().first, 9) * kBlockBytes >= row.size()) {
    scan->add_problems(name + " has a block past its end");
  }
  return Status();
}

Status CheckInode(OpContext& context, std::string_view value, ScanReply* scan) {
  scan->set_checked(scan->checked() + 1);
  InodeRow row;
  if (!row.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
    scan->add_problems("an inode row is damaged");
    return Status();
  }
  return IsDir(row) ? CheckDirectory(context, row, scan) : CheckFile(context, row, scan);
}

Status ScanIntents(const std::string& key, const std::string& value, ScanReply* scan) {
  IntentRow row;
  if (!row.ParseFromString(value)) return Status::Corruption("a publish intent is damaged");
  for (const auto& intent : row.intents()) {
    AddBlock(scan, NumberAt(key, 1), intent.generation(), 0);
  }
  return Status();
}

Row RowsOf(ScanKind kind) {
  switch (kind) {
    case SCAN_BLOCKS:
      return Row::kBlock;
    case SCAN_INTENTS:
      return Row::kIntent;
    case SCAN_GARBAGE:
      return Row::kGarbage;
    default:
      return Row::kInode;
  }
}

}  // namespace

Status DoScan(OpContext& context, const ScanOp& op, Reply* reply) {
  const std::string prefix = RowKey(RowsOf(op.kind()));
  std::string begin = prefix;
  if (!op.after().empty()) {
    if (op.after().compare(0, 1, prefix) != 0) {
      return Status::InvalidArgument("a scan goes on where its last page ended");
    }
    begin = op.after() + std::string(1, '\0');
  }
  const size_t limit = std::clamp(op.max_items(), 1u, kMaxItems);
  F3_ASSIGN_OR_RETURN(auto rows, context.txn->Scan(begin, PrefixEnd(prefix), limit));
  ScanReply* scan = reply->mutable_scan();
  for (const auto& [key, value] : rows) {
    switch (op.kind()) {
      case SCAN_BLOCKS:
        F3_RETURN_IF_ERROR(ScanBlock(key, value, scan));
        break;
      case SCAN_INTENTS:
        F3_RETURN_IF_ERROR(ScanIntents(key, value, scan));
        break;
      case SCAN_GARBAGE:
        F3_RETURN_IF_ERROR(ScanGarbage(context, key, scan));
        break;
      case SCAN_CHECK:
        F3_RETURN_IF_ERROR(CheckInode(context, value, scan));
        break;
      default:
        F3_RETURN_IF_ERROR(ScanInode(context, value, scan));
    }
  }
  if (rows.size() == limit) scan->set_next(rows.back().first);
  return Status();
}

Status DoDropGarbage(OpContext& context, const DropGarbageOp& op, Reply*) {
  for (const BlockRow& row : op.blocks()) {
    std::string key = RowKey(Row::kGarbage, row.ino(), row.block().generation());
    AppendNumber(&key, row.block().index());
    context.txn->Delete(key);
  }
  return Status();
}

}  // namespace f3::meta
