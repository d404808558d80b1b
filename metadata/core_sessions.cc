// Nodes and sessions: how they begin, come back and end, and what ends with them.
#include <spdlog/spdlog.h>

#include <utility>

#include "metadata/core.h"
#include "metadata/inode_ops.h"
#include "metadata/location_ops.h"
#include "metadata/lock_ops.h"
#include "metadata/schema.h"

namespace f3::meta {
namespace {

constexpr size_t kMaxNodeNameBytes = 64;
constexpr size_t kExpiredAtOnce = 256;

}  // namespace

Status MetadataCore::Register(const RegisterNodeOp& op, Reply* reply) {
  if (op.name().empty() || op.name().size() > kMaxNodeNameBytes) {
    return Status::InvalidArgument("a node's name has 1 to 64 bytes");
  }
  MutexLock lock(register_mutex_);
  auto known = nodes_.ByName(op.name());
  NodeRow row = known.value_or(NodeRow());
  if (row.session() != 0) {
    spdlog::info("node {} starts again: its session {} ends", op.name(), row.session());
    EndSession(row.session(), true);
  }
  const bool other_tier = known && !row.tier_uuid().empty() && row.tier_uuid() != op.tier_uuid();
  row.set_id(known ? row.id() : nodes_.NextId());
  row.set_name(op.name());
  row.set_epoch(row.epoch() + 1);
  row.set_fabric_address(op.fabric_address());
  row.set_control_address(op.control_address());
  row.set_tier_uuid(op.tier_uuid());
  row.set_session(ids_->NextUnique());
  row.set_forgotten(false);
  SessionRow session;
  session.set_id(row.session());
  session.set_node(row.id());
  auto committed = RunTxn(store_.get(), Durability::kSynced, [&](Transaction& txn) {
    PutRow(txn, RowKey(Row::kNode, row.id()), row);
    PutRow(txn, RowKey(Row::kSession, row.session()), session);
    return Status();
  });
  if (!committed.ok()) return committed.status();
  if (other_tier) {
    spdlog::warn("node {} came back with another tier: what only it held is lost", op.name());
    Change(
        {},
        [id = row.id()](OpContext& context, Reply*) { return NodeLostObjects(context, id, {}); },
        nullptr);
  }
  sessions_.Add(row.session(), row.id(), options_.clock->MonotonicMicros(), false);
  nodes_.Set(row);
  RegisterReply* registered = reply->mutable_registered();
  registered->set_node(row.id());
  registered->set_epoch(row.epoch());
  registered->set_session(row.session());
  registered->set_server_epoch(epoch_);
  registered->set_session_timeout_us(options_.session_timeout_micros);
  registered->set_cluster_id(cluster_id_);
  EndGraceIfOver();
  return Status();
}

Status MetadataCore::ForgetNode(const ForgetNodeOp& op) {
  MutexLock lock(register_mutex_);
  auto row = nodes_.ByName(op.name());
  if (!row || row->forgotten()) {
    return Status::NotFound("no node is called \"" + op.name() + "\"; `f3 status` lists them");
  }
  if (row->session() != 0) {
    return Status::Busy("node " + op.name() + " is up; stop it first (`f3 node stop " + op.name() +
                        "`)");
  }
  row->set_forgotten(true);
  auto committed = RunTxn(store_.get(), Durability::kSynced, [&](Transaction& txn) {
    PutRow(txn, RowKey(Row::kNode, row->id()), *row);
    return Status();
  });
  if (!committed.ok()) return committed.status();
  nodes_.Set(*row);
  Change(
      {},
      [id = row->id()](OpContext& context, Reply*) {
        context.effects.durability = Durability::kSynced;
        return NodeLostObjects(context, id, {});
      },
      nullptr);
  return Status();
}

void MetadataCore::Inventory(const Request& request, const Done& done) {
  Identity identity;
  identity.session = request.session();
  identity.node = sessions_.NodeOf(request.session());
  if (identity.node == 0) {
    Reply reply;
    Finish(Status::InvalidArgument("only a registered node has an inventory"), &reply);
    return done(std::move(reply));
  }
  const InventoryOp& op = request.inventory();
  for (const InventoryItem& item : op.items()) {
    sessions_.AddReported(identity.session, {item.ino(), item.incarnation()});
  }
  auto present = std::make_shared<std::set<ObjectKey>>();
  if (op.last()) *present = sessions_.TakeReported(identity.session);
  Change(
      identity,
      [op, present](OpContext& context, Reply* reply) -> Status {
        for (const InventoryItem& item : op.items()) {
          F3_ASSIGN_OR_RETURN(bool wanted, ReconcileObject(context, item));
          if (wanted) continue;
          ObjectName* unwanted = reply->add_unwanted();
          unwanted->set_ino(item.ino());
          unwanted->set_incarnation(item.incarnation());
        }
        return op.last() ? NodeLostObjects(context, context.node, *present) : Status();
      },
      done);
}

bool MetadataCore::Hello(const meta::Hello& hello, std::shared_ptr<EventSink> sink) {
  const SessionId session = hello.session();
  ServerEvent welcome;
  welcome.mutable_welcome()->set_server_epoch(epoch_);
  welcome.mutable_welcome()->set_recovered_sequence(recovered_sequence_);
  const NodeId node = sessions_.NodeOf(session);
  if (node == 0) {
    ServerEvent expired;
    expired.set_expired(true);
    sink->Send(expired);
    sink->Close();
    return false;
  }
  sessions_.Heard(session, options_.clock->MonotonicMicros());
  // Once: a second stream of this server's life finds its opens counted.
  if (!sessions_.IsReady(session) && opens_.OfSession(session).empty()) {
    for (const CloseOp& open : hello.reclaim()) {
      PostDrops(
          opens_.Apply(session, {open.ino(), open.incarnation(), static_cast<int>(open.readers()),
                                 static_cast<int>(open.writers())}));
    }
  }
  return sessions_.Attach(session, std::move(sink), welcome);
}

void MetadataCore::OnEvent(SessionId session, const ClientEvent& event) {
  sessions_.Heard(session, options_.clock->MonotonicMicros());
  if (event.has_heartbeat()) {
    nodes_.SetUsage(sessions_.NodeOf(session), event.heartbeat());
    ServerEvent alive;
    alive.set_alive(true);
    sessions_.Tell(session, alive);
    if (sessions_.SetReady(session)) EndGraceIfOver();
  } else if (event.event_case() == ClientEvent::kAck) {
    sessions_.Acknowledge(session, event.ack());
  } else if (event.event_case() == ClientEvent::kGoodbye) {
    MutexLock lock(register_mutex_);
    EndSession(session, true);
  }
}

void MetadataCore::Detach(SessionId session, const EventSink* sink) {
  sessions_.Detach(session, sink);
}

void MetadataCore::EndSession(SessionId session, bool proven) {
  const NodeId node = sessions_.NodeOf(session);
  if (node == 0) return;
  auto row = nodes_.ById(node);
  if (row && row->session() == session) {
    row->set_session(0);
    nodes_.Set(*row);
  }
  leases_.ForgetAll(session);
  if (!sessions_.End(session)) return;
  if (proven) {
    CloseAll(session, node);
  } else {
    FenceThenClose(session, node);
  }
  EndGraceIfOver();
}

// Its capabilities may still be used by a process that we can't hear: what it had open for writing
// stays open until every home refuses them or they have run out.
void MetadataCore::FenceThenClose(SessionId session, NodeId node) {
  std::vector<SessionId> others = sessions_.All();
  {
    MutexLock lock(waiters_mutex_);
    fences_[session] = {others.size() + 1,
                        options_.clock->MonotonicMicros() + options_.token_lifetime_micros, node};
  }
  auto confirmed = [this, session] {
    NodeId node_of_session = 0;
    {
      MutexLock lock(waiters_mutex_);
      auto fence = fences_.find(session);
      if (fence == fences_.end() || --fence->second.waiting > 0) return;
      node_of_session = fence->second.node;
      fences_.erase(fence);
    }
    CloseAll(session, node_of_session);
  };
  for (SessionId other : others) {
    ServerEvent event;
    event.mutable_fence()->set_session(session);
    sessions_.Post(other, std::move(event), confirmed);
  }
  confirmed();
}

void MetadataCore::CloseAll(SessionId session, NodeId node) {
  Identity identity;
  identity.session = session;
  identity.node = node;
  for (const CloseOp& open : opens_.OfSession(session)) {
    Change(
        identity, [open](OpContext& context, Reply*) { return CloseEnded(context, open); },
        nullptr);
  }
  Change(
      identity,
      [session](OpContext& context, Reply*) -> Status {
        F3_RETURN_IF_ERROR(ReleaseSessionLocks(context, session));
        F3_RETURN_IF_ERROR(DropIntents(context, session));
        const std::string replies = RowKey(Row::kReply, session);
        F3_ASSIGN_OR_RETURN(auto rows, context.txn->Scan(replies, PrefixEnd(replies), SIZE_MAX));
        for (const auto& [key, value] : rows) context.txn->Delete(key);
        context.txn->Delete(RowKey(Row::kSession, session));
        auto found = GetRow<NodeRow>(*context.txn, RowKey(Row::kNode, context.node), "node");
        if (found.ok() && found->session() == session) {
          found->set_session(0);
          PutRow(*context.txn, RowKey(Row::kNode, context.node), *found);
        }
        return Status();
      },
      nullptr);
}

void MetadataCore::EndGraceIfOver() {
  if (!grace_ || !sessions_.AllReady()) return;
  bool expected = true;
  if (!grace_.compare_exchange_strong(expected, false)) return;
  spdlog::info("every session from before the restart is back or over");
  DeleteOrphans();
}

void MetadataCore::DeleteOrphans() {
  Change(
      {},
      [](OpContext& context, Reply*) -> Status {
        const std::string prefix = RowKey(Row::kOrphan);
        F3_ASSIGN_OR_RETURN(auto rows, context.txn->Scan(prefix, PrefixEnd(prefix), SIZE_MAX));
        for (const auto& [key, value] : rows) {
          auto row = GetInode(*context.txn, NumberAt(key, 1));
          if (!row.ok()) {
            context.txn->Delete(key);
          } else {
            F3_RETURN_IF_ERROR(DeleteIfUnused(context, *row, 0));
          }
        }
        return Status();
      },
      nullptr);
}

void MetadataCore::ExpireFiles() {
  const int64_t now_ns = options_.clock->WallNanos();
  auto txn = store_->Begin();
  auto expired = ExpiredFiles(*txn, now_ns, kExpiredAtOnce);
  if (!expired.ok()) {
    spdlog::error("looking for files whose time is over: {}", expired.status().message());
    return;
  }
  for (Ino ino : *expired) {
    Change(
        {}, [ino](OpContext& context, Reply*) { return ExpireFile(context, ino); }, nullptr);
  }
}

void MetadataCore::Tick() {
  const int64_t now = options_.clock->MonotonicMicros();
  for (SessionId session : sessions_.SilentSince(now - options_.session_timeout_micros)) {
    auto row = nodes_.ById(sessions_.NodeOf(session));
    spdlog::warn("node {} is silent: its session {} ends", row ? row->name() : "?", session);
    MutexLock lock(register_mutex_);
    EndSession(session, false);
  }
  std::vector<std::pair<SessionId, NodeId>> run_out;
  {
    MutexLock lock(waiters_mutex_);
    for (auto it = fences_.begin(); it != fences_.end();) {
      if (it->second.deadline_micros > now) {
        ++it;
        continue;
      }
      run_out.emplace_back(it->first, it->second.node);
      it = fences_.erase(it);
    }
  }
  for (const auto& [session, node] : run_out) CloseAll(session, node);
  if (!InGrace()) ExpireFiles();
}

}  // namespace f3::meta
