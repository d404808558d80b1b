// DurableStore in a directory: DIR/H/INO/INDEX.GENERATION, numbers in hexadecimal, H by inode.
//
// A block is written and synced as INDEX.GENERATION.tmp and then renamed without replacing, so
// what has a block's name is whole. A name is used once, so nobody else writes that file.
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <utility>

#include "common/crc32c.h"
#include "common/units.h"
#include "storage_nodes/durable_store.h"
#include "storage_nodes/fan_out.h"

namespace f3::storage {
namespace {

constexpr int kPruneRaces = 100;  // how often a directory may vanish under one Put
constexpr char kTemporarySuffix[] = ".tmp";

std::string Hex(uint64_t value) {
  char text[20];
  snprintf(text, sizeof(text), "%llx", static_cast<unsigned long long>(value));
  return text;
}

// The whole of `text` as a hexadecimal number in the form that Hex writes.
bool ParseHex(const std::string& text, uint64_t* value) {
  unsigned long long parsed = 0;
  if (sscanf(text.c_str(), "%llx", &parsed) != 1) return false;
  *value = parsed;
  return Hex(parsed) == text;
}

// A block's file name, finished or not.
bool ParseBlock(std::string text, BlockName* name) {
  if (text.ends_with(kTemporarySuffix)) text.resize(text.size() - strlen(kTemporarySuffix));
  const size_t dot = text.find('.');
  return dot != std::string::npos && ParseHex(text.substr(0, dot), &name->index) &&
         ParseHex(text.substr(dot + 1), &name->generation);
}

class DirectoryStore : public DurableStore {
 public:
  DirectoryStore(std::string dir, Env* env) : dir_(std::move(dir)), env_(env) {}

  Status Prepare() {
    for (int i = 0; i < kFanOut; ++i) {
      F3_RETURN_IF_ERROR(env_->MakeDirs(dir_ + "/" + FanOutName(i)));
    }
    F3_RETURN_IF_ERROR(env_->SyncDir(dir_));
    // The names on the way to it may be new as well.
    for (size_t slash = dir_.rfind('/'); slash != std::string::npos && slash > 0;
         slash = dir_.rfind('/', slash - 1)) {
      F3_RETURN_IF_ERROR(SyncAncestor(dir_.substr(0, slash)));
    }
    return SyncAncestor(dir_.front() == '/' ? "/" : ".");
  }

  Status Put(const BlockName& name, std::span<const std::byte> bytes) override {
    if (bytes.empty() || bytes.size() > kBlockBytes) {
      return Status::InvalidArgument("a durable block has 1 to " + std::to_string(kBlockBytes) +
                                     " bytes, not " + std::to_string(bytes.size()));
    }
    const std::string path = Path(name);
    const std::string temporary = path + kTemporarySuffix;
    Status status;
    for (int attempt = 0; attempt < kPruneRaces; ++attempt) {
      // Exists, or NotFound: a Remove of the inode's last block took the directory away in between.
      status = env_->MakeDirs(InodeDir(name.ino));
      if (status.Is(Code::kExists)) continue;
      if (!status.ok()) break;
      status = env_->WriteNewFile(temporary, bytes);
      if (!status.Is(Code::kNotFound)) break;
    }
    F3_RETURN_IF_ERROR(FullMessage(status, bytes.size()));
    status = env_->RenameNew(temporary, path);
    if (!status.ok()) env_->RemoveFile(temporary).PermitUnchecked();  // the first error counts
    return FullMessage(status, bytes.size());
  }

  Status Commit(Ino ino) override {
    F3_RETURN_IF_ERROR(env_->SyncDir(InodeDir(ino)));
    return env_->SyncDir(FanOutDir(ino));  // where the inode's directory may be new
  }

  Status Get(const BlockName& name, uint32_t length, uint32_t crc, uint32_t offset,
             std::span<std::byte> into) override {
    if (length == 0 || length > kBlockBytes || offset + into.size() > kBlockBytes) {
      return Status::InvalidArgument("a range outside of durable block " + Path(name) +
                                     " was asked for");
    }
    size_t stored = 0;  // bytes of `into` that are of the block
    if (offset == 0 && into.size() >= length) {
      stored = length;
      F3_RETURN_IF_ERROR(ReadVerified(name, into.subspan(0, length), crc));
    } else {
      auto block = std::make_unique_for_overwrite<std::byte[]>(length);
      F3_RETURN_IF_ERROR(ReadVerified(name, {block.get(), length}, crc));
      if (offset < length) stored = std::min<size_t>(length - offset, into.size());
      if (stored > 0) std::memcpy(into.data(), block.get() + offset, stored);
    }
    std::fill(into.begin() + static_cast<ptrdiff_t>(stored), into.end(), std::byte{0});
    return Status();
  }

