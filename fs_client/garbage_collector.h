// GarbageCollector: removes blocks of the durable store that no file refers to any more.
//
// The metadata server lists them (SCAN_GARBAGE) and forgets them once they are gone. Any node may
// do it, several at once too. Used by one thread.
#ifndef F3_FS_CLIENT_GARBAGE_COLLECTOR_H_
#define F3_FS_CLIENT_GARBAGE_COLLECTOR_H_

#include "common/status.h"
#include "metadata/client.h"
#include "storage_nodes/durable_store.h"

namespace f3::fs {

class GarbageCollector {
 public:
  GarbageCollector(meta::MetaClient* meta, storage::DurableStore* durable)
      : meta_(meta), durable_(durable) {}
  // Removes what is garbage now. Blocks; what fails is tried again by the next Run.
  Status Run();

 private:
  meta::MetaClient* const meta_;
  storage::DurableStore* const durable_;
};

}  // namespace f3::fs

#endif  // F3_FS_CLIENT_GARBAGE_COLLECTOR_H_
