#include "tests/fs_client/file_world.h"

#include <ftw.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "metadata/inode_ops.h"
#include "metadata/location_ops.h"

namespace f3::fs::test {
namespace {

class FullableStore : public storage::DurableStore {
 public:
  explicit FullableStore(std::unique_ptr<storage::DurableStore> base) : base_(std::move(base)) {}
  Status Put(const storage::BlockName& name, std::span<const std::byte> bytes) override {
    if (full) return Status::NoSpace("the durable store is full");
    return base_->Put(name, bytes);
  }
  Status Commit(Ino ino) override { return base_->Commit(ino); }
  Status Get(const storage::BlockName& name, uint32_t length, uint32_t crc, uint32_t offset,
             std::span<std::byte> into) override {
    return base_->Get(name, length, crc, offset, into);
  }
  Status Remove(const storage::BlockName& name) override { return base_->Remove(name); }
  Status ForEach(const std::function<bool(const storage::BlockName&, uint64_t)>& visit) override {
    return base_->ForEach(visit);
  }
  Result<Space> space() override { return base_->space(); }
  std::atomic<bool> full{false};

 private:
  const std::unique_ptr<storage::DurableStore> base_;
};

class FakeMeta : public meta::MetaClient {
 public:
  FakeMeta(World* world, Node* node) : world_(world), node_(node) {}
  Status Call(meta::Request request, meta::Reply* reply) override {
    return world_->Call(node_, node_->session(), request, reply);
  }
  void CallAsync(meta::Request request, std::function<void(Status, meta::Reply)> done) override {
    meta::Reply reply;
    Status status = Call(std::move(request), &reply);
    done(status, reply);
  }
  SessionId session() const override { return node_->session(); }
  NodeId node() const override { return node_->id(); }
  bool connected() const override { return true; }
  void Shutdown() override {}

 private:
  World* const world_;
  Node* const node_;
};

// Fills synchronously; what matters here is what the file layer does around it.
class FakeFetch : public storage::Fetch {
 public:
  FakeFetch(World* world, Node* node, storage::FetchPlan plan,
            std::shared_ptr<storage::Object> object)
      : world_(world), node_(node), plan_(std::move(plan)), object_(std::move(object)) {}
  ~FakeFetch() override {
    if (!complete_) node_->objects()->Remove(plan_.key).PermitUnchecked();
  }
  void ReadAsync(uint64_t offset, std::span<std::byte> into, int64_t, ReadDone done) override {
    Status status = Load();
    if (!status.ok()) {
      done(status);
      return;
    }
    done(ReadObject(*object_, offset, into));
  }
  void EnsureAsync(uint64_t, uint64_t, int64_t, std::function<void(Status)> done) override {
    done(Load());
  }
  void FillAsync(std::function<void(Status, bool)> done) override {
    Status status = Load();
    done(status, status.ok() && copy_);
  }
  std::shared_ptr<storage::Object> object() override { return object_; }
  bool complete() const override { return complete_; }
  Status Load();

 private:
  World* const world_;
  Node* const node_;
  const storage::FetchPlan plan_;
  const std::shared_ptr<storage::Object> object_;
  Mutex mutex_;
  std::atomic<bool> complete_{false};
  bool copy_ = false;
};

class FakeFetcher : public storage::Fetcher {
 public:
  FakeFetcher(World* world, Node* node) : world_(world), node_(node) {}
  Result<std::shared_ptr<storage::Fetch>> Start(storage::FetchPlan plan,
                                                storage::TierKind tier) override {
    F3_ASSIGN_OR_RETURN(auto object,
                        node_->objects()->Create(plan.key, storage::Role::kFilling, tier, 0));
    return std::shared_ptr<storage::Fetch>(
        std::make_shared<FakeFetch>(world_, node_, std::move(plan), std::move(object)));
  }
  void ReadThrough(const storage::FetchPlan&, uint64_t, std::span<std::byte>, int64_t,
                   storage::Fetch::ReadDone done) override {
    done(Status::NotSupported("read-through"));
  }
  Counters counters() const override { return {}; }

