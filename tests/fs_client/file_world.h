// A cluster in one process for the tests of the file layer: the real operations of the metadata
// server over a store in memory, real objects and durable blocks in a temporary directory, and
// instead of gRPC, libfabric and the kernel, small models of them.
#ifndef F3_TESTS_FS_CLIENT_FILE_WORLD_H_
#define F3_TESTS_FS_CLIENT_FILE_WORLD_H_

#include <fcntl.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/env.h"
#include "common/mutex.h"
#include "common/unique_fd.h"
#include "fs_client/file_manager.h"
#include "fs_client/open_inode.h"
#include "hwalloc/buffer_arena.h"
#include "metadata/client.h"
#include "metadata/kv_store.h"
#include "metadata/op_context.h"
#include "storage_nodes/object_store.h"
#include "xdt/transfer_engine.h"

namespace f3::fs::test {

class World;
class Node;

// Waits for a callback.
template <typename T>
class Waiter {
 public:
  std::function<void(T)> callback() {
    auto promise = promise_;
    return [promise](T value) { promise->set_value(std::move(value)); };
  }
  bool ready() { return future_.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }
  T Get() {
    if (future_.wait_for(std::chrono::seconds(20)) != std::future_status::ready) {
      fprintf(stderr, "a callback did not come\n");
      abort();
    }
    return future_.get();
  }

 private:
  std::shared_ptr<std::promise<T>> promise_ = std::make_shared<std::promise<T>>();
  std::future<T> future_ = promise_->get_future();
};

// One open file of a mount, as the kernel keeps it.
struct SimFile {
  HandleId handle = 0;
  Ino ino = 0;
  uint64_t node_id = 0;
  int flags = 0;
  bool direct = false;
  int32_t backing_id = 0;
  UniqueFd backing;
  bool passthrough() const { return backing_id > 0; }
};
using SimFileRef = std::shared_ptr<SimFile>;

// A mount: the kernel's rules on backing files and cached pages, which fail a test that makes the
// file layer break them.
class SimKernel : public KernelCache {
 public:
  SimKernel(Node* node, bool passthrough) : node_(node), passthrough_(passthrough) {}

  // open(2); an ESTALE answer is tried once more with a new node id, as the kernel does.
  Result<SimFileRef> Open(Ino ino, int flags, int32_t pid = 1000);
  // open(2) with O_CREAT of a name in the root.
  Result<SimFileRef> Create(const std::string& name, int flags,
                            meta::FileClass file_class = meta::CLASS_EPHEMERAL, bool follow = false,
                            meta::Tier tier = meta::TIER_UNSET, int32_t pid = 1000);
  Result<std::string> Read(const SimFileRef& file, uint64_t offset, size_t length);
  Status Write(const SimFileRef& file, uint64_t offset, const std::string& bytes);
  Status Fsync(const SimFileRef& file);
  Status Flush(const SimFileRef& file, int32_t pid = 1000);
  void Release(const SimFileRef& file);
  // close(2) of the only descriptor.
  Status Close(const SimFileRef& file, int32_t pid = 1000);
  Result<meta::Attr> Stat(Ino ino);
  Status Truncate(const SimFileRef& file, uint64_t size);
  Status TruncateByName(Ino ino, uint64_t size);

  void InvalidateInode(Ino ino, bool data, uint64_t offset, uint64_t length,
                       std::function<void()> done) override;
  uint32_t number() const override { return 0; }
  bool passthrough() const override { return passthrough_; }
  Result<int32_t> OpenBacking(int fd) override;
  void CloseBacking(int32_t backing_id) override;

  size_t open_backings();
  uint64_t invalidations();
  bool refuse_backing = false;  // as a stacked file system does
  std::function<void()> before_invalidation;

 private:
  static constexpr uint64_t kPage = 4096;
  struct Inode {
    Ino ino = 0;
    int io_mode = 0;  // > 0 cached opens, < 0 passthrough opens
    int32_t backing_id = 0;
    std::map<uint64_t, std::string> pages;
  };
  Result<SimFileRef> Admit(const OpenOutcome& outcome, const OpenRequest& request);

  Node* const node_;
  const bool passthrough_;
  Mutex mutex_;
  std::map<int32_t, UniqueFd> backings_ F3_GUARDED_BY(mutex_);
  int32_t next_backing_ F3_GUARDED_BY(mutex_) = 1;
  std::map<uint64_t, Inode> inodes_ F3_GUARDED_BY(mutex_);
  std::map<Ino, uint64_t> node_ids_ F3_GUARDED_BY(mutex_);
  uint64_t next_node_id_ F3_GUARDED_BY(mutex_) = 100;
  uint64_t invalidations_ F3_GUARDED_BY(mutex_) = 0;
};

class FakeProbe : public ProcessProbe {
 public:
  Result<ProcessStat> Stat(int32_t pid) override;
  void Set(int32_t pid, int32_t parent, int32_t session, bool dying = false);

