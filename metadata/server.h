// MetadataServer: the gRPC service above a KvStore.
//
// Owns sessions, leases, open counts, nodes and locks; runs operations (metadata/op_context.h) in
// transactions. Thread-safe. Stop() ends every stream and waits for running calls.
#ifndef F3_METADATA_SERVER_H_
#define F3_METADATA_SERVER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "common/clock.h"
#include "common/cluster_key.h"
#include "common/status.h"
#include "metadata/kv_store.h"

namespace f3::meta {

class MetadataServer {
 public:
  struct Options {
    std::string listen = "127.0.0.1:0";
    std::string tls_cert_file, tls_key_file;  // both or neither
    int64_t session_timeout_micros = 15'000'000;
    int64_t token_lifetime_micros = 60'000'000;  // of capabilities; at least the session timeout
    int64_t sync_interval_micros = 1'000'000;    // of buffered commits, in the background
    Clock* clock = Clock::Real();
  };

  // Takes over `store`: writes a new server epoch, loads nodes, sessions and locks, and admits only
  // reclaim until every old session is back or timed out.
  static Result<std::unique_ptr<MetadataServer>> Start(const Options& options,
                                                       const ClusterKey& key,
                                                       std::unique_ptr<KvStore> store);
  virtual ~MetadataServer() = default;
  // HOST:PORT that it listens at.
  virtual std::string address() const = 0;
  virtual void Stop() = 0;
};

}  // namespace f3::meta

#endif  // F3_METADATA_SERVER_H_
