#include "fs_client/node_agent.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <thread>
#include <utility>

#include "common/mutex.h"
#include "fs_client/file_manager.h"
#include "fs_client/fuse_session.h"
#include "fs_client/garbage_collector.h"
#include "fs_client/node_directory.h"
#include "hwalloc/buffer_arena.h"
#include "metadata/client.h"
#include "storage_nodes/data_server.h"
#include "storage_nodes/durable_store.h"
#include "storage_nodes/fetcher.h"
#include "xdt/broker.h"
#include "xdt/handler_router.h"
#include "xdt/transfer_engine.h"

namespace f3::fs {
namespace {

constexpr int64_t kGarbageMicros = 30'000'000;

Status MakeDirectory(const std::string& what, const std::string& dir) {
  std::error_code error;
  std::filesystem::create_directories(dir, error);
  if (error) return Status::FromErrno(error.value(), "make the " + what + " " + dir);
  return Status();
}

// Calls `done` when all of `count` parts have called part().
std::function<void()> AfterAll(size_t count, std::function<void()> done) {
  auto left = std::make_shared<std::atomic<size_t>>(count);
  return [left, done = std::move(done)] {
    if (--*left == 0) done();
  };
}

class Agent : public NodeAgent, public meta::SessionListener {
 public:
  Agent(const AgentOptions& options, const ClusterKey& key) : options_(options), key_(key) {}
  ~Agent() override { Stop().PermitUnchecked(); }

  Status Open();

  Status Mount(const MountOptions& options) override;
  Status Unmount(const std::string& dir) override;
  std::vector<MountOptions> Mounts() override;
  bool Passthrough(const std::string& dir) override;
  std::map<std::string, uint64_t> Requests() override;
  meta::NodeUsage Usage() override;
  bool connected() override { return meta_->connected(); }
  std::vector<storage::MemoryLedger::Line> Memory() override { return ledger_.lines(); }
  Result<storage::ObjectInfo> FindObject(const ObjectKey& key) override {
    F3_ASSIGN_OR_RETURN(auto object, objects_->Find(key));
    return object->info();
  }
  Result<std::vector<std::string>> Verify(bool repair) override { return objects_->Verify(repair); }
  Status OpenXdtSocket(const std::string& path, const xdt::Scope& scope, mode_t mode,
                       uint64_t limit_bytes) override {
    return broker_->OpenSocket(path, scope, mode, limit_bytes);
  }
  Status CloseXdtSocket(const std::string& path) override { return broker_->CloseSocket(path); }
  xdt::Broker::Counters XdtCounters() override { return broker_->counters(); }
  void Wait() override;
  Status Stop() override;

  void OnInvalidate(const meta::Invalidate& invalidate, std::function<void()> done) override;
  void OnDrop(const meta::ObjectName& object) override;
  void OnLockAvailable(Ino ino) override;
  void OnFence(SessionId session, std::function<void()> done) override;
  void OnWriterElsewhere(const meta::ObjectName& object) override;
  void OnLeasesLost() override;
  void OnExpired() override;
  void OnRegistered(const meta::RegisterReply& reply) override;
  std::vector<meta::CloseOp> OpenFiles() override;

 private:
  using SessionRef = std::shared_ptr<FuseSession>;
  struct Mounted {
    MountOptions options;
    SessionRef session;
    bool ended = false;
  };

  Status OpenStores();
  Status Connect();
  Status OpenBroker();
  std::vector<SessionRef> Sessions();
  // Every mount but `except_mount`; numbers begin with 1.
  void TellMounts(const meta::Invalidate& invalidate, std::function<void()> done);
  void MountEnded(const std::string& dir);
  void Keep();
  void StopKeeper();

