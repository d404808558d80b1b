// MemoryLedger: who on this node may hold how much RAM for bytes, against one budget.
//
// Each owner (the buffer arena, the memory tier) is bounded by itself: an arena never grows, a
// tmpfs has its size. The ledger makes sure at start that these bounds together fit into the
// budget, and reports what each holds now. Thread-safe.
#ifndef F3_STORAGE_NODES_LEDGER_H_
#define F3_STORAGE_NODES_LEDGER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/mutex.h"
#include "common/status.h"

namespace f3::storage {

class MemoryLedger {
 public:
  struct Line {
    std::string owner;
    uint64_t granted_bytes = 0;
    uint64_t used_bytes = 0;
  };

  // 0: no budget; grants are only recorded.
  explicit MemoryLedger(uint64_t budget_bytes) : budget_bytes_(budget_bytes) {}

  // Grants `bytes` to `owner`, whose use is asked from `used` (which must stay callable).
  // BadConfig, naming all grants, when the budget does not suffice; Exists when the owner has a
  // grant.
  Status Grant(const std::string& owner, uint64_t bytes, std::function<uint64_t()> used);

  uint64_t budget_bytes() const { return budget_bytes_; }
  std::vector<Line> lines() const;

 private:
  struct Account {
    std::string owner;
    uint64_t granted_bytes = 0;
    std::function<uint64_t()> used;
  };

  const uint64_t budget_bytes_;
  mutable Mutex mutex_;
  std::vector<Account> accounts_ F3_GUARDED_BY(mutex_);
};

}  // namespace f3::storage

#endif  // F3_STORAGE_NODES_LEDGER_H_
