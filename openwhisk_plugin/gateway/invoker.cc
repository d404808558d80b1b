#include "openwhisk_plugin/gateway/invoker.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

namespace f3::openwhisk {
namespace {

constexpr uint64_t kMiB = 1ull << 20;
constexpr uint64_t kStemCellBytes = 256 * kMiB;
constexpr uint64_t kSmallestBytes = static_cast<uint64_t>(kMinMemoryMb) << 20;
constexpr int64_t kPrewarmRetryMicros = 10'000'000;
constexpr int64_t kLongestSleepMicros = 60'000'000;
constexpr double kWeight = 0.2;

// As many as containers can work at once, and one for what is paused or removed meanwhile.
int Threads(const InvokerOptions& options) {
  return static_cast<int>(std::clamp<uint64_t>(options.memory_bytes / kSmallestBytes, 1, 63)) + 1;
}

size_t MaxTasks(const InvokerOptions& options) {
  return options.memory_bytes / kSmallestBytes + 16;
}

RunResult Stopping() {
  RunResult result;
  result.response = Response::Error(Outcome::kWhiskError, "the gateway is stopping");
  return result;
}

}  // namespace

Invoker::Invoker(const InvokerOptions& options, AgentClient* agent, ContainerFactory factory)
    : options_(options),
      agent_(agent),
      factory_(std::move(factory)),
      clock_(options.clock),
      executor_("f3-invoke", Threads(options), MaxTasks(options)),
      thread_([this] { Loop(); }) {}

Invoker::~Invoker() { Shutdown(); }

Status Invoker::Submit(std::shared_ptr<const ActivationSpec> spec, Done done) {
  Job job{std::move(spec), std::move(done), clock_->MonotonicMicros()};
  MutexLock lock(mutex_);
  if (stopping_) return Status::Again("the gateway is stopping");
  if (job.memory_bytes() > options_.memory_bytes) {
    return Status::NotSupported("the action wants more memory than node " + options_.node +
                                " gives to actions");
  }
  if (queue_.size() >= options_.max_queued) {
    return Status::Again("too many activations wait on node " + options_.node);
  }
  queue_.push_back(std::move(job));
  Schedule();
  return Status();
}

void Invoker::Submit(std::function<void()> task) {
  // Refused only when it is shut down, and then stopping_ is set: Schedule does not come here.
  if (!executor_.TrySubmit(std::move(task))) {
    spdlog::critical("node {}: more tasks than containers", options_.node);
  }
}

void Invoker::Schedule() {
  if (stopping_) return;
  bool may_create = true;
  for (auto it = queue_.begin(); it != queue_.end();) {
    Place place = TryStart(*it, may_create);
    // Who needs a new container waits for those before: small ones must not starve a large one.
    if (place == Place::kNoRoom) may_create = false;
    it = place == Place::kStarted ? queue_.erase(it) : std::next(it);
  }
  changed_.SignalAll();
}

Invoker::Place Invoker::TryStart(Job& job, bool may_create) {
  std::string key = job.spec->ContainerKey();
  if (SlotPtr slot = FindIdle(key)) {
    Start(slot, std::move(job));
    return Place::kStarted;
  }
  // Cheaper to wait for than a cold start.
  if (std::any_of(slots_.begin(), slots_.end(), [&](const auto& slot) {
        return slot->state == State::kPausing && slot->key == key;
      })) {
    return Place::kSoon;
  }
  if (!may_create) return Place::kNoRoom;
  uint64_t bytes = job.memory_bytes();
  SlotPtr slot = FindStemCell(job.spec->action.exec.kind, bytes);
  if (slot == nullptr && used_bytes_ + bytes <= options_.memory_bytes) {
    slot = NewSlot(job.spec->action.exec.kind, bytes,
                   static_cast<uint64_t>(job.spec->action.limits.logs_mb) << 20);
  }
  if (slot == nullptr) {
    MakeRoom(bytes);
    return Place::kNoRoom;
  }
  slot->key = key;
  Start(slot, std::move(job));
  return Place::kStarted;
}

void Invoker::Start(const SlotPtr& slot, Job job) {
  bool was_idle = slot->state == State::kIdle;
  slot->state = State::kBusy;
  Submit([this, slot, job = std::move(job), was_idle] { RunJob(slot, job, was_idle); });
}

Invoker::SlotPtr Invoker::FindIdle(const std::string& key) {
  SlotPtr best;
  for (const auto& slot : slots_) {
    if (slot->state != State::kIdle || slot->key != key) continue;
    // The one used last: others may become old enough to go.
    if (best == nullptr || slot->last_used_micros > best->last_used_micros) best = slot;
  }
  return best;
}

Invoker::SlotPtr Invoker::FindStemCell(const std::string& kind, uint64_t memory_bytes) {
  for (const auto& slot : slots_) {
    if (slot->state == State::kIdle && slot->key.empty() && slot->kind == kind &&
        slot->memory_bytes == memory_bytes) {
      return slot;
    }
  }
  return nullptr;
}

std::shared_ptr<Sandbox> Invoker::NewSandbox(const Slot& slot, uint64_t log_bytes) {
  ContainerOptions container = options_.container;
  container.id = options_.id_prefix + "-" + options_.node + "-" + std::to_string(next_id_++);
  container.kind = slot.kind;
  container.memory_bytes = slot.memory_bytes;
  container.log_bytes = log_bytes;
  return std::make_shared<Sandbox>(container, agent_, factory_, clock_);
}

Invoker::SlotPtr Invoker::NewSlot(const std::string& kind, uint64_t memory_bytes,
                                  uint64_t log_bytes) {
  auto slot = std::make_shared<Slot>();
  slot->kind = kind;
  slot->memory_bytes = memory_bytes;
  slot->sandbox = NewSandbox(*slot, log_bytes);
  slots_.push_back(slot);
  used_bytes_ += memory_bytes;
  return slot;
}

void Invoker::MakeRoom(uint64_t bytes) {
  while (used_bytes_ - removing_bytes_ + bytes > options_.memory_bytes) {
    SlotPtr oldest;
    for (const auto& slot : slots_) {
      if (slot->state != State::kIdle) continue;
      // Stem cells last: they serve any action of their kind.
      auto age = [](const Slot& s) { return std::pair(s.key.empty(), s.last_used_micros); };
      if (oldest == nullptr || age(*slot) < age(*oldest)) oldest = slot;
    }
    if (oldest == nullptr) return;
    Remove(oldest);
  }
}

void Invoker::Remove(const SlotPtr& slot) {
  slot->state = State::kRemoving;
  removing_bytes_ += slot->memory_bytes;
  Submit([this, slot] { RemoveSlot(slot); });
}

void Invoker::RemoveSlot(const SlotPtr& slot) {
  slot->sandbox->Destroy();
  MutexLock lock(mutex_);
  used_bytes_ -= slot->memory_bytes;
  removing_bytes_ -= slot->memory_bytes;
  slots_.remove(slot);
  Schedule();
}

std::shared_ptr<Sandbox> Invoker::LiveSandbox(const SlotPtr& slot, const Job& job, bool was_idle) {
  if (!was_idle || slot->sandbox->alive()) return slot->sandbox;
  spdlog::warn("the container {} died while it was idle", slot->sandbox->id());
  slot->sandbox->Destroy();
  MutexLock lock(mutex_);
  auto fresh = NewSandbox(*slot, static_cast<uint64_t>(job.spec->action.limits.logs_mb) << 20);
  if (stopping_) fresh->Kill();
  slot->sandbox = fresh;
  return fresh;
}

void Invoker::RunJob(const SlotPtr& slot, const Job& job, bool was_idle) {
  int64_t begin = clock_->MonotonicMicros();
  std::shared_ptr<Sandbox> sandbox = LiveSandbox(slot, job, was_idle);
  RunResult result = sandbox->Execute(*job.spec);
  int64_t now = clock_->MonotonicMicros();
  {
    MutexLock lock(mutex_);
    run_micros_ += kWeight * (static_cast<double>(now - begin) - run_micros_);
    slot->last_used_micros = now;
    if (result.reusable || stopping_) {
      slot->state = State::kIdle;
    } else {
      Remove(slot);
    }
    Schedule();
  }
  job.done(std::move(result));
}

int64_t Invoker::Maintain() {
  int64_t now = clock_->MonotonicMicros();
  int64_t next = now + kLongestSleepMicros;
  std::vector<SlotPtr> idle;
  for (const auto& slot : slots_) {
    if (slot->state == State::kIdle) idle.push_back(slot);
  }
  for (const auto& slot : idle) {
    bool paused = slot->sandbox->paused();
    int64_t due =
        slot->last_used_micros + (paused ? options_.idle_micros : options_.pause_grace_micros);
    if (paused && slot->key.empty()) continue;  // a stem cell stays
    if (due > now) {
      next = std::min(next, due);
    } else if (paused) {
      Remove(slot);
    } else {
      slot->state = State::kPausing;
      Submit([this, slot] { PauseSlot(slot); });
    }
  }
  Prewarm();
  if (prewarm_after_micros_ > now) next = std::min(next, prewarm_after_micros_);
  return next;
}

void Invoker::PauseSlot(const SlotPtr& slot) {
  Status status = slot->sandbox->Pause();
  MutexLock lock(mutex_);
  if (status.ok()) {
    slot->state = State::kIdle;
  } else {
    spdlog::warn("pause {}: {}", slot->sandbox->id(), status.message());
    if (!stopping_) Remove(slot);
  }
  Schedule();
}

void Invoker::Prewarm() {
  if (!queue_.empty() || clock_->MonotonicMicros() < prewarm_after_micros_) return;
  for (const auto& [kind, wanted] : options_.prewarm) {
    auto stems = static_cast<size_t>(
        std::count_if(slots_.begin(), slots_.end(), [&kind = kind](const auto& slot) {
          return slot->key.empty() && slot->kind == kind && slot->state != State::kRemoving;
        }));
    for (; stems < wanted && used_bytes_ + kStemCellBytes <= options_.memory_bytes; ++stems) {
      SlotPtr slot = NewSlot(kind, kStemCellBytes, static_cast<uint64_t>(kMaxLogsMb) << 20);
      Submit([this, slot] { PrewarmSlot(slot); });
    }
  }
}

void Invoker::PrewarmSlot(const SlotPtr& slot) {
  Status status = slot->sandbox->Prewarm();
  MutexLock lock(mutex_);
  slot->last_used_micros = clock_->MonotonicMicros();
  slot->state = State::kIdle;
  if (!status.ok() && !stopping_) {
    spdlog::warn("prewarm {} on {}: {}", slot->kind, options_.node, status.message());
    prewarm_after_micros_ = slot->last_used_micros + kPrewarmRetryMicros;
    Remove(slot);
  }
  Schedule();
}

void Invoker::Loop() {
  MutexLock lock(mutex_);
  while (!stopping_) {
    int64_t next = Maintain();
    int64_t sleep = next - clock_->MonotonicMicros();
    if (sleep > 0) changed_.WaitFor(mutex_, sleep);
  }
}

int64_t Invoker::ExpectedWait(uint64_t bytes) {
  uint64_t wanted = bytes;
  double busy = 0;
  for (const auto& slot : slots_) {
    if (slot->key.empty() || slot->state == State::kIdle || slot->state == State::kRemoving) {
      continue;
    }
    wanted += slot->memory_bytes;
    ++busy;
  }
  for (const auto& job : queue_) wanted += job.memory_bytes();
  if (wanted <= options_.memory_bytes) return 0;
  return static_cast<int64_t>(run_micros_ * static_cast<double>(queue_.size() + 1) /
                              std::max(busy, 1.0));
}

Candidate Invoker::Expect(const ActivationSpec& spec) {
  Candidate candidate;
  uint64_t bytes = static_cast<uint64_t>(spec.action.limits.memory_mb) << 20;
  MutexLock lock(mutex_);
  if (FindIdle(spec.ContainerKey()) != nullptr) {
    candidate.start = StartKind::kWarm;
    return candidate;
  }
  if (FindStemCell(spec.action.exec.kind, bytes) != nullptr) {
    candidate.start = StartKind::kPrewarmed;
    return candidate;
  }
  bool fits = bytes <= options_.memory_bytes && queue_.size() < options_.max_queued;
  candidate.wait_micros = fits ? ExpectedWait(bytes) : std::numeric_limits<int64_t>::max() / 4;
  candidate.free = candidate.wait_micros == 0;
  return candidate;
}

void Invoker::Shutdown() {
  std::deque<Job> waiting;
  std::vector<std::shared_ptr<Sandbox>> sandboxes;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    waiting.swap(queue_);
    for (const auto& slot : slots_) sandboxes.push_back(slot->sandbox);
    changed_.SignalAll();
  }
  for (const auto& sandbox : sandboxes) sandbox->Kill();
  for (const auto& job : waiting) job.done(Stopping());
  if (thread_.joinable()) thread_.join();
  executor_.Shutdown();
  std::list<SlotPtr> left;
  {
    MutexLock lock(mutex_);
    left.swap(slots_);
  }
  for (const auto& slot : left) slot->sandbox->Destroy();
}

}  // namespace f3::openwhisk
