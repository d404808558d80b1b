// Requester: what this node asks of others. Used by the engine's progress thread alone.
//
// Each peer has a link: an endpoint of its own, so that it can be closed without touching the
// others when the peer went silent in the middle of a transfer (only then may the requester's
// buffer still be written to). A request is queued until its delay is over and fewer than
// max_in_flight requests are under way, then sent, and ends with its answer, its deadline or the
// link's end; exactly once.
#ifndef F3_XDT_REQUESTER_H_
#define F3_XDT_REQUESTER_H_

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/clock.h"
#include "xdt/fabric.h"
#include "xdt/wire.h"

namespace f3::xdt {

// One request from Read, Write or Control to its callback.
struct Outgoing {
  std::string peer;
  RequestMessage message;
  std::span<std::byte> into;         // of a read
  std::span<const std::byte> bytes;  // of a write
  int64_t deadline_micros = 0;
  int64_t not_before_micros = 0;  // injected delay
  // The answer, or why there is none. A read's checksum is not verified yet.
  std::function<void(Result<ReplyMessage>)> done;
};

class Requester {
 public:
  Requester(Fabric* fabric, Clock* clock, uint32_t max_in_flight)
      : fabric_(fabric), clock_(clock), max_in_flight_(max_in_flight) {}

  void Add(Outgoing request);
  // Does what is due. Returns how many microseconds may pass until the next call, if nothing wakes
  // the wait descriptors before.
  int64_t Run();
  void AddWaits(std::vector<int>* fds, std::vector<fid*>* queues) const;
  // Ends every request.
  void Shutdown(const Status& status);
  // Links that had to be closed. Any thread.
  uint64_t reconnects() const { return reconnects_; }

 private:
  struct Call {
    Outgoing out;
    bool sent = false;          // the request message
    bool settled = false;       // the answer is known
    bool bytes_follow = false;  // beside the answer, which is a read's
    int pending = 0;            // fabric operations that use the caller's buffer
    FabricOp* receive = nullptr;
    std::string ready;  // of a write: where the bytes go, once the owner is ready
    bool bytes_sent = false;
    int64_t give_up_micros = 0;  // when the link is closed if the receive is not back
    Result<ReplyMessage> answer = Status::Internal("no answer");
  };
  struct Link {
    std::string peer;
    std::unique_ptr<Endpoint> endpoint;
    fi_addr_t address = FI_ADDR_UNSPEC;
    std::deque<Outgoing> waiting;
    // By id, in the order they were started. Anybody who reaches the endpoint can send an answer:
    // only the peer knows where the ids of its link begin.
    std::map<uint64_t, std::shared_ptr<Call>> calls;
    uint64_t next_id = 0;
    int64_t used_micros = 0;
    int64_t connecting_since = 0;  // the first send that had to wait; 0: none
    bool broken = false;
    bool backlog = false;  // something could not be sent yet
  };

  Status OpenLink(Link* link);
  void StartCalls(Link* link, int64_t now, int64_t* due);
  void StartCall(Link* link, Outgoing request);
  void SendCall(Link* link, const std::shared_ptr<Call>& call);
  void CheckDeadlines(Link* link, int64_t now, int64_t* due);
  void OnMessage(Link* link, std::span<const std::byte> bytes);
  void FinishIfOver(Link* link, const std::shared_ptr<Call>& call);
  void Settle(Link* link, const std::shared_ptr<Call>& call, Result<ReplyMessage> answer);
  void CloseLink(Link* link, const Status& status);

  Fabric* const fabric_;
  Clock* const clock_;
  const uint32_t max_in_flight_;
  std::atomic<uint64_t> reconnects_{0};
  std::unordered_map<std::string, std::unique_ptr<Link>> links_;
};

}  // namespace f3::xdt

#endif  // F3_XDT_REQUESTER_H_
