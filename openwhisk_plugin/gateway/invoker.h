// Invoker: the containers of one node and the activations that wait for one.
//
// A container is bound to (invoker's namespace, action, revision) by its first activation and runs
// one at a time. Idle it is paused after a grace time, removed after a longer one, or sooner when
// others need its memory, the least recently used first. Stem cells are containers of a kind that
// no action is bound to yet.
//
// Thread-safe. Activations run on threads of the invoker's own; `done` is called there, exactly
// once, with no lock held. The agent client must outlive the invoker.
#ifndef F3_OPENWHISK_PLUGIN_GATEWAY_INVOKER_H_
#define F3_OPENWHISK_PLUGIN_GATEWAY_INVOKER_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "common/clock.h"
#include "common/executor.h"
#include "common/mutex.h"
#include "common/status.h"
#include "openwhisk_plugin/gateway/sandbox.h"

namespace f3::openwhisk {

struct InvokerOptions {
  std::string node;
  ContainerOptions container;  // runtime, rootfs, state_dir, sandbox_dir, environment
  std::string id_prefix;       // of containers: "PREFIX-NODE-NUMBER"
  uint64_t memory_bytes = 2ull << 30;
  size_t max_queued = 256;
  int64_t pause_grace_micros = 10'000'000;
  int64_t idle_micros = 600'000'000;
  std::map<std::string, size_t> prewarm;  // kind → how many stem cells, of 256 MB
  Clock* clock = Clock::Real();
};

class Invoker {
 public:
  Invoker(const InvokerOptions& options, AgentClient* agent, ContainerFactory factory);
  ~Invoker();
  Invoker(const Invoker&) = delete;
  Invoker& operator=(const Invoker&) = delete;

  using Done = std::function<void(RunResult)>;
  // Again when the queue is full or the invoker stops; NotSupported when the action's memory is
  // more than the node gives. `done` is not called then.
  Status Submit(std::shared_ptr<const ActivationSpec> spec, Done done);

  // What would await an activation that is submitted now.
  Candidate Expect(const ActivationSpec& spec);
  const std::string& node() const { return options_.node; }
  AgentClient* agent() const { return agent_; }

  // Ends what runs and what waits, with an error each, and removes all containers.
  void Shutdown();

 private:
  enum class State { kMaking, kBusy, kIdle, kPausing, kRemoving };
  struct Slot {
    std::shared_ptr<Sandbox> sandbox;  // shared with the task that uses it
    std::string key;                   // of the action; empty: a stem cell
    std::string kind;                  // "python:3"
    uint64_t memory_bytes = 0;
    State state = State::kMaking;
    int64_t last_used_micros = 0;
  };
  using SlotPtr = std::shared_ptr<Slot>;
  struct Job {
    std::shared_ptr<const ActivationSpec> spec;
    Done done;
    int64_t submitted_micros = 0;
    uint64_t memory_bytes() const {
      return static_cast<uint64_t>(spec->action.limits.memory_mb) << 20;
    }
  };
  enum class Place { kStarted, kSoon, kNoRoom };

  void Loop();
  void Schedule() F3_REQUIRES(mutex_);
  Place TryStart(Job& job, bool may_create) F3_REQUIRES(mutex_);
  void Start(const SlotPtr& slot, Job job) F3_REQUIRES(mutex_);
  void MakeRoom(uint64_t bytes) F3_REQUIRES(mutex_);
  void Remove(const SlotPtr& slot) F3_REQUIRES(mutex_);
  // Pauses, removes and prewarms what is due; when to look again.
  int64_t Maintain() F3_REQUIRES(mutex_);
  void Prewarm() F3_REQUIRES(mutex_);
  SlotPtr NewSlot(const std::string& kind, uint64_t memory_bytes, uint64_t log_bytes)
      F3_REQUIRES(mutex_);
  SlotPtr FindIdle(const std::string& key) F3_REQUIRES(mutex_);
  SlotPtr FindStemCell(const std::string& kind, uint64_t memory_bytes) F3_REQUIRES(mutex_);
  // 0 when a container of so much memory could be made at once.
  int64_t ExpectedWait(uint64_t bytes) F3_REQUIRES(mutex_);
  void Submit(std::function<void()> task) F3_REQUIRES(mutex_);
  std::shared_ptr<Sandbox> NewSandbox(const Slot& slot, uint64_t log_bytes) F3_REQUIRES(mutex_);
  // Tasks: each has the slot to itself while it is not idle.
  void RunJob(const SlotPtr& slot, const Job& job, bool was_idle);
  void PauseSlot(const SlotPtr& slot);
  void PrewarmSlot(const SlotPtr& slot);
  void RemoveSlot(const SlotPtr& slot);
  // A sandbox that is there: the slot's, or another one when that died while it was idle.
  std::shared_ptr<Sandbox> LiveSandbox(const SlotPtr& slot, const Job& job, bool was_idle);

  const InvokerOptions options_;
  AgentClient* const agent_;
  const ContainerFactory factory_;
  Clock* const clock_;
  Mutex mutex_;
  CondVar changed_;
  std::list<SlotPtr> slots_ F3_GUARDED_BY(mutex_);
  std::deque<Job> queue_ F3_GUARDED_BY(mutex_);
  uint64_t used_bytes_ F3_GUARDED_BY(mutex_) = 0;      // of all slots
  uint64_t removing_bytes_ F3_GUARDED_BY(mutex_) = 0;  // of those that go
  uint64_t next_id_ F3_GUARDED_BY(mutex_) = 1;
  double run_micros_ F3_GUARDED_BY(mutex_) = 100'000;       // of an activation, weighted
  int64_t prewarm_after_micros_ F3_GUARDED_BY(mutex_) = 0;  // after one that failed
  bool stopping_ F3_GUARDED_BY(mutex_) = false;
  // One task per slot at most, so its queue has room for all.
  Executor executor_;
  std::thread thread_;
};

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_GATEWAY_INVOKER_H_
