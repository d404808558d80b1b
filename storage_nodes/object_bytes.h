// Work on object files: reading, writing, checksums, comparing, copying. Stateless and thread-safe.
#ifndef F3_STORAGE_NODES_OBJECT_BYTES_H_
#define F3_STORAGE_NODES_OBJECT_BYTES_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "common/status.h"
#include "storage_nodes/object_store.h"

namespace f3::storage {

// Asked once per MiB; true ends the work with Interrupted.
using StopCheck = std::function<bool()>;

// CRC32C of each MiB of the first `size` bytes. Holes cost next to nothing. `path` is for messages.
Result<std::vector<uint32_t>> ComputeChecksums(int fd, const std::string& path, uint64_t size,
                                               const StopCheck& stop);

// Corruption, naming the range, for the first MiB that differs from `expected`.
Status CompareChecksums(int fd, const std::string& path, uint64_t size,
                        const std::vector<uint32_t>& expected, const StopCheck& stop);

// Copies content and times into the empty file `to`, keeping holes, and returns its checksums.
Result<std::vector<uint32_t>> CopyContent(int from, int to, const std::string& path, uint64_t size,
                                          const StopCheck& stop);

// pread and pwrite of everything, on an object's descriptor. ReadObject is short at the end only.
Result<size_t> ReadObject(const Object& object, uint64_t offset, std::span<std::byte> into);
// Returns where the bytes went. `append`: at the end, atomically with other appenders.
Result<uint64_t> WriteObject(const Object& object, uint64_t offset, bool append,
                             std::span<const std::byte> from);

}  // namespace f3::storage

#endif  // F3_STORAGE_NODES_OBJECT_BYTES_H_
