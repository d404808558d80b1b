// The LevelDB back end, the embedded default.
//
// A commit is one write batch in LevelDB's log, written but not synced; Sync writes an empty batch
// with sync set, which makes everything before it in the log durable.
#include <leveldb/cache.h>
#include <leveldb/db.h>
#include <leveldb/filter_policy.h>
#include <leveldb/write_batch.h>

#include <cstdlib>

#include "metadata/occ_store.h"

namespace f3::meta {
namespace {

constexpr size_t kCacheBytes = 64u << 20;
constexpr size_t kWriteBufferBytes = 16u << 20;

Status FromLevelDb(const leveldb::Status& status, const std::string& dir) {
  if (status.ok()) return Status();
  // LevelDB says NotFound of a file that is missing too, and then which; that is no absent key.
  if (status.IsNotFound() && status.ToString() == "NotFound: ") {
    return Status::NotFound("no such key");
  }
  if (status.IsCorruption()) {
    return Status::Corruption("metadata store " + dir + ": " + status.ToString() +
                              "; restore a backup with `f3 meta restore`");
  }
  return Status::Io("metadata store " + dir + ": " + status.ToString());
}

class LevelDbEngine : public Engine {
 public:
  LevelDbEngine(std::string dir, std::unique_ptr<leveldb::Cache> cache,
                std::unique_ptr<const leveldb::FilterPolicy> filter,
                std::unique_ptr<leveldb::DB> db)
      : dir_(std::move(dir)),
        cache_(std::move(cache)),
        filter_(std::move(filter)),
        db_(std::move(db)) {}

  Snapshot TakeSnapshot() override {
    leveldb::DB* db = db_.get();
    const leveldb::Snapshot* snapshot = db->GetSnapshot();
    return Snapshot(snapshot, [db](const void* held) {
      db->ReleaseSnapshot(static_cast<const leveldb::Snapshot*>(held));
    });
  }

  Result<std::string> Get(const Snapshot& snapshot, std::string_view key) override {
    std::string value;
    Status status =
        FromLevelDb(db_->Get(At(snapshot), leveldb::Slice(key.data(), key.size()), &value), dir_);
    if (!status.ok()) return status;
    return value;
  }

  Result<Pairs> Scan(const Snapshot& snapshot, std::string_view begin, std::string_view end,
                     size_t limit) override {
    std::unique_ptr<leveldb::Iterator> it(db_->NewIterator(At(snapshot)));
    leveldb::Slice stop(end.data(), end.size());
    Pairs pairs;
    for (it->Seek(leveldb::Slice(begin.data(), begin.size()));
         it->Valid() && it->key().compare(stop) < 0 && pairs.size() < limit; it->Next()) {
      pairs.emplace_back(it->key().ToString(), it->value().ToString());
    }
    F3_RETURN_IF_ERROR(FromLevelDb(it->status(), dir_));
    return pairs;
  }

  Status Apply(const Writes& writes) override {
    leveldb::WriteBatch batch;
    for (const auto& [key, value] : writes) {
      if (value) {
        batch.Put(key, *value);
      } else {
        batch.Delete(key);
      }
    }
    return FromLevelDb(db_->Write(leveldb::WriteOptions(), &batch), dir_);
  }

  Status Sync() override {
    leveldb::WriteBatch empty;
    leveldb::WriteOptions options;
    options.sync = true;
    return FromLevelDb(db_->Write(options, &empty), dir_);
  }

 private:
  static leveldb::ReadOptions At(const Snapshot& snapshot) {
    leveldb::ReadOptions options;
    options.verify_checksums = true;
    options.snapshot = static_cast<const leveldb::Snapshot*>(snapshot.get());
    return options;
  }

  const std::string dir_;
  // Destroyed in reverse: the database before what it uses.
  const std::unique_ptr<leveldb::Cache> cache_;
  const std::unique_ptr<const leveldb::FilterPolicy> filter_;
  const std::unique_ptr<leveldb::DB> db_;
};

}  // namespace

Result<std::unique_ptr<KvStore>> OpenLevelDbKvStore(const std::string& dir, leveldb::Env* env) {
  std::unique_ptr<leveldb::Cache> cache(leveldb::NewLRUCache(kCacheBytes));
  std::unique_ptr<const leveldb::FilterPolicy> filter(leveldb::NewBloomFilterPolicy(10));
  leveldb::Options options;
  options.create_if_missing = true;
  options.block_cache = cache.get();
  options.filter_policy = filter.get();
  options.write_buffer_size = kWriteBufferBytes;
  if (env != nullptr) options.env = env;
  leveldb::DB* opened = nullptr;
  leveldb::Status status = leveldb::DB::Open(options, dir, &opened);
  if (!status.ok()) {
    std::string text = status.ToString();
    // Of the lock file only; other messages, and paths, have "lock" in them too ("bad block").
    if (status.IsIOError() && text.find("lock " + dir + "/LOCK") != std::string::npos) {
      return Status::Busy("metadata store " + dir +
                          " is in use by another process; stop it first (" + text + ")");
    }
    return FromLevelDb(status, dir);
  }
  std::unique_ptr<leveldb::DB> db(opened);
  std::string text;
  leveldb::Slice key(OccKvStore::kSequenceKey.data(), OccKvStore::kSequenceKey.size());
  status = db->Get(leveldb::ReadOptions(), key, &text);
  if (!status.ok() && !status.IsNotFound()) return FromLevelDb(status, dir);
  uint64_t sequence = std::strtoull(text.c_str(), nullptr, 10);
  // What the last process wrote without a sync is made durable before anyone relies on it.
  auto engine =
      std::make_unique<LevelDbEngine>(dir, std::move(cache), std::move(filter), std::move(db));
  F3_RETURN_IF_ERROR(engine->Sync());
  return std::unique_ptr<KvStore>(new OccKvStore(std::move(engine), sequence));
}

}  // namespace f3::meta
