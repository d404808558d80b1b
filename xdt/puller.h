// Puller: gets objects of other nodes' brokers for the functions of this one.
//
// An object of one piece comes with one request. A larger one comes in pieces, several in flight,
// into an Incoming that can be read from its first bytes on. Where the reference allows more than
// one retrieval the owner is asked for a grant first; it counts, and may name another node that has
// a copy; a copy stays here too, for as long as there is room, and serves later gets of this node
// (each with a grant of its own) and other nodes. What fails without being refused is tried again
// until the deadline, under the same pull id, which the owner counts once. Thread-safe.
#ifndef F3_XDT_PULLER_H_
#define F3_XDT_PULLER_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "common/executor.h"
#include "common/mutex.h"
#include "common/timers.h"
#include "hwalloc/buffer_arena.h"
#include "xdt/incoming.h"
#include "xdt/owned_objects.h"
#include "xdt/reference.h"
#include "xdt/transfer_engine.h"

namespace f3::xdt {

// Where nodes are. Thread-safe.
class NodeDirectory {
 public:
  virtual ~NodeDirectory() = default;
  // What is known without asking anybody.
  virtual std::optional<Peer> Known(NodeId node) = 0;
  // Asks; may wait for some seconds. NotFound for a node that there is not.
  virtual Result<Peer> Ask(NodeId node) = 0;
};

class Puller {
 public:
  struct Options {
    NodeId node = 0;  // this one
    const ReferenceKeys* keys = nullptr;
    TransferEngine* engine = nullptr;
    hwalloc::BufferArena* buffers = nullptr;
    BufferPool* pool = nullptr;
    NodeDirectory* nodes = nullptr;
    Executor* work = nullptr;
    Timers* timers = nullptr;
    Clock* clock = Clock::Real();
    uint32_t window = 8;  // pieces of one pull in flight
    // Whether the object has been left to others by its owner (DrainedStore). May be null.
    std::function<bool(const Reference&)> moved;
  };
  struct Want {
    std::string text;  // the reference
    Reference reference;
    Asker asker;
    BufferPool::AccountRef account;  // who the memory is for
    int64_t deadline_micros = 0;     // monotonic
    bool stream = false;             // the deadline is that of the first bytes
    NodeId owner = 0;                // whom to ask: the reference's owner, or who took it up
  };
  // Content when it is complete, Incoming of a stream.
  struct Got {
    ContentRef content;
    IncomingRef incoming;  // the caller is a reader of it: RemoveReader when it is not any more
  };
  using Done = std::function<void(Result<Got>)>;

  explicit Puller(const Options& options) : options_(options) {}
  ~Puller();

  // `done` runs once, on any thread, perhaps before this returns.
  void Get(Want want, Done done);

  // Deletes, or asks about, an object of another node.
  void Control(ControlOp op, const Want& want, std::function<void(Result<ControlResult>)> done);

  // The copy that this node holds of another node's object. ObjectMissing.
  Result<ContentRef> FindCopy(const Reference& reference);
  // Drops copies that nobody reads, oldest first, until `bytes` are free or none is left.
  void DropCopies(uint64_t bytes);
  // Drops copies whose reference has expired.
  void Sweep();
  // Of copies that are complete.
  uint64_t copied_bytes() const;
  // Fails what is under way from now on. The engine's shutdown ends the requests themselves.
  void Shutdown();

 private:
  class Pull;
  friend class Pull;
  struct Copy {
    IncomingRef incoming;
    int64_t expires_wall_micros = 0;
    uint64_t order = 0;
  };
  using CopyKey = std::pair<NodeId, ObjectKey>;

  // The object's Incoming when there is one that has not failed; adds a reader to it.
  IncomingRef JoinCopy(const Reference& reference);
  // Where the owner is, if that is known and not from before it made the reference.
  std::optional<Peer> KnownOwner(const Want& want) const;
  // Keeps `incoming`, unless there is one already.
  void KeepCopy(const Reference& reference, const IncomingRef& incoming);
  bool stopping() const;
  // Sends `request`, whose answer nobody waits for, with others a few milliseconds later: each by
  // itself would wake both nodes.
  void ControlLater(const Peer& peer, ControlRequest request);
  void SendLater();

  const Options options_;
  mutable Mutex mutex_;  // leaf
  bool stopping_ F3_GUARDED_BY(mutex_) = false;
  uint64_t next_order_ F3_GUARDED_BY(mutex_) = 1;
  std::map<CopyKey, Copy> copies_ F3_GUARDED_BY(mutex_);
  std::vector<std::pair<Peer, ControlRequest>> later_ F3_GUARDED_BY(mutex_);
};

}  // namespace f3::xdt

#endif  // F3_XDT_PULLER_H_
