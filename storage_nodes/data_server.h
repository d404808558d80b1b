// DataServer: the owner's side of the transfer engine: checks authority, reads and writes objects.
//
// Every request's capability is opened with the cluster key and compared with the object, the
// right and this node; fenced sessions are refused. A copy serves the version that is asked for or
// nothing; a home serves what it has now, and says which version that is. Thread-safe.
#ifndef F3_STORAGE_NODES_DATA_SERVER_H_
#define F3_STORAGE_NODES_DATA_SERVER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "common/clock.h"
#include "common/cluster_key.h"
#include "common/ids.h"
#include "common/status.h"
#include "storage_nodes/object_store.h"
#include "xdt/transfer_engine.h"

namespace f3::storage {

// What the home's file layer must know of remote requests, and what only it can do. Implemented by
// the FUSE client's FileManager; thread-safe; callbacks run exactly once, on any thread.
class HomeListener {
 public:
  virtual ~HomeListener() = default;

  struct Progress {
    uint64_t readable_bytes = 0;  // the watermark: bytes seen from the writer
    bool writing = false;         // a writer is still there
  };
  // Waits until more than `offset` bytes are readable or no writer is left. WriterVanished when
  // the writer died from a signal or wrote behind the watermark. For objects that nobody has open
  // here it answers at once with the object's size.
  virtual void AwaitBytes(const ObjectKey& key, uint64_t offset, int64_t deadline_micros,
                          std::function<void(Result<Progress>)> done) = 0;
  // A peer asks to write `length` bytes at `offset`, to truncate, allocate or publish. The listener
  // does it on `object`, records what is dirty, and invalidates the kernel's cached pages before
  // `done`. Stale when the object is no longer what writes go to.
  virtual void RemoteWrite(std::shared_ptr<Object> object, const xdt::WriteRequest& request,
                           std::span<const std::byte> bytes,
                           xdt::RequestHandler::WriteDone done) = 0;
  virtual void RemoteControl(std::shared_ptr<Object> object, const xdt::ControlRequest& request,
                             xdt::RequestHandler::ControlDone done) = 0;
};

class DataServer : public xdt::RequestHandler {
 public:
  struct Options {
    ObjectStore* objects = nullptr;
    const ClusterKey* key = nullptr;
    Clock* clock = Clock::Real();
  };
  static std::unique_ptr<DataServer> Create(const Options& options);
  // Before serving, and again (null) before the listener goes away: waits for what still uses it.
  virtual void SetListener(HomeListener* listener) = 0;
  virtual void SetNode(NodeId node) = 0;
  // Refuses capabilities of this session from now on, and waits for the changes it is making.
  virtual void Fence(SessionId session) = 0;
};

}  // namespace f3::storage

#endif  // F3_STORAGE_NODES_DATA_SERVER_H_
