// BufferPool: how much memory the buffers of functions may take, and who waits for some.
//
// It counts and owns nothing: a Share is the right to hold so many bytes, and gives it back when
// it goes. Each Share is on somebody's Account too, which has a limit of its own, so that one
// sandbox cannot take all. Those who wait are served in order, but for accounts at their limit,
// which hold up nobody else. Thread-safe. A Share may go under any lock: nothing runs then but
// Options::wake.
#ifndef F3_XDT_BUFFER_POOL_H_
#define F3_XDT_BUFFER_POOL_H_

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <vector>

#include "common/clock.h"
#include "common/mutex.h"
#include "common/status.h"

namespace f3::xdt {

class BufferPool {
 public:
  struct Options {
    uint64_t capacity_bytes = 0;
    Clock* clock = Clock::Real();
    // Called when Pump should be, from any thread, with the pool's lock held: must only signal.
    std::function<void()> wake;
  };
  // What one sandbox holds. Its fields are the pool's.
  class Account {
   public:
    explicit Account(uint64_t limit_bytes) : limit_bytes_(limit_bytes) {}

   private:
    friend class BufferPool;
    const uint64_t limit_bytes_;
    uint64_t used_bytes_ = 0;
  };
  using AccountRef = std::shared_ptr<Account>;

  class Share {
   public:
    Share() = default;
    Share(Share&& other) noexcept { *this = std::move(other); }
    Share& operator=(Share&& other) noexcept;
    ~Share() { Reset(); }
    uint64_t bytes() const { return bytes_; }
    void Reset();

   private:
    friend class BufferPool;
    BufferPool* pool_ = nullptr;
    AccountRef account_;
    uint64_t bytes_ = 0;
  };
  using Done = std::function<void(Result<Share>)>;

  explicit BufferPool(Options options) : options_(std::move(options)) {}

  // FileTooBig for more than the pool or the account can ever hold; Again when there is no room
  // now, or others wait.
  Result<Share> TryReserve(uint64_t bytes, const AccountRef& account);
  // Calls `done` from Pump, when there is room or, with Timeout, at the deadline (monotonic).
  void Wait(uint64_t bytes, AccountRef account, int64_t deadline_micros, Done done);
  // Serves those who wait. Returns how many are left.
  size_t Pump();
  // Ends every wait with `status`.
  void FailWaits(const Status& status);
  // What those who wait for the pool lack, in bytes; 0 when nobody does.
  uint64_t wanted_bytes() const;
  // What the first of those who wait asked for, whatever it is that it waits for.
  uint64_t waiting_bytes() const;

  uint64_t capacity_bytes() const { return options_.capacity_bytes; }
  uint64_t used_bytes() const;

 private:
  struct Waiting {
    uint64_t bytes = 0;
    AccountRef account;
    int64_t deadline_micros = 0;
    Done done;
  };
  bool FitsAccount(uint64_t bytes, const Account& account) const F3_REQUIRES(mutex_);
  Share Take(uint64_t bytes, const AccountRef& account) F3_REQUIRES(mutex_);
  Status CheckPossible(uint64_t bytes, const Account& account) const;
  void Release(uint64_t bytes, Account* account);

  const Options options_;
  mutable Mutex mutex_;  // leaf; guards the accounts' fields too
  uint64_t used_bytes_ F3_GUARDED_BY(mutex_) = 0;
  std::list<Waiting> waiting_ F3_GUARDED_BY(mutex_);
};

}  // namespace f3::xdt

#endif  // F3_XDT_BUFFER_POOL_H_