 private:
  World* const world_;
  Node* const node_;
};

int RemoveOne(const char* path, const struct stat*, int, struct FTW*) { return ::remove(path); }

}  // namespace

class FakeEngine : public xdt::TransferEngine {
 public:
  FakeEngine(World* world, Node* node) : world_(world), node_(node) {}
  std::string address() const override { return "node" + std::to_string(node_->id()); }
  void SetEpoch(Epoch) override {}
  void Read(const xdt::Peer& peer, const xdt::ReadRequest& request, std::span<std::byte> into,
            int64_t deadline, xdt::RequestHandler::ReadDone done) override {
    auto object = Check(peer, request, false);
    if (!object.ok()) {
      done(object.status());
      return;
    }
    auto read = [object = *object, request, into, done](bool writing) {
      auto n = ReadObject(*object, request.offset, into);
      xdt::ReadResult result;
      result.length = n.ok() ? static_cast<uint32_t>(*n) : 0;
      result.object_bytes = object->info().size;
      result.version = object->info().version;
      result.writing = writing;
      done(result);
    };
    if (!request.follow) {
      read((*object)->info().writing);
      return;
    }
    world_->FindNode(peer.address)
        ->files()
        ->AwaitBytes(request.object, request.offset, deadline,
                     [read, done](Result<storage::HomeListener::Progress> progress) {
                       if (progress.ok()) {
                         read(progress->writing);
                       } else {
                         done(progress.status());
                       }
                     });
  }
  void Write(const xdt::Peer& peer, const xdt::WriteRequest& request,
             std::span<const std::byte> bytes, int64_t,
             xdt::RequestHandler::WriteDone done) override {
    auto object = Check(peer, request, true);
    if (!object.ok()) {
      done(object.status());
      return;
    }
    world_->FindNode(peer.address)->files()->RemoteWrite(*object, request, bytes, done);
  }
  void Control(const xdt::Peer& peer, const xdt::ControlRequest& request, int64_t,
               xdt::RequestHandler::ControlDone done) override {
    auto object = Check(peer, request, request.op != xdt::ControlOp::kStat);
    if (!object.ok()) {
      done(object.status());
      return;
    }
    world_->FindNode(peer.address)->files()->RemoteControl(*object, request, done);
  }
  Counters counters() const override { return {}; }
  void Shutdown() override {}

