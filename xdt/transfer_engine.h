// TransferEngine: moves bulk bytes between nodes over libfabric. One per process.
//
// A requester asks an owner to read or write a range of an object; the owner checks the
// capability, then writes straight into the requester's window (or takes the bytes from it), so no
// key to an owner's memory is ever handed out. Every range carries a CRC32C computed where the
// bytes were read and checked where they arrive. Requests to one peer are pipelined; each has a
// deadline; a peer that restarted (another epoch) is refused, not mistaken.
//
// All methods are thread-safe and do not block on the network. Callbacks run on the engine's own
// threads, but for ObjectRequest::done_at_once, and must not block for long; each is called exactly
// once, also at shutdown.
#ifndef F3_XDT_TRANSFER_ENGINE_H_
#define F3_XDT_TRANSFER_ENGINE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "common/clock.h"
#include "common/ids.h"
#include "common/status.h"
#include "hwalloc/buffer_arena.h"

namespace f3::xdt {

// The most bytes that one Read or Write moves.
inline constexpr uint32_t kMaxTransferBytes = 1u << 20;

// Where a data server listens. `address` is what TransferEngine::address() returned there.
struct Peer {
  std::string address;
  Epoch epoch = 0;
};

struct ObjectRequest {
  std::string token;  // capability, see common/cluster_key.h
  ObjectKey object;
  Version version = 0;  // the version wanted; 0: whatever is there
  // The callback takes a few microseconds and waits for nothing: it may run on the thread that
  // drives the fabric, or on the caller's, which spares it a wake-up.
  bool done_at_once = false;
};

struct ReadRequest : ObjectRequest {
  uint64_t offset = 0;
  uint32_t length = 0;  // at most kMaxTransferBytes
  // At or past the written end of an object that is still being written: wait for more bytes,
  // the writer's close or the deadline, instead of a short answer.
  bool follow = false;
};

struct ReadResult {
  uint32_t length = 0;        // bytes delivered; less than asked only at the end of the object
  uint64_t object_bytes = 0;  // the object's size when it was read
  Version version = 0;        // of the object when it was read; 0: never published
  bool writing = false;       // the object may still change
};

struct WriteRequest : ObjectRequest {
  uint64_t offset = 0;
  bool append = false;  // at the object's end, wherever that is; `offset` is ignored
};

struct WriteResult {
  uint64_t offset = 0;        // where the bytes went
  uint64_t object_bytes = 0;  // the object's size afterwards
};

// Small operations at the owner.
enum class ControlOp : uint8_t {
  kStat = 1,      // size, mtime
  kTruncate = 2,  // to `a`
  kAllocate = 3,  // fallocate: mode in `c`, offset `a`, length `b`
  kSync = 4,      // publish (and for durable files make durable) what was written
  kSeekData = 5,  // from `a`; result in `value`, NotFound past the end
  kSeekHole = 6,
  // Of buffers of functions (xdt/broker.h); the token is a reference and a ticket.
  kGrant = 7,         // count this pull; `value`: the node to pull from
  kEndPull = 8,       // `c`: kPullComplete, kPullKeepsCopy
  kDeleteBuffer = 9,  // no retrieval any more
  kStatBuffer = 10,   // `value`: retrievals left, object_bytes, mtime_ns: microseconds of expiry
};

struct ControlRequest : ObjectRequest {
  ControlOp op = ControlOp::kStat;
  uint64_t a = 0;
  uint64_t b = 0;
  uint32_t c = 0;
};

struct ControlResult {
  uint64_t value = 0;
  uint64_t object_bytes = 0;
  int64_t mtime_ns = 0;
  uint64_t allocated_bytes = 0;
};

// The owner's side. Called on the engine's handler threads; may block on local disks, must call
// `done` exactly once, now or later, from any thread.
class RequestHandler {
 public:
  virtual ~RequestHandler() = default;
  using ReadDone = std::function<void(Result<ReadResult>)>;
  using WriteDone = std::function<void(Result<WriteResult>)>;
  using ControlDone = std::function<void(Result<ControlResult>)>;
  // `into` is valid until `done` is called. `deadline_micros` is on this host's Clock.
  virtual void HandleRead(const ReadRequest& request, std::span<std::byte> into,
                          int64_t deadline_micros, ReadDone done) = 0;
  // `bytes` is valid until `done` is called; their checksum was verified.
  virtual void HandleWrite(const WriteRequest& request, std::span<const std::byte> bytes,
                           WriteDone done) = 0;
  virtual void HandleControl(const ControlRequest& request, ControlDone done) = 0;
  // Whether reading `length` bytes of the object, or (0) a control operation on it, takes a few
  // microseconds and calls `done` before it returns: then it is asked for on the thread that drives
  // the fabric. That thread asks this, too.
  virtual bool AnswersAtOnce(const ObjectKey& /*object*/, uint32_t /*length*/) const {
    return false;
  }
};

class TransferEngine {
 public:
  struct Options {
    std::string provider = "tcp;ofi_rxm";
    std::string bind_address;  // an IP of this node; the port is chosen by the system
    Epoch epoch = 0;           // of this node; may be set later by SetEpoch, before serving
    int handler_threads = 4;
    uint32_t max_in_flight_per_peer = 32;
    uint32_t max_served = 64;                 // requests being served at once; more wait in order
    int64_t injected_delay_micros = 0;        // added before each request is sent: slow-link tests
    hwalloc::BufferArena* buffers = nullptr;  // required; outlives the engine
    RequestHandler* handler = nullptr;        // may be null: requests are refused
    Clock* clock = Clock::Real();
  };

  struct Counters {
    uint64_t bytes_received = 0;  // by Read here
    uint64_t bytes_served = 0;    // to peers' Read
    uint64_t requests_failed = 0;
    uint64_t checksum_failures = 0;
    uint64_t reconnects = 0;
  };

  static Result<std::unique_ptr<TransferEngine>> Create(Options options);
  virtual ~TransferEngine() = default;

  // What peers put into Peer::address.
  virtual std::string address() const = 0;
  virtual void SetEpoch(Epoch epoch) = 0;

  // Reads a range of the peer's object into `into`, which lies within a buffer of Options::buffers
  // that stays alive until the callback. Fails with PeerUnreachable, Timeout, WrongEpoch,
  // TokenInvalid, TokenExpired, Checksum, or whatever the owner answered.
  virtual void Read(const Peer& peer, const ReadRequest& request, std::span<std::byte> into,
                    int64_t deadline_micros, RequestHandler::ReadDone done) = 0;
  // Writes `bytes` (within a buffer of Options::buffers, alive until the callback).
  virtual void Write(const Peer& peer, const WriteRequest& request,
                     std::span<const std::byte> bytes, int64_t deadline_micros,
                     RequestHandler::WriteDone done) = 0;
  virtual void Control(const Peer& peer, const ControlRequest& request, int64_t deadline_micros,
                       RequestHandler::ControlDone done) = 0;

  virtual Counters counters() const = 0;
  // Fails what is in flight, joins the threads. Idempotent; the destructor calls it.
  virtual void Shutdown() = 0;
};

}  // namespace f3::xdt

#endif  // F3_XDT_TRANSFER_ENGINE_H_
