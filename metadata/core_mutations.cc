// How a mutation runs: execute, ask those who cache what it changes, commit, answer.
#include <set>
#include <string>
#include <utility>

#include "metadata/core.h"
#include "metadata/lock_ops.h"
#include "metadata/request_kind.h"
#include "metadata/schema.h"

namespace f3::meta {
namespace {

constexpr int kMaxRounds = 64;

// The numbers that a replayed mutation was given the first time.
class ReplayIds : public IdSource {
 public:
  ReplayIds(Ino ino, uint64_t unique, IdSource* rest) : ino_(ino), unique_(unique), rest_(rest) {}
  Ino NextIno() override { return ino_ != 0 ? ino_ : rest_->NextIno(); }
  uint64_t NextUnique() override { return unique_ != 0 ? unique_ : rest_->NextUnique(); }

 private:
  const Ino ino_;
  const uint64_t unique_;
  IdSource* const rest_;
};

std::string NoticeKey(SessionId session, const Invalidate::Item& item) {
  return std::to_string(session) + ":" + item.SerializeAsString();
}

}  // namespace

// Lives from its first step to its answer; its steps never run at the same time.
class Mutation : public std::enable_shared_from_this<Mutation> {
 public:
  Mutation(MetadataCore* core, MetadataCore::Identity identity, MetadataCore::Body body,
           Request request, MetadataCore::Done done)
      : core_(core),
        identity_(std::move(identity)),
        body_(std::move(body)),
        request_(std::move(request)),
        done_(std::move(done)) {
    if (request_.replay_ino() != 0 || request_.replay_unique() != 0) {
      replay_ids_ = std::make_unique<ReplayIds>(request_.replay_ino(), request_.replay_unique(),
                                                core_->ids_.get());
    }
  }

  void Run() {
    for (int round = 0;; ++round) {
      LeaseTable::Notices notices;
      Step step = Attempt(round, &notices);
      if (step == Step::kAgain) continue;
      if (step == Step::kWait && Ask(std::move(notices))) return;  // goes on in a callback
      if (step == Step::kDone) return;
    }
  }

 private:
  enum class Step { kDone, kWait, kAgain };

  OpContext MakeContext(Transaction* txn, const WatchedOpens* opens) const {
    OpContext context;
    context.txn = txn;
    context.session = identity_.session;
    context.node = identity_.node;
    context.caller = identity_.caller;
    context.now_ns = core_->options_.clock->WallNanos();
    context.ids = replay_ids_ ? static_cast<IdSource*>(replay_ids_.get()) : core_->ids_.get();
    context.replayed = replay_ids_ != nullptr;
    context.opens = opens;
    context.nodes = &core_->nodes_;
    context.leased_elsewhere = &leased_elsewhere_;
    return context;
  }

  Step Attempt(int round, LeaseTable::Notices* notices) {
    Reply reply;
    Status status;
    Effects effects;
    uint64_t sequence = 0;
    bool stored = false;
    {
      MutexLock lock(core_->mutation_mutex_);
      auto txn = core_->store_->Begin();
      WatchedOpens opens(&core_->opens_);
      OpContext context = MakeContext(txn.get(), &opens);
      status = core_->stopped_ ? Status::Unavailable("the metadata server is stopping")
                               : body_(context, &reply);
      effects = std::move(context.effects);
      if (status.ok()) {
        *notices = NewNotices(effects.invalidate);
        if (!notices->empty()) return Step::kWait;
        stored = AddReplyRow(txn.get(), reply);
        auto committed = txn->Commit(Durability::kBuffered, [](uint64_t) {});
        if (committed.ok()) {
          sequence = *committed;
          for (const OpenChange& change : effects.opens) {
            auto due = core_->opens_.Apply(identity_.session, change);
            effects.drops.insert(effects.drops.end(), due.begin(), due.end());
          }
        } else if (committed.status().Is(Code::kConflict) && round < kMaxRounds) {
          return Step::kAgain;
        } else {
          status = committed.status();
        }
      }
    }
    core_->leases_.End(marked_, sequence);
    marked_.clear();
    if (!status.ok()) return Refuse(status, effects);
    reply.set_sequence(sequence);
    core_->GrantLeases(request_, sequence, &reply);
    core_->AfterCommit(identity_.session, effects);
    Answer(std::move(reply), effects.durability, stored);
    return Step::kDone;
  }

  // Marks what changes; what sessions have not yet acknowledged of it.
  LeaseTable::Notices NewNotices(const LeaseTable::Items& items) {
    marked_.insert(marked_.end(), items.begin(), items.end());
    LeaseTable::Notices all = core_->leases_.Begin({identity_.session, request_.mount()}, items);
    LeaseTable::Notices fresh;
    for (auto& [session, invalidate] : all) {
      for (auto& item : *invalidate.mutable_items()) {
        if (!asked_.insert(NoticeKey(session, item)).second) continue;
        if (item.attr()) leased_elsewhere_.insert(item.ino());
        fresh[session].set_except_mount(invalidate.except_mount());
        *fresh[session].add_items() = std::move(item);
      }
    }
    return fresh;
  }

  // False when every answer was there at once, so that the caller goes on.
  bool Ask(LeaseTable::Notices notices) {
    // One more than there are notices, for this function itself.
    auto left = std::make_shared<std::atomic<size_t>>(notices.size() + 1);
    auto self = shared_from_this();
    for (auto& [session, invalidate] : notices) {
      ServerEvent event;
      *event.mutable_invalidate() = std::move(invalidate);
      core_->sessions_.Post(session, std::move(event), [self, left] {
        if (--*left == 0) self->Run();
      });
    }
    return --*left != 0;
  }

