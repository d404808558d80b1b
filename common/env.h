// Env: the file operations whose durability F3 promises, behind an interface so that a test can
// discard what was not synced, fail a call, or fill the disk. Thread-safe.
//
// Only code that promises durability (durable stores, catalogues, tier identity) goes through
// Env; tier objects that the kernel reads and writes directly do not.
#ifndef F3_COMMON_ENV_H_
#define F3_COMMON_ENV_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/status.h"

namespace f3 {

class Env {
 public:
  virtual ~Env() = default;

  // Creates `path` with these bytes and syncs them to the device before it returns. Fails with
  // Exists when `path` is there: a written file is never replaced. The name itself is durable
  // only after SyncDir of the parent.
  virtual Status WriteNewFile(const std::string& path, std::span<const std::byte> bytes) = 0;
  // Reads up to `into.size()` bytes at `offset`; returns the number read (short at the end).
  virtual Result<size_t> ReadFile(const std::string& path, uint64_t offset,
                                  std::span<std::byte> into) = 0;
  virtual Result<uint64_t> FileSize(const std::string& path) = 0;
  virtual Status Rename(const std::string& from, const std::string& to) = 0;
  // Fails with Exists, changing nothing, when `to` is there.
  virtual Status RenameNew(const std::string& from, const std::string& to) = 0;
  // NotFound when there is nothing.
  virtual Status RemoveFile(const std::string& path) = 0;
  // NotEmpty when something is in it.
  virtual Status RemoveDir(const std::string& path) = 0;
  // Makes the directory and its parents; OK when it exists.
  virtual Status MakeDirs(const std::string& path) = 0;
  // Makes the names in a directory durable.
  virtual Status SyncDir(const std::string& path) = 0;
  // Names in a directory, without "." and "..", in no order.
  virtual Result<std::vector<std::string>> ListDir(const std::string& path) = 0;

  // The real file system. Never destroyed.
  static Env* Real();
};

}  // namespace f3

#endif  // F3_COMMON_ENV_H_