  const AgentOptions options_;
  const ClusterKey key_;
  storage::MemoryLedger ledger_{0};
  std::unique_ptr<hwalloc::BufferArena> buffers_;
  std::unique_ptr<storage::ObjectStore> objects_;
  std::unique_ptr<storage::DurableStore> durable_;
  std::unique_ptr<storage::DataServer> data_;
  std::unique_ptr<xdt::HandlerRouter> router_;
  std::unique_ptr<xdt::TransferEngine> engine_;
  std::unique_ptr<storage::Fetcher> fetcher_;
  std::unique_ptr<meta::MetaClient> meta_;
  std::unique_ptr<MetaDirectory> nodes_;
  std::unique_ptr<xdt::Broker> broker_;
  // Of the first registration: what the broker holds is of this start, whatever sessions follow.
  std::atomic<NodeId> node_{0};
  std::atomic<Epoch> epoch_{0};
  std::unique_ptr<FileManager> files_;
  std::atomic<FileManager*> ready_files_{nullptr};  // for events, which may come before Start ends

  Mutex mounting_mutex_;  // one Mount or Unmount at a time; before mutex_
  uint32_t last_mount_ F3_GUARDED_BY(mounting_mutex_) = 0;
  Mutex mutex_;
  CondVar changed_;
  std::map<std::string, Mounted> mounts_ F3_GUARDED_BY(mutex_);
  // Unmounted; the file layer may be about to tell them of a change. Freed a round of Keep later.
  std::vector<SessionRef> retired_ F3_GUARDED_BY(mutex_);
  bool stopping_ F3_GUARDED_BY(mutex_) = false;
  bool stopped_ F3_GUARDED_BY(mutex_) = false;
  bool registered_again_ F3_GUARDED_BY(mutex_) = false;
  std::thread keeper_;
};

Status Agent::OpenStores() {
  F3_RETURN_IF_ERROR(MakeDirectory("state directory", options_.state_dir));
  F3_RETURN_IF_ERROR(MakeDirectory("durable store", options_.durable_dir));
  F3_ASSIGN_OR_RETURN(buffers_, hwalloc::BufferArena::Create(options_.buffer_bytes));
  F3_RETURN_IF_ERROR(ledger_.Grant("buffers", buffers_->usage().capacity_bytes,
                                   [this] { return buffers_->usage().used_bytes; }));
  storage::ObjectStore::Options objects;
  objects.memory_dir = options_.memory_dir;
  objects.disk_dir = options_.state_dir;
  objects.disk_capacity_bytes = options_.disk_bytes;
  F3_ASSIGN_OR_RETURN(objects_, storage::ObjectStore::Open(objects));
  for (const storage::ObjectInfo& lost : objects_->LostHomes()) {
    spdlog::error("the bytes of inode {} are lost: its tier no longer has them", lost.key.ino);
  }
  if (!options_.memory_dir.empty()) {
    F3_RETURN_IF_ERROR(ledger_.Grant("memory tier", objects_->usage().memory_capacity,
                                     [this] { return objects_->usage().memory_used; }));
  }
  F3_ASSIGN_OR_RETURN(durable_,
                      storage::DurableStore::OpenDirectory(options_.durable_dir, Env::Real()));
  return Status();
}

Status Agent::Connect() {
  storage::DataServer::Options data;
  data.objects = objects_.get();
  data.key = &key_;
  data_ = storage::DataServer::Create(data);
  xdt::TransferEngine::Options engine;
  engine.provider = options_.fabric_provider;
  engine.bind_address = options_.bind_address;
  engine.injected_delay_micros = options_.injected_delay_micros;
  engine.buffers = buffers_.get();
  router_ = std::make_unique<xdt::HandlerRouter>(data_.get());
  engine.handler = router_.get();
  F3_ASSIGN_OR_RETURN(engine_, xdt::TransferEngine::Create(engine));
  storage::Fetcher::Options fetcher;
  fetcher.objects = objects_.get();
  fetcher.durable = durable_.get();
  fetcher.engine = engine_.get();
  fetcher.buffers = buffers_.get();
  fetcher_ = storage::Fetcher::Create(fetcher);
  meta::MetaClient::Options client;
  client.server = options_.metadata_server;
  client.tls_ca_file = options_.tls_ca_file;
  client.node.set_name(options_.name);
  client.node.set_fabric_address(engine_->address());
  client.node.set_control_address(options_.control_socket);
  client.node.set_tier_uuid(objects_->tier_uuid());
  F3_ASSIGN_OR_RETURN(meta_, meta::MetaClient::Connect(client, key_, this));
  return Status();
}

Status Agent::OpenBroker() {
  nodes_ = std::make_unique<MetaDirectory>(meta_.get());
  xdt::Broker::Options broker;
  broker.name = options_.name;
  broker.node = node_;
  broker.epoch = epoch_;
  broker.reference_root = key_.reference_root();
  broker.memory_bytes = options_.xdt_memory_bytes;
  if (options_.xdt_spill) broker.spill_dir = options_.state_dir;
  broker.drain_dir = options_.durable_dir + "/xdt";
  broker.engine = engine_.get();
  broker.buffers = buffers_.get();
  broker.nodes = nodes_.get();
  F3_ASSIGN_OR_RETURN(broker_, xdt::Broker::Create(broker));
  router_->SetBuffers(broker_.get());
  F3_RETURN_IF_ERROR(ledger_.Grant("functions' buffers", broker_->memory_bytes(),
                                   [this] { return broker_->used_bytes(); }));
  if (options_.xdt_socket.empty()) return Status();
  return broker_->OpenSocket(options_.xdt_socket, {options_.xdt_namespace, ""}, 0660, 0);
}

Status Agent::Open() {
  F3_RETURN_IF_ERROR(OpenStores());
  F3_RETURN_IF_ERROR(Connect());
  F3_RETURN_IF_ERROR(OpenBroker());
  FileManager::Options files;
  files.meta = meta_.get();
  files.objects = objects_.get();
  files.durable = durable_.get();
  files.fetcher = fetcher_.get();
  files.engine = engine_.get();
  files.buffers = buffers_.get();
  files.attr_changed = [this](Ino ino, KernelCache* except, std::function<void()> done) {
    meta::Invalidate invalidate;
    invalidate.add_items()->set_ino(ino);
    invalidate.mutable_items(0)->set_attr(true);
    if (except != nullptr) invalidate.set_except_mount(except->number());
    TellMounts(invalidate, std::move(done));
  };
  files_ = FileManager::Create(files);
  ready_files_ = files_.get();
  data_->SetListener(files_.get());
  F3_RETURN_IF_ERROR(files_->Recover().WithContext("taking up what the last start left"));
  keeper_ = std::thread([this] { Keep(); });
  for (const MountOptions& mount : options_.mounts) F3_RETURN_IF_ERROR(Mount(mount));
  return Status();
}

Status Agent::Mount(const MountOptions& options) {
  MutexLock one(mounting_mutex_);
  {
    MutexLock lock(mutex_);
    if (stopping_) return Status::Unavailable("the node agent is stopping");
    if (mounts_.contains(options.dir)) return Status::Busy(options.dir + " is mounted already");
    mounts_[options.dir].options = options;
  }
  FuseSession::Options session_options;
  session_options.mount = options;
  session_options.number = ++last_mount_;
  session_options.source = options_.metadata_server + "/" + options.volume +
                           (options.subtree.empty() ? "" : "/" + options.subtree);
  session_options.meta = meta_.get();
  session_options.files = files_.get();
  const bool scoped = !options.scope.name_space.empty();
  session_options.references = broker_->OpenReader(
      scoped ? options.scope : xdt::Scope{options_.xdt_namespace, ""}, options.xdt_limit_bytes);
  session_options.on_ended = [this, dir = options.dir] { MountEnded(dir); };
  auto session = FuseSession::Mount(session_options);
  MutexLock lock(mutex_);
  if (!session.ok()) {
    mounts_.erase(options.dir);
    return session.status();
  }
  mounts_[options.dir].session = std::move(session).value();
  return Status();
}

Status Agent::Unmount(const std::string& dir) {
  MutexLock one(mounting_mutex_);
  SessionRef session;
  {
    MutexLock lock(mutex_);
    auto found = mounts_.find(dir);
    if (found == mounts_.end()) return Status::NotFound("nothing is mounted at " + dir);
    session = found->second.session;
  }
  if (session != nullptr) session->Unmount();
  {
    MutexLock lock(mutex_);
    mounts_.erase(dir);
    if (session != nullptr) retired_.push_back(std::move(session));
    changed_.SignalAll();
  }
  return Status();
}

void Agent::MountEnded(const std::string& dir) {
  MutexLock lock(mutex_);
  auto found = mounts_.find(dir);
  if (found != mounts_.end()) found->second.ended = true;
  changed_.SignalAll();
}

// Takes away mounts that were ended from outside, and removes garbage now and then.
void Agent::Keep() {
  GarbageCollector collector(meta_.get(), durable_.get());
  std::vector<SessionRef> retired;
  int64_t collect_at = Clock::Real()->MonotonicMicros() + kGarbageMicros;
  for (;;) {
    std::vector<std::string> ended;
    bool inventory = false;
    {
      MutexLock lock(mutex_);
      while (!stopping_ && ended.empty() && !registered_again_) {
        for (const auto& [dir, mounted] : mounts_) {
          if (mounted.ended && mounted.session != nullptr) ended.push_back(dir);
        }
        const int64_t left = collect_at - Clock::Real()->MonotonicMicros();
        if (!ended.empty() || left <= 0) break;
        changed_.WaitFor(mutex_, left);
      }
      if (stopping_) return;
      inventory = std::exchange(registered_again_, false);
    }
    for (const std::string& dir : ended) Unmount(dir).PermitUnchecked();
    if (inventory) {
      Status told = files_->Recover();
      if (!told.ok()) spdlog::warn("telling the server what is here: {}", told.ToString());
    }
    if (Clock::Real()->MonotonicMicros() < collect_at) continue;
    Status collected = collector.Run();
    if (!collected.ok()) spdlog::debug("collecting garbage: {}", collected.ToString());
    collect_at = Clock::Real()->MonotonicMicros() + kGarbageMicros;
    retired.clear();
    MutexLock lock(mutex_);
    retired.swap(retired_);
  }
}

std::vector<Agent::SessionRef> Agent::Sessions() {
  MutexLock lock(mutex_);
  std::vector<SessionRef> sessions;
  for (const auto& [dir, mounted] : mounts_) {
    if (mounted.session != nullptr) sessions.push_back(mounted.session);
  }
  return sessions;
}

std::vector<MountOptions> Agent::Mounts() {
  MutexLock lock(mutex_);
  std::vector<MountOptions> mounts;
  for (const auto& [dir, mounted] : mounts_) mounts.push_back(mounted.options);
  return mounts;
}

bool Agent::Passthrough(const std::string& dir) {
  MutexLock lock(mutex_);
  auto found = mounts_.find(dir);
  return found != mounts_.end() && found->second.session != nullptr &&
         found->second.session->passthrough();
}

std::map<std::string, uint64_t> Agent::Requests() {
  std::map<std::string, uint64_t> sum;
  for (const SessionRef& session : Sessions()) {
    for (const auto& [name, count] : session->Requests()) sum[name] += count;
  }
  return sum;
}

meta::NodeUsage Agent::Usage() {
  meta::NodeUsage usage;
  const auto objects = objects_->usage();
  usage.set_memory_used(objects.memory_used);
  usage.set_memory_capacity(objects.memory_capacity);
  usage.set_disk_used(objects.disk_used);
  usage.set_disk_capacity(objects.disk_capacity);
  usage.set_objects(objects.objects);
  const auto buffers = buffers_->usage();
  usage.set_buffer_used(buffers.used_bytes);
  usage.set_buffer_capacity(buffers.capacity_bytes);
  const auto fetched = fetcher_->counters();
  usage.set_pulled_bytes(fetched.pulled_bytes);
  usage.set_durable_read_bytes(fetched.durable_read_bytes);
  usage.set_served_bytes(engine_->counters().bytes_served);
  if (FileManager* files = ready_files_) {
    const auto counters = files->counters();
    usage.set_local_bytes(counters.local_read_bytes);
    usage.set_durable_written_bytes(counters.durable_written_bytes);
  }
  return usage;
}

void Agent::Wait() {
  MutexLock lock(mutex_);
  // Those that came later are their owners' matter.
  auto configured = [this]() F3_REQUIRES(mutex_) {
    return std::any_of(options_.mounts.begin(), options_.mounts.end(),
                       [this](const MountOptions& mount)
                           F3_REQUIRES(mutex_) { return mounts_.contains(mount.dir); });
  };
  while (!stopping_ && (options_.mounts.empty() || configured())) changed_.Wait(mutex_);
}

void Agent::StopKeeper() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.SignalAll();
  }
  if (keeper_.joinable()) keeper_.join();
}

