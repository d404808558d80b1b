// The implementation of ObjectStore: state of each object, and who does what with it.
//
//   object_store.cc        open, reconcile, create, find, rename, remove, list
//   object.cc              one object's descriptors, sealing, publishing
//   object_space.cc        room: usage, eviction, spilling
//   object_checksums.cc    the background thread, Verify
//
// Lock order: ObjectImpl::op_mutex_, spill_mutex_, evict_mutex_, mutex_. Destructors of ObjectImpl
// take mutex_, so no reference is dropped with it held.
#ifndef F3_STORAGE_NODES_OBJECT_STORE_IMPL_H_
#define F3_STORAGE_NODES_OBJECT_STORE_IMPL_H_

#include <atomic>
#include <deque>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "common/mutex.h"
#include "common/unique_fd.h"
#include "storage_nodes/catalogue.h"
#include "storage_nodes/object_store.h"
#include "storage_nodes/tier.h"

namespace f3::storage {

class ObjectImpl;
class ObjectStoreImpl;

// What is known of one object; shared by the table and the object's handle, and outlives removal.
// Guarded by ObjectStoreImpl::mutex_, but for `content`.
struct ObjectState {
  enum class Phase { kCreating, kReady, kMoving, kRemoved };

  ObjectKey key;
  Phase phase = Phase::kCreating;
  bool cancel_move = false;  // somebody wants the object that is being moved
  bool has_checksums = false;
  ObjectRecord record;
  std::vector<uint32_t> offered_checksums;  // SetChecksums before Seal
  uint64_t size = 0, allocated_bytes = 0;   // when nobody has it open
  uint64_t last_used = 0;                   // order of use, for spilling
  int64_t sealed_at_micros = 0;
  std::weak_ptr<ObjectImpl> handle;
  ObjectImpl* handle_raw = nullptr;  // set while the handle exists, destructor included
  bool accounted = false;            // in closed_bytes_, with size and tier as recorded
  bool in_lru = false;
  std::list<std::shared_ptr<ObjectState>>::iterator lru;
  std::atomic<uint64_t> content{0};  // grows when the bytes may begin to change or go away
};
using StateRef = std::shared_ptr<ObjectState>;

class ObjectImpl final : public Object {
 public:
  // `read_fd`: O_RDONLY. `work_fd`: O_RDWR, or a duplicate of read_fd when sealed.
  ObjectImpl(ObjectStoreImpl* store, StateRef state, TierKind tier, UniqueFd read_fd,
             UniqueFd work_fd);
  ~ObjectImpl() override;

  const ObjectKey& key() const override { return key_; }
  TierKind tier() const override { return tier_; }
  int fd() const override { return work_fd_.get(); }
  int read_fd() const override { return read_fd_.get(); }
  std::string path() const override;
  ObjectInfo info() const override;
  Status BeginWriting(Role role) override;
  Status Seal(Version version, Role role) override;
  Status SetPublished(Version version) override;
  void SetChecksums(std::vector<uint32_t> checksums) override;
  std::vector<uint32_t> Checksums() const override;

 private:
  // Puts an O_RDWR, or the O_RDONLY, open file behind work_fd_'s number.
  Status OpenForWriting() F3_REQUIRES(op_mutex_);
  Status CloseForWriting() F3_REQUIRES(op_mutex_);
  void TrimReserve() F3_REQUIRES(op_mutex_);

  ObjectStoreImpl* const store_;
  const StateRef state_;
  const ObjectKey key_;
  const TierKind tier_;
  const UniqueFd read_fd_;
  const UniqueFd work_fd_;
  Mutex op_mutex_;  // one change of the object at a time
};

class ObjectStoreImpl final : public ObjectStore {
 public:
  explicit ObjectStoreImpl(const Options& options) : options_(options) {}
  ~ObjectStoreImpl() override;
  Status Start();

  std::string tier_uuid() const override { return tier_uuid_; }
  std::vector<ObjectInfo> LostHomes() const override { return lost_homes_; }
  Result<std::shared_ptr<Object>> Create(const ObjectKey& key, Role role, TierKind tier,
                                         uint64_t reserve_bytes) override;
  Result<std::shared_ptr<Object>> Find(const ObjectKey& key) override;
  Status Rekey(const ObjectKey& key, const ObjectKey& new_key) override;
  Status Remove(const ObjectKey& key) override;
  Status MakeRoom(TierKind tier, uint64_t bytes) override;
  Status Spill(uint64_t at_least_bytes) override;
  void SetEvictionListener(std::function<void(const ObjectKey&)> listener) override;
  std::vector<ObjectInfo> List() override;
  Result<std::vector<std::string>> Verify(bool repair) override;
  Status SettleChecksums(int64_t timeout_micros) override;
  Usage usage() const override;

 private:
  friend class ObjectImpl;

