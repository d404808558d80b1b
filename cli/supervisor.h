// Supervisor: keeps the daemons of one cluster running. One per cluster, in a process of its own
// with a single thread; not thread-safe.
//
// It starts the metadata server, then the node agents (each in its network namespace), restarts
// what ends without being asked to, after a growing pause, and gives up on what keeps ending. It
// adopts daemons that a killed supervisor left running. On SIGTERM it stops the agents, then the
// metadata server. It makes no network and removes none: `f3 up` and `f3 down` do.
#ifndef F3_CLI_SUPERVISOR_H_
#define F3_CLI_SUPERVISOR_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/cluster.h"
#include "cli/control.h"
#include "common/status.h"
#include "common/unique_fd.h"

namespace f3::cli {

// When to start again what ended, and when to stop trying. A value.
class Backoff {
 public:
  // Tells of an end after `ran_micros`; the pause before the next start. Negative: give up.
  int64_t AfterEnd(int64_t ran_micros);
  int failures() const { return failures_; }
  void Reset() { failures_ = 0; }

  static constexpr int64_t kFirstPauseMicros = 100'000;
  static constexpr int64_t kLongestPauseMicros = 5'000'000;
  static constexpr int64_t kHealthyRunMicros = 2'000'000;  // what cannot start ends before
  static constexpr int kMaxFailures = 20;                  // in a row, none of which ran healthily

 private:
  int failures_ = 0;
};

class Supervisor {
 public:
  explicit Supervisor(ClusterLayout layout) : layout_(std::move(layout)) {}
  // Runs until SIGTERM, SIGINT or a stop request has been carried out. Busy when another supervisor
  // holds DIR/run/lock.
  Status Run();

 private:
  enum class State { kWaiting, kRunning, kStopped, kFailed };
  struct Child {
    std::string name;
    const ClusterNode* node = nullptr;  // null: the metadata server
    State state = State::kWaiting;
    bool wanted = true;
    pid_t pid = 0;
    UniqueFd pidfd;
    int64_t started_micros = 0;
    int64_t next_start_micros = 0;  // kWaiting
    int64_t kill_at_micros = 0;     // it was asked to stop; 0: it was not
    int restarts = 0;
    std::string last_end;
    Backoff backoff;
  };

  Status Prepare();
  void Adopt();
  void StartDue(int64_t now);
  void Start(Child* child, int64_t now);
  void Ended(Child* child, int64_t now);
  void AskToStop(Child* child, int64_t now);
  void AdvanceStop(int64_t now);
  bool MetadataReady() const;
  int PollTimeout(int64_t now) const;
  Child* Find(const std::string& name);
  Result<nlohmann::json> Handle(const nlohmann::json& request);

  const ClusterLayout layout_;
  UniqueFd lock_;
  UniqueFd signals_;
  ControlListener control_;
  std::vector<Child> children_;  // the metadata server first
  bool stopping_ = false;
};

}  // namespace f3::cli

#endif  // F3_CLI_SUPERVISOR_H_
