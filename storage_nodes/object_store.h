// ObjectStore: the files' bytes on this node, in a memory tier (tmpfs) and a disk tier.
//
// An object holds the bytes of one incarnation of one file. It is an ordinary file of the tier's
// file system, so that the kernel can read and write it directly (FUSE passthrough). A catalogue
// (LevelDB, in the disk tier's directory) records role, version and checksums, survives restarts,
// and is reconciled with the files at Open. Thread-safe.
//
// Layout: TIER/objects/H/INO-INCARNATION; TIER/owner names the store that a tier belongs to.
// Objects must be gone before their store.
#ifndef F3_STORAGE_NODES_OBJECT_STORE_H_
#define F3_STORAGE_NODES_OBJECT_STORE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/env.h"
#include "common/ids.h"
#include "common/status.h"

namespace f3::storage {

enum class TierKind : uint8_t { kMemory = 1, kDisk = 2 };

// What the node holds an object as.
enum class Role : uint8_t {
  kHome = 1,     // authoritative bytes of an ephemeral file
  kStaging = 2,  // bytes of a durable file being written; reproducible only once published
  kCopy = 3,     // complete verified replica; may be evicted at any time nobody has it open
  kFilling = 4,  // a copy that is not complete yet; dropped at a restart
};

// What one checksum of an object covers.
inline constexpr uint64_t kChecksumBytes = 1ull << 20;

struct ObjectInfo {
  ObjectKey key;
  Role role = Role::kCopy;
  TierKind tier = TierKind::kDisk;
  Version version = 0;   // published version these bytes are; 0: never published
  bool writing = false;  // not sealed: the bytes may change
  uint64_t size = 0;
  uint64_t allocated_bytes = 0;
};

// One object, shared by everyone on this node who has it open. Thread-safe. While a reference
// exists the object is neither evicted nor moved between tiers; a removed object's bytes stay
// readable through it.
class Object {
 public:
  virtual ~Object() = default;
  virtual const ObjectKey& key() const = 0;
  virtual TierKind tier() const = 0;
  // For writing; owned by the object. The number never changes, but what is behind it does: O_RDWR
  // while the bytes may change (filling, writing), O_RDONLY once sealed, when pwrite gives EBADF.
  // Never for a passthrough backing id or a read: the kernel would keep it open for writing, and
  // Seal would be Busy, for as long as the id exists or the read takes.
  virtual int fd() const = 0;
  // Always O_RDONLY: for pread, fstat and lseek. What passthrough backing ids are made from (the
  // kernel opens the file again with each handle's own flags, so handles may write through it).
  virtual int read_fd() const = 0;
  // "/…/objects/…", for opening with other flags (leases, O_DIRECT).
  virtual std::string path() const = 0;
  virtual ObjectInfo info() const = 0;  // size by fstat
  // Marks that the bytes may change from now on: copies no longer are, checksums are dropped.
  virtual Status BeginWriting(Role role) = 0;
  // The bytes are final as `version` (of the metadata server). Fails with Busy while a writable
  // mapping or descriptor is left (read lease, ruling 1 of the design); the object then stays
  // writing and the caller tries again later. REQUIRES: nobody uses fd() for writing meanwhile.
  virtual Status Seal(Version version, Role role) = 0;
  // Published as `version` but still open for writing.
  virtual Status SetPublished(Version version) = 0;
  // CRC32C of each MiB, from whoever fills the object and has verified them; kept by the next Seal.
  virtual void SetChecksums(std::vector<uint32_t> checksums) = 0;
  // CRC32C of each MiB of a sealed object; empty when they are not known (yet): without
  // SetChecksums they are computed in the background some time after Seal.
  virtual std::vector<uint32_t> Checksums() const = 0;
};

class ObjectStore {
 public:
  struct Options {
    std::string memory_dir;            // a tmpfs of its own; empty: no memory tier
    std::string disk_dir;              // required
    uint64_t disk_capacity_bytes = 0;  // 0: what the file system has, less 5 %
    Env* env = Env::Real();
    Clock* clock = Clock::Real();
    std::string boot_id;                        // of this start of the host; empty: the kernel's
    int64_t checksum_delay_micros = 2'000'000;  // after Seal: most short-lived files never need one
  };
  struct Usage {
    uint64_t memory_used = 0, memory_capacity = 0;
    uint64_t disk_used = 0, disk_capacity = 0;
    uint64_t objects = 0, copies_bytes = 0;
  };

  static Result<std::unique_ptr<ObjectStore>> Open(const Options& options);
  virtual ~ObjectStore() = default;

  // Random, written when the tiers were first used. It changes when at least one home object is
  // found missing or unusable at Open (tier wiped, memory tier emptied by a reboot while it held
  // homes), together with forgetting these: a node that comes back with another uuid has lost the
  // homes that List() does not have.
  virtual std::string tier_uuid() const = 0;
  // The homes that were found lost at this Open, for messages.
  virtual std::vector<ObjectInfo> LostHomes() const = 0;

  // A new empty object. Exists when the key is taken. TierFull when there is no room even after
  // evicting copies (and, for memory, spilling to disk). `reserve_bytes` > 0 allocates that much
  // ahead on this process's account.
  virtual Result<std::shared_ptr<Object>> Create(const ObjectKey& key, Role role, TierKind tier,
                                                 uint64_t reserve_bytes) = 0;
  // ObjectMissing when this node does not hold it.
  virtual Result<std::shared_ptr<Object>> Find(const ObjectKey& key) = 0;
  // Gives `key`'s bytes a new key (a copy becomes the home of a new incarnation, for example). Busy
  // while anybody holds a reference to the object, Exists when the new key is taken.
  virtual Status Rekey(const ObjectKey& key, const ObjectKey& new_key) = 0;
  // Forgets the object now; its bytes go when the last reference does. OK when it is not there.
  virtual Status Remove(const ObjectKey& key) = 0;
  // Makes room by evicting unused copies, least recently used first. TierFull when it can't.
  virtual Status MakeRoom(TierKind tier, uint64_t bytes) = 0;
  // Moves memory-tier objects that nobody has open to the disk tier (shutdown, pressure).
  virtual Status Spill(uint64_t at_least_bytes) = 0;
  // Called, on an arbitrary thread without locks, for each copy that was evicted.
  virtual void SetEvictionListener(std::function<void(const ObjectKey&)> listener) = 0;

  virtual std::vector<ObjectInfo> List() = 0;
  // Reads sealed objects and compares checksums; each corrupted one is reported, and a corrupted
  // copy removed when `repair`.
  virtual Result<std::vector<std::string>> Verify(bool repair) = 0;
  // Waits until every sealed object has its checksums (without their delay); Timeout.
  virtual Status SettleChecksums(int64_t timeout_micros) = 0;
  virtual Usage usage() const = 0;
};

}  // namespace f3::storage

#endif  // F3_STORAGE_NODES_OBJECT_STORE_H_
