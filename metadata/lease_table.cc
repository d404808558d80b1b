#include "metadata/lease_table.h"

#include <algorithm>

namespace f3::meta {

LeaseTable::Notices LeaseTable::Begin(SessionId caller, const Items& items) {
  Notices notices;
  MutexLock lock(mutex_);
  for (const auto& item : items) {
    ++changing_[item.ino()];
    auto holders = holders_.find(item.ino());
    if (holders == holders_.end()) continue;
    for (SessionId session : holders->second) {
      if (session != caller) *notices[session].add_items() = item;
    }
  }
  return notices;
}

void LeaseTable::End(const Items& items, uint64_t sequence) {
  MutexLock lock(mutex_);
  for (const auto& item : items) {
    auto mark = changing_.find(item.ino());
    if (--mark->second == 0) changing_.erase(mark);
    if (sequence == 0) continue;
    uint64_t& stamp = changed_[StampOf(item.ino())];
    stamp = std::max(stamp, sequence);
  }
}

bool LeaseTable::Grant(SessionId session, Ino ino, uint64_t snapshot) {
  if (session == 0) return false;
  MutexLock lock(mutex_);
  if (changed_[StampOf(ino)] > snapshot || changing_.count(ino) != 0) return false;
  if (held_[session].insert(ino).second) holders_[ino].push_back(session);
  return true;
}

void LeaseTable::Forget(SessionId session, Ino ino) {
  MutexLock lock(mutex_);
  auto held = held_.find(session);
  if (held == held_.end() || held->second.erase(ino) == 0) return;
  auto holders = holders_.find(ino);
  std::erase(holders->second, session);
  if (holders->second.empty()) holders_.erase(holders);
}

void LeaseTable::ForgetAll(SessionId session) {
  MutexLock lock(mutex_);
  auto held = held_.find(session);
  if (held == held_.end()) return;
  for (Ino ino : held->second) {
    auto holders = holders_.find(ino);
    std::erase(holders->second, session);
    if (holders->second.empty()) holders_.erase(holders);
  }
  held_.erase(held);
}

size_t LeaseTable::size() const {
  MutexLock lock(mutex_);
  size_t leases = 0;
  for (const auto& [session, inos] : held_) leases += inos.size();
  return leases;
}

}  // namespace f3::meta
