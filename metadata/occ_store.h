// OccKvStore: optimistic transactions above an ordered engine with snapshots.
//
// Keeps, for as long as an older transaction is open, which keys each commit wrote; a commit whose
// reads overlap a later commit's writes is refused. Thread-safe. Lock order: commit_mutex_, then
// sync_mutex_.
#ifndef F3_METADATA_OCC_STORE_H_
#define F3_METADATA_OCC_STORE_H_

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/mutex.h"
#include "metadata/kv_store.h"

namespace f3::meta {

// Key → new value, or nothing for a deletion.
using Writes = std::map<std::string, std::optional<std::string>, std::less<>>;
using Pairs = std::vector<std::pair<std::string, std::string>>;

// An ordered map with snapshots. Reads are thread-safe; Apply is called by one thread at a time.
class Engine {
 public:
  virtual ~Engine() = default;
  // Released when the last reference goes.
  using Snapshot = std::shared_ptr<const void>;
  virtual Snapshot TakeSnapshot() = 0;
  virtual Result<std::string> Get(const Snapshot& snapshot, std::string_view key) = 0;
  virtual Result<Pairs> Scan(const Snapshot& snapshot, std::string_view begin, std::string_view end,
                             size_t limit) = 0;
  // Atomic; survives the process, not the host.
  virtual Status Apply(const Writes& writes) = 0;
  // Makes everything applied so far survive the host.
  virtual Status Sync() = 0;
};

class OccKvStore : public KvStore {
 public:
  // `sequence`: of the last commit that the engine holds.
  OccKvStore(std::unique_ptr<Engine> engine, uint64_t sequence);

  std::unique_ptr<Transaction> Begin() override;
  Result<uint64_t> Sync() override;
  uint64_t synced_sequence() const override { return synced_; }
  Status Backup(const std::string& file) override;

  // The row in which the engine keeps the last commit's sequence.
  static constexpr std::string_view kSequenceKey{"\0sequence", 9};

 private:
  friend class OccTransaction;
  struct Commit {
    uint64_t sequence;
    std::vector<std::string> keys;
  };
  struct Reads {
    std::set<std::string, std::less<>> keys;
    std::vector<std::pair<std::string, std::string>> ranges;  // [first, second)
  };

  void Ended(uint64_t snapshot_sequence);
  bool Conflicts(const Reads& reads, uint64_t snapshot_sequence) const F3_REQUIRES(commit_mutex_);
  Result<uint64_t> CommitWrites(const Reads& reads, uint64_t snapshot_sequence, Writes writes,
                                const std::function<void(uint64_t)>& on_commit);

  const std::unique_ptr<Engine> engine_;
  Mutex commit_mutex_;
  uint64_t sequence_ F3_GUARDED_BY(commit_mutex_);
  std::multiset<uint64_t> open_snapshots_ F3_GUARDED_BY(commit_mutex_);
  std::deque<Commit> recent_ F3_GUARDED_BY(commit_mutex_);

  Mutex sync_mutex_;
  CondVar sync_done_;
  bool syncing_ F3_GUARDED_BY(sync_mutex_) = false;
  std::atomic<uint64_t> synced_;
};

}  // namespace f3::meta

#endif  // F3_METADATA_OCC_STORE_H_
