// OpenTable: which session has what open, in memory. After a restart of the server sessions tell
// what they have open (Hello). Thread-safe.
//
// Operations read it outside of their transactions, so each inode has a change counter by which a
// commit can tell that what it read is still so.
#ifndef F3_METADATA_OPEN_TABLE_H_
#define F3_METADATA_OPEN_TABLE_H_

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/ids.h"
#include "common/mutex.h"
#include "metadata/op_context.h"

namespace f3::meta {

class OpenTable : public OpenView {
 public:
  std::vector<OpenCount> Opens(Ino ino) const override;
  // Grows with each change of the inode's opens.
  uint64_t ChangesOf(Ino ino) const;
  // Counts never fall below zero: a close that arrives after its session's end changes nothing.
  // Returns the drops that waited for this close alone.
  [[nodiscard]] std::vector<Drop> Apply(SessionId session, const OpenChange& change);
  // Keeps back a drop until the sessions that have the inode open now, but for `own`, have closed
  // it; returns what is due instead: the drop itself when there are none, and the oldest when more
  // than kMaxHeldDrops of one inode wait.
  [[nodiscard]] std::vector<Drop> Hold(const Drop& drop, SessionId own);
  // What the session has open, by inode.
  std::vector<CloseOp> OfSession(SessionId session) const;

 private:
  // A reader that always has one handle open would otherwise keep everything.
  static constexpr size_t kMaxHeldDrops = 4;
  struct HeldDrop {
    Drop drop;
    std::set<SessionId> readers;
  };

  mutable Mutex mutex_;
  std::unordered_map<Ino, std::deque<HeldDrop>> held_ F3_GUARDED_BY(mutex_);
  std::unordered_map<Ino, std::vector<OpenCount>> opens_ F3_GUARDED_BY(mutex_);
  // By hash of the inode: a collision only makes a commit try again.
  std::vector<uint64_t> changes_ F3_GUARDED_BY(mutex_) = std::vector<uint64_t>(4096);
};

// One attempt's view: remembers which inodes were asked for.
class WatchedOpens : public OpenView {
 public:
  explicit WatchedOpens(const OpenTable* table) : table_(table) {}
  std::vector<OpenCount> Opens(Ino ino) const override {
    seen_.emplace_back(ino, table_->ChangesOf(ino));
    return table_->Opens(ino);
  }
  bool Unchanged() const {
    for (const auto& [ino, changes] : seen_) {
      if (table_->ChangesOf(ino) != changes) return false;
    }
    return true;
  }

 private:
  const OpenTable* const table_;
  mutable std::vector<std::pair<Ino, uint64_t>> seen_;
};

}  // namespace f3::meta

#endif  // F3_METADATA_OPEN_TABLE_H_
