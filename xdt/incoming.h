// Incoming: an object of another node while its bytes arrive, piece by piece, into a shared buffer
// that readers may have mapped already. It is complete or failed once, for ever; a reader never
// sees a byte that was not verified and never takes a part for the whole. Thread-safe.
#ifndef F3_XDT_INCOMING_H_
#define F3_XDT_INCOMING_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <span>
#include <vector>

#include "common/mutex.h"
#include "common/status.h"
#include "common/timers.h"
#include "xdt/content.h"

namespace f3::xdt {

class Incoming : public std::enable_shared_from_this<Incoming> {
 public:
  // How many bytes are here, from the start. Or why there will be no more.
  using Ready = std::function<void(Result<uint64_t>)>;
  // For Await: until it is complete or has failed, which it does at some time.
  static constexpr int64_t kNever = INT64_MAX;

  // Of `bytes` bytes; memory is allocated here. `timers` outlives it.
  static Result<std::shared_ptr<Incoming>> Create(uint64_t bytes, BufferPool::Share share,
                                                  Timers* timers);

  uint64_t bytes() const { return bytes_; }
  int fd() const { return fd_; }
  size_t pieces() const { return pieces_; }

  // A piece has arrived, is verified and is copied to its place. True when it was the last.
  bool Arrived(size_t piece, std::span<const std::byte> bytes);
  void Fail(const Status& status);

  // Calls `ready` when at least `wanted` bytes (at most all) are here, it has failed, or with
  // Timeout at the deadline (monotonic); perhaps at once. Exactly once.
  void Await(uint64_t wanted, int64_t deadline_micros, Ready ready);
  uint64_t available() const;
  // Null until it is complete.
  ContentRef content() const;
  Status status() const;

  // Readers: when the last has left, nobody waits for the rest.
  void AddReader() { ++readers_; }
  // False, and nothing done, when there is no reader: it may be about to end.
  bool AddReaderToOthers();
  void RemoveReader() { --readers_; }
  bool abandoned() const { return readers_ == 0; }

 private:
  Incoming(std::unique_ptr<SharedBuffer> buffer, std::span<std::byte> mapping, uint64_t bytes,
           BufferPool::Share share, Timers* timers);
  struct Waiter {
    uint64_t id = 0;
    uint64_t wanted = 0;
    Ready ready;
  };
  void Expire(uint64_t waiter);

  const uint64_t bytes_;
  const size_t pieces_;
  Timers* const timers_;
  std::atomic<int> readers_{0};
  int fd_ = -1;

  mutable Mutex mutex_;                            // leaf
  BufferPool::Share share_ F3_GUARDED_BY(mutex_);  // given back when the memory is free
  std::unique_ptr<SharedBuffer> buffer_ F3_GUARDED_BY(mutex_);
  std::span<std::byte> mapping_;  // until complete; pieces do not overlap
  std::vector<bool> here_ F3_GUARDED_BY(mutex_);
  size_t left_ F3_GUARDED_BY(mutex_);
  size_t first_missing_ F3_GUARDED_BY(mutex_) = 0;
  Status status_ F3_GUARDED_BY(mutex_);
  ContentRef content_ F3_GUARDED_BY(mutex_);
  uint64_t next_waiter_ F3_GUARDED_BY(mutex_) = 1;
  std::list<Waiter> waiters_ F3_GUARDED_BY(mutex_);
};
using IncomingRef = std::shared_ptr<Incoming>;

}  // namespace f3::xdt

#endif  // F3_XDT_INCOMING_H_