Status Agent::Stop() {
  {
    MutexLock lock(mutex_);
    if (stopped_) return Status();
    stopped_ = true;
  }
  StopKeeper();
  if (broker_ != nullptr) broker_->Shutdown();
  for (const MountOptions& mount : Mounts()) Unmount(mount.dir).PermitUnchecked();
  Status status;
  if (files_ != nullptr) files_->Shutdown();
  if (data_ != nullptr) data_->SetListener(nullptr);
  ready_files_ = nullptr;
  // Nothing of an ephemeral file survives in a tmpfs that goes with this node.
  if (objects_ != nullptr && !options_.memory_dir.empty()) {
    status = objects_->Spill(UINT64_MAX);
    if (!status.ok()) spdlog::error("moving the memory tier to disk: {}", status.ToString());
  }
  if (meta_ != nullptr) meta_->Shutdown();
  if (engine_ != nullptr) engine_->Shutdown();
  files_ = nullptr;
  fetcher_ = nullptr;
  engine_ = nullptr;
  return status;
}

void Agent::TellMounts(const meta::Invalidate& invalidate, std::function<void()> done) {
  std::vector<SessionRef> sessions = Sessions();
  auto part = AfterAll(sessions.size() + 1, std::move(done));
  for (const SessionRef& session : sessions) {
    if (session->number() == invalidate.except_mount()) {
      part();
    } else {
      session->OnInvalidate(invalidate, part);
    }
  }
  part();
}

