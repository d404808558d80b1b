// FreshAttrs: attributes that the kernel is about to ask for, and that replies have brought
// already: of files that this mount has made and asked nothing of since but to be written
// (FileManager::OverlayAttr knows the changing part), and of directories that it has changed.
//
// AddMade and AddChanged are called with the reply's lease still held (under a
// GrantGuard::Writing); Drop by whatever invalidates the inode or gives its lease back.
// Thread-safe.
#ifndef F3_FS_CLIENT_FRESH_ATTRS_H_
#define F3_FS_CLIENT_FRESH_ATTRS_H_

#include <array>
#include <cstdint>
#include <optional>
#include <unordered_map>

#include "common/ids.h"
#include "common/mutex.h"
#include "metadata/metadata.pb.h"

namespace f3::fs {

class FreshAttrs {
 public:
  // The kernel asks something of this inode: drops what the request may change. `opcode`: FUSE_*.
  void Asked(uint32_t opcode, Ino ino);
  void AddMade(const meta::Attr& attr);
  // To be noted when a request that changes a directory has been Asked and not yet been sent.
  uint64_t Now() const;
  // The directory as it is after that request, unless it was dropped since: then another request,
  // or another node, has changed it as well, and which was first is not known.
  void AddChanged(const meta::Attr& directory, uint64_t since);
  std::optional<meta::Attr> Find(Ino ino) const;
  // Whether it is a file that this mount has made.
  bool Made(Ino ino) const;
  void Drop(Ino ino);
  void Clear();

 private:
  static constexpr size_t kMost = 4096;  // open for writing at once, and more are asked for
  static constexpr size_t kSlots = 1024;
  struct Known {
    meta::Attr attr;
    bool made = false;
  };
  void Add(const meta::Attr& attr, bool made) F3_REQUIRES(mutex_);

  mutable Mutex mutex_;
  std::unordered_map<Ino, Known> known_ F3_GUARDED_BY(mutex_);
  // When something was dropped, by inode; inodes that share a slot cost a question, nothing else.
  uint64_t clock_ F3_GUARDED_BY(mutex_) = 1;
  uint64_t cleared_ F3_GUARDED_BY(mutex_) = 0;
  std::array<uint64_t, kSlots> dropped_ F3_GUARDED_BY(mutex_) = {};
};

}  // namespace f3::fs

#endif  // F3_FS_CLIENT_FRESH_ATTRS_H_
