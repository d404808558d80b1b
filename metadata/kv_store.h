// KvStore: the ordered, transactional key-value store under the metadata server.
//
// Transactions are serializable by optimistic conflict detection: Commit fails with Conflict when
// a key or a range that the transaction read was changed by another commit since it began. Retry
// lives in RunTxn alone. A store may serve several processes (a database server does), so nothing
// above may assume that it sees every commit. KvStore is thread-safe; a Transaction is not.
#ifndef F3_METADATA_KV_STORE_H_
#define F3_METADATA_KV_STORE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/status.h"

namespace leveldb {
class Env;
}

namespace f3::meta {

// When Commit returns.
enum class Durability {
  kBuffered,  // once it survives the death of this process; the next Sync makes it durable
  kSynced,    // once it survives the death of the host (commits are grouped)
};

class Transaction {
 public:
  virtual ~Transaction() = default;
  // Sees the transaction's own writes. NotFound when there is no such key.
  virtual Result<std::string> Get(std::string_view key) = 0;
  // Pairs with begin <= key < end in key order, at most `limit`; own writes included. The range
  // actually read takes part in conflict detection.
  virtual Result<std::vector<std::pair<std::string, std::string>>> Scan(std::string_view begin,
                                                                        std::string_view end,
                                                                        size_t limit) = 0;
  virtual void Put(std::string_view key, std::string_view value) = 0;
  virtual void Delete(std::string_view key) = 0;
  // Atomically applies the writes, or Conflict. `on_commit(sequence)` runs exactly when the commit
  // takes effect and before any later commit can; it must be short and must not use the store.
  // The transaction is over afterwards. Returns the commit's sequence number (grows; a read-only
  // transaction returns the sequence it read at).
  virtual Result<uint64_t> Commit(Durability durability,
                                  const std::function<void(uint64_t)>& on_commit = nullptr) = 0;
  virtual bool has_writes() const = 0;
  // The sequence that this transaction's reads are of.
  virtual uint64_t snapshot_sequence() const = 0;
};

class KvStore {
 public:
  virtual ~KvStore() = default;
  virtual std::unique_ptr<Transaction> Begin() = 0;
  // Makes every commit so far durable; concurrent calls share one device sync. Returns the highest
  // sequence that is durable.
  virtual Result<uint64_t> Sync() = 0;
  virtual uint64_t synced_sequence() const = 0;
  // Writes everything, as of one moment, to a new file (metadata/README.md has its format).
  virtual Status Backup(const std::string& file) = 0;
};

std::unique_ptr<KvStore> NewMemoryKvStore();
// `env`: nullptr for the real one. Corruption and lock failures say what to do.
Result<std::unique_ptr<KvStore>> OpenLevelDbKvStore(const std::string& dir,
                                                    leveldb::Env* env = nullptr);
// Fills an empty store from a backup.
Status RestoreBackup(KvStore* store, const std::string& file);

// Runs `body` in a transaction and commits it, again on Conflict (bounded; then Again). Any other
// failure of `body` is returned at once, and nothing is written.
Result<uint64_t> RunTxn(KvStore* store, Durability durability,
                        const std::function<Status(Transaction&)>& body);

}  // namespace f3::meta

#endif  // F3_METADATA_KV_STORE_H_
