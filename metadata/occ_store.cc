#include "metadata/occ_store.h"

#include <algorithm>

namespace f3::meta {

class OccTransaction : public Transaction {
 public:
  OccTransaction(OccKvStore* store, Engine::Snapshot snapshot, uint64_t sequence)
      : store_(store), snapshot_(std::move(snapshot)), sequence_(sequence) {}
  ~OccTransaction() override { End(); }

  Result<std::string> Get(std::string_view key) override {
    auto own = writes_.find(key);
    if (own != writes_.end()) {
      if (!own->second) return Status::NotFound("deleted in this transaction");
      return *own->second;
    }
    reads_.keys.emplace(key);
    return store_->engine_->Get(snapshot_, key);
  }

  Result<Pairs> Scan(std::string_view begin, std::string_view end, size_t limit) override {
    if (limit == 0 || begin >= end) return Pairs();
    // Own deletions may hide as many stored pairs; read that many more.
    auto own_begin = writes_.lower_bound(begin);
    auto own_end = writes_.lower_bound(end);
    size_t own_count = static_cast<size_t>(std::distance(own_begin, own_end));
    size_t want = limit > SIZE_MAX - own_count ? limit : limit + own_count;
    F3_ASSIGN_OR_RETURN(Pairs stored, store_->engine_->Scan(snapshot_, begin, end, want));
    // What was read ends after the last pair, unless the range was exhausted.
    std::string read_end =
        stored.size() < want ? std::string(end) : stored.back().first + std::string(1, '\0');
    reads_.ranges.emplace_back(std::string(begin), std::move(read_end));
    if (own_count == 0) return stored;
    Pairs merged;
    auto it = stored.begin();
    for (auto own = own_begin; own != own_end; ++own) {
      while (it != stored.end() && it->first < own->first) merged.push_back(std::move(*it++));
      if (it != stored.end() && it->first == own->first) ++it;
      if (own->second) merged.emplace_back(own->first, *own->second);
    }
    std::move(it, stored.end(), std::back_inserter(merged));
    if (merged.size() > limit) merged.resize(limit);
    return merged;
  }

  void Put(std::string_view key, std::string_view value) override {
    writes_.insert_or_assign(std::string(key), std::string(value));
  }

  void Delete(std::string_view key) override {
    writes_.insert_or_assign(std::string(key), std::nullopt);
  }

  Result<uint64_t> Commit(Durability durability,
                          const std::function<void(uint64_t)>& on_commit) override {
    if (writes_.empty() && on_commit == nullptr) {
      End();
      return sequence_;
    }
    auto committed = store_->CommitWrites(reads_, sequence_, std::move(writes_), on_commit);
    End();
    if (!committed.ok()) return committed.status();
    if (durability == Durability::kSynced) {
      auto synced = store_->Sync();
      if (!synced.ok()) return synced.status();
    }
    return *committed;
  }

  bool has_writes() const override { return !writes_.empty(); }
  uint64_t snapshot_sequence() const override { return sequence_; }

 private:
  void End() {
    if (std::exchange(ended_, true)) return;
    snapshot_.reset();
    store_->Ended(sequence_);
  }

  OccKvStore* const store_;
  Engine::Snapshot snapshot_;
  const uint64_t sequence_;
  OccKvStore::Reads reads_;
  Writes writes_;
  bool ended_ = false;
};

OccKvStore::OccKvStore(std::unique_ptr<Engine> engine, uint64_t sequence)
    : engine_(std::move(engine)), sequence_(sequence), synced_(sequence) {}

std::unique_ptr<Transaction> OccKvStore::Begin() {
  MutexLock lock(commit_mutex_);
  open_snapshots_.insert(sequence_);
  return std::make_unique<OccTransaction>(this, engine_->TakeSnapshot(), sequence_);
}

void OccKvStore::Ended(uint64_t snapshot_sequence) {
  MutexLock lock(commit_mutex_);
  open_snapshots_.erase(open_snapshots_.find(snapshot_sequence));
  uint64_t oldest = open_snapshots_.empty() ? sequence_ : *open_snapshots_.begin();
  while (!recent_.empty() && recent_.front().sequence <= oldest) recent_.pop_front();
}

bool OccKvStore::Conflicts(const Reads& reads, uint64_t snapshot_sequence) const {
  auto first = std::partition_point(recent_.begin(), recent_.end(), [&](const Commit& commit) {
    return commit.sequence <= snapshot_sequence;
  });
  for (; first != recent_.end(); ++first) {
    for (const std::string& key : first->keys) {
      if (reads.keys.count(key) != 0) return true;
      for (const auto& [begin, end] : reads.ranges) {
        if (key >= begin && key < end) return true;
      }
    }
  }
  return false;
}

Result<uint64_t> OccKvStore::CommitWrites(const Reads& reads, uint64_t snapshot_sequence,
                                          Writes writes,
                                          const std::function<void(uint64_t)>& on_commit) {
  MutexLock lock(commit_mutex_);
  if (Conflicts(reads, snapshot_sequence)) {
    return Status::Conflict("another commit changed what this transaction read");
  }
  uint64_t sequence = sequence_ + 1;
  if (!writes.empty()) {
    Commit commit{sequence, {}};
    commit.keys.reserve(writes.size());
    for (const auto& [key, value] : writes) commit.keys.push_back(key);
    writes.insert_or_assign(std::string(kSequenceKey), std::to_string(sequence));
    F3_RETURN_IF_ERROR(engine_->Apply(writes));
    recent_.push_back(std::move(commit));
    sequence_ = sequence;
  }
  if (on_commit) on_commit(sequence_);
  return sequence_;
}

Result<uint64_t> OccKvStore::Sync() {
  uint64_t target;
  {
    MutexLock lock(commit_mutex_);
    target = sequence_;
  }
  for (;;) {
    uint64_t covers;
    {
      MutexLock lock(sync_mutex_);
      while (syncing_ && synced_ < target) sync_done_.Wait(sync_mutex_);
      if (synced_ >= target) return synced_.load();
      syncing_ = true;
    }
    {
      // Whoever committed while the last sync ran is carried by this one.
      MutexLock lock(commit_mutex_);
      covers = sequence_;
    }
    Status status = engine_->Sync();
    MutexLock lock(sync_mutex_);
    syncing_ = false;
    if (status.ok()) synced_ = std::max(synced_.load(), covers);
    sync_done_.SignalAll();
    if (!status.ok()) return status;
  }
}

}  // namespace f3::meta
