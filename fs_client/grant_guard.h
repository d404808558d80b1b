// GrantGuard: whether what a reply of the metadata server grants may still be kept when it is
// handed to the kernel.
//
// A request notes Now() before it is sent. Its reply is written to the kernel under a Writing, and
// grants only what Holds: nothing that was invalidated, or whose lease was given back, since.
// Invalidations wait for replies that are being written, so the notice that they send to the kernel
// afterwards follows what they take back.
//
// It also knows whether the kernel may keep attributes of an inode, so that a notice is sent only
// where there is something to take back. A notice makes the kernel drop the replies that are on
// their way to it, with the length that they bring; a program could then see a length by stat(2)
// that its next read(2) does not know of. So after a notice nothing is granted for kSettleMicros,
// and no second notice can meet the kernel's next question. Thread-safe.
#ifndef F3_FS_CLIENT_GRANT_GUARD_H_
#define F3_FS_CLIENT_GRANT_GUARD_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <shared_mutex>

#include "common/ids.h"

namespace f3::fs {

class GrantGuard {
 public:
  class Writing {
   public:
    explicit Writing(GrantGuard* guard) : lock_(guard->writing_) {}

   private:
    std::shared_lock<std::shared_mutex> lock_;
  };

  uint64_t Now() const { return clock_; }
  bool Holds(Ino ino, uint64_t since) const {
    const Slot& slot = slots_[ino % kSlots];
    return since >= floor_ && slot.changed <= since && slot.forgetting == 0;
  }

  // Not 0 when the kernel may keep attributes of the inode: it must get a notice, and
  // AttrDropped(ino, what this returned) must follow.
  uint64_t Invalidate(Ino ino, int64_t now_us) {
    std::unique_lock<std::shared_mutex> lock(writing_);
    Slot& slot = slots_[ino % kSlots];
    slot.changed = ++clock_;
    const uint64_t kept = slot.attr_kept;
    if (kept != 0) slot.settled_us = now_us + kSettleMicros;
    return kept;
  }
  // Under a Writing: the reply lets the kernel keep the inode's attributes.
  void KeepAttr(Ino ino) { slots_[ino % kSlots].attr_kept = ++keeps_; }
  // Until then, further invalidations wait for notices of their own.
  void AttrDropped(Ino ino, uint64_t kept) {
    slots_[ino % kSlots].attr_kept.compare_exchange_strong(kept, 0);
  }
  // No notice has been sent of late.
  bool Settled(Ino ino, int64_t now_us) const {
    return now_us >= slots_[ino % kSlots].settled_us;
  }
  void InvalidateAll() {
    std::unique_lock<std::shared_mutex> lock(writing_);
    floor_ = ++clock_;
  }
  // Around the request that gives a lease back, which other requests may overtake.
  void BeginForget(Ino ino) {
    std::unique_lock<std::shared_mutex> lock(writing_);
    ++slots_[ino % kSlots].forgetting;
  }
  void EndForget(Ino ino) {
    std::unique_lock<std::shared_mutex> lock(writing_);
    slots_[ino % kSlots].changed = ++clock_;
    --slots_[ino % kSlots].forgetting;
  }

 private:
  // Far longer than the kernel needs to take a reply.
  static constexpr int64_t kSettleMicros = 1'000'000;
  // Inodes share slots: a neighbour's change costs a grant or a notice, nothing else.
  static constexpr size_t kSlots = 16384;
  struct Slot {
    std::atomic<uint64_t> changed{0};
    std::atomic<uint32_t> forgetting{0};
    std::atomic<uint64_t> attr_kept{0};  // number of the last reply that let it, or 0
    std::atomic<int64_t> settled_us{INT64_MIN};
  };

  std::shared_mutex writing_;
  std::atomic<uint64_t> clock_{1};
  std::atomic<uint64_t> floor_{0};
  std::atomic<uint64_t> keeps_{0};
  std::array<Slot, kSlots> slots_;
};

}  // namespace f3::fs

#endif  // F3_FS_CLIENT_GRANT_GUARD_H_
