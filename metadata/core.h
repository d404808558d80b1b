// MetadataCore: the metadata server without its network: sessions, leases, locks, open files,
// nodes, and the operations run in transactions. gRPC is around it (server.cc); tests drive it
// directly.
//
// Nothing in it blocks but short reads of the store and the syncs of registrations: a mutation that
// must wait for other clients' acknowledgements or for the disk goes on in their callbacks.
// Thread-safe. Lock order: register_mutex_, mutation_mutex_, then the tables' own locks; callbacks
// run with none of them held but, at a session's end, register_mutex_.
#ifndef F3_METADATA_CORE_H_
#define F3_METADATA_CORE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "common/clock.h"
#include "common/cluster_key.h"
#include "common/mutex.h"
#include "metadata/kv_store.h"
#include "metadata/lease_table.h"
#include "metadata/node_table.h"
#include "metadata/op_context.h"
#include "metadata/open_table.h"
#include "metadata/session_table.h"
#include "metadata/syncer.h"

namespace f3::meta {

// Inode numbers, incarnations and generations: the server's epoch, then a counter. An inode number
// stays below kMaxIno.
class EpochIds : public IdSource {
 public:
  explicit EpochIds(uint64_t epoch) : next_(epoch << 40 | 1) {}
  Ino NextIno() override { return next_++; }
  uint64_t NextUnique() override { return next_++; }

 private:
  std::atomic<uint64_t> next_;
};

class MetadataCore {
 public:
  struct Options {
    int64_t session_timeout_micros = 15'000'000;
    int64_t token_lifetime_micros = 60'000'000;
    int64_t sync_interval_micros = 1'000'000;
    Clock* clock = Clock::Real();
    bool background = true;  // false: a test calls Tick after it has advanced its clock
  };
  using Done = std::function<void(Reply)>;

  // Writes a new server epoch and loads what the last one left.
  static Result<std::unique_ptr<MetadataCore>> Create(const Options& options, const ClusterKey& key,
                                                      std::unique_ptr<KvStore> store);
  ~MetadataCore();

  // Runs one request; `done` exactly once, possibly before Handle returns.
  void Handle(Request request, Done done);
  // A client's stream. False when its session is over (the stream gets `expired`).
  bool Hello(const meta::Hello& hello, std::shared_ptr<EventSink> sink);
  void OnEvent(SessionId session, const ClientEvent& event);
  void Detach(SessionId session, const EventSink* sink);
  // Ends what time has ended: sessions, fences, files with a TTL, the grace period.
  void Tick();
  // Answers what waits for clients with Unavailable, so that they try the next server, and ends the
  // threads. Requests that come later are refused the same way.
  void Stop();

  uint64_t epoch() const { return epoch_; }

 private:
  friend class Mutation;
  // One change by the server itself or by a client; see core_mutations.cc.
  using Body = std::function<Status(OpContext&, Reply*)>;
  struct Identity {
    SessionId session = 0;
    NodeId node = 0;
    Caller caller;
  };

  MetadataCore(const Options& options, const ClusterKey& key, std::unique_ptr<KvStore> store);
  Status Load();
  Status CreateFirstVolume();

  void HandleRead(const Request& request, const Done& done);
  void HandleMutation(Request request, Done done);
  void HandleSync(const Done& done);
  // Runs a change of the server's own; `done` may be null.
  void Change(const Identity& identity, Body body, Done done);
  void GrantLeases(const Request& request, uint64_t snapshot, Reply* reply);
  void AfterCommit(SessionId session, const Effects& effects);
  void PostDrops(const std::vector<Drop>& drops);
  void Finish(const Status& status, Reply* reply) const;
  bool InGrace() const { return grace_; }
  bool AllowedInGrace(const Request& request) const;

  Status Register(const RegisterNodeOp& op, Reply* reply);
  Status ForgetNode(const ForgetNodeOp& op);
  void Inventory(const Request& request, const Done& done);
  // `proven`: its process is known to be gone, so nobody can use its capabilities.
  void EndSession(SessionId session, bool proven);
  void FenceThenClose(SessionId session, NodeId node);
  void CloseAll(SessionId session, NodeId node);
  void EndGraceIfOver();
  void DeleteOrphans();
  void ExpireFiles();
  void Keep();

  const Options options_;
  const ClusterKey key_;
  const std::unique_ptr<KvStore> store_;
  uint64_t epoch_ = 0;               // constant after Load
  uint64_t recovered_sequence_ = 0;  // likewise
  std::string cluster_id_;           // likewise
  std::unique_ptr<EpochIds> ids_;
  LeaseTable leases_;
  OpenTable opens_;
  NodeTable nodes_;
  SessionTable sessions_;
  Syncer syncer_;
  std::atomic<bool> grace_{false};
  std::atomic<bool> stopped_{false};

  // Held from the start of a mutation's transaction to its commit, so that mutations don't conflict
  // with each other and opens stay as they were read.
  Mutex mutation_mutex_;
  Mutex waiters_mutex_;
  std::map<Ino, std::set<SessionId>> lock_waiters_ F3_GUARDED_BY(waiters_mutex_);
  struct Fence {
    size_t waiting = 0;
    int64_t deadline_micros = 0;
    NodeId node = 0;
  };
  std::map<SessionId, Fence> fences_ F3_GUARDED_BY(waiters_mutex_);
  Mutex register_mutex_;  // one registration or forgetting at a time

  Mutex keeper_mutex_;
  CondVar keeper_wake_;
  bool stopping_ F3_GUARDED_BY(keeper_mutex_) = false;
  std::thread keeper_;
};

}  // namespace f3::meta

#endif  // F3_METADATA_CORE_H_
