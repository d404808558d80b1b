// LeaseTable: who may cache what. A lease is the interest of one mount of a session in one inode:
// its attributes and, of a directory, its entries. It stays through invalidations and ends by
// Forget or with the session. Mount 0 stands for the session's own requests, behind its mounts.
//
// While a mutation that changes an inode is between Begin and End, no lease on that inode is
// granted, and one is granted only when nothing changed since the snapshot that the reply was read
// from; else a reader could cache what the mutation is about to replace. Thread-safe.
#ifndef F3_METADATA_LEASE_TABLE_H_
#define F3_METADATA_LEASE_TABLE_H_

#include <array>
#include <cstdint>
#include <map>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "common/ids.h"
#include "common/mutex.h"
#include "metadata/metadata.pb.h"

namespace f3::meta {

class LeaseTable {
 public:
  using Items = std::vector<Invalidate::Item>;
  using Notices = std::map<SessionId, Invalidate>;
  struct Holder {
    SessionId session = 0;
    uint32_t mount = 0;
    bool operator==(const Holder&) const = default;
  };

  // Marks the inodes as changing. What must be acknowledged first, by sessions: of the caller's own
  // only if another of its mounts holds a lease (`except_mount` is then the caller's). A session's
  // own requests tell its mounts themselves.
  Notices Begin(Holder caller, const Items& items);
  // Unmarks them. `sequence`: of the commit; 0 when nothing was committed.
  void End(const Items& items, uint64_t sequence);

  // Records the interest in `ino`, read at `snapshot`. False: it may not cache.
  bool Grant(Holder holder, Ino ino, uint64_t snapshot);
  // With the last lease of a mount goes that of mount 0.
  void Forget(Holder holder, Ino ino);
  void ForgetAll(SessionId session);
  size_t size() const;

 private:
  static constexpr size_t kStamps = 1u << 16;
  static size_t StampOf(Ino ino) { return (ino * 0x9E3779B97F4A7C15ull) >> 48; }

  mutable Mutex mutex_;
  void Erase(SessionId session, Ino ino) F3_REQUIRES(mutex_);

  std::unordered_map<Ino, std::vector<Holder>> holders_ F3_GUARDED_BY(mutex_);
  std::unordered_map<SessionId, std::unordered_set<Ino>> held_ F3_GUARDED_BY(mutex_);
  std::unordered_map<Ino, uint32_t> changing_ F3_GUARDED_BY(mutex_);
  // The last commit that changed an inode of this hash. A collision only makes a reply uncacheable.
  std::array<uint64_t, kStamps> changed_ F3_GUARDED_BY(mutex_) = {};
};

}  // namespace f3::meta

#endif  // F3_METADATA_LEASE_TABLE_H_
