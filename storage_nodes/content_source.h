// ContentSource: the bytes of one content, from wherever they can be had: its holders in order, the
// durable store, and after all of them failed once more from where they are by then. Thread-safe.
#ifndef F3_STORAGE_NODES_CONTENT_SOURCE_H_
#define F3_STORAGE_NODES_CONTENT_SOURCE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "common/executor.h"
#include "common/mutex.h"
#include "hwalloc/buffer_arena.h"
#include "storage_nodes/fetcher.h"

namespace f3::storage {

// What the fetches of a process share. `blocking` waits for buffers and asks the server, `readers`
// read the durable store; both outlive every source.
struct FetchParts {
  Fetcher::Options options;
  Executor* blocking = nullptr;
  Executor* readers = nullptr;
  std::atomic<uint64_t> pulled_bytes{0};
  std::atomic<uint64_t> durable_read_bytes{0};
  std::atomic<uint64_t> failovers{0};
};

// The first of a plan's blocks, which are in order, that has bytes at or after `offset`.
std::vector<DurableBlock>::const_iterator FirstBlock(const std::vector<DurableBlock>& blocks,
                                                     uint64_t offset);

struct Piece {
  hwalloc::Buffer buffer;  // not valid: a hole, all zeros
  bool exact = false;      // these are the bytes of the planned version
};

class ContentSource : public std::enable_shared_from_this<ContentSource> {
 public:
  ContentSource(FetchParts* parts, FetchPlan plan) : parts_(parts), plan_(std::move(plan)) {}

  using Done = std::function<void(Result<Piece>)>;
  // Gets exactly `length` bytes at `offset`, at most 1 MiB, or one whole durable block. `done` runs
  // once, on another thread or before Get returns; soon after the deadline at the latest.
  void Get(uint64_t offset, uint32_t length, int64_t deadline_micros, Done done);
  // Get of a range of any length, copied into `into`, which stays valid until `done`.
  void Read(uint64_t offset, std::span<std::byte> into, int64_t deadline_micros,
            Fetch::ReadDone done);

 private:
  struct Try;
  using TryRef = std::shared_ptr<Try>;

  bool IsHole(uint64_t offset, uint32_t length) const;
  void Next(const TryRef& attempt);
  void Ask(const TryRef& attempt, const Source& holder);
  void ReadDurable(const TryRef& attempt);
  Status ReadBlocks(const TryRef& attempt);
  void Refresh(const TryRef& attempt);

  FetchParts* const parts_;
  const FetchPlan plan_;  // but for `holders`, which change
  Mutex refresh_mutex_;   // held while the server is asked; before mutex_
  Mutex mutex_;
  std::vector<Source> holders_ F3_GUARDED_BY(mutex_) = plan_.holders;
  size_t preferred_ F3_GUARDED_BY(mutex_) = 0;     // asked first
  uint64_t generation_ F3_GUARDED_BY(mutex_) = 0;  // of holders_
};

}  // namespace f3::storage

#endif  // F3_STORAGE_NODES_CONTENT_SOURCE_H_
