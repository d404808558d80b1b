// OpContext: what an operation of the metadata server works on, and what it asks the server to do
// when its transaction commits. One per attempt of one request; not thread-safe.
//
// Operations are functions Status Do…(OpContext&, const …Op&, Reply*): they read and write only
// through `txn`, so that they can be run again on Conflict and tested without a server.
#ifndef F3_METADATA_OP_CONTEXT_H_
#define F3_METADATA_OP_CONTEXT_H_

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/status.h"
#include "metadata/kv_store.h"
#include "metadata/metadata.pb.h"

namespace f3::meta {

// Numbers that are never reused, also across restarts. Thread-safe.
class IdSource {
 public:
  virtual ~IdSource() = default;
  virtual Ino NextIno() = 0;
  // Incarnations and generations come from one growing sequence.
  virtual uint64_t NextUnique() = 0;
};

// Who has what open. Thread-safe. Changes go through Effects::opens.
struct OpenCount {
  SessionId session = 0;
  Incarnation incarnation = 0;
  uint32_t readers = 0;
  uint32_t writers = 0;
};
class OpenView {
 public:
  virtual ~OpenView() = default;
  virtual std::vector<OpenCount> Opens(Ino ino) const = 0;
};

// What is known of the nodes. Thread-safe.
class NodeView {
 public:
  virtual ~NodeView() = default;
  // 0 when the session is over.
  virtual NodeId NodeOfSession(SessionId session) const = 0;
  // Name, epoch, address and whether it is up; a token is added when `session` is not 0.
  // False when the node is not known.
  virtual bool FillHolder(NodeId node, const ObjectKey& object, SessionId session, bool write,
                          Holder* holder) const = 0;
};

struct OpenChange {
  Ino ino = 0;
  Incarnation incarnation = 0;
  int readers = 0;  // added; negative: given back
  int writers = 0;
};

struct Drop {
  NodeId node = 0;
  ObjectKey object;
  Version version = UINT64_MAX;  // the newest that is garbage
  // Only when those sessions that have the inode open now, but for the caller's, have closed it.
  bool after_readers = false;
};

// What the server does around the commit.
struct Effects {
  // Before the commit: every other session that holds a lease on these acknowledges.
  std::vector<Invalidate::Item> invalidate;
  // With the commit:
  std::vector<OpenChange> opens;  // of the calling session
  // After the commit: objects that became garbage (sent once nobody has them open).
  std::vector<Drop> drops;
  std::vector<Ino> locks_freed;        // LockAvailable is sent to waiting sessions
  std::vector<Ino> lock_waiters;       // the calling session waits for these
  std::vector<Drop> writer_elsewhere;  // told to the home's node
  Durability durability = Durability::kBuffered;
};

struct OpContext {
  Transaction* txn = nullptr;
  SessionId session = 0;
  NodeId node = 0;  // of the session; 0 for the command line
  Caller caller;
  int64_t now_ns = 0;
  IdSource* ids = nullptr;
  bool replayed = false;  // some of the numbers that `ids` gives are the client's
  const OpenView* opens = nullptr;
  const NodeView* nodes = nullptr;
  // Inodes whose attributes other sessions held a lease on when this operation began. Null: none.
  const std::set<Ino>* leased_elsewhere = nullptr;
  Effects effects;
};

// Runs one operation (any but register_node, inventory, forget, list_nodes, forget_node, sync,
// which are the server's own).
Status ExecuteOp(OpContext& context, const Request& request, Reply* reply);

}  // namespace f3::meta

#endif  // F3_METADATA_OP_CONTEXT_H_
