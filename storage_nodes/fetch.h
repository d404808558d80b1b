// FetchImpl: one object being filled from a ContentSource. See fetcher.h for the contract.
#ifndef F3_STORAGE_NODES_FETCH_H_
#define F3_STORAGE_NODES_FETCH_H_

#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/mutex.h"
#include "storage_nodes/content_source.h"
#include "storage_nodes/fetcher.h"

namespace f3::storage {

class FetchImpl : public Fetch, public std::enable_shared_from_this<FetchImpl> {
 public:
  FetchImpl(FetchParts* parts, FetchPlan plan, std::shared_ptr<Object> object);
  ~FetchImpl() override;

  void ReadAsync(uint64_t offset, std::span<std::byte> into, int64_t deadline_micros,
                 ReadDone done) override;
  void EnsureAsync(uint64_t offset, uint64_t length, int64_t deadline_micros,
                   std::function<void(Status)> done) override;
  void FillAsync(std::function<void(Status, bool copy)> done) override;
  std::shared_ptr<Object> object() override { return object_; }
  bool complete() const override;

 private:
  enum class ChunkState : uint8_t { kMissing, kComing, kHere };
  // Somebody who waits for several chunks.
  struct Waiter {
    size_t left = 0;
    std::function<void(Status)> done;
  };
  using WaiterRef = std::shared_ptr<Waiter>;

  uint32_t ChunkBytes(size_t chunk) const;
  void Get(size_t chunk, int64_t deadline_micros);
  // Starts what the fill's window has room for, and ends the fill when it is over.
  void GoOn();
  void Arrived(size_t chunk, Result<Piece> piece);
  Status Store(size_t chunk, const Piece& piece);
  void EndFill(Status status);

  FetchParts* const parts_;
  const ObjectKey key_;
  const Version version_;
  const uint64_t size_;
  const uint64_t chunk_bytes_;
  const size_t window_;
  const std::shared_ptr<ContentSource> source_;
  const std::shared_ptr<Object> object_;

  mutable Mutex mutex_;  // leaf
  std::vector<ChunkState> chunks_ F3_GUARDED_BY(mutex_);
  std::vector<uint32_t> checksums_ F3_GUARDED_BY(mutex_);  // of each kChecksumBytes
  std::unordered_map<size_t, std::vector<WaiterRef>> waiters_ F3_GUARDED_BY(mutex_);
  size_t here_ F3_GUARDED_BY(mutex_) = 0;
  size_t coming_ F3_GUARDED_BY(mutex_) = 0;
  size_t cursor_ F3_GUARDED_BY(mutex_) = 0;  // where the fill goes on: after the last reader
  bool exact_ F3_GUARDED_BY(mutex_) = true;
  bool filling_ F3_GUARDED_BY(mutex_) = false;
  bool going_on_ F3_GUARDED_BY(mutex_) = false;    // somebody is in GoOn's loop,
  bool look_again_ F3_GUARDED_BY(mutex_) = false;  // who has to look once more
  bool copy_ F3_GUARDED_BY(mutex_) = false;
  Status fill_error_ F3_GUARDED_BY(mutex_);
  std::function<void(Status, bool)> fill_done_ F3_GUARDED_BY(mutex_);
};

}  // namespace f3::storage

#endif  // F3_STORAGE_NODES_FETCH_H_
