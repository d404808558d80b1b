// GrantGuard: whether what a reply of the metadata server grants may still be kept when it is
// handed to the kernel.
//
// A request notes Now() before it is sent. Its reply is written to the kernel under a Writing, and
// grants only what Holds: nothing that was invalidated, or whose lease was given back, since.
// Invalidations wait for replies that are being written, so the notice that they send to the kernel
// afterwards follows what they take back.
//
// A notice also makes the kernel drop the replies that are on their way to it, with the length that
// they bring; a program could then see a length by stat(2) that its next read(2) does not know of.
// So attributes of a file are granted only when it is Settled, a second after the last notice: no
// second notice then meets the kernel's next question. Thread-safe.
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

  void Invalidate(Ino ino) {
    std::unique_lock<std::shared_mutex> lock(writing_);
    slots_[ino % kSlots].changed = ++clock_;
  }
  // A notice that takes attributes of the inode back is about to be sent.
  void Noticed(Ino ino, int64_t now_us) {
    slots_[ino % kSlots].settled_us = now_us + kSettleMicros;
  }
  // No notice has been sent of late.
  bool Settled(Ino ino, int64_t now_us) const { return now_us >= slots_[ino % kSlots].settled_us; }
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
  // Inodes share slots: a neighbour's change costs a grant, nothing else.
  static constexpr size_t kSlots = 16384;
  struct Slot {
    std::atomic<uint64_t> changed{0};
    std::atomic<uint32_t> forgetting{0};
    std::atomic<int64_t> settled_us{INT64_MIN};
  };

  std::shared_mutex writing_;
  std::atomic<uint64_t> clock_{1};
  std::atomic<uint64_t> floor_{0};
  std::array<Slot, kSlots> slots_;
};

}  // namespace f3::fs

#endif  // F3_FS_CLIENT_GRANT_GUARD_H_
