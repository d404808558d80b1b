// Follow: how far a file's writer has got, and who waits for it to get further.
//
// Lives at the file's home, one per open inode. The watermark is the end of the bytes that the
// daemon has seen without a gap from the start; followers read up to it and wait at it. A writer
// that vanished, or that wrote behind the watermark, breaks the file for those who follow it now:
// their epoch is over.
//
// Thread-safe; callbacks run without locks held.
#ifndef F3_FS_CLIENT_FOLLOW_H_
#define F3_FS_CLIENT_FOLLOW_H_

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "common/mutex.h"
#include "common/status.h"

namespace f3::fs {

class Follow {
 public:
  struct Progress {
    uint64_t readable_bytes = 0;
    bool writing = false;
  };
  using Done = std::function<void(Result<Progress>)>;

  // A writer that opened O_WRONLY came; `size` bytes are there already.
  void WriterOpened(uint64_t size);
  // It closed. `vanished`: it died from a signal.
  void WriterClosed(bool vanished, uint64_t size);
  void Wrote(uint64_t offset, uint64_t length);
  void Truncated(uint64_t size);

  bool has_writer() const;
  // True until the next writer comes: the last one vanished.
  bool vanished() const;
  // Followers note it when they open; a later one means that what they read may be void.
  uint64_t epoch() const;

  // Calls `done` when more than `offset` bytes are readable or no writer is left; at once when that
  // is so. WriterVanished when the epoch is over. Returns the wait's number for Cancel (0: done
  // was called already).
  uint64_t Await(uint64_t offset, uint64_t epoch, Done done);
  // For a follower on another node, which has no epoch: broken when the last writer vanished or
  // wrote before `offset`.
  uint64_t AwaitRemote(uint64_t offset, Done done);
  // Ends a wait with `status`, or with what there is when it is OK. Nothing happens when it is
  // over already.
  void Cancel(uint64_t wait, const Status& status);
  void CancelAll(const Status& status);

 private:
  // Written ranges beyond a gap that are remembered; a writer with more is not sequential.
  static constexpr size_t kMaxAhead = 1024;
  static constexpr uint64_t kAnyEpoch = UINT64_MAX;

  struct Waiter {
    uint64_t offset = 0;
    uint64_t epoch = 0;
    Done done;
  };
  using Wakes = std::vector<std::function<void()>>;

  // The answer for one waiter; false: it has to wait.
  bool AnswerLocked(const Waiter& waiter, Result<Progress>* answer) const F3_REQUIRES(mutex_);
  void WakeLocked(Wakes* wakes) F3_REQUIRES(mutex_);
  void BreakLocked(uint64_t offset) F3_REQUIRES(mutex_);
  uint64_t Add(Waiter waiter);

  mutable Mutex mutex_;
  int writers_ F3_GUARDED_BY(mutex_) = 0;
  bool vanished_ F3_GUARDED_BY(mutex_) = false;
  uint64_t watermark_ F3_GUARDED_BY(mutex_) = 0;
  uint64_t end_ F3_GUARDED_BY(mutex_) = 0;                    // size when the last writer closed
  std::map<uint64_t, uint64_t> ahead_ F3_GUARDED_BY(mutex_);  // begin → end, disjoint
  uint64_t epoch_ F3_GUARDED_BY(mutex_) = 1;
  uint64_t broken_from_ F3_GUARDED_BY(mutex_) = UINT64_MAX;  // lowest byte written twice
  uint64_t next_wait_ F3_GUARDED_BY(mutex_) = 1;
  std::map<uint64_t, Waiter> waiters_ F3_GUARDED_BY(mutex_);
};

}  // namespace f3::fs

#endif  // F3_FS_CLIENT_FOLLOW_H_