void Agent::OnInvalidate(const meta::Invalidate& invalidate, std::function<void()> done) {
  auto part = AfterAll(2, std::move(done));
  TellMounts(invalidate, part);
  // What this session changes itself is here as it is.
  FileManager* files = invalidate.except_mount() == 0 ? ready_files_.load() : nullptr;
  for (const auto& item : invalidate.items()) {
    if (item.data() && files != nullptr) files->OnContentInvalidated(item.ino());
  }
  part();
}

void Agent::OnDrop(const meta::ObjectName& object) {
  if (FileManager* files = ready_files_) {
    files->OnDrop({object.ino(), object.incarnation()}, object.version());
  }
}

void Agent::OnLockAvailable(Ino ino) {
  for (const SessionRef& session : Sessions()) session->OnLockAvailable(ino);
}

void Agent::OnFence(SessionId session, std::function<void()> done) {
  data_->Fence(session);
  done();
}

void Agent::OnWriterElsewhere(const meta::ObjectName& object) {
  if (FileManager* files = ready_files_) files->OnWriterElsewhere(object.ino());
}

void Agent::OnLeasesLost() {
  for (const SessionRef& session : Sessions()) session->DropCaches();
}

void Agent::OnExpired() {
  OnLeasesLost();
  if (FileManager* files = ready_files_) files->OnSessionExpired();
}

void Agent::OnRegistered(const meta::RegisterReply& reply) {
  if (epoch_ == 0) {
    node_ = reply.node();
    epoch_ = reply.epoch();
  }
  engine_->SetEpoch(reply.epoch());
  data_->SetNode(reply.node());
  FileManager* files = ready_files_;
  if (files == nullptr) return;
  files->OnRegistered(reply.node(), reply.session());
  // What was dropped while nobody could tell this node.
  MutexLock lock(mutex_);
  registered_again_ = true;
  changed_.SignalAll();
}

std::vector<meta::CloseOp> Agent::OpenFiles() {
  FileManager* files = ready_files_;
  return files != nullptr ? files->OpenFiles() : std::vector<meta::CloseOp>();
}

}  // namespace

Result<std::unique_ptr<NodeAgent>> NodeAgent::Start(const AgentOptions& options,
                                                    const ClusterKey& key) {
  auto agent = std::make_unique<Agent>(options, key);
  F3_RETURN_IF_ERROR(agent->Open());
  return std::unique_ptr<NodeAgent>(std::move(agent));
}

}  // namespace f3::fs
