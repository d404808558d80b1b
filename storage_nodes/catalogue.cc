#include "storage_nodes/catalogue.h"

#include <leveldb/iterator.h>
#include <leveldb/options.h>

#include <string_view>
#include <utility>

namespace f3::storage {
namespace {

constexpr char kObjectRow = 'o';
constexpr char kChecksumRow = 'c';
constexpr char kTextRow = 'm';
constexpr uint8_t kFormat = 1;
constexpr uint8_t kSealedFlag = 1;
constexpr uint8_t kSuspectFlag = 2;
constexpr size_t kKeyBytes = 17;
constexpr size_t kRecordBytes = 4 + 8 + 8;

void AppendBig(std::string* out, uint64_t value) {
  for (int shift = 56; shift >= 0; shift -= 8) out->push_back(static_cast<char>(value >> shift));
}

template <typename T>
void AppendLittle(std::string* out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) out->push_back(static_cast<char>(value >> (8 * i)));
}

uint64_t TakeBig(std::string_view in) {
  uint64_t value = 0;
  for (size_t i = 0; i < 8; ++i) value = value << 8 | static_cast<unsigned char>(in[i]);
  return value;
}

template <typename T>
T TakeLittle(std::string_view in) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    value |= static_cast<T>(static_cast<T>(static_cast<unsigned char>(in[i])) << (8 * i));
  }
  return value;
}

std::string RowKey(char row, const ObjectKey& key) {
  std::string text(1, row);
  AppendBig(&text, key.ino);
  AppendBig(&text, key.incarnation);
  return text;
}

std::string_view View(const leveldb::Slice& slice) { return {slice.data(), slice.size()}; }

ObjectKey KeyOfRow(std::string_view row) {
  return {TakeBig(row.substr(1)), TakeBig(row.substr(9))};
}

std::string Encode(const ObjectRecord& record) {
  std::string text;
  text.reserve(kRecordBytes);
  text.push_back(static_cast<char>(kFormat));
  text.push_back(static_cast<char>(record.role));
  text.push_back(static_cast<char>(record.tier));
  text.push_back(
      static_cast<char>((record.sealed ? kSealedFlag : 0) | (record.suspect ? kSuspectFlag : 0)));
  AppendLittle(&text, record.version);
  AppendLittle(&text, record.size);
  return text;
}

bool Decode(std::string_view text, ObjectRecord* record) {
  if (text.size() != kRecordBytes || static_cast<uint8_t>(text[0]) != kFormat) return false;
  auto role = static_cast<uint8_t>(text[1]);
  auto tier = static_cast<uint8_t>(text[2]);
  auto flags = static_cast<uint8_t>(text[3]);
  if (role < 1 || role > 4 || tier < 1 || tier > 2) return false;
  record->role = static_cast<Role>(role);
  record->tier = static_cast<TierKind>(tier);
  record->sealed = (flags & kSealedFlag) != 0;
  record->suspect = (flags & kSuspectFlag) != 0;
  record->version = TakeLittle<uint64_t>(text.substr(4));
  record->size = TakeLittle<uint64_t>(text.substr(12));
  return true;
}

}  // namespace

void Catalogue::Batch::Put(const ObjectKey& key, const ObjectRecord& record) {
  rows_.Put(RowKey(kObjectRow, key), Encode(record));
}

void Catalogue::Batch::PutChecksums(const ObjectKey& key, const std::vector<uint32_t>& checksums) {
  std::string text;
  text.reserve(checksums.size() * sizeof(uint32_t));
  for (uint32_t crc : checksums) AppendLittle(&text, crc);
  rows_.Put(RowKey(kChecksumRow, key), text);
}

void Catalogue::Batch::DropChecksums(const ObjectKey& key) {
  rows_.Delete(RowKey(kChecksumRow, key));
}

void Catalogue::Batch::Remove(const ObjectKey& key) {
  rows_.Delete(RowKey(kObjectRow, key));
  rows_.Delete(RowKey(kChecksumRow, key));
}

void Catalogue::Batch::PutText(const std::string& name, const std::string& text) {
  rows_.Put(kTextRow + name, text);
}

Result<std::unique_ptr<Catalogue>> Catalogue::Open(const std::string& dir) {
  std::unique_ptr<Catalogue> catalogue(new Catalogue(dir));
  leveldb::Options options;
  options.create_if_missing = true;
  options.compression = leveldb::kNoCompression;
  options.write_buffer_size = 1 << 20;
  leveldb::DB* db = nullptr;
  leveldb::Status status = leveldb::DB::Open(options, dir, &db);
  if (!status.ok()) {
    Status converted = catalogue->Convert(status);
    if (converted.Is(Code::kCorruption)) {
      return converted.WithContext(
          "the catalogue of this node's objects cannot be read; move it away to start without "
          "them (ephemeral files that live only here are then lost)");
    }
    return converted.WithContext(
        "open the catalogue (is another node agent using this directory?)");
  }
  catalogue->db_.reset(db);
  return catalogue;
}

Status Catalogue::Convert(const leveldb::Status& status) const {
  if (status.ok()) return Status();
  std::string message = dir_ + ": " + status.ToString();
  if (status.IsCorruption()) return Status::Corruption(std::move(message));
  if (message.find("No space left") != std::string::npos) return Status::NoSpace(message);
  return Status::Io(std::move(message));
}

Status Catalogue::Write(Batch batch, bool sync) {
  leveldb::WriteOptions options;
  options.sync = sync;
  return Convert(db_->Write(options, &batch.rows_));
}

Result<std::vector<uint32_t>> Catalogue::Checksums(const ObjectKey& key) {
  std::string text;
  leveldb::Status status = db_->Get({}, RowKey(kChecksumRow, key), &text);
  std::vector<uint32_t> checksums;
  if (status.IsNotFound()) return checksums;
  if (!status.ok()) return Convert(status);
  checksums.reserve(text.size() / 4);
  for (size_t at = 0; at + 4 <= text.size(); at += 4) {
    checksums.push_back(TakeLittle<uint32_t>(std::string_view(text).substr(at)));
  }
  return checksums;
}

Result<std::string> Catalogue::Text(const std::string& name) {
  std::string text;
  leveldb::Status status = db_->Get({}, kTextRow + name, &text);
  if (status.IsNotFound()) return std::string();
  if (!status.ok()) return Convert(status);
  return text;
}

Status Catalogue::ForEach(const std::function<void(const ObjectKey&, const ObjectRecord&)>& visit) {
  std::unique_ptr<leveldb::Iterator> it(db_->NewIterator({}));
  std::string first(1, kObjectRow);
  for (it->Seek(first); it->Valid() && it->key()[0] == kObjectRow; it->Next()) {
    ObjectRecord record;
    if (it->key().size() != kKeyBytes || !Decode(View(it->value()), &record)) {
      return Status::Corruption(dir_ + " has a row that this version of f3 cannot read");
    }
    visit(KeyOfRow(View(it->key())), record);
  }
  return Convert(it->status());
}

Status Catalogue::ForEachChecksum(const std::function<void(const ObjectKey&)>& visit) {
  std::unique_ptr<leveldb::Iterator> it(db_->NewIterator({}));
  std::string first(1, kChecksumRow);
  for (it->Seek(first); it->Valid() && it->key()[0] == kChecksumRow; it->Next()) {
    if (it->key().size() == kKeyBytes) visit(KeyOfRow(View(it->key())));
  }
  return Convert(it->status());
}

}  // namespace f3::storage
