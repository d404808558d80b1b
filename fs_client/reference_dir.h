// ReferenceDir: the directory `.f3/ref` of one mount, in which every reference that the mount's
// scope may use is the name of a read-only file with the value's bytes.
//
// Nothing in it is ever listed but `ref` in `.f3`: who can name a value may read it. A name says
// how long its value is; whether that can still be had is decided by the open, which takes one
// retrieval and holds the value until the last handle is released. Handles that are open at the
// same time share one value in memory, and one backing file where the kernel reads it itself.
//
// Node ids lie beyond those of inodes (InodeTable). Knows nothing of FUSE's messages: those are
// turned into calls by fuse_references.cc. Thread-safe; no lock is held while a callback runs.
// ReleaseAll comes before the destructor.
#ifndef F3_FS_CLIENT_REFERENCE_DIR_H_
#define F3_FS_CLIENT_REFERENCE_DIR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>

#include "common/mutex.h"
#include "common/status.h"
#include "fs_client/file_manager.h"
#include "fs_client/kernel_cache.h"
#include "xdt/local_reader.h"

namespace f3::fs {

class ReferenceDir {
 public:
  // Its name in the mount's root.
  static constexpr const char* kTopName = ".f3";
  static constexpr const char* kRefName = "ref";
  // Aliases of inodes have lower tags in these bits.
  static constexpr uint64_t kNodeBits = 0xfull << 60;
  static constexpr uint64_t kTopNode = kNodeBits | 1;
  static constexpr uint64_t kRefNode = kNodeBits | 2;
  // For the first bytes of a value.
  static constexpr int64_t kTimeoutMicros = 10'000'000;

  struct Node {
    uint64_t id = 0;
    bool directory = false;
    uint64_t bytes = 0;
  };
  using OpenDone = std::function<void(Result<OpenOutcome>)>;

  // `kernel` outlives it.
  ReferenceDir(std::shared_ptr<xdt::LocalReader> reader, KernelCache* kernel)
      : reader_(std::move(reader)), kernel_(kernel) {}

  static bool Owns(uint64_t node) { return (node & kNodeBits) == kNodeBits; }

  // Counts a lookup of what it finds, if that is a file. NotFound for what is no reference, and the
  // refusals that LocalReader::Check knows.
  Result<Node> Lookup(uint64_t parent, const std::string& name);
  // Stale for a node that was forgotten.
  Result<Node> Find(uint64_t node) const;
  void Forget(uint64_t node, uint64_t lookups);

  // `flags` as open(2). ReadOnly for a writer; errors of LocalReader::Get.
  void Open(uint64_t node, int flags, OpenDone done);
  // Bytes from `offset` on, as many as there are and fit. InvalidArgument for no open handle.
  Result<size_t> Read(HandleId handle, uint64_t offset, std::span<std::byte> into) const;
  void Release(HandleId handle);
  // Every handle; their values are given up.
  void ReleaseAll();

 private:
  // What is not constant is guarded by mutex_.
  struct File {
    File(uint64_t node, std::string reference, uint64_t bytes)
        : node(node), reference(std::move(reference)), bytes(bytes) {}
    const uint64_t node;
    const std::string reference;
    const uint64_t bytes;
    uint64_t lookups = 0;
    // While there are handles:
    size_t handles = 0;
    xdt::ContentRef content;
    int32_t backing_id = 0;  // > 0: the kernel reads it
  };
  using FileRef = std::shared_ptr<File>;

  FileRef FindFile(uint64_t node) const;
  OpenOutcome AddHandle(const FileRef& file, xdt::ContentRef content);
  // The backing id; 0 when the kernel cannot read it by itself.
  int32_t Back(const xdt::Content& content);
  void CloseBacking(int32_t backing_id);

  const std::shared_ptr<xdt::LocalReader> reader_;
  KernelCache* const kernel_;
  mutable Mutex mutex_;
  uint64_t next_ F3_GUARDED_BY(mutex_) = kRefNode + 1;
  HandleId next_handle_ F3_GUARDED_BY(mutex_) = 1;
  std::unordered_map<std::string, FileRef> by_reference_ F3_GUARDED_BY(mutex_);
  std::unordered_map<uint64_t, FileRef> by_node_ F3_GUARDED_BY(mutex_);
  std::unordered_map<HandleId, FileRef> handles_ F3_GUARDED_BY(mutex_);
};

}  // namespace f3::fs

#endif  // F3_FS_CLIENT_REFERENCE_DIR_H_
