// Start, reads, and the way of a request.
#include "metadata/core.h"

#include <sodium.h>

#include <utility>

#include "common/utf8.h"
#include "metadata/inode_ops.h"
#include "metadata/request_kind.h"
#include "metadata/schema.h"

namespace f3::meta {
namespace {

constexpr int64_t kTickMicros = 50'000;

LeaseTable::Holder HolderOf(const Request& request) { return {request.session(), request.mount()}; }

std::string RandomHex() {
  unsigned char bytes[8];
  randombytes_buf(bytes, sizeof(bytes));
  char text[2 * sizeof(bytes) + 1];
  sodium_bin2hex(text, sizeof(text), bytes, sizeof(bytes));
  return text;
}

}  // namespace

MetadataCore::MetadataCore(const Options& options, const ClusterKey& key,
                           std::unique_ptr<KvStore> store)
    : options_(options),
      key_(key),
      store_(std::move(store)),
      nodes_(&key_, options.clock, options.token_lifetime_micros),
      syncer_(store_.get(), options.sync_interval_micros) {}

Result<std::unique_ptr<MetadataCore>> MetadataCore::Create(const Options& options,
                                                           const ClusterKey& key,
                                                           std::unique_ptr<KvStore> store) {
  std::unique_ptr<MetadataCore> core(new MetadataCore(options, key, std::move(store)));
  F3_RETURN_IF_ERROR(core->Load());
  if (options.background) core->keeper_ = std::thread([raw = core.get()] { raw->Keep(); });
  return core;
}

MetadataCore::~MetadataCore() { Stop(); }

void MetadataCore::Stop() {
  stopped_ = true;
  sessions_.ReleaseAll();
  {
    MutexLock lock(keeper_mutex_);
    stopping_ = true;
    keeper_wake_.SignalAll();
  }
  if (keeper_.joinable()) keeper_.join();
  syncer_.Stop();
}

void MetadataCore::Keep() {
  for (;;) {
    {
      MutexLock lock(keeper_mutex_);
      if (!stopping_) keeper_wake_.WaitFor(keeper_mutex_, kTickMicros);
      if (stopping_) return;
    }
    Tick();
  }
}

Status MetadataCore::Load() {
  recovered_sequence_ = store_->Begin()->snapshot_sequence();
  const int64_t now = options_.clock->MonotonicMicros();
  auto committed = RunTxn(store_.get(), Durability::kSynced, [&](Transaction& txn) -> Status {
    auto stored = txn.Get(RowKey(Row::kEpoch));
    if (!stored.ok() && !stored.status().Is(Code::kNotFound)) return stored.status();
    epoch_ = (stored.ok() ? std::stoull(*stored) : 0) + 1;
    txn.Put(RowKey(Row::kEpoch), std::to_string(epoch_));
    auto id = txn.Get(RowKey(Row::kEpoch) + "cluster");
    cluster_id_ = id.ok() ? *id : RandomHex();
    txn.Put(RowKey(Row::kEpoch) + "cluster", cluster_id_);
    return Status();
  });
  F3_RETURN_IF_ERROR(committed.ok() ? Status() : committed.status());
  ids_ = std::make_unique<EpochIds>(epoch_);
  F3_RETURN_IF_ERROR(CreateFirstVolume());
  auto txn = store_->Begin();
  auto load = [&](Row kind, auto&& each) -> Status {
    F3_ASSIGN_OR_RETURN(auto rows, txn->Scan(RowKey(kind), PrefixEnd(RowKey(kind)), SIZE_MAX));
    for (const auto& [key, value] : rows) F3_RETURN_IF_ERROR(each(key, value));
    return Status();
  };
  F3_RETURN_IF_ERROR(load(Row::kNode, [&](const std::string&, const std::string& value) {
    NodeRow row;
    if (!row.ParseFromString(value)) return Status::Corruption("a node row is damaged");
    nodes_.Set(row);
    return Status();
  }));
  F3_RETURN_IF_ERROR(load(Row::kSession, [&](const std::string&, const std::string& value) {
    SessionRow row;
    if (!row.ParseFromString(value)) return Status::Corruption("a session row is damaged");
    sessions_.Add(row.id(), row.node(), now, true);
    grace_ = true;
    return Status();
  }));
  return load(Row::kReply, [&](const std::string& key, const std::string& value) {
    ReplyRow row;
    if (!row.ParseFromString(value)) return Status::Corruption("a reply row is damaged");
    row.mutable_reply()->set_sequence(recovered_sequence_);
    sessions_.AddRecoveredReply(NumberAt(key, 1), NumberAt(key, 9),
                                std::move(*row.mutable_reply()));
    return Status();
  });
}

// An empty store gets the volume that people mount without naming one.
Status MetadataCore::CreateFirstVolume() {
  auto committed = RunTxn(store_.get(), Durability::kSynced, [&](Transaction& txn) -> Status {
    const std::string volumes = RowKey(Row::kVolume);
    F3_ASSIGN_OR_RETURN(auto rows, txn.Scan(volumes, PrefixEnd(volumes), 1));
    if (!rows.empty()) return Status();
    OpContext context;
    context.txn = &txn;
    context.now_ns = options_.clock->WallNanos();
    context.ids = ids_.get();
    CreateVolumeOp op;
    op.set_name("default");
    op.set_mode(0755);
    Reply reply;
    return DoCreateVolume(context, op, &reply);
  });
  return committed.ok() ? Status() : committed.status();
}

void MetadataCore::Finish(const Status& status, Reply* reply) const {
  reply->set_code(static_cast<int>(status.code()));
  if (!status.ok()) reply->set_message(ValidUtf8(status.message()));
  reply->set_synced_sequence(store_->synced_sequence());
  reply->set_server_epoch(epoch_);
}

bool MetadataCore::AllowedInGrace(const Request& request) const {
  switch (request.op_case()) {
    case Request::kRegisterNode:
    case Request::kInventory:
    case Request::kForget:
    case Request::kSync:
    case Request::kListNodes:
    case Request::kListVolumes:
    case Request::kForgetNode:
    case Request::kScan:
      return true;
    default:
      // What a client that is coming back replays.
      return request.token() != 0 && request.session() != 0 &&
             !sessions_.IsReady(request.session());
  }
}

void MetadataCore::Handle(Request request, Done done) {
  auto answer = [&](const Status& status) {
    Reply reply;
    Finish(status, &reply);
    done(std::move(reply));
  };
  if (stopped_) return answer(Status::Unavailable("the metadata server is stopping"));
  if (request.session() != 0 && sessions_.NodeOf(request.session()) == 0) {
    return answer(Status::SessionExpired("the session is over; register again"));
  }
  if (InGrace() && !AllowedInGrace(request)) {
    return answer(Status::Grace("the metadata server has restarted and waits for its clients"));
  }
  Reply reply;
  switch (request.op_case()) {
    case Request::kRegisterNode: {
      Status status = Register(request.register_node(), &reply);
      Finish(status, &reply);
      return done(std::move(reply));
    }
    case Request::kForgetNode:
      return answer(ForgetNode(request.forget_node()));
    case Request::kInventory:
      return Inventory(request, done);
    case Request::kSync:
      return HandleSync(done);
    case Request::kForget:
      for (uint64_t ino : request.forget().inos()) leases_.Forget(HolderOf(request), ino);
      return answer(Status());
    case Request::kListNodes:
      for (Node& node : nodes_.List()) *reply.add_nodes() = std::move(node);
      Finish(Status(), &reply);
      return done(std::move(reply));
    default:
      break;
  }
  if (IsMutation(request)) return HandleMutation(std::move(request), std::move(done));
  HandleRead(request, done);
}

void MetadataCore::HandleSync(const Done& done) {
  syncer_.AfterSync([this, done](const Status& status) {
    Reply reply;
    Finish(status, &reply);
    done(std::move(reply));
  });
}

void MetadataCore::HandleRead(const Request& request, const Done& done) {
  auto txn = store_->Begin();
  OpContext context;
  context.txn = txn.get();
  context.session = request.session();
  context.node = sessions_.NodeOf(request.session());
  context.caller = request.caller();
  context.now_ns = options_.clock->WallNanos();
  context.ids = ids_.get();
  context.opens = &opens_;
  context.nodes = &nodes_;
  Reply reply;
  Status status = ExecuteOp(context, request, &reply);
  if (request.op_case() == Request::kStatfs && status.ok())
    *reply.mutable_statfs() = nodes_.Capacity();
  if (!status.ok()) {
    Reply error;
    std::swap(reply, error);
    if (status.Is(Code::kNotFound) && request.op_case() == Request::kLookup) {
      reply.set_directory_cacheable(
          leases_.Grant(HolderOf(request), request.lookup().parent(), txn->snapshot_sequence()));
    }
  } else {
    GrantLeases(request, txn->snapshot_sequence(), &reply);
  }
  Finish(status, &reply);
  done(std::move(reply));
}

void MetadataCore::GrantLeases(const Request& request, uint64_t snapshot, Reply* reply) {
  const LeaseTable::Holder holder = HolderOf(request);
  auto grant = [&](Attr* attr) {
    attr->set_cacheable(leases_.Grant(holder, attr->ino(), snapshot));
  };
  if (reply->has_parent()) grant(reply->mutable_parent());
  Ino directory = 0;
  switch (request.op_case()) {
    case Request::kLookup:
      directory = request.lookup().parent();
      break;
    case Request::kCreate:
      directory = request.create().tmpfile() ? 0 : request.create().parent();
      break;
    case Request::kMakeNode:
      directory = request.make_node().parent();
      break;
    case Request::kLink:
      directory = request.link().new_parent();
      break;
    case Request::kReaddir:
      directory =
          reply->entries_size() > 0 && request.readdir().with_attrs() ? request.readdir().ino() : 0;
      break;
    case Request::kGetattr:
    case Request::kSetattr:
    case Request::kSetxattr:
    case Request::kRemovexattr:
    case Request::kPublish:
    case Request::kOpen:
      break;
    default:
      return;
  }
  const bool entries = directory != 0 && leases_.Grant(holder, directory, snapshot);
  if (reply->has_attr()) grant(reply->mutable_attr());
  if (reply->has_entry()) {
    reply->mutable_entry()->set_cacheable(entries);
    grant(reply->mutable_entry()->mutable_attr());
  }
  for (DirEntry& entry : *reply->mutable_entries()) {
    if (!entry.has_entry()) continue;
    entry.mutable_entry()->set_cacheable(entries);
    grant(entry.mutable_entry()->mutable_attr());
  }
}

}  // namespace f3::meta
