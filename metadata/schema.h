// The keys of the metadata store, in one place. metadata/README.md has the same as a table.
//
// Numbers in keys are 8 bytes big-endian, so that key order is number order. Every function here
// is pure or works on the given transaction alone.
#ifndef F3_METADATA_SCHEMA_H_
#define F3_METADATA_SCHEMA_H_

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/ids.h"
#include "common/status.h"
#include "metadata/kv_store.h"
#include "metadata/rows.pb.h"

namespace f3::meta {

// One letter per kind of row; a kind's keys are the range [letter, letter + 1).
enum class Row : char {
  kBlock = 'B',     // ino, index → BlockValue
  kDentry = 'D',    // parent, name → DentryRow
  kEpoch = 'E',     // → decimal server epoch
  kGarbage = 'G',   // ino, generation, index → empty: a block to remove from the store
  kInode = 'I',     // ino → InodeRow
  kLock = 'K',      // ino → LockRow
  kLocation = 'L',  // ino → LocationRow
  kNode = 'N',      // node id → NodeRow
  kOrphan = 'O',    // ino → empty: no name left, still open
  kIntent = 'P',    // ino → IntentRow
  kReply = 'R',     // session, token → ReplyRow
  kSession = 'S',   // session → SessionRow
  kExpiry = 'T',    // wall ns, ino → empty: unlinked then
  kVolume = 'V',    // name → VolumeRow
  kHeld = 'H',      // node, ino → empty: the node is home or holds a copy
  kXattr = 'X',     // ino, name → value
};

void AppendNumber(std::string* key, uint64_t number);
uint64_t NumberAt(std::string_view key, size_t offset);

std::string RowKey(Row row);
std::string RowKey(Row row, uint64_t a);
std::string RowKey(Row row, uint64_t a, uint64_t b);
std::string RowKey(Row row, uint64_t a, std::string_view name);
// The smallest key greater than every key that begins with `prefix`.
std::string PrefixEnd(std::string_view prefix);

// Reads and parses one row. NotFound (from the store) when absent, Corruption when it does not
// parse. `what` names the row in the message.
template <typename Message>
Result<Message> GetRow(Transaction& txn, const std::string& key, std::string_view what) {
  auto value = txn.Get(key);
  if (!value.ok()) {
    return value.status().Is(Code::kNotFound) ? Status::NotFound(std::string(what))
                                              : value.status();
  }
  Message row;
  if (!row.ParseFromString(*value)) {
    return Status::Corruption("metadata row of " + std::string(what) +
                              " is damaged; restore with `f3 meta restore`");
  }
  return row;
}

// An absent row reads as an empty one.
template <typename Message>
Result<Message> GetRowOrEmpty(Transaction& txn, const std::string& key, std::string_view what) {
  auto row = GetRow<Message>(txn, key, what);
  return row.status().Is(Code::kNotFound) ? Message() : row;
}

template <typename Message>
void PutRow(Transaction& txn, const std::string& key, const Message& row) {
  std::string value;
  row.SerializeToString(&value);
  txn.Put(key, value);
}

// The counterpart of GetRowOrEmpty: an empty row is not kept.
template <typename Message>
void PutRowUnlessEmpty(Transaction& txn, const std::string& key, const Message& row) {
  if (row.ByteSizeLong() == 0) {
    txn.Delete(key);
  } else {
    PutRow(txn, key, row);
  }
}

// Erases the session's items of a row's repeated field; whether there were any.
template <typename Item>
bool EraseOfSession(SessionId session, google::protobuf::RepeatedPtrField<Item>* items) {
  const auto kept = std::remove_if(items->begin(), items->end(),
                                   [&](const Item& item) { return item.session() == session; });
  if (kept == items->end()) return false;
  items->erase(kept, items->end());
  return true;
}

Result<InodeRow> GetInode(Transaction& txn, Ino ino);
void PutInode(Transaction& txn, const InodeRow& row);
Result<DentryRow> GetDentry(Transaction& txn, Ino parent, std::string_view name);
// An absent row reads as an empty one.
Result<LocationRow> GetLocation(Transaction& txn, Ino ino);
// Keeps the index by node (Row::kHeld) in step with the row. `before`: what GetLocation gave.
void PutLocation(Transaction& txn, Ino ino, const LocationRow& before, const LocationRow& row);

}  // namespace f3::meta

#endif  // F3_METADATA_SCHEMA_H_
