// ClientImpl: the parts of MetaClient. Calls are in client_calls.cc, the session in
// client_session.cc.
//
// Threads: replies and the stream's events arrive on gRPC's threads; the listener is called on the
// one thread of events_; retries and heartbeats run on timers_. Lock order: mutex_, a stream's own
// mutex. Neither the listener nor a call's callback runs with mutex_ held.
//
// A grpc::ClientContext refers to the channel, and a process's last channel joins gRPC's threads:
// on one of them it would wait for itself (gRPC 1.51 frees its queue twice then). So a context goes
// before anybody is told that its call or stream is over.
#ifndef F3_METADATA_CLIENT_IMPL_H_
#define F3_METADATA_CLIENT_IMPL_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <unordered_set>
#include <vector>

#include "common/executor.h"
#include "common/mutex.h"
#include "common/timers.h"
#include "metadata/client.h"
#include "metadata/metadata.grpc.pb.h"

namespace f3::meta {

class ClientImpl;

// One bidirectional stream; keeps itself alive until gRPC is done with it.
class SessionStream : public grpc::ClientBidiReactor<ClientEvent, ServerEvent> {
 public:
  // Starts with `hello`.
  static std::shared_ptr<SessionStream> Start(ClientImpl* client, const Hello& hello);
  void Send(const ClientEvent& event);
  void Cancel();

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  explicit SessionStream(ClientImpl* client)
      : client_(client), context_(std::make_unique<grpc::ClientContext>()) {}
  void NextLocked() F3_REQUIRES(mutex_);

  ClientImpl* const client_;
  ServerEvent event_;
  std::shared_ptr<SessionStream> self_;
  Mutex mutex_;
  std::unique_ptr<grpc::ClientContext> context_ F3_GUARDED_BY(mutex_);
  std::deque<ClientEvent> queue_ F3_GUARDED_BY(mutex_);
  bool writing_ F3_GUARDED_BY(mutex_) = false;
  bool over_ F3_GUARDED_BY(mutex_) = false;
};

class ClientImpl : public MetaClient {
 public:
  ClientImpl(const Options& options, const ClusterKey& key, SessionListener* listener);
  ~ClientImpl() override { Shutdown(); }

  // Channel, and for a node the first session.
  Status Open();

  Status Call(Request request, Reply* reply) override;
  void CallAsync(Request request, std::function<void(Status, Reply)> done) override;
  SessionId session() const override;
  NodeId node() const override;
  bool connected() const override;
  void Shutdown() override;

 private:
  friend class SessionStream;
  using Done = std::function<void(Status, Reply)>;

  // One operation from its first attempt to its answer.
  struct Pending {
    Request request;
    Done done;
    bool mutation = false;
    bool resuming = false;        // a replay or a registration: not held back
    bool sent = false;            // an attempt may have reached the server
    bool retrying = false;        // waits for a timer
    int64_t deadline_micros = 0;  // for being sent again
    int64_t sent_micros = 0;
    int64_t pause_micros = 0;
    Reply reply;
    std::unique_ptr<grpc::ClientContext> context;
  };
  using PendingRef = std::shared_ptr<Pending>;
  // A mutation whose commit may not survive a crash of the server's host.
  struct Retained {
    uint64_t sequence = 0;  // kNotReplayed: to be replayed to whichever server comes next
    Request request;
  };
  static constexpr uint64_t kNotReplayed = UINT64_MAX;

  // client_calls.cc
  void Start(Request request, bool resuming, Done done);
  Status StartAndWait(Request request, bool resuming, Reply* reply);
  void Attempt(const PendingRef& call);
  bool PrepareLocked(const PendingRef& call, Status* failed, int64_t* pause) F3_REQUIRES(mutex_);
  void OnReply(const PendingRef& call, const grpc::Status& status);
  void TryAgain(const PendingRef& call, int64_t pause_micros, const Status& reason);
  void Finish(const PendingRef& call, const Status& status);
  void RetainLocked(const Pending& call) F3_REQUIRES(mutex_);
  Status Away(const grpc::Status& status) const;
  void Authorize(grpc::ClientContext* context) const;

  // client_session.cc
  Status Register();
  void StartStream();
  void OnServerEvent(const SessionStream* stream, ServerEvent event);
  void OnStreamDone(const SessionStream* stream);
  void HandleEvent(const ServerEvent& event);
  void HandleWelcome(const Welcome& welcome);
  bool Replay(uint64_t recovered_sequence);
  void Acknowledge(uint64_t id);
  void Expired(SessionId session);
  void RegisterAgain(int64_t pause_micros);
  void Registered(const RegisterReply& reply);
  void HeartbeatAnswered();
  void Heartbeat();
  void SendToServer(const ClientEvent& event);

  const Options options_;
  const ClusterKey key_;
  SessionListener* const listener_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<Metadata::Stub> stub_;
  Timers timers_;
  Executor events_;

  // The server has heard from us lately; while it may not have, replies grant nothing.
  std::atomic<bool> leased_{false};

  mutable Mutex mutex_;
  CondVar changed_;
  bool stopping_ F3_GUARDED_BY(mutex_) = false;
  bool holding_ F3_GUARDED_BY(mutex_) = false;  // calls wait: the session is being made or resumed
  bool welcome_ F3_GUARDED_BY(mutex_) = false;  // the stream has answered
  SessionId session_ F3_GUARDED_BY(mutex_) = 0;
  SessionId expired_ F3_GUARDED_BY(mutex_) = 0;  // the session that was last found to be over
  NodeId node_ F3_GUARDED_BY(mutex_) = 0;
  uint64_t server_epoch_ F3_GUARDED_BY(mutex_) = 0;
  int64_t session_timeout_micros_ F3_GUARDED_BY(mutex_) = 0;
  uint64_t last_token_ F3_GUARDED_BY(mutex_) = 0;
  std::set<uint64_t> outstanding_ F3_GUARDED_BY(mutex_);  // tokens without an answer
  uint64_t synced_sequence_ F3_GUARDED_BY(mutex_) = 0;
  std::vector<Retained> retained_ F3_GUARDED_BY(mutex_);
  std::unordered_set<PendingRef> pending_ F3_GUARDED_BY(mutex_);
  size_t delivering_ F3_GUARDED_BY(mutex_) = 0;
  std::shared_ptr<SessionStream> stream_ F3_GUARDED_BY(mutex_);
  size_t streams_ F3_GUARDED_BY(mutex_) = 0;  // that gRPC is not yet done with
  int64_t reconnect_micros_ F3_GUARDED_BY(mutex_) = 0;
  std::deque<int64_t> heartbeats_ F3_GUARDED_BY(mutex_);  // when unanswered ones were sent
  int64_t confirmed_micros_ F3_GUARDED_BY(mutex_) = 0;    // when the last answered one was sent
};

}  // namespace f3::meta

#endif  // F3_METADATA_CLIENT_IMPL_H_