  Status Remove(const BlockName& name) override {
    for (const std::string& path : {Path(name), Path(name) + kTemporarySuffix}) {
      Status status = env_->RemoveFile(path);
      if (!status.ok() && !status.Is(Code::kNotFound)) return status;
    }
    // Goes only when it is empty; a Put that runs into this makes it again.
    Status status = env_->RemoveDir(InodeDir(name.ino));
    if (status.Is(Code::kNotEmpty) || status.Is(Code::kNotFound)) return Status();
    return status;
  }

  Status ForEach(const std::function<bool(const BlockName&, uint64_t bytes)>& visit) override {
    for (int i = 0; i < kFanOut; ++i) {
      F3_ASSIGN_OR_RETURN(auto inodes, ListIfThere(dir_ + "/" + FanOutName(i)));
      for (const std::string& inode : inodes) {
        BlockName name;
        if (!ParseHex(inode, &name.ino) || FanOutOf(name.ino) != i) continue;
        F3_ASSIGN_OR_RETURN(auto files, ListIfThere(InodeDir(name.ino)));
        for (const std::string& file : files) {
          if (!ParseBlock(file, &name)) continue;
          auto size = env_->FileSize(InodeDir(name.ino) + "/" + file);
          if (size.status().Is(Code::kNotFound)) continue;  // removed meanwhile
          if (!size.ok()) return size.status();
          if (!visit(name, *size)) return Status();
        }
      }
    }
    return Status();
  }

  Result<Space> space() override {
    struct statvfs st;
    if (::statvfs(dir_.c_str(), &st) != 0) return Status::FromErrno(errno, "statvfs " + dir_);
    return Space{st.f_blocks * st.f_frsize, st.f_bavail * st.f_frsize};
  }

 private:
  std::string FanOutDir(Ino ino) const { return dir_ + "/" + FanOutName(FanOutOf(ino)); }
  std::string InodeDir(Ino ino) const { return FanOutDir(ino) + "/" + Hex(ino); }
  std::string Path(const BlockName& name) const {
    return InodeDir(name.ino) + "/" + Hex(name.index) + "." + Hex(name.generation);
  }

  // What we may not read we have not made.
  Status SyncAncestor(const std::string& dir) {
    Status status = env_->SyncDir(dir);
    return status.Is(Code::kAccessDenied) ? Status() : status;
  }

  Status FullMessage(Status status, size_t wanted) const {
    if (!status.Is(Code::kNoSpace)) return status;
    return Status::NoSpace("the durable store " + dir_ + " is full (" + FormatBytes(wanted) +
                           " wanted): remove durable files or give it more space, then repeat; " +
                           status.message());
  }

  Result<std::vector<std::string>> ListIfThere(const std::string& path) {
    auto names = env_->ListDir(path);
    if (names.status().Is(Code::kNotFound)) return std::vector<std::string>();
    return names;
  }

  // Reads a whole block of `into.size()` bytes.
  Status ReadVerified(const BlockName& name, std::span<std::byte> into, uint32_t crc) {
    const std::string path = Path(name);
    auto n = env_->ReadFile(path, 0, into);
    if (n.status().Is(Code::kNotFound)) {
      return Status::NotFound("durable block " + path + " is gone");
    }
    if (!n.ok()) return n.status();
    if (*n != into.size()) {
      return Status::Corruption("durable block " + path + " has " + std::to_string(*n) +
                                " bytes instead of " + std::to_string(into.size()));
    }
    const uint32_t actual = Crc32c(into);
    if (actual == crc) return Status();
    char text[64];
    snprintf(text, sizeof(text), " is corrupted: CRC32C %08x instead of %08x", actual, crc);
    return Status::Corruption("durable block " + path + text);
  }

  const std::string dir_;
  Env* const env_;
};

}  // namespace

Result<std::unique_ptr<DurableStore>> DurableStore::OpenDirectory(const std::string& dir,
                                                                  Env* env) {
  if (dir.empty()) return Status::BadConfig("the durable store needs a directory");
  auto store = std::make_unique<DirectoryStore>(dir, env);
  F3_RETURN_IF_ERROR(store->Prepare().WithContext("open the durable store"));
  return std::unique_ptr<DurableStore>(std::move(store));
}

}  // namespace f3::storage
