// Broker: holds the buffers that functions of this node have put, serves them to functions here and
// to other nodes, and gets those of other nodes. Part of the node agent, outside every sandbox: a
// buffer outlives the function that put it, frozen or dead.
//
// Functions reach it through Unix sockets (libxdt), one per sandbox. Who they are, namespace and
// action, is what the socket was opened for; nothing they say changes it. Other nodes reach it as a
// RequestHandler of the transfer engine. Memory is bounded by Options::memory_bytes; a function
// that holds much (buffers being filled, buffers being read) is bounded by its socket's limit.
// Mechanism and words: Zipline/XDT (arXiv 2309.14821); what its prototype lacks is named in
// xdt/README.md.
//
// Thread-safe.
#ifndef F3_XDT_BROKER_H_
#define F3_XDT_BROKER_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "common/clock.h"
#include "common/status.h"
#include "hwalloc/buffer_arena.h"
#include "xdt/local_reader.h"
#include "xdt/puller.h"
#include "xdt/reference.h"
#include "xdt/transfer_engine.h"

namespace f3::xdt {

class Broker : public RequestHandler {
 public:
  struct Options {
    std::string name;  // of the node, for people
    NodeId node = 0;
    Epoch epoch = 0;  // of this broker: its references die with it
    KeyBytes reference_root{};
    ReferenceKeys::Options keys;
    uint64_t memory_bytes = 512ull << 20;
    // Where buffers are moved to when memory is short, oldest first; empty: puts wait instead.
    std::string spill_dir;
    // Where values are left at shutdown for this node's next start or other nodes, seen by all of
    // them; empty: they are lost.
    std::string drain_dir;
    // Of a reference whose maker says nothing; the longest is ReferenceKeys::Options::keep_micros.
    int64_t default_lifetime_micros = 600ll * 1'000'000;
    TransferEngine* engine = nullptr;
    hwalloc::BufferArena* buffers = nullptr;
    NodeDirectory* nodes = nullptr;  // outlives the broker, as the two above
    Clock* clock = Clock::Real();
  };
  struct Counters {
    uint64_t puts = 0, gets = 0, pulls = 0, refused = 0;
    uint64_t put_bytes = 0, got_bytes = 0, pulled_bytes = 0, served_bytes = 0, spilled_bytes = 0;
    uint64_t objects = 0;      // that can be retrieved
    uint64_t connections = 0;  // of functions
  };

  static Result<std::unique_ptr<Broker>> Create(const Options& options);

  // Opens a sandbox's socket: whoever connects there is this namespace and action. `limit_bytes`:
  // what its functions may hold at one time, 0 for all of the pool. Busy, Exists as bind(2) would.
  virtual Status OpenSocket(const std::string& path, const Scope& scope, mode_t mode,
                            uint64_t limit_bytes) = 0;
  // Ends its connections: buffers that were not put yet go, those that were put stay.
  virtual Status CloseSocket(const std::string& path) = 0;
  // Who gets values within this process as this namespace and action would through a socket;
  // `limit_bytes` as a socket's.
  virtual std::unique_ptr<LocalReader> OpenReader(const Scope& scope, uint64_t limit_bytes) = 0;

  virtual uint64_t memory_bytes() const = 0;  // granted
  virtual uint64_t used_bytes() const = 0;    // of it
  virtual Counters counters() const = 0;

  // Refuses new work, ends every connection, leaves what can still be got in Options::drain_dir.
  // Before the engine's own shutdown.
  virtual void Shutdown() = 0;
};

}  // namespace f3::xdt

#endif  // F3_XDT_BROKER_H_
