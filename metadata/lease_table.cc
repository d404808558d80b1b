#include "metadata/lease_table.h"

#include <algorithm>
#include <set>

namespace f3::meta {

LeaseTable::Notices LeaseTable::Begin(Holder caller, const Items& items) {
  Notices notices;
  MutexLock lock(mutex_);
  for (const auto& item : items) {
    ++changing_[item.ino()];
    auto holders = holders_.find(item.ino());
    if (holders == holders_.end()) continue;
    std::set<SessionId> told;
    for (const Holder& holder : holders->second) {
      const bool own = holder.session == caller.session;
      if (own && (caller.mount == 0 || holder.mount == 0 || holder.mount == caller.mount)) continue;
      if (!told.insert(holder.session).second) continue;
      Invalidate& notice = notices[holder.session];
      if (own) notice.set_except_mount(caller.mount);
      *notice.add_items() = item;
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

bool LeaseTable::Grant(Holder holder, Ino ino, uint64_t snapshot) {
  if (holder.session == 0) return false;
  MutexLock lock(mutex_);
  if (changed_[StampOf(ino)] > snapshot || changing_.count(ino) != 0) return false;
  std::vector<Holder>& holders = holders_[ino];
  if (std::find(holders.begin(), holders.end(), holder) == holders.end()) {
    holders.push_back(holder);
    held_[holder.session].insert(ino);
  }
  return true;
}

void LeaseTable::Forget(Holder holder, Ino ino) {
  MutexLock lock(mutex_);
  auto holders = holders_.find(ino);
  if (holders == holders_.end() || std::erase(holders->second, holder) == 0) return;
  for (const Holder& other : holders->second) {
    if (other.session == holder.session && other.mount != 0) return;
  }
  Erase(holder.session, ino);
  auto held = held_.find(holder.session);
  held->second.erase(ino);
  if (held->second.empty()) held_.erase(held);
}

void LeaseTable::ForgetAll(SessionId session) {
  MutexLock lock(mutex_);
  auto held = held_.find(session);
  if (held == held_.end()) return;
  for (Ino ino : held->second) Erase(session, ino);
  held_.erase(held);
}

void LeaseTable::Erase(SessionId session, Ino ino) {
  auto holders = holders_.find(ino);
  if (holders == holders_.end()) return;
  std::erase_if(holders->second, [&](const Holder& holder) { return holder.session == session; });
  if (holders->second.empty()) holders_.erase(holders);
}

size_t LeaseTable::size() const {
  MutexLock lock(mutex_);
  size_t leases = 0;
  for (const auto& [session, inos] : held_) leases += inos.size();
  return leases;
}

}  // namespace f3::meta
