// SessionTable: the clients' sessions: their streams, the events that they have not acknowledged,
// and the replies to mutations that they have not confirmed. Thread-safe.
//
// An event that needs an acknowledgement stays with the session, also across a broken stream, until
// it is acknowledged or the session ends; both count as done, because a session that has ended has
// no cache that anybody may use. Callbacks run without the table's lock.
#ifndef F3_METADATA_SESSION_TABLE_H_
#define F3_METADATA_SESSION_TABLE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "common/ids.h"
#include "common/mutex.h"
#include "metadata/metadata.pb.h"

namespace f3::meta {

// The server's end of one stream. Thread-safe; Send does not block and keeps the order.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void Send(const ServerEvent& event) = 0;
  // After what was sent.
  virtual void Close() = 0;
};

class SessionTable {
 public:
  using ReplyDone = std::function<void(Reply)>;

  // `recovered`: from before this server's start; not ready until its client says so.
  void Add(SessionId id, NodeId node, int64_t now_micros, bool recovered);
  // 0 when there is no such session.
  NodeId NodeOf(SessionId id) const;
  std::vector<SessionId> All() const;
  SessionId OfNode(NodeId node) const;

  // False when there is no such session. Replaces (closes) an earlier stream.
  bool Attach(SessionId id, std::shared_ptr<EventSink> sink, const ServerEvent& welcome);
  void Detach(SessionId id, const EventSink* sink);
  void Heard(SessionId id, int64_t now_micros);
  // The client has dropped its caches and replayed. True when that was news.
  bool SetReady(SessionId id);
  bool IsReady(SessionId id) const;
  bool AllReady() const;
  std::vector<SessionId> SilentSince(int64_t micros) const;

  // Sends an event that must be acknowledged. `done` (may be null) runs when it is or when the
  // session is over; at once when there is no such session.
  void Post(SessionId id, ServerEvent event, std::function<void()> done);
  // Sends an event that may be lost with the stream.
  void Tell(SessionId id, const ServerEvent& event);
  void Acknowledge(SessionId id, uint64_t event);
  // Removes the session, tells its stream, and runs what waited for it. False: there is none.
  bool End(SessionId id);

  // Closes every stream and runs everything that waits for an acknowledgement: for the server's
  // end.
  void ReleaseAll();

  enum class Token { kFresh, kRepeated, kNoSession };
  // kFresh: the caller does the mutation and calls Finish. kRepeated: `done` has been or will be
  // called with the first attempt's reply; `recovered` before it on the first repeat of a mutation
  // that was done before this server's start.
  Token BeginMutation(SessionId id, uint64_t token, const ReplyDone& done,
                      const std::function<void(const Reply&)>& recovered);
  // Keeps the reply (until it is confirmed) and answers whoever repeated meanwhile. `stored`: a
  // reply row exists.
  void FinishMutation(SessionId id, uint64_t token, const Reply& reply, bool stored);
  // A reply that is in the store since before this server's start.
  void AddRecoveredReply(SessionId id, uint64_t token, Reply reply);
  // Forgets replies up to `token`; which of them have a row that can go.
  std::vector<uint64_t> Confirm(SessionId id, uint64_t token);

  // Objects that a registering node has reported so far.
  void AddReported(SessionId id, const ObjectKey& object);
  std::set<ObjectKey> TakeReported(SessionId id);

 private:
  struct Pending {
    ServerEvent event;
    std::function<void()> done;
  };
  struct TokenState {
    bool finished = false;
    bool stored = false;
    bool recovered = false;
    Reply reply;
    std::vector<ReplyDone> waiting;
  };
  struct Session {
    NodeId node = 0;
    int64_t heard_micros = 0;
    bool ready = true;
    std::shared_ptr<EventSink> sink;
    std::map<uint64_t, Pending> pending;
    std::map<uint64_t, TokenState> tokens;
    uint64_t confirmed = 0;
    std::set<ObjectKey> reported;
  };

  mutable Mutex mutex_;
  uint64_t next_event_ F3_GUARDED_BY(mutex_) = 1;
  std::map<SessionId, Session> sessions_ F3_GUARDED_BY(mutex_);
};

}  // namespace f3::meta

#endif  // F3_METADATA_SESSION_TABLE_H_