 private:
  Mutex mutex_;
  std::map<int32_t, ProcessStat> processes_ F3_GUARDED_BY(mutex_);
};

// One node agent without mounts' libfuse, data server and session.
class Node {
 public:
  Node(World* world, NodeId id);
  ~Node();

  NodeId id() const { return id_; }
  FileManager* files() { return files_.get(); }
  storage::ObjectStore* objects() { return objects_.get(); }
  meta::MetaClient* meta() { return meta_.get(); }
  SimKernel* mount() { return mounts_[0].get(); }
  SimKernel* AddMount(bool passthrough);
  SessionId session() const { return session_; }

  // Waits until closes, publishes and fills that run by themselves are over.
  void Settle();
  // Ends the agent without any goodbye, and starts it again on the same tiers.
  void Restart();
  // The metadata server forgets the session; the client notices and registers anew.
  void ExpireSession();
  uint64_t calls(meta::Request::OpCase op);

 private:
  friend class World;
  void Start();

  World* const world_;
  const NodeId id_;
  const std::string dir_;
  SessionId session_ = 0;
  std::unique_ptr<storage::ObjectStore> objects_;
  std::unique_ptr<meta::MetaClient> meta_;
  std::unique_ptr<xdt::TransferEngine> engine_;
  std::unique_ptr<storage::Fetcher> fetcher_;
  std::unique_ptr<FileManager> files_;
  std::vector<std::unique_ptr<SimKernel>> mounts_;
};

class World : public meta::IdSource, public meta::OpenView, public meta::NodeView {
 public:
  // What outlives a power cut: where the durable store's files and the metadata are. All null: a
  // temporary directory, and memory.
  struct Disks {
    Env* env = nullptr;
    std::unique_ptr<meta::KvStore> metadata;
    uint64_t first_id =
        1000;  // of inodes, incarnations and sessions; above those of earlier worlds
  };

  explicit World(int nodes, bool passthrough = true) : World(nodes, passthrough, Disks()) {}
  World(int nodes, bool passthrough, Disks disks);
  ~World() override;

  Node* node(int number) { return nodes_.at(static_cast<size_t>(number - 1)).get(); }
  SimKernel* n(int number) { return node(number)->mount(); }
  ManualClock* clock() { return &clock_; }
  FakeProbe* probe() { return &probe_; }
  storage::DurableStore* durable() { return durable_.get(); }
  const std::string& dir() const { return dir_; }
  Ino root() const { return root_; }
  Node* FindNode(const std::string& address);
  // Time passes; every node does what is due.
  void Advance(int64_t micros);
  // Calls of the durable store's Put fail with NoSpace while set.
  void FillDurable(bool full);
  void SetUp(NodeId node, bool up);
  // Peers refuse the capabilities handed out so far.
  void ExpireTokens();
  void EndSession(SessionId session);

  Status Call(Node* node, SessionId session, const meta::Request& request, meta::Reply* reply);
  meta::Attr Attr(Ino ino);
  meta::OpenReply Location(Ino ino);
  uint32_t Opens(Ino ino, bool writers);
  std::atomic<bool> exiting = false;

  // meta::IdSource, OpenView, NodeView
  Ino NextIno() override;
  uint64_t NextUnique() override;
  std::vector<meta::OpenCount> Opens(Ino ino) const override;
  NodeId NodeOfSession(SessionId session) const override;
  bool FillHolder(NodeId node, const ObjectKey& object, SessionId session, bool write,
                  meta::Holder* holder) const override;

 private:
  friend class Node;
  friend class FakeEngine;

  Status Execute(meta::OpContext& context, const meta::Request& request, meta::Reply* reply);
  void Apply(Node* caller, SessionId session, const meta::Effects& effects);
  SessionId NewSession(NodeId node);

  std::string dir_;
  const bool passthrough_;
  ManualClock clock_;
  FakeProbe probe_;
  std::unique_ptr<hwalloc::BufferArena> buffers_;
  std::unique_ptr<storage::DurableStore> durable_;
  std::unique_ptr<meta::KvStore> kv_;
  Ino root_ = 0;
  std::vector<std::unique_ptr<Node>> nodes_;

  Mutex call_mutex_;  // one metadata operation at a time
  mutable Mutex mutex_;
  uint64_t next_ F3_GUARDED_BY(mutex_);
  std::map<std::pair<Ino, SessionId>, meta::OpenCount> opens_ F3_GUARDED_BY(mutex_);
  std::map<SessionId, NodeId> sessions_ F3_GUARDED_BY(mutex_);
  std::set<NodeId> down_ F3_GUARDED_BY(mutex_);
  uint64_t token_epoch_ F3_GUARDED_BY(mutex_) = 1;
  std::map<std::pair<NodeId, int>, uint64_t> calls_ F3_GUARDED_BY(mutex_);
};

}  // namespace f3::fs::test

#endif  // F3_TESTS_FS_CLIENT_FILE_WORLD_H_
