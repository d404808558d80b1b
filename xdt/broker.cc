#include "xdt/broker.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "xdt/broker_impl.h"

namespace f3::xdt {
namespace {

constexpr int kWorkThreads = 4;
constexpr size_t kMaxWork = 4096;

BufferPool::Options PoolOptions(const Broker::Options& options, SocketServer* sockets) {
  return {options.memory_bytes, options.clock, [sockets] { sockets->Wake(); }};
}

OwnedObjects::Options OwnedOptions(const Broker::Options& options) {
  OwnedObjects::Options owned;
  owned.node = options.node;
  owned.epoch = options.epoch;
  owned.clock = options.clock;
  return owned;
}

Puller::Options PullerOptions(const Broker::Options& options, const ReferenceKeys* keys,
                              BufferPool* pool, Executor* work, Timers* timers,
                              DrainedStore* drained) {
  Puller::Options puller;
  puller.node = options.node;
  puller.keys = keys;
  puller.engine = options.engine;
  puller.buffers = options.buffers;
  puller.pool = pool;
  puller.nodes = options.nodes;
  puller.work = work;
  puller.timers = timers;
  puller.clock = options.clock;
  puller.moved = [drained](const Reference& reference) { return drained->Has(reference); };
  return puller;
}

}  // namespace

BrokerImpl::BrokerImpl(const Options& options)
    : options_(options),
      keys_(options.reference_root, options.keys),
      drained_(options.drain_dir, &keys_),
      timers_(options.clock, true),
      work_("f3-xdt-work", kWorkThreads, kMaxWork),
      pool_(PoolOptions(options, &sockets_)),
      owned_(OwnedOptions(options)),
      puller_(PullerOptions(options, &keys_, &pool_, &work_, &timers_, &drained_)),
      sockets_(this) {}

Status BrokerImpl::Start() {
  F3_RETURN_IF_ERROR(sockets_.Start());
  const int64_t now = options_.clock->WallNanos() / 1000;
  // Only tidying: if there is too much to do, the next start does it.
  (void)work_.TrySubmit([this, now] { drained_.Sweep(now); });
  return Status();
}

void BrokerImpl::TakeUp(const Reference& reference) {
  if (reference.owner != options_.node || reference.epoch == options_.epoch) return;
  auto value = drained_.Take(reference, options_.node);
  if (value.ok()) {
    owned_.Adopt(value->reference, value->content, value->counted);
  } else if (!value.status().Is(Code::kObjectMissing)) {
    spdlog::error("{}", value.status().ToString());
  }
}

void BrokerImpl::WithOwned(const CallRef& call, const Reference& reference,
                           std::function<void()> next) {
  if (reference.epoch == options_.epoch || !drained_.enabled()) return next();
  Later(call, [this, reference, next = std::move(next)] {
    TakeUp(reference);
    next();
  });
}

void BrokerImpl::LeaveToOthers() {
  size_t left = 0;
  for (const OwnedObjects::Listed& one : owned_.Drain()) {
    if (!drained_.enabled()) continue;
    Status saved = drained_.Save({one.reference, one.content, one.counted});
    if (saved.ok()) {
      ++left;
    } else {
      spdlog::error("a value of a function is lost: {}", saved.ToString());
    }
  }
  if (left > 0) spdlog::info("left {} values of functions to the next start or other nodes", left);
}

Status BrokerImpl::OpenSocket(const std::string& path, const Scope& scope, mode_t mode,
                              uint64_t limit_bytes) {
  if (scope.name_space.empty()) return Status::InvalidArgument("a sandbox has a namespace");
  return sockets_.Open(path, mode, MakeSandbox(scope, limit_bytes));
}

std::shared_ptr<Sandbox> BrokerImpl::MakeSandbox(const Scope& scope, uint64_t limit_bytes) const {
  const uint64_t limit = limit_bytes == 0 ? UINT64_MAX : limit_bytes;
  return std::make_shared<Sandbox>(scope, keys_, limit);
}

void BrokerImpl::OnConnect(const ConnectionRef& connection) {
  auto session = std::make_shared<Session>(connection, ViewLimit());
  MutexLock lock(mutex_);
  sessions_[connection->id()] = std::move(session);
}

void BrokerImpl::OnClose(const ConnectionRef& connection) {
  SessionRef session;
  {
    MutexLock lock(mutex_);
    auto at = sessions_.find(connection->id());
    if (at == sessions_.end()) return;
    session = std::move(at->second);
    sessions_.erase(at);
  }
  session->End();
}

void BrokerImpl::OnTick() {
  owned_.Sweep();
  puller_.Sweep();
  if (pool_.Pump() > 0) Reclaim();
}

void BrokerImpl::Reclaim() {
  owned_.DropLingering();
  puller_.DropCopies(pool_.waiting_bytes());
  if (options_.spill_dir.empty() || pool_.wanted_bytes() == 0) return;
  if (reclaiming_.exchange(true)) return;
  const bool submitted = work_.TrySubmit([this] {
    while (pool_.wanted_bytes() > 0 && !stopping_) {
      ObjectKey key;
      ContentRef content = owned_.OldestIdle(&key);
      if (content == nullptr) break;
      auto spilled = Content::Spill(*content, options_.spill_dir);
      if (!spilled.ok()) {
        spdlog::error("{}", spilled.status().ToString());
        break;
      }
      spilled_bytes_ += content->bytes();
      owned_.Replace(key, content, *spilled);
      content = nullptr;
      pool_.Pump();
    }
    reclaiming_ = false;
  });
  if (!submitted) reclaiming_ = false;
}

Broker::Counters BrokerImpl::counters() const {
  Counters counters;
  counters.puts = puts_;
  counters.gets = gets_;
  counters.pulls = pulls_;
  counters.refused = refused_;
  counters.put_bytes = put_bytes_;
  counters.got_bytes = got_bytes_;
  counters.pulled_bytes = pulled_bytes_;
  counters.served_bytes = served_bytes_;
  counters.spilled_bytes = spilled_bytes_;
  counters.objects = owned_.count();
  MutexLock lock(mutex_);
  counters.connections = sessions_.size();
  return counters;
}

void BrokerImpl::Shutdown() {
  if (stopping_.exchange(true)) return;
  puller_.Shutdown();
  sockets_.Shutdown();
  pool_.FailWaits(Status::Unavailable("the node is stopping"));
  timers_.Shutdown();
  work_.Shutdown();
  LeaveToOthers();
}

Result<std::unique_ptr<Broker>> Broker::Create(const Options& options) {
  auto broker = std::make_unique<BrokerImpl>(options);
  F3_RETURN_IF_ERROR(broker->Start());
  return std::unique_ptr<Broker>(std::move(broker));
}

}  // namespace f3::xdt
