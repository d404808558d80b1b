// OwnedObjects: the buffers that were put on this node, and who may still have them.
//
// It decides every reference to them: the six refusals of SEMANTICS.md 10 come from here, but for
// malformed and not authentic ones, which name no owner. A holder that is out of scope learns
// nothing else. What is no longer here was used up, deleted or has expired; so nothing need be kept
// of it.
//
// A retrieval counts when a pull completes: here, when every range of the object has been served
// to it. While a pull is under way it holds a place, so that no more than the allowance can ever
// complete; who comes then gets Busy and may ask again, since that pull may yet fail. The bytes of
// an object whose last retrieval has completed stay for that pull's repeats until its requester
// says that it is done, its ticket ends, or the room is needed. Thread-safe.
#ifndef F3_XDT_OWNED_OBJECTS_H_
#define F3_XDT_OWNED_OBJECTS_H_

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <unordered_map>
#include <vector>

#include "common/clock.h"
#include "common/mutex.h"
#include "common/status.h"
#include "xdt/content.h"
#include "xdt/reference.h"

namespace f3::xdt {

// Object keys of buffers have this bit in their number; those of files never.
inline constexpr Ino kBufferBit = 1ull << 63;
// Ranges are pulled in pieces of this many bytes; the last one may be shorter.
inline constexpr uint32_t kPieceBytes = 1u << 20;

// OK when the range is one of the pieces that `bytes` bytes are pulled in; an object without bytes
// has one, of none. InvalidArgument for any other range, past the end too.
Status CheckPiece(uint64_t bytes, uint64_t offset, uint64_t length);

// Who asks: from a ticket, or from the socket.
struct Asker {
  ScopeTag name_space{};
  ScopeTag action{};
};

class OwnedObjects {
 public:
  struct Options {
    NodeId node = 0;
    Epoch epoch = 0;
    size_t max_objects = 1u << 18;
    Clock* clock = Clock::Real();
  };
  struct Terms {
    int64_t lifetime_micros = 0;
    uint32_t allowance = 1;  // 0: any number
    ScopeTag name_space{};
    ScopeTag action{};
  };
  struct Info {
    uint64_t bytes = 0;
    uint64_t left = 0;  // retrievals; UINT64_MAX: any number
    int64_t expires_wall_micros = 0;
  };
  // What a pull is to be served from.
  struct Grant {
    NodeId holder = 0;  // a node with a copy; the owner itself when it has no better idea
  };

  explicit OwnedObjects(const Options& options) : options_(options) {}

  // Again when there are too many.
  Result<Reference> Add(ContentRef content, const Terms& terms);

  // Takes up what another broker, or this node's before it restarted, has left.
  void Adopt(const Reference& reference, ContentRef content, uint32_t counted);
  // Whether it was, and has not expired since.
  bool Adopted(const ObjectKey& object) const;

  // One retrieval by a function of this node, counted at once. EndTake says whether it got the
  // bytes; otherwise the retrieval is given back.
  Result<ContentRef> Take(const Reference& reference, const Asker& asker);
  void EndTake(const ObjectKey& object, bool got);

  // One piece of a pull by another node. Busy: all retrievals left are under way.
  // InvalidArgument for a range that is no piece.
  Result<ContentRef> BeginPiece(const Reference& reference, const PullTicket& ticket,
                                uint64_t offset, uint32_t length);
  // The piece was read; counts the pull when it was the last.
  void EndPiece(const ObjectKey& object, const PullId& pull, uint64_t offset);
  // Counts the pull at once, so that it may be served by another node too.
  Result<Grant> BeginGrant(const Reference& reference, const PullTicket& ticket);
  // The requester has everything (and perhaps keeps a copy), or has given up: then the retrieval is
  // given back unless it was served whole.
  void EndPull(const ObjectKey& object, const PullTicket& ticket, bool complete, bool keeps_copy);

  // Whether it was put on this node since its start and its bytes are no file's: nothing about it
  // needs a disk.
  bool InMemory(const ObjectKey& object) const;

  Status Delete(const Reference& reference, const Asker& asker);
  Result<Info> Stat(const Reference& reference, const Asker& asker);

  // Drops what has expired, and pulls whose tickets have. Call it now and then.
  void Sweep();
  // Drops bytes that only stay for repeats of completed pulls.
  void DropLingering();
  // The oldest content in memory that nobody uses now; null when there is none.
  ContentRef OldestIdle(ObjectKey* key);
  // Puts a copy in its place, if it is still there.
  void Replace(const ObjectKey& key, const ContentRef& old, ContentRef copy);

  struct Listed {
    Reference reference;
    ContentRef content;
    uint32_t counted = 0;
  };
  // Gives up everything and says what can still be retrieved. From then on there is nothing here,
  // and Unavailable says that.
  std::vector<Listed> Drain();
  size_t count() const;

 private:
  struct Pull {
    std::vector<bool> served;  // pieces
    size_t pieces_left = 0;
    bool counted = false;
    int64_t expires_wall_micros = 0;
  };
  struct Object {
    Reference reference;
    ContentRef content;
    uint32_t counted = 0;
    std::map<PullId, Pull> pulls;
    std::vector<NodeId> holders;
    size_t next_holder = 0;
    std::list<ObjectKey>::iterator age;
  };
  using Objects = std::unordered_map<ObjectKey, Object, ObjectKeyHash>;

  // The checks that every use of a reference goes through, in their order.
  Result<Object*> Find(const Reference& reference, const Asker& asker) F3_REQUIRES(mutex_);
  bool UsedUp(const Object& object) const F3_REQUIRES(mutex_);
  size_t Reserved(const Object& object) const F3_REQUIRES(mutex_);
  Result<Pull*> Join(Object* object, const PullTicket& ticket) F3_REQUIRES(mutex_);
  void DropIfOver(Objects::iterator at) F3_REQUIRES(mutex_);
  void Drop(Objects::iterator at) F3_REQUIRES(mutex_);
  void Insert(Object object) F3_REQUIRES(mutex_);
  int64_t Now() const { return options_.clock->WallNanos() / 1000; }

  const Options options_;
  mutable Mutex mutex_;
  bool drained_ F3_GUARDED_BY(mutex_) = false;
  Ino next_ F3_GUARDED_BY(mutex_) = 1;
  Objects objects_ F3_GUARDED_BY(mutex_);
  std::list<ObjectKey> by_age_ F3_GUARDED_BY(mutex_);
  std::multimap<int64_t, ObjectKey> by_expiry_ F3_GUARDED_BY(mutex_);
  // Objects that have pulls, or are used up.
  std::set<ObjectKey> active_ F3_GUARDED_BY(mutex_);
  // What was taken up, until it expires: once it is used up that is still what is said of it.
  std::set<ObjectKey> adopted_ F3_GUARDED_BY(mutex_);
  std::multimap<int64_t, ObjectKey> adopted_by_expiry_ F3_GUARDED_BY(mutex_);
};

}  // namespace f3::xdt

#endif  // F3_XDT_OWNED_OBJECTS_H_
