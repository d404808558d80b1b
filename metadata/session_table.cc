#include "metadata/session_table.h"

#include <utility>

#include "common/status.h"
#include "metadata/request_kind.h"

namespace f3::meta {
namespace {

void SetEventId(ServerEvent* event, uint64_t id) {
  if (event->has_invalidate()) event->mutable_invalidate()->set_id(id);
  if (event->has_fence()) event->mutable_fence()->set_id(id);
  if (event->has_drop()) event->mutable_drop()->set_id(id);
}

}  // namespace

void SessionTable::Add(SessionId id, NodeId node, int64_t now_micros, bool recovered) {
  MutexLock lock(mutex_);
  Session& session = sessions_[id];
  session.node = node;
  session.heard_micros = now_micros;
  session.ready = !recovered;
}

NodeId SessionTable::NodeOf(SessionId id) const {
  MutexLock lock(mutex_);
  auto found = sessions_.find(id);
  return found == sessions_.end() ? 0 : found->second.node;
}

std::vector<SessionId> SessionTable::All() const {
  std::vector<SessionId> all;
  MutexLock lock(mutex_);
  for (const auto& [id, session] : sessions_) all.push_back(id);
  return all;
}

SessionId SessionTable::OfNode(NodeId node) const {
  MutexLock lock(mutex_);
  for (const auto& [id, session] : sessions_) {
    if (session.node == node) return id;
  }
  return 0;
}

bool SessionTable::Attach(SessionId id, std::shared_ptr<EventSink> sink,
                          const ServerEvent& welcome) {
  std::shared_ptr<EventSink> replaced;
  {
    MutexLock lock(mutex_);
    auto found = sessions_.find(id);
    if (found == sessions_.end()) return false;
    Session& session = found->second;
    replaced = std::exchange(session.sink, std::move(sink));
    session.sink->Send(welcome);
    for (const auto& [event, pending] : session.pending) session.sink->Send(pending.event);
  }
  if (replaced != nullptr) replaced->Close();
  return true;
}

void SessionTable::Detach(SessionId id, const EventSink* sink) {
  std::shared_ptr<EventSink> gone;
  MutexLock lock(mutex_);
  auto found = sessions_.find(id);
  if (found == sessions_.end() || found->second.sink.get() != sink) return;
  gone = std::move(found->second.sink);
}

void SessionTable::Heard(SessionId id, int64_t now_micros) {
  MutexLock lock(mutex_);
  auto found = sessions_.find(id);
  if (found != sessions_.end()) found->second.heard_micros = now_micros;
}

bool SessionTable::SetReady(SessionId id) {
  MutexLock lock(mutex_);
  auto found = sessions_.find(id);
  return found != sessions_.end() && !std::exchange(found->second.ready, true);
}

bool SessionTable::IsReady(SessionId id) const {
  MutexLock lock(mutex_);
  auto found = sessions_.find(id);
  return found != sessions_.end() && found->second.ready;
}

bool SessionTable::AllReady() const {
  MutexLock lock(mutex_);
  for (const auto& [id, session] : sessions_) {
    if (!session.ready) return false;
  }
  return true;
}

std::vector<SessionId> SessionTable::SilentSince(int64_t micros) const {
  std::vector<SessionId> silent;
  MutexLock lock(mutex_);
  for (const auto& [id, session] : sessions_) {
    if (session.heard_micros < micros) silent.push_back(id);
  }
  return silent;
}

void SessionTable::Post(SessionId id, ServerEvent event, std::function<void()> done) {
  {
    MutexLock lock(mutex_);
    auto found = sessions_.find(id);
    if (found != sessions_.end()) {
      uint64_t number = next_event_++;
      SetEventId(&event, number);
      if (found->second.sink != nullptr) found->second.sink->Send(event);
      found->second.pending[number] = {std::move(event), std::move(done)};
      return;
    }
  }
  if (done) done();
}

void SessionTable::Tell(SessionId id, const ServerEvent& event) {
  MutexLock lock(mutex_);
  auto found = sessions_.find(id);
  if (found != sessions_.end() && found->second.sink != nullptr) found->second.sink->Send(event);
}

void SessionTable::Acknowledge(SessionId id, uint64_t event) {
  std::function<void()> done;
  {
    MutexLock lock(mutex_);
    auto found = sessions_.find(id);
    if (found == sessions_.end()) return;
    auto pending = found->second.pending.find(event);
    if (pending == found->second.pending.end()) return;
    done = std::move(pending->second.done);
    found->second.pending.erase(pending);
  }
  if (done) done();
}

bool SessionTable::End(SessionId id) {
  Session ended;
  {
    MutexLock lock(mutex_);
    auto found = sessions_.find(id);
    if (found == sessions_.end()) return false;
    ended = std::move(found->second);
    sessions_.erase(found);
  }
  if (ended.sink != nullptr) {
    ServerEvent event;
    event.set_expired(true);
    ended.sink->Send(event);
    ended.sink->Close();
  }
  for (auto& [event, pending] : ended.pending) {
    if (pending.done) pending.done();
  }
  Reply expired;
  expired.set_code(static_cast<int>(Code::kSessionExpired));
  expired.set_message("the session ended");
  for (auto& [token, state] : ended.tokens) {
    for (auto& done : state.waiting) done(expired);
  }
  return true;
}

void SessionTable::ReleaseAll() {
  std::vector<std::function<void()>> waiting;
  std::vector<std::shared_ptr<EventSink>> sinks;
  {
    MutexLock lock(mutex_);
    for (auto& [id, session] : sessions_) {
      for (auto& [event, pending] : session.pending) {
        if (pending.done) waiting.push_back(std::move(pending.done));
      }
      session.pending.clear();
      if (session.sink != nullptr) sinks.push_back(std::move(session.sink));
      session.sink = nullptr;
    }
  }
  for (auto& done : waiting) done();
  for (auto& sink : sinks) sink->Close();
}

SessionTable::Token SessionTable::BeginMutation(
    SessionId id, uint64_t token, const ReplyDone& done,
    const std::function<void(const Reply&)>& recovered) {
  Reply reply;
  bool was_recovered = false;
  {
    MutexLock lock(mutex_);
    auto found = sessions_.find(id);
    if (found == sessions_.end()) return Token::kNoSession;
    auto [state, fresh] = found->second.tokens.try_emplace(token);
    if (fresh) {
      if (token > found->second.confirmed) return Token::kFresh;
      // Its reply had arrived: this is a straggler that nobody waits for.
      found->second.tokens.erase(state);
      reply.set_code(static_cast<int>(Code::kStale));
      reply.set_message("the reply to this request was confirmed already");
    } else if (!state->second.finished) {
      state->second.waiting.push_back(done);
      return Token::kRepeated;
    } else {
      reply = state->second.reply;
      WithdrawGrants(&reply);
      was_recovered = std::exchange(state->second.recovered, false);
    }
  }
  if (was_recovered) recovered(reply);
  done(std::move(reply));
  return Token::kRepeated;
}

void SessionTable::FinishMutation(SessionId id, uint64_t token, const Reply& reply, bool stored) {
  std::vector<ReplyDone> waiting;
  {
    MutexLock lock(mutex_);
    auto found = sessions_.find(id);
    if (found == sessions_.end()) return;
    auto state = found->second.tokens.find(token);
    if (state == found->second.tokens.end()) return;
    state->second.finished = true;
    state->second.stored = stored;
    state->second.reply = reply;
    waiting.swap(state->second.waiting);
  }
  if (waiting.empty()) return;
  Reply repeated = reply;
  WithdrawGrants(&repeated);
  for (auto& done : waiting) done(repeated);
}

void SessionTable::AddRecoveredReply(SessionId id, uint64_t token, Reply reply) {
  MutexLock lock(mutex_);
  auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  TokenState& state = found->second.tokens[token];
  state.finished = state.stored = state.recovered = true;
  state.reply = std::move(reply);
}

std::vector<uint64_t> SessionTable::Confirm(SessionId id, uint64_t token) {
  std::vector<uint64_t> stored;
  MutexLock lock(mutex_);
  auto found = sessions_.find(id);
  if (found == sessions_.end() || token <= found->second.confirmed) return stored;
  Session& session = found->second;
  session.confirmed = token;
  auto it = session.tokens.begin();
  while (it != session.tokens.end() && it->first <= token) {
    if (!it->second.finished) {
      ++it;
      continue;
    }
    if (it->second.stored) stored.push_back(it->first);
    it = session.tokens.erase(it);
  }
  return stored;
}

void SessionTable::AddReported(SessionId id, const ObjectKey& object) {
  MutexLock lock(mutex_);
  auto found = sessions_.find(id);
  if (found != sessions_.end()) found->second.reported.insert(object);
}

std::set<ObjectKey> SessionTable::TakeReported(SessionId id) {
  MutexLock lock(mutex_);
  auto found = sessions_.find(id);
  return found == sessions_.end() ? std::set<ObjectKey>()
                                  : std::exchange(found->second.reported, {});
}

}  // namespace f3::meta
