#include "metadata/schema.h"

#include <set>

namespace f3::meta {

void AppendNumber(std::string* key, uint64_t number) {
  for (int shift = 56; shift >= 0; shift -= 8) key->push_back(static_cast<char>(number >> shift));
}

uint64_t NumberAt(std::string_view key, size_t offset) {
  uint64_t number = 0;
  for (size_t i = offset; i < offset + 8 && i < key.size(); ++i) {
    number = number << 8 | static_cast<unsigned char>(key[i]);
  }
  return number;
}

std::string RowKey(Row row) { return std::string(1, static_cast<char>(row)); }

std::string RowKey(Row row, uint64_t a) {
  std::string key = RowKey(row);
  AppendNumber(&key, a);
  return key;
}

std::string RowKey(Row row, uint64_t a, uint64_t b) {
  std::string key = RowKey(row, a);
  AppendNumber(&key, b);
  return key;
}

std::string RowKey(Row row, uint64_t a, std::string_view name) {
  std::string key = RowKey(row, a);
  key.append(name);
  return key;
}

std::string PrefixEnd(std::string_view prefix) {
  std::string end(prefix);
  while (!end.empty() && static_cast<unsigned char>(end.back()) == 0xff) end.pop_back();
  if (!end.empty()) end.back() = static_cast<char>(static_cast<unsigned char>(end.back()) + 1);
  return end;
}

Result<InodeRow> GetInode(Transaction& txn, Ino ino) {
  auto row = GetRow<InodeRow>(txn, RowKey(Row::kInode, ino), "inode " + std::to_string(ino));
  // A number without an inode: the file is gone while somebody still names it.
  if (row.status().Is(Code::kNotFound)) {
    return Status::Stale("inode " + std::to_string(ino) + " no longer exists");
  }
  return row;
}

void PutInode(Transaction& txn, const InodeRow& row) {
  PutRow(txn, RowKey(Row::kInode, row.ino()), row);
}

Result<DentryRow> GetDentry(Transaction& txn, Ino parent, std::string_view name) {
  return GetRow<DentryRow>(txn, RowKey(Row::kDentry, parent, name), name);
}

Result<LocationRow> GetLocation(Transaction& txn, Ino ino) {
  return GetRowOrEmpty<LocationRow>(txn, RowKey(Row::kLocation, ino),
                                    "location of inode " + std::to_string(ino));
}

namespace {

std::set<uint32_t> HoldingNodes(const LocationRow& row) {
  std::set<uint32_t> nodes;
  if (row.home() != 0) nodes.insert(row.home());
  for (const CopyRow& copy : row.copies()) nodes.insert(copy.node());
  return nodes;
}

}  // namespace

void PutLocation(Transaction& txn, Ino ino, const LocationRow& before, const LocationRow& row) {
  std::set<uint32_t> old_nodes = HoldingNodes(before);
  std::set<uint32_t> new_nodes = HoldingNodes(row);
  for (uint32_t node : old_nodes) {
    if (new_nodes.count(node) == 0) txn.Delete(RowKey(Row::kHeld, node, ino));
  }
  for (uint32_t node : new_nodes) {
    if (old_nodes.count(node) == 0) txn.Put(RowKey(Row::kHeld, node, ino), "");
  }
  if (row.home() == 0 && row.copies_size() == 0 && !row.lost() && row.touched() == 0 &&
      row.incarnation() == 0) {
    txn.Delete(RowKey(Row::kLocation, ino));
  } else {
    PutRow(txn, RowKey(Row::kLocation, ino), row);
  }
}

}  // namespace f3::meta
