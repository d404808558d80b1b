// What is above every KvStore: retry, backup and restore.
//
// Backup format: the line "F3 metadata backup 1\n", then records of two little-endian u32 lengths,
// key and value, then a record of two zero lengths, then the CRC32C of all before it.
#include "metadata/kv_store.h"

#include <cstdio>
#include <cstring>
#include <fstream>

#include "common/crc32c.h"
#include "metadata/occ_store.h"

namespace f3::meta {
namespace {

constexpr std::string_view kMagic = "F3 metadata backup 1\n";
constexpr int kMaxAttempts = 64;
constexpr size_t kPage = 1024;
constexpr uint32_t kMaxFieldBytes = 64u << 20;

std::string LittleEndian(uint32_t number) {
  std::string out;
  for (int i = 0; i < 4; ++i) out.push_back(static_cast<char>(number >> (8 * i)));
  return out;
}

uint32_t FromLittleEndian(const char* bytes) {
  uint32_t number = 0;
  for (int i = 3; i >= 0; --i) number = number << 8 | static_cast<unsigned char>(bytes[i]);
  return number;
}

// Reads fixed lengths and keeps the checksum of what was read.
class BackupReader {
 public:
  explicit BackupReader(const std::string& file) : in_(file, std::ios::binary) {}
  bool Take(size_t bytes, std::string* out) {
    out->resize(bytes);
    if (!in_.read(out->data(), static_cast<std::streamsize>(bytes))) return false;
    crc_ = Crc32c(std::as_bytes(std::span(*out)), crc_);
    return true;
  }
  uint32_t crc() const { return crc_; }

 private:
  std::ifstream in_;
  uint32_t crc_ = 0;
};

}  // namespace

Result<uint64_t> RunTxn(KvStore* store, Durability durability,
                        const std::function<Status(Transaction&)>& body) {
  for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
    auto txn = store->Begin();
    F3_RETURN_IF_ERROR(body(*txn));
    auto committed = txn->Commit(durability);
    if (committed.ok() || !committed.status().Is(Code::kConflict)) return committed;
  }
  return Status::Again("the transaction kept conflicting with others; try again");
}

Status OccKvStore::Backup(const std::string& file) {
  std::string temporary = file + ".partial";
  std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
  uint32_t crc = 0;
  auto write = [&](std::string_view bytes) {
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    crc = Crc32c(std::as_bytes(std::span(bytes)), crc);
  };
  write(kMagic);
  auto snapshot = engine_->TakeSnapshot();
  std::string begin;
  const std::string end(1, '\x7f');  // every row's letter is below
  for (;;) {
    auto page = engine_->Scan(snapshot, begin, end, kPage);
    if (!page.ok()) {
      out.close();
      std::remove(temporary.c_str());
      return page.status();
    }
    for (const auto& [key, value] : *page) {
      write(LittleEndian(static_cast<uint32_t>(key.size())));
      write(LittleEndian(static_cast<uint32_t>(value.size())));
      write(key);
      write(value);
    }
    if (page->size() < kPage) break;
    begin = page->back().first + std::string(1, '\0');
  }
  write(LittleEndian(0) + LittleEndian(0));
  std::string trailer = LittleEndian(crc);
  out.write(trailer.data(), 4);
  out.close();
  if (!out || std::rename(temporary.c_str(), file.c_str()) != 0) {
    std::remove(temporary.c_str());
    return Status::Io("cannot write the backup " + file + "; is there room?");
  }
  return Status();
}

Status RestoreBackup(KvStore* store, const std::string& file) {
  const Status damaged = Status::Corruption(file + " is not a complete F3 metadata backup");
  {
    auto txn = store->Begin();
    F3_ASSIGN_OR_RETURN(auto existing, txn->Scan("A", "\x7f", 1));
    if (!existing.empty()) {
      return Status::Exists("the metadata store is not empty; restore into a new directory");
    }
  }
  BackupReader in(file);
  std::string bytes;
  if (!in.Take(kMagic.size(), &bytes) || bytes != kMagic) return damaged;
  // Everything is checked before anything is written.
  Pairs rows;
  for (;;) {
    if (!in.Take(8, &bytes)) return damaged;
    uint32_t key_bytes = FromLittleEndian(bytes.data());
    uint32_t value_bytes = FromLittleEndian(bytes.data() + 4);
    if (key_bytes == 0 && value_bytes == 0) break;
    if (key_bytes > kMaxFieldBytes || value_bytes > kMaxFieldBytes) return damaged;
    std::string key, value;
    if (!in.Take(key_bytes, &key) || !in.Take(value_bytes, &value)) return damaged;
    rows.emplace_back(std::move(key), std::move(value));
  }
  uint32_t crc = in.crc();
  if (!in.Take(4, &bytes) || FromLittleEndian(bytes.data()) != crc) return damaged;
  auto committed = RunTxn(store, Durability::kSynced, [&](Transaction& txn) {
    for (const auto& [key, value] : rows) {
      if (key != OccKvStore::kSequenceKey) txn.Put(key, value);
    }
    return Status();
  });
  return committed.ok() ? Status() : committed.status();
}

}  // namespace f3::meta
