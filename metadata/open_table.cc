#include "metadata/open_table.h"

#include <algorithm>

namespace f3::meta {

std::vector<OpenCount> OpenTable::Opens(Ino ino) const {
  MutexLock lock(mutex_);
  auto found = opens_.find(ino);
  return found == opens_.end() ? std::vector<OpenCount>() : found->second;
}

uint64_t OpenTable::ChangesOf(Ino ino) const {
  MutexLock lock(mutex_);
  return changes_[ino % changes_.size()];
}

std::vector<Drop> OpenTable::Apply(SessionId session, const OpenChange& change) {
  auto add = [](uint32_t count, int delta) {
    int64_t sum = static_cast<int64_t>(count) + delta;
    return static_cast<uint32_t>(std::max<int64_t>(sum, 0));
  };
  MutexLock lock(mutex_);
  ++changes_[change.ino % changes_.size()];
  auto& counts = opens_[change.ino];
  auto own = std::find_if(counts.begin(), counts.end(),
                          [&](const OpenCount& count) { return count.session == session; });
  if (own == counts.end()) {
    counts.push_back({session, change.incarnation, 0, 0});
    own = counts.end() - 1;
  }
  if (change.writers > 0 || own->writers == 0) own->incarnation = change.incarnation;
  own->readers = add(own->readers, change.readers);
  own->writers = add(own->writers, change.writers);
  std::vector<Drop> due;
  if (own->readers != 0 || own->writers != 0) return due;
  counts.erase(own);
  if (counts.empty()) opens_.erase(change.ino);
  auto held = held_.find(change.ino);
  if (held == held_.end()) return due;
  for (HeldDrop& waiting : held->second) {
    waiting.readers.erase(session);
    if (waiting.readers.empty()) due.push_back(waiting.drop);
  }
  std::erase_if(held->second, [](const HeldDrop& waiting) { return waiting.readers.empty(); });
  if (held->second.empty()) held_.erase(held);
  return due;
}

std::vector<Drop> OpenTable::Hold(const Drop& drop, SessionId own) {
  MutexLock lock(mutex_);
  HeldDrop waiting{drop, {}};
  auto found = opens_.find(drop.object.ino);
  if (found != opens_.end()) {
    for (const OpenCount& count : found->second) {
      if (count.session != own) waiting.readers.insert(count.session);
    }
  }
  if (waiting.readers.empty()) return {drop};
  std::deque<HeldDrop>& held = held_[drop.object.ino];
  held.push_back(std::move(waiting));
  if (held.size() <= kMaxHeldDrops) return {};
  std::vector<Drop> oldest = {held.front().drop};
  held.pop_front();
  return oldest;
}

std::vector<CloseOp> OpenTable::OfSession(SessionId session) const {
  std::vector<CloseOp> closes;
  MutexLock lock(mutex_);
  for (const auto& [ino, counts] : opens_) {
    for (const OpenCount& count : counts) {
      if (count.session != session) continue;
      CloseOp& close = closes.emplace_back();
      close.set_ino(ino);
      close.set_incarnation(count.incarnation);
      close.set_readers(count.readers);
      close.set_writers(count.writers);
    }
  }
  return closes;
}

}  // namespace f3::meta
