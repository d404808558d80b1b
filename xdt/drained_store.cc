#include "xdt/drained_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>
#include <vector>

#include "common/crc32c.h"

namespace f3::xdt {
namespace {

namespace fs = std::filesystem;

constexpr char kMagic[] = {'F', '3', 'X', 'D', 'T', 'V', '1', '\n'};
constexpr size_t kHeadBytes = 4096;
constexpr size_t kPieceBytes = 1 << 20;
constexpr char kTakenMark[] = ".at-";

struct Head {
  char magic[8];
  unsigned char counted[4];
  unsigned char crc[4];
  char reference[kReferenceChars];
};

void PutNumber(unsigned char (&into)[4], uint32_t value) {
  for (int i = 0; i < 4; ++i) into[i] = static_cast<unsigned char>(value >> (8 * i));
}

uint32_t GetNumber(const unsigned char (&from)[4]) {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value |= static_cast<uint32_t>(from[i]) << (8 * i);
  return value;
}

Status PwriteAll(int fd, std::span<const std::byte> bytes, uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status::FromErrno(errno, "save a value");
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return Status();
}

// Calls `use` with every piece of the content, in order.
template <typename Use>
Status ForPieces(const Content& content, Use use) {
  std::vector<std::byte> piece(std::min<uint64_t>(kPieceBytes, content.bytes()));
  for (uint64_t at = 0; at < content.bytes(); at += piece.size()) {
    const auto part =
        std::span(piece).first(std::min<uint64_t>(piece.size(), content.bytes() - at));
    F3_RETURN_IF_ERROR(content.Read(at, part));
    F3_RETURN_IF_ERROR(use(at, std::span<const std::byte>(part)));
  }
  return Status();
}

}  // namespace

std::string DrainedStore::NameOf(const Reference& reference) const {
  char name[96];
  std::snprintf(name, sizeof(name), "%x-%llx-%s", reference.owner,
                static_cast<unsigned long long>(reference.epoch),
                ToString(reference.object).c_str());
  return dir_ + "/" + name;
}

Status DrainedStore::Save(const Value& value) {
  std::error_code error;
  fs::create_directories(dir_, error);
  const std::string path = NameOf(value.reference);
  const std::string temporary = path + ".new";
  UniqueFd file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file.valid()) return Status::FromErrno(errno, "save a value as " + temporary);
  uint32_t crc = 0;
  Status status = ForPieces(*value.content, [&](uint64_t at, std::span<const std::byte> bytes) {
    crc = Crc32c(bytes, crc);
    return PwriteAll(file.get(), bytes, kHeadBytes + at);
  });
  Head head;
  std::memcpy(head.magic, kMagic, sizeof(kMagic));
  PutNumber(head.counted, value.counted);
  PutNumber(head.crc, crc);
  const std::string text = keys_->Seal(value.reference);
  std::memcpy(head.reference, text.data(), kReferenceChars);
  if (status.ok()) {
    status = PwriteAll(file.get(), std::as_bytes(std::span(&head, 1)), 0);
  }
  // An empty value's file is as long as its head.
  if (status.ok() && value.content->bytes() == 0 && ::ftruncate(file.get(), kHeadBytes) != 0) {
    status = Status::FromErrno(errno, "save a value");
  }
  // If this node had taken it up, it has not any more.
  auto before = TakenBy(value.reference);
  if (before.ok()) ::unlink((path + kTakenMark + std::to_string(*before)).c_str());
  if (status.ok() && ::rename(temporary.c_str(), path.c_str()) != 0) {
    status = Status::FromErrno(errno, "save a value as " + path);
  }
  if (!status.ok()) ::unlink(temporary.c_str());
  return status;
}

Result<DrainedStore::Value> DrainedStore::Read(const std::string& path) const {
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  Head head;
  if (!file.valid() || ::pread(file.get(), &head, sizeof(head), 0) != sizeof(head) ||
      std::memcmp(head.magic, kMagic, sizeof(kMagic)) != 0) {
    return Status::Corruption(path + " is no saved value");
  }
  Value value;
  F3_ASSIGN_OR_RETURN(value.reference, keys_->Open({head.reference, kReferenceChars}));
  value.counted = GetNumber(head.counted);
  auto content = Content::OfFile(std::move(file), kHeadBytes, value.reference.length);
  uint32_t crc = 0;
  F3_RETURN_IF_ERROR(ForPieces(*content, [&](uint64_t, std::span<const std::byte> bytes) {
    crc = Crc32c(bytes, crc);
    return Status();
  }));
  if (crc != GetNumber(head.crc)) return Status::Corruption(path + " has changed on its disk");
  value.content = std::move(content);
  return value;
}

Result<DrainedStore::Value> DrainedStore::Take(const Reference& reference, NodeId node) {
  const auto missing = [] { return Status::ObjectMissing("there is no saved value"); };
  if (!enabled()) return missing();
  const std::string path = NameOf(reference);
  const std::string taken = path + kTakenMark + std::to_string(node);
  // Who renames it has it.
  if (::rename(path.c_str(), taken.c_str()) != 0) return missing();
  return Read(taken);
}

bool DrainedStore::Has(const Reference& reference) {
  if (!enabled()) return false;
  return ::access(NameOf(reference).c_str(), F_OK) == 0 || TakenBy(reference).ok();
}

Result<NodeId> DrainedStore::TakenBy(const Reference& reference) {
  const auto missing = [] { return Status::ObjectMissing("nobody has taken the value up"); };
  if (!enabled()) return missing();
  const std::string prefix = fs::path(NameOf(reference) + kTakenMark).filename().string();
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(dir_, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(prefix)) continue;
    NodeId node = 0;
    const char* end = name.data() + name.size();
    if (std::from_chars(name.data() + prefix.size(), end, node).ptr == end) return node;
  }
  return missing();
}

void DrainedStore::Sweep(int64_t now_wall_micros) {
  if (!enabled()) return;
  std::error_code error;
  std::vector<std::string> expired;
  for (const auto& entry : fs::directory_iterator(dir_, error)) {
    UniqueFd file(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC));
    Head head;
    if (!file.valid() || ::pread(file.get(), &head, sizeof(head), 0) != sizeof(head)) continue;
    auto reference = keys_->Open({head.reference, kReferenceChars});
    // One whose key is not known any more has expired long ago.
    if (!reference.ok() || reference->expires_wall_micros < now_wall_micros) {
      expired.push_back(entry.path());
    }
  }
  for (const std::string& path : expired) ::unlink(path.c_str());
}

}  // namespace f3::xdt