 private:
  Result<std::shared_ptr<storage::Object>> Check(const xdt::Peer& peer,
                                                 const xdt::ObjectRequest& request, bool write) {
    Node* owner = world_->FindNode(peer.address);
    {
      MutexLock lock(world_->mutex_);
      if (owner == nullptr || world_->down_.count(owner->id()) > 0) {
        return Status::PeerUnreachable("node is down");
      }
      const std::string current = "cap" + std::to_string(world_->token_epoch_);
      if (request.token.compare(0, current.size(), current) != 0) {
        return Status::TokenExpired("too old");
      }
    }
    if (write && request.token.back() != 'w') return Status::TokenInvalid("may not write");
    return owner->objects()->Find(request.object);
  }
  World* const world_;
  Node* const node_;
};

Status FakeFetch::Load() {
  MutexLock lock(mutex_);
  if (complete_) return Status();
  std::string bytes(plan_.size, '\0');
  bool got = false;
  copy_ = true;
  for (const storage::Source& source : plan_.holders) {
    Node* owner = world_->FindNode(source.peer.address);
    auto object = owner->objects()->Find(plan_.key);
    if (!object.ok()) continue;
    const storage::ObjectInfo info = (*object)->info();
    if (info.version != plan_.version) copy_ = false;
    if (info.writing) copy_ = false;
    auto n = ReadObject(**object, 0, std::as_writable_bytes(std::span(bytes)));
    if (n.ok() && *n == bytes.size()) {
      got = true;
      break;
    }
  }
  if (!got && !plan_.durable) return Status::Unavailable("no holder");
  if (!got) {
    for (const storage::DurableBlock& block : plan_.blocks) {
      const uint64_t at = block.index * kBlockBytes;
      if (at >= bytes.size()) continue;
      const size_t n = std::min<uint64_t>(block.length, bytes.size() - at);
      F3_RETURN_IF_ERROR(world_->durable()->Get(
          {plan_.key.ino, block.index, block.generation}, block.length, block.crc, 0,
          std::as_writable_bytes(std::span(bytes.data() + at, n))));
    }
  }
  F3_RETURN_IF_ERROR(WriteObject(*object_, 0, false, std::as_bytes(std::span(bytes))).status());
  if (copy_) F3_RETURN_IF_ERROR(object_->Seal(plan_.version, storage::Role::kCopy));
  complete_ = true;
  return Status();
}

// ---- processes ----

Result<ProcessStat> FakeProbe::Stat(int32_t pid) {
  MutexLock lock(mutex_);
  auto it = processes_.find(pid);
  if (it == processes_.end()) return Status::NotFound("no process");
  return it->second;
}

void FakeProbe::Set(int32_t pid, int32_t parent, int32_t session, bool dying) {
  MutexLock lock(mutex_);
  processes_[pid] = {pid, parent, session, dying};
}

// ---- node ----

Node::Node(World* world, NodeId id)
    : world_(world), id_(id), dir_(world->dir() + "/node" + std::to_string(id)) {
  session_ = world_->NewSession(id_);
  mounts_.push_back(std::make_unique<SimKernel>(this, world_->passthrough_));
  Start();
}

void Node::Start() {
  storage::ObjectStore::Options store;
  store.disk_dir = dir_ + "/disk";
  std::filesystem::create_directories(store.disk_dir);
  auto objects = storage::ObjectStore::Open(store);
  EXPECT_TRUE(objects.ok()) << objects.status().ToString();
  objects_ = *std::move(objects);
  meta_ = std::make_unique<FakeMeta>(world_, this);
  engine_ = std::make_unique<FakeEngine>(world_, this);
  fetcher_ = std::make_unique<FakeFetcher>(world_, this);
  FileManager::Options options;
  options.meta = meta_.get();
  options.objects = objects_.get();
  options.durable = world_->durable();
  options.fetcher = fetcher_.get();
  options.engine = engine_.get();
  options.buffers = world_->buffers_.get();
  options.clock = world_->clock();
  options.probe = world_->probe();
  options.threads = 2;
  options.background = false;
  files_ = FileManager::Create(options);
}

Node::~Node() {
  files_->Shutdown();
  files_.reset();
  fetcher_.reset();
}

SimKernel* Node::AddMount(bool passthrough) {
  mounts_.push_back(std::make_unique<SimKernel>(this, passthrough));
  return mounts_.back().get();
}

void Node::Settle() {
  // Everything that runs by itself ends in its inode's strand: a task behind it waits for all.
  files_->AwaitIdle();
}

void Node::Restart() {
  // Nothing that happens from here on reaches the server.
  const SessionId old = session_;
  session_ = 0;
  files_->Shutdown();
  files_.reset();
  fetcher_.reset();
  engine_.reset();
  objects_.reset();
  world_->EndSession(old);
  session_ = world_->NewSession(id_);
  mounts_.clear();
  mounts_.push_back(std::make_unique<SimKernel>(this, world_->passthrough_));
  Start();
}

void Node::ExpireSession() {
  world_->EndSession(session_);
  files_->OnSessionExpired();
  session_ = world_->NewSession(id_);
  files_->OnRegistered(id_, session_);
  Settle();
}

uint64_t Node::calls(meta::Request::OpCase op) {
  MutexLock lock(world_->mutex_);
  return world_->calls_[{id_, op}];
}

// ---- world ----

World::World(int nodes, bool passthrough, Disks disks)
    : passthrough_(passthrough), kv_(std::move(disks.metadata)), next_(disks.first_id) {
  char name[] = "/tmp/f3_file_test_XXXXXX";
  dir_ = ::mkdtemp(name);
  buffers_ = *hwalloc::BufferArena::Create(64u << 20);
  std::filesystem::create_directories(dir_ + "/durable");
  const std::string durable = disks.env == nullptr ? dir_ + "/durable" : "/durable";
  Env* const env = disks.env == nullptr ? Env::Real() : disks.env;
  durable_ = std::make_unique<FullableStore>(*storage::DurableStore::OpenDirectory(durable, env));
  if (kv_ == nullptr) kv_ = meta::NewMemoryKvStore();
  // The root directory.
  auto made = meta::RunTxn(kv_.get(), meta::Durability::kBuffered, [](meta::Transaction& txn) {
    if (meta::GetInode(txn, 2).ok()) return Status();
    meta::InodeRow row;
    row.set_ino(2);
    row.set_mode(S_IFDIR | 0755);
    row.set_nlink(2);
    row.set_parent(2);
    meta::PutInode(txn, row);
    return Status();
  });
  EXPECT_TRUE(made.ok());
  root_ = 2;
  for (int i = 1; i <= nodes; ++i) {
    nodes_.push_back(std::make_unique<Node>(this, static_cast<NodeId>(i)));
  }
}

World::~World() {
  exiting = true;
  // A node that stops may still speak to others.
  for (auto& node : nodes_) node->files_->Shutdown();
  nodes_.clear();
  ::nftw(dir_.c_str(), RemoveOne, 16, FTW_DEPTH | FTW_PHYS);
}

void World::Advance(int64_t micros) {
  clock_.AdvanceMicros(micros);
  for (auto& node : nodes_) {
    node->files()->RunDue();
    node->Settle();
  }
}

void World::FillDurable(bool full) { static_cast<FullableStore*>(durable_.get())->full = full; }

void World::SetUp(NodeId node, bool up) {
  MutexLock lock(mutex_);
  if (up) {
    down_.erase(node);
  } else {
    down_.insert(node);
  }
}

void World::ExpireTokens() {
  MutexLock lock(mutex_);
  ++token_epoch_;
}

Node* World::FindNode(const std::string& address) {
  for (auto& node : nodes_) {
    if (address == "node" + std::to_string(node->id())) return node.get();
  }
  return nullptr;
}

SessionId World::NewSession(NodeId node) {
  MutexLock lock(mutex_);
  const SessionId session = next_++;
  sessions_[session] = node;
  return session;
}

void World::EndSession(SessionId session) {
  std::vector<std::pair<Ino, meta::OpenCount>> open;
  {
    MutexLock lock(mutex_);
    for (const auto& [key, count] : opens_) {
      if (key.second == session) open.emplace_back(key.first, count);
    }
  }
  for (const auto& [ino, count] : open) {
    meta::Request request;
    request.mutable_close()->set_ino(ino);
    request.mutable_close()->set_incarnation(count.incarnation);
    request.mutable_close()->set_readers(count.readers);
    request.mutable_close()->set_writers(count.writers);
    meta::Reply reply;
    Call(nullptr, session, request, &reply).PermitUnchecked();  // of a session that is ending
  }
  MutexLock lock(mutex_);
  sessions_.erase(session);
}

Status World::Call(Node* node, SessionId session, const meta::Request& request,
                   meta::Reply* reply) {
  if (session == 0) return Status::SessionExpired("no session");
  meta::Effects effects;
  Status status;
  {
    MutexLock call_lock(call_mutex_);
    auto committed =
        meta::RunTxn(kv_.get(), meta::Durability::kBuffered, [&](meta::Transaction& txn) -> Status {
          meta::OpContext context;
          context.txn = &txn;
          context.session = session;
          context.node = NodeOfSession(session);
          context.caller = request.caller();
          context.now_ns = clock_.WallNanos();
          context.ids = this;
          context.opens = this;
          context.nodes = this;
          *reply = meta::Reply();
          Status result = Execute(context, request, reply);
          effects = context.effects;
          return result;
        });
    status = committed.status();
    if (status.ok() && effects.durability == meta::Durability::kSynced)
      status = kv_->Sync().status();
    if (status.ok()) {
      MutexLock lock(mutex_);
      for (const meta::OpenChange& change : effects.opens) {
        meta::OpenCount& count = opens_[{change.ino, session}];
        count.session = session;
        count.incarnation = change.incarnation;
        count.readers =
            static_cast<uint32_t>(std::max(0, static_cast<int>(count.readers) + change.readers));
        count.writers =
            static_cast<uint32_t>(std::max(0, static_cast<int>(count.writers) + change.writers));
        if (count.readers == 0 && count.writers == 0) opens_.erase({change.ino, session});
      }
    }
    if (node != nullptr) {
      MutexLock lock(mutex_);
      ++calls_[{node->id(), request.op_case()}];
    }
  }
  if (status.ok() && !exiting) Apply(node, session, effects);
  return status;
}

Status World::Execute(meta::OpContext& context, const meta::Request& request, meta::Reply* reply) {
  switch (request.op_case()) {
    case meta::Request::kCreate:
      return meta::DoCreate(context, request.create(), reply);
    case meta::Request::kOpen:
      return meta::DoOpen(context, request.open(), reply);
    case meta::Request::kClose:
      return meta::DoClose(context, request.close(), reply);
    case meta::Request::kLocation:
      return meta::DoLocation(context, request.location(), reply);
    case meta::Request::kBlockMap:
      return meta::DoBlockMap(context, request.block_map(), reply);
    case meta::Request::kBeginPublish:
      return meta::DoBeginPublish(context, request.begin_publish(), reply);
    case meta::Request::kPublish:
      return meta::DoPublish(context, request.publish(), reply);
    case meta::Request::kAddCopy:
      return meta::DoAddCopy(context, request.add_copy(), reply);
    case meta::Request::kDropCopy:
      return meta::DoDropCopy(context, request.drop_copy(), reply);
    case meta::Request::kGetattr:
      return meta::DoGetAttr(context, request.getattr(), reply);
    case meta::Request::kUnlink:
      return meta::DoUnlink(context, request.unlink(), reply);
    case meta::Request::kSync:
      context.effects.durability = meta::Durability::kSynced;
      return Status();
    case meta::Request::kInventory:
      for (const meta::InventoryItem& item : request.inventory().items()) {
        F3_ASSIGN_OR_RETURN(bool keep, meta::ReconcileObject(context, item));
        if (keep) continue;
        meta::ObjectName* name = reply->add_unwanted();
        name->set_ino(item.ino());
        name->set_incarnation(item.incarnation());
      }
      return Status();
    default:
      return Status::NotSupported("not in this world");
  }
}

void World::Apply(Node* caller, SessionId, const meta::Effects& effects) {
  for (auto& node : nodes_) {
    if (node.get() == caller || node->files_ == nullptr) continue;
    for (const meta::Invalidate::Item& item : effects.invalidate) {
      if (!item.name().empty()) continue;
      for (auto& mount : node->mounts_) {
        mount->InvalidateInode(item.ino(), item.data(), 0, 0, nullptr);
      }
      if (item.data()) node->files()->OnContentInvalidated(item.ino());
    }
  }
  for (const meta::Drop& drop : effects.drops) {
    Node* node = FindNode("node" + std::to_string(drop.node));
    if (node != nullptr && node->files_ != nullptr)
      node->files()->OnDrop(drop.object, drop.version);
  }
  for (const meta::Drop& drop : effects.writer_elsewhere) {
    Node* node = FindNode("node" + std::to_string(drop.node));
    if (node != nullptr) node->files()->OnWriterElsewhere(drop.object.ino);
  }
}

meta::Attr World::Attr(Ino ino) {
  meta::Request request;
  request.mutable_getattr()->set_ino(ino);
  meta::Reply reply;
  Status status = Call(nullptr, 1, request, &reply);
  EXPECT_TRUE(status.ok()) << status.ToString();
  return reply.attr();
}

meta::OpenReply World::Location(Ino ino) {
  meta::Request request;
  request.mutable_location()->set_ino(ino);
  meta::Reply reply;
  Status status = Call(nullptr, 1, request, &reply);
  EXPECT_TRUE(status.ok()) << status.ToString();
  return reply.open();
}

uint32_t World::Opens(Ino ino, bool writers) {
  uint32_t sum = 0;
  for (const meta::OpenCount& count : Opens(ino)) sum += writers ? count.writers : count.readers;
  return sum;
}

Ino World::NextIno() { return NextUnique(); }

uint64_t World::NextUnique() {
  MutexLock lock(mutex_);
  return next_++;
}

std::vector<meta::OpenCount> World::Opens(Ino ino) const {
  MutexLock lock(mutex_);
  std::vector<meta::OpenCount> opens;
  for (const auto& [key, count] : opens_) {
    if (key.first == ino) opens.push_back(count);
  }
  return opens;
}

NodeId World::NodeOfSession(SessionId session) const {
  MutexLock lock(mutex_);
  auto it = sessions_.find(session);
  return it == sessions_.end() ? 0 : it->second;
}

bool World::FillHolder(NodeId node, const ObjectKey&, SessionId session, bool write,
                       meta::Holder* holder) const {
  MutexLock lock(mutex_);
  holder->set_node(node);
  holder->set_name("n" + std::to_string(node));
  holder->set_epoch(1);
  holder->set_fabric_address("node" + std::to_string(node));
  holder->set_up(down_.count(node) == 0);
  if (session != 0) {
    holder->set_token("cap" + std::to_string(token_epoch_) + (write ? "w" : "r"));
  }
  return true;
}

}  // namespace f3::fs::test
