// FreshFiles: files that this mount has made and asked nothing of since but to be written. Their
// attributes, of which FileManager::OverlayAttr knows the changing part, and that they have no
// capabilities, need not be asked for, as the kernel does between a file's creation and its first
// write.
//
// Add is called with the reply's lease still held (under a GrantGuard::Writing); Drop by whatever
// invalidates the inode, and by each request for it but those that keep it. Thread-safe.
#ifndef F3_FS_CLIENT_FRESH_FILES_H_
#define F3_FS_CLIENT_FRESH_FILES_H_

#include <optional>
#include <unordered_map>

#include "common/ids.h"
#include "common/mutex.h"
#include "metadata/metadata.pb.h"

namespace f3::fs {

class FreshFiles {
 public:
  // Whether a file of which the kernel asks this stays as it was made. `opcode`: FUSE_*.
  static bool Keeps(uint32_t opcode);
  // Whether the request changes an inode that it does not name.
  static bool ChangesOthers(uint32_t opcode);

  void Add(const meta::Attr& attr);
  std::optional<meta::Attr> Find(Ino ino) const;
  void Drop(Ino ino);
  void Clear();

 private:
  static constexpr size_t kMost = 4096;  // open for writing at once, and more are asked for

  mutable Mutex mutex_;
  std::unordered_map<Ino, meta::Attr> files_ F3_GUARDED_BY(mutex_);
};

}  // namespace f3::fs

#endif  // F3_FS_CLIENT_FRESH_FILES_H_
