// Fetcher: brings content from where it is (another node, or the durable store) into a local
// object, and serves reads while that is under way.
//
// A Fetch fills one object in chunks of one MiB: a background fill with several requests in
// flight, and chunks that a reader waits for first. When every byte has arrived and was verified
// the object is sealed as a copy. When a holder fails, the next one is tried, in mid-read; content
// that changed at its home while it was pulled is served to its readers but never becomes a copy.
// Thread-safe. Fetches must be gone before the Fetcher.
#ifndef F3_STORAGE_NODES_FETCHER_H_
#define F3_STORAGE_NODES_FETCHER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/executor.h"
#include "common/ids.h"
#include "common/status.h"
#include "storage_nodes/durable_store.h"
#include "storage_nodes/object_store.h"
#include "xdt/transfer_engine.h"

namespace f3::storage {

struct Source {
  std::string node;  // name, for messages
  xdt::Peer peer;
  std::string token;
};

struct DurableBlock {
  uint64_t index = 0;
  Generation generation = 0;
  uint32_t crc = 0;
  uint32_t length = 0;
};

struct FetchPlan {
  ObjectKey key;
  Version version = 0;
  uint64_t size = 0;
  std::vector<Source> holders;       // best first; tried in this order
  bool durable = false;              // content is in the durable store, as `blocks`
  std::vector<DurableBlock> blocks;  // by index; a missing index is a hole
  // Asked for again when every holder refused or failed (tokens expire, copies move). May be null.
  std::function<Result<FetchPlan>()> refresh;
};

// One file's content on its way. Thread-safe.
class Fetch {
 public:
  virtual ~Fetch() = default;
  using ReadDone = std::function<void(Result<size_t>)>;
  // Waits (without holding a thread) for the bytes [offset, offset + into.size()) and copies them
  // into `into`, which stays valid until `done`. Short only at the end of the content. `done` may
  // run before ReadAsync returns.
  virtual void ReadAsync(uint64_t offset, std::span<std::byte> into, int64_t deadline_micros,
                         ReadDone done) = 0;
  // As ReadAsync without the copying: the range is in the object afterwards.
  virtual void EnsureAsync(uint64_t offset, uint64_t length, int64_t deadline_micros,
                           std::function<void(Status)> done) = 0;
  // Begins the background fill of everything; `done(status)` once: OK when the object is complete,
  // and `copy` says whether it is a verified copy of the planned version.
  virtual void FillAsync(std::function<void(Status, bool copy)> done) = 0;
  virtual std::shared_ptr<Object> object() = 0;
  virtual bool complete() const = 0;
};

class Fetcher {
 public:
  struct Options {
    ObjectStore* objects = nullptr;
    DurableStore* durable = nullptr;
    xdt::TransferEngine* engine = nullptr;
    hwalloc::BufferArena* buffers = nullptr;
    Clock* clock = Clock::Real();
    int threads = 2;                             // for reading durable blocks
    uint32_t window_chunks = 8;                  // in flight per fetch
    int64_t request_timeout_micros = 5'000'000;  // per request to one holder
  };
  struct Counters {
    uint64_t pulled_bytes = 0;        // from other nodes
    uint64_t durable_read_bytes = 0;  // from the durable store
    uint64_t failovers = 0;
  };
  static std::unique_ptr<Fetcher> Create(const Options& options);
  virtual ~Fetcher() = default;

  // Creates the local object (role filling; TierFull when there is no room) and the fetch.
  virtual Result<std::shared_ptr<Fetch>> Start(FetchPlan plan, TierKind tier) = 0;
  // Reads a range with no local object (no room for one, or a handle that must not cache).
  virtual void ReadThrough(const FetchPlan& plan, uint64_t offset, std::span<std::byte> into,
                           int64_t deadline_micros, Fetch::ReadDone done) = 0;
  virtual Counters counters() const = 0;
};

}  // namespace f3::storage

#endif  // F3_STORAGE_NODES_FETCHER_H_
