// DurableStore: immutable checksummed blocks behind all nodes.
//
// A block is named by inode, index and generation, is written once and never replaced. Put returns
// only when the block and its name are durable. Thread-safe; several nodes share one store.
#ifndef F3_STORAGE_NODES_DURABLE_STORE_H_
#define F3_STORAGE_NODES_DURABLE_STORE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/env.h"
#include "common/ids.h"
#include "common/status.h"

namespace f3::storage {

struct BlockName {
  Ino ino = 0;
  uint64_t index = 0;  // block number: byte offset / kBlockBytes
  Generation generation = 0;
  auto operator<=>(const BlockName&) const = default;
};

class DurableStore {
 public:
  virtual ~DurableStore() = default;
  // Stores `bytes` (at most kBlockBytes). Exists when the name is taken, NoSpace when the store
  // is full (nothing is left behind). The name is durable only after Commit.
  virtual Status Put(const BlockName& name, std::span<const std::byte> bytes) = 0;
  // Makes the names of all blocks of `ino` put so far durable.
  virtual Status Commit(Ino ino) = 0;
  // Reads `into.size()` bytes at `offset` of the block, which has `length` stored bytes with
  // checksum `crc`; bytes past the stored length read as zero. The whole block is verified:
  // Corruption names the file. NotFound when the block is gone.
  virtual Status Get(const BlockName& name, uint32_t length, uint32_t crc, uint32_t offset,
                     std::span<std::byte> into) = 0;
  // OK when there is nothing to remove.
  virtual Status Remove(const BlockName& name) = 0;
  // Calls `visit` for every stored block, in no order, until it returns false. What a Put that
  // never ended has left is visited too (under its name), so that Remove can clear it.
  virtual Status ForEach(const std::function<bool(const BlockName&, uint64_t bytes)>& visit) = 0;
  struct Space {
    uint64_t capacity_bytes = 0, free_bytes = 0;
  };
  virtual Result<Space> space() = 0;

  // A directory: a local one for one machine, or one that all nodes mount (NFS, CephFS).
  // Layout: DIR/H/INO/INDEX.GENERATION.
  static Result<std::unique_ptr<DurableStore>> OpenDirectory(const std::string& dir, Env* env);
};

}  // namespace f3::storage

#endif  // F3_STORAGE_NODES_DURABLE_STORE_H_
