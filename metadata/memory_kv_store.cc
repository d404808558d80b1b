// The memory back end, for tests: every key with the values it had, by sequence.
#include <map>

#include "metadata/occ_store.h"

namespace f3::meta {
namespace {

class MemoryEngine : public Engine {
 public:
  Snapshot TakeSnapshot() override {
    MutexLock lock(mutex_);
    return std::make_shared<uint64_t>(applied_);
  }

  Result<std::string> Get(const Snapshot& snapshot, std::string_view key) override {
    MutexLock lock(mutex_);
    auto it = rows_.find(key);
    const std::string* value = it == rows_.end() ? nullptr : At(it->second, snapshot);
    if (value == nullptr) return Status::NotFound("no such key");
    return *value;
  }

  Result<Pairs> Scan(const Snapshot& snapshot, std::string_view begin, std::string_view end,
                     size_t limit) override {
    MutexLock lock(mutex_);
    Pairs pairs;
    for (auto it = rows_.lower_bound(begin);
         it != rows_.end() && it->first < end && pairs.size() < limit; ++it) {
      const std::string* value = At(it->second, snapshot);
      if (value != nullptr) pairs.emplace_back(it->first, *value);
    }
    return pairs;
  }

  Status Apply(const Writes& writes) override {
    MutexLock lock(mutex_);
    ++applied_;
    for (const auto& [key, value] : writes) rows_[key].emplace_back(applied_, value);
    return Status();
  }

  Status Sync() override { return Status(); }

 private:
  using History = std::vector<std::pair<uint64_t, std::optional<std::string>>>;

  static const std::string* At(const History& history, const Snapshot& snapshot) {
    uint64_t sequence = *static_cast<const uint64_t*>(snapshot.get());
    for (auto it = history.rbegin(); it != history.rend(); ++it) {
      if (it->first <= sequence) return it->second ? &*it->second : nullptr;
    }
    return nullptr;
  }

  Mutex mutex_;
  uint64_t applied_ F3_GUARDED_BY(mutex_) = 0;
  std::map<std::string, History, std::less<>> rows_ F3_GUARDED_BY(mutex_);
};

}  // namespace

std::unique_ptr<KvStore> NewMemoryKvStore() {
  return std::make_unique<OccKvStore>(std::make_unique<MemoryEngine>(), 0);
}

}  // namespace f3::meta
