// Tier: one directory of object files, and what its file system says of space.
//
// Layout: DIR/objects/H/INO-INCARNATION (H: see fan_out.h) and DIR/owner.
// A tier belongs to one store and is used by one process at a time (a lock on DIR/owner). Knows
// nothing of roles or of the catalogue. Thread-safe.
#ifndef F3_STORAGE_NODES_TIER_H_
#define F3_STORAGE_NODES_TIER_H_

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "common/env.h"
#include "common/ids.h"
#include "common/status.h"
#include "common/unique_fd.h"
#include "storage_nodes/object_store.h"

namespace f3::storage {

// "memory tier" or "disk tier", for messages.
const char* TierName(TierKind kind);

class Tier {
 public:
  // Makes what is missing and takes the lock. Busy when another process has it; NotSupported when
  // the file system lacks what F3 needs (read leases, preallocation).
  static Result<std::unique_ptr<Tier>> Open(TierKind kind, const std::string& dir, Env* env);

  TierKind kind() const { return kind_; }
  const std::string& dir() const { return dir_; }
  std::string Path(const ObjectKey& key) const;

  // Empty when the tier has no owner yet.
  const std::string& owner() const { return owner_; }
  // REQUIRES: before the tier is shared between threads.
  Status SetOwner(const std::string& owner);

  Result<UniqueFd> Create(const ObjectKey& key);  // O_RDWR; Exists
  Result<UniqueFd> Open(const ObjectKey& key, int flags);
  // OK when it is not there.
  Status Unlink(const ObjectKey& key);
  // A second name for the same file.
  Status Link(const ObjectKey& from, const ObjectKey& to);
  // A nameless file of this tier, and giving it its name. A crash in between leaves nothing.
  Result<UniqueFd> CreateNameless();
  Status Name(const UniqueFd& file, const ObjectKey& key);
  // Makes the name of `key` durable.
  Status SyncName(const ObjectKey& key);

  // Visits every object file; files that are no objects are removed.
  Status Scan(const std::function<void(const ObjectKey&, const struct stat&)>& visit);

  struct Space {
    uint64_t capacity_bytes = 0, free_bytes = 0;
  };
  Result<Space> space() const;

 private:
  Tier(TierKind kind, std::string dir) : kind_(kind), dir_(std::move(dir)) {}
  Status Prepare(Env* env);
  Status ProbeFeatures();
  std::string RelativePath(const ObjectKey& key) const;  // from objects_

  const TierKind kind_;
  const std::string dir_;
  std::string owner_;
  UniqueFd lock_;
  UniqueFd objects_;
};

// Opens the file behind `fd` once more, with other flags, whatever its name is by now; `path` is
// for messages.
Result<UniqueFd> Reopen(int fd, int flags, const std::string& path);

// OK while nobody has the file open for writing or mapped writable (a read lease is granted), else
// Busy. Until the lease is dropped, or the descriptor (O_RDONLY) closed, openers for writing wait.
Status TakeReadLease(int fd, const std::string& path);
void DropReadLease(int fd);

}  // namespace f3::storage

#endif  // F3_STORAGE_NODES_TIER_H_
