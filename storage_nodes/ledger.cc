#include "storage_nodes/ledger.h"

#include <utility>

#include "common/units.h"

namespace f3::storage {

Status MemoryLedger::Grant(const std::string& owner, uint64_t bytes,
                           std::function<uint64_t()> used) {
  MutexLock lock(mutex_);
  uint64_t granted = bytes;
  std::string list;
  for (const Account& account : accounts_) {
    if (account.owner == owner) return Status::Exists("the " + owner + " has its memory already");
    granted += account.granted_bytes;
    list += account.owner + " " + FormatBytes(account.granted_bytes) + ", ";
  }
  if (budget_bytes_ > 0 && granted > budget_bytes_) {
    return Status::BadConfig("the memory budget of " + FormatBytes(budget_bytes_) +
                             " is too small for " + list + owner + " " + FormatBytes(bytes) +
                             "; raise it or make these smaller");
  }
  accounts_.push_back({owner, bytes, std::move(used)});
  return Status();
}

std::vector<MemoryLedger::Line> MemoryLedger::lines() const {
  std::vector<Account> accounts;
  {
    MutexLock lock(mutex_);
    accounts = accounts_;
  }
  std::vector<Line> lines;
  for (const Account& account : accounts) {
    lines.push_back({account.owner, account.granted_bytes, account.used()});
  }
  return lines;
}

}  // namespace f3::storage
