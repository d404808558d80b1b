// DrainedStore: where a broker that shuts down leaves the values that can still be got, in a
// directory that every node sees (beside the durable store's blocks). Whoever is asked for such a
// value takes it up, one node alone, and owns it from then on; the file, renamed, tells the others
// who that is until the reference expires.
//
// A file is named after the object, OWNER-EPOCH-NUMBER-GENERATION; ".at-NODE" follows once NODE has
// taken it. Its first block (4096 bytes): 8 bytes magic, counted retrievals 4, CRC32C of the bytes
// 4 (little-endian), then the reference as text; the bytes follow.
//
// Thread-safe; files are the only state. It survives the agents, not a host's power cut (nothing is
// synced): a value that was not worth a file is not worth a sync.
#ifndef F3_XDT_DRAINED_STORE_H_
#define F3_XDT_DRAINED_STORE_H_

#include <cstdint>
#include <string>

#include "common/status.h"
#include "xdt/content.h"
#include "xdt/reference.h"

namespace f3::xdt {

class DrainedStore {
 public:
  struct Value {
    Reference reference;
    ContentRef content;
    uint32_t counted = 0;  // retrievals so far
  };

  // `dir` is made when it is first needed; empty: nothing is ever kept. `keys` outlives it.
  DrainedStore(std::string dir, const ReferenceKeys* keys) : dir_(std::move(dir)), keys_(keys) {}

  bool enabled() const { return !dir_.empty(); }
  Status Save(const Value& value);
  // ObjectMissing when there is none, or another node was faster. Checks the bytes (Corruption).
  Result<Value> Take(const Reference& reference, NodeId node);
  // Whether it was left here, taken or not.
  bool Has(const Reference& reference);
  // The node that has taken it. ObjectMissing.
  Result<NodeId> TakenBy(const Reference& reference);
  // Removes what has expired.
  void Sweep(int64_t now_wall_micros);

 private:
  std::string NameOf(const Reference& reference) const;
  Result<Value> Read(const std::string& path) const;

  const std::string dir_;
  const ReferenceKeys* const keys_;
};

}  // namespace f3::xdt

#endif  // F3_XDT_DRAINED_STORE_H_
