// Pull: one retrieval by this node of an object of another one, from its grant to its end. Made by
// Puller; keeps itself alive through the callbacks that it waits for.
#ifndef F3_XDT_PULL_H_
#define F3_XDT_PULL_H_

#include <deque>
#include <memory>
#include <string>

#include "xdt/puller.h"

namespace f3::xdt {

inline constexpr uint32_t kPullComplete = 1;
inline constexpr uint32_t kPullKeepsCopy = 2;

class Puller::Pull : public std::enable_shared_from_this<Puller::Pull> {
 public:
  Pull(Puller* puller, Want want, Done done);
  void Start();

 private:
  bool Shared() const { return want_.reference.allowance != 1; }
  bool OnePiece() const { return want_.reference.length <= kPieceBytes; }
  int64_t Now() const { return puller_->options_.clock->MonotonicMicros(); }
  // Whether the owner has left the object to others.
  bool Moved() const;
  // A fresh ticket with the reference, good for so long at least.
  std::string Token(bool granted, int64_t for_micros = 0) const;
  // Finds the owner and calls `next` with it, on any thread.
  void WithOwner(bool ask, std::function<void(const Peer&)> next);
  // Whether the failure may pass, and then calls `again` a little later. Ends the pull otherwise.
  void RetryOrEnd(const Status& status, std::function<void()> again);

  void AskGrant();
  void OnGrant(const Result<ControlResult>& grant);
  // Waits for a copy that another getter of this node pulls, or has pulled.
  void Follow(const IncomingRef& joined);
  void Reserve();
  void Begin(BufferPool::Share share);
  // One piece: more bytes than a message holds get their buffer while they are under way.
  void MakeTarget();
  void ReadWhole();
  void OnWhole(const Result<ReadResult>& read, const std::shared_ptr<hwalloc::Buffer>& buffer);
  void FillTarget(std::span<const std::byte> bytes);

  // Starts pieces while the window and the buffers allow.
  void Pump();
  void ReadPiece(size_t piece, std::shared_ptr<hwalloc::Buffer> buffer);
  void OnPiece(size_t piece, bool relayed, const Result<ReadResult>& read,
               std::span<const std::byte> bytes);
  // `relayed`: it was asked of a node that was named as a holder of a copy.
  void OnPieceFailed(size_t piece, bool relayed, const Status& status);
  void EndPieces(const Status& status);

  // Tells the owner, once.
  void TellOwner(bool complete, bool keeps_copy);
  void Finish(Result<Got> got);

  Puller* const puller_;
  const Want want_;
  PullId id_{};

  BufferPool::Share share_;  // of one piece; set before the request. Goes after the target
  Mutex mutex_;              // leaf
  std::optional<Result<std::unique_ptr<SharedBuffer>>> target_ F3_GUARDED_BY(mutex_);
  std::function<void()> with_target_ F3_GUARDED_BY(mutex_);  // waits for it
  Done done_ F3_GUARDED_BY(mutex_);
  NodeId holder_ F3_GUARDED_BY(mutex_) = 0;  // 0: the owner
  IncomingRef incoming_;                     // set before the first piece
  std::deque<size_t> todo_ F3_GUARDED_BY(mutex_);
  size_t in_flight_ F3_GUARDED_BY(mutex_) = 0;
  bool over_ F3_GUARDED_BY(mutex_) = false;
  bool waiting_ F3_GUARDED_BY(mutex_) = false;  // a timer will pump
  bool told_ F3_GUARDED_BY(mutex_) = false;
  Status failure_ F3_GUARDED_BY(mutex_);
  int64_t progress_micros_ F3_GUARDED_BY(mutex_) = 0;
};

}  // namespace f3::xdt

#endif  // F3_XDT_PULL_H_