  // A stored reply makes a repetition after a restart harmless. What wrote nothing can be repeated.
  bool AddReplyRow(Transaction* txn, const Reply& reply) {
    if (request_.token() == 0) return false;
    const bool writes = txn->has_writes();
    auto confirmed = core_->sessions_.Confirm(identity_.session, request_.acked_token());
    confirmed_.insert(confirmed_.end(), confirmed.begin(), confirmed.end());
    for (uint64_t token : confirmed_) {
      txn->Delete(RowKey(Row::kReply, identity_.session, token));
    }
    if (!writes) return false;
    ReplyRow row;
    *row.mutable_reply() = reply;
    PutRow(*txn, RowKey(Row::kReply, identity_.session, request_.token()), row);
    return true;
  }

  Step Refuse(const Status& status, const Effects& effects) {
    if (status.Is(Code::kAgain) && !effects.lock_waiters.empty() && !listed_) {
      {
        MutexLock lock(core_->waiters_mutex_);
        for (Ino ino : effects.lock_waiters) core_->lock_waiters_[ino].insert(identity_.session);
      }
      // It may have been freed before this session was listed.
      listed_ = true;
      return Step::kAgain;
    }
    Reply reply;
    core_->Finish(status, &reply);
    Deliver(std::move(reply), false);
    return Step::kDone;
  }

  void Answer(Reply reply, Durability durability, bool stored) {
    if (durability == Durability::kBuffered) {
      core_->Finish(Status(), &reply);
      return Deliver(std::move(reply), stored);
    }
    core_->syncer_.AfterSync([self = shared_from_this(), reply = std::move(reply),
                              stored](const Status& status) mutable {
      self->core_->Finish(status, &reply);
      self->Deliver(std::move(reply), stored);
    });
  }

  void Deliver(Reply reply, bool stored) {
    if (request_.token() != 0) {
      core_->sessions_.FinishMutation(identity_.session, request_.token(), reply, stored);
    }
    if (done_) done_(std::move(reply));
  }

  MetadataCore* const core_;
  const MetadataCore::Identity identity_;
  const MetadataCore::Body body_;
  const Request request_;
  const MetadataCore::Done done_;
  std::unique_ptr<ReplayIds> replay_ids_;
  LeaseTable::Items marked_;
  std::set<std::string> asked_;
  std::set<Ino> leased_elsewhere_;
  bool listed_ = false;
  std::vector<uint64_t> confirmed_;  // tokens whose reply rows go with the commit
};

void MetadataCore::Change(const Identity& identity, Body body, Done done) {
  std::make_shared<Mutation>(this, identity, std::move(body), Request(), std::move(done))->Run();
}

void MetadataCore::HandleMutation(Request request, Done done) {
  Identity identity;
  identity.session = request.session();
  identity.node = sessions_.NodeOf(request.session());
  identity.caller = request.caller();
  if (request.session() == 0) {
    request.set_token(0);
  } else if (request.token() == 0) {
    Reply reply;
    Finish(Status::InvalidArgument("a mutation needs a token"), &reply);
    return done(std::move(reply));
  } else {
    // Its open counts were lost with the last server's memory, and its client could not reclaim
    // what it did not know to have.
    auto reopen = [&](const Reply& reply) {
      if (!reply.has_open()) return;
      const bool writes =
          request.has_create() ? request.create().flags().write() : request.open().flags().write();
      const OpenChange change{reply.attr().ino(), reply.open().incarnation(), writes ? 0 : 1,
                              writes ? 1 : 0};
      PostDrops(opens_.Apply(request.session(), change));
    };
    switch (sessions_.BeginMutation(request.session(), request.token(), done, reopen)) {
      case SessionTable::Token::kFresh:
        break;
      case SessionTable::Token::kNoSession: {
        Reply reply;
        Finish(Status::SessionExpired("the session is over; register again"), &reply);
        return done(std::move(reply));
      }
      case SessionTable::Token::kRepeated:
        return;
    }
  }
  Body body = [request](OpContext& context, Reply* reply) {
    return ExecuteOp(context, request, reply);
  };
  std::make_shared<Mutation>(this, std::move(identity), std::move(body), std::move(request),
                             std::move(done))
      ->Run();
}

void MetadataCore::PostDrops(const std::vector<Drop>& drops) {
  for (const Drop& drop : drops) {
    ServerEvent event;
    event.mutable_drop()->set_ino(drop.object.ino);
    event.mutable_drop()->set_incarnation(drop.object.incarnation);
    event.mutable_drop()->set_version(drop.version);
    sessions_.Post(sessions_.OfNode(drop.node), std::move(event), nullptr);
  }
}

void MetadataCore::AfterCommit(SessionId session, const Effects& effects) {
  for (const Drop& drop : effects.drops) {
    PostDrops(drop.after_readers ? opens_.Hold(drop, session) : std::vector<Drop>{drop});
  }
  for (const Drop& home : effects.writer_elsewhere) {
    ServerEvent event;
    event.mutable_writer_elsewhere()->set_ino(home.object.ino);
    event.mutable_writer_elsewhere()->set_incarnation(home.object.incarnation);
    SessionId there = sessions_.OfNode(home.node);
    if (there != session) sessions_.Tell(there, event);
  }
  for (Ino ino : effects.locks_freed) {
    std::set<SessionId> waiting;
    {
      MutexLock lock(waiters_mutex_);
      auto found = lock_waiters_.find(ino);
      if (found == lock_waiters_.end()) continue;
      waiting.swap(found->second);
      lock_waiters_.erase(found);
    }
    ServerEvent event;
    event.set_lock_available(ino);
    for (SessionId waiter : waiting) sessions_.Tell(waiter, event);
  }
}

}  // namespace f3::meta
