// InodeTable: the numbers by which the kernel knows the inodes of one mount.
//
// A node id is the inode number, so that the kernel can name an inode that both have forgotten
// (file handles). Node 1 is the mount's root. When the kernel must see an inode as another one
// (see KernelModes), its next lookups give an alias: the same number with a tag in the top bits.
// Thread-safe; as large as what the kernel remembers.
#ifndef F3_FS_CLIENT_INODE_TABLE_H_
#define F3_FS_CLIENT_INODE_TABLE_H_

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "common/ids.h"
#include "common/mutex.h"

namespace f3::fs {

class InodeTable {
 public:
  static constexpr uint64_t kRootNode = 1;

  explicit InodeTable(Ino root) : root_(root) {}

  Ino ToIno(uint64_t node) const { return node == kRootNode ? root_ : node & kInoMask; }
  // Counts a lookup of the inode that is answered with the node id returned.
  uint64_t Remember(Ino ino);
  // The kernel gave back `lookups` of a node. True when no node of its inode is left.
  bool Forget(uint64_t node, uint64_t lookups);
  // Further lookups of the inode of `node` give another node.
  void MakeAlias(uint64_t node);
  // What the kernel may have cached of an inode.
  std::vector<uint64_t> NodesOf(Ino ino) const;
  std::vector<uint64_t> All() const;
  bool Known(Ino ino) const;

  // Whether the kernel may keep attributes of an inode: only then has a notice anything to take
  // back. A reply that lets the kernel keep them calls KeepAttr before it is written. What
  // AttrKept returns (0: nothing is kept) goes to AttrDropped once the notice has been sent; until
  // then further changes send notices of their own.
  void KeepAttr(Ino ino);
  uint64_t AttrKept(Ino ino) const;
  void AttrDropped(Ino ino, uint64_t kept);

 private:
  static constexpr int kTagShift = 60;
  static constexpr uint64_t kInoMask = kMaxIno;
  static_assert(kInoMask == (1ull << kTagShift) - 1);
  static constexpr uint64_t kTags = 15;

  struct Entry {
    uint64_t tag = 0;                                // of the node that lookups give
    std::unordered_map<uint64_t, uint64_t> lookups;  // by node
    uint64_t attr_kept = 0;                          // number of the last reply that let it, or 0
  };

  const Ino root_;
  mutable Mutex mutex_;
  std::unordered_map<Ino, Entry> entries_ F3_GUARDED_BY(mutex_);
  uint64_t root_attr_kept_ F3_GUARDED_BY(mutex_) = 0;  // the root has no entry
  uint64_t keeps_ F3_GUARDED_BY(mutex_) = 0;
};

}  // namespace f3::fs

#endif  // F3_FS_CLIENT_INODE_TABLE_H_