  // object_store.cc
  Status OpenTiers();
  Status Identify(bool* fresh);
  Status Reconcile(bool fresh);
  Status CreateFile(const StateRef& state, uint64_t reserve_bytes, UniqueFd* read_fd,
                    UniqueFd* work_fd);
  Status VerifySuspect(const StateRef& state);
  Result<std::shared_ptr<ObjectImpl>> OpenHandle(const StateRef& state) F3_REQUIRES(mutex_);
  std::shared_ptr<ObjectImpl> NewHandle(const StateRef& state, UniqueFd read_fd, UniqueFd work_fd)
      F3_REQUIRES(mutex_);
  void OnHandleGone(ObjectImpl* handle, const StateRef& state, uint64_t size, uint64_t allocated);
  // ObjectMissing once it was removed: a row written then would be taken for a lost home.
  Status PutRecord(const StateRef& state, const ObjectRecord& record, bool drop_checksums)
      F3_REQUIRES(mutex_);
  Status StillThere(const ObjectState& state) const F3_REQUIRES(mutex_);
  // REQUIRES: phase kReady. `last` must be closed after mutex_ is released.
  Status RemoveReady(const StateRef& state, UniqueFd* last) F3_REQUIRES(mutex_);
  void EraseFromTable(const StateRef& state) F3_REQUIRES(mutex_);
  void Touch(const StateRef& state) F3_REQUIRES(mutex_);
  ObjectInfo InfoOf(const ObjectState& state) const F3_REQUIRES(mutex_);

  // object_space.cc
  struct Room {
    uint64_t used = 0, capacity = 0, free = 0;
  };
  Result<Room> RoomOf(TierKind tier) const;
  uint64_t ObjectBytes(TierKind tier) const F3_REQUIRES(mutex_);
  Status Full(TierKind tier, const Room& room, uint64_t wanted) const;
  bool EvictOne(TierKind tier);
  // Homes and staging objects of the memory tier that nobody has open, least recently used first.
  std::vector<StateRef> SpillCandidates() F3_REQUIRES(mutex_);
  // Moves one object; the bytes it freed, 0 when it cannot be moved now (in use, mapped).
  Result<uint64_t> MoveToDisk(const StateRef& state) F3_REQUIRES(spill_mutex_);
  Result<uint64_t> CopyToDisk(const StateRef& state) F3_REQUIRES(spill_mutex_);
  void UpdateLru(const StateRef& state) F3_REQUIRES(mutex_);
  void DropFromLru(const StateRef& state) F3_REQUIRES(mutex_);
  // Adds an object without a handle to closed_bytes_, or takes it out again.
  void AccountClosed(const StateRef& state, bool closed) F3_REQUIRES(mutex_);

  // object_checksums.cc
  void RunChecksums();
  void WantChecksums(const StateRef& state) F3_REQUIRES(mutex_);
  StateRef NextUnchecked(int64_t* wait_micros) F3_REQUIRES(mutex_);
  void ChecksumOne(const StateRef& state);
  // After content of `state` has grown: until the checksum thread keeps no descriptor of it, which
  // takes it no longer than reading one MiB.
  void AwaitUnread(const StateRef& state) F3_REQUIRES(mutex_);

  Tier* TierOf(TierKind kind) const {
    return kind == TierKind::kMemory ? memory_.get() : disk_.get();
  }

  const Options options_;
  // Constant after Start.
  std::unique_ptr<Tier> memory_;
  std::unique_ptr<Tier> disk_;
  std::unique_ptr<Catalogue> catalogue_;
  std::string tier_uuid_;
  std::vector<ObjectInfo> lost_homes_;

  Mutex spill_mutex_;  // one mover at a time
  Mutex evict_mutex_;  // held over one eviction; before mutex_
  mutable Mutex mutex_;
  CondVar changed_;  // a phase changed
  std::unordered_map<ObjectKey, StateRef, ObjectKeyHash> table_ F3_GUARDED_BY(mutex_);
  std::unordered_set<ObjectImpl*> handles_ F3_GUARDED_BY(mutex_);  // removed objects' too
  // Evictable copies (sealed, nobody has them open), least recently used first, by tier.
  std::list<StateRef> lru_[2] F3_GUARDED_BY(mutex_);
  uint64_t closed_bytes_[2] F3_GUARDED_BY(mutex_) = {0, 0};  // of objects without a handle
  uint64_t use_counter_ F3_GUARDED_BY(mutex_) = 0;
  std::function<void(const ObjectKey&)> eviction_listener_ F3_GUARDED_BY(mutex_);

  CondVar unchecked_wake_;
  CondVar settled_;
  std::deque<StateRef> unchecked_ F3_GUARDED_BY(mutex_);
  bool unchecked_overflow_ F3_GUARDED_BY(mutex_) = false;  // look through the table as well
  StateRef checking_ F3_GUARDED_BY(mutex_);                // read by the checksum thread now
  int settlers_ F3_GUARDED_BY(mutex_) = 0;                 // waiting: no delays
  std::atomic<bool> stopping_{false};
  std::thread checksum_thread_;
};

}  // namespace f3::storage

#endif  // F3_STORAGE_NODES_OBJECT_STORE_IMPL_H_
