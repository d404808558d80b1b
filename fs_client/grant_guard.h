// GrantGuard: whether what a reply of the metadata server grants may still be kept when it is
// handed to the kernel.
//
// A request notes Now() before it is sent. Its reply is written to the kernel under a Writing, and
// grants only what Holds: nothing that was invalidated, or whose lease was given back, since.
// Invalidations wait for replies that are being written, so the notice that they send to the kernel
// afterwards follows what they take back. Thread-safe.
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
  // Inodes share slots: a neighbour's change costs a grant, nothing else.
  static constexpr size_t kSlots = 16384;
  struct Slot {
    std::atomic<uint64_t> changed{0};
    std::atomic<uint32_t> forgetting{0};
  };

  std::shared_mutex writing_;
  std::atomic<uint64_t> clock_{1};
  std::atomic<uint64_t> floor_{0};
  std::array<Slot, kSlots> slots_;
};

}  // namespace f3::fs

#endif  // F3_FS_CLIENT_GRANT_GUARD_H_
