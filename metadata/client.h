// MetaClient: a node agent's or a command's connection to the metadata server.
//
// It keeps one session alive, numbers mutations with idempotency tokens, retries across
// reconnects, replays what a restarted server had not yet synced, and delivers the server's events.
// Thread-safe. gRPC stays behind this header.
#ifndef F3_METADATA_CLIENT_H_
#define F3_METADATA_CLIENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "common/clock.h"
#include "common/cluster_key.h"
#include "common/status.h"
#include "metadata/metadata.pb.h"

namespace f3::meta {

// Called on the client's event thread, one at a time; must not call back into MetaClient and wait.
// A reply may arrive after an invalidation that it is older than: whoever keeps what a reply grants
// compares with the invalidations since it asked. Every `done` is called or dropped before the
// client goes.
class SessionListener {
 public:
  virtual ~SessionListener() = default;
  // Call `done` (from any thread) once nothing stale can be served any more.
  virtual void OnInvalidate(const Invalidate& invalidate, std::function<void()> done) = 0;
  virtual void OnDrop(const ObjectName& object) = 0;
  virtual void OnLockAvailable(Ino ino) = 0;
  // Refuse the session's tokens from now on, then call `done`.
  virtual void OnFence(SessionId session, std::function<void()> done) = 0;
  virtual void OnWriterElsewhere(const ObjectName& object) = 0;
  // What is cached is covered by leases no more (the server restarted, or has been silent for a
  // session's timeout): drop every cached attribute, entry and page before returning. Open files
  // stay as they are.
  virtual void OnLeasesLost() = 0;
  // The session ended without us (partition, forgotten): drop every cache before returning. A new
  // session is made right after; `registered` then tells of it through OnRegistered.
  virtual void OnExpired() = 0;
  virtual void OnRegistered(const RegisterReply& reply) = 0;
  // What this session has open, for a server that restarted.
  virtual std::vector<CloseOp> OpenFiles() = 0;
  virtual NodeUsage Usage() = 0;
};

class MetaClient {
 public:
  struct Options {
    std::string server;                        // HOST:PORT
    std::string tls_ca_file;                   // empty: no TLS
    RegisterNodeOp node;                       // name empty: a command without a session
    int64_t call_timeout_micros = 10'000'000;  // of one attempt-and-retry cycle
    Clock* clock = Clock::Real();
  };

  // Connects and, for a node, registers. Unavailable names the server and what to check;
  // Unauthenticated when the cluster secret differs. `listener` may be null without a session.
  static Result<std::unique_ptr<MetaClient>> Connect(const Options& options, const ClusterKey& key,
                                                     SessionListener* listener);
  virtual ~MetaClient() = default;

  // Runs one operation: fills in session and token, retries while the server is away until the
  // timeout (Timeout or Unavailable then). The status is the reply's code.
  virtual Status Call(Request request, Reply* reply) = 0;
  // As Call; `done` runs on a thread of the client.
  virtual void CallAsync(Request request, std::function<void(Status, Reply)> done) = 0;

  virtual SessionId session() const = 0;
  virtual NodeId node() const = 0;
  virtual bool connected() const = 0;
  virtual void Shutdown() = 0;
};

}  // namespace f3::meta

#endif  // F3_METADATA_CLIENT_H_
