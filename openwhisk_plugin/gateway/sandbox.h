// Sandbox: one container with what F3's agent gives it, and one activation run in it after another.
//
// Thread-compatible as Container is: one call at a time, but for Kill. Owns the container; the
// agent client must outlive it.
#ifndef F3_OPENWHISK_PLUGIN_GATEWAY_SANDBOX_H_
#define F3_OPENWHISK_PLUGIN_GATEWAY_SANDBOX_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/mutex.h"
#include "common/status.h"
#include "openwhisk_plugin/gateway/agent_client.h"
#include "openwhisk_plugin/gateway/auth.h"
#include "openwhisk_plugin/gateway/container.h"
#include "openwhisk_plugin/gateway/entities.h"
#include "openwhisk_plugin/gateway/placement.h"

namespace f3::openwhisk {

// Makes containers: Container::Create, or a test's.
using ContainerFactory =
    std::function<Result<std::unique_ptr<Container>>(const ContainerOptions& options)>;

// One activation of an action that is no sequence.
struct ActivationSpec {
  std::string id;
  std::string workflow;     // the outermost activation
  std::string transaction;  // of the request
  int64_t received_wall_millis = 0;
  Identity user;  // who invoked; the record and the container belong to them
  Action action;  // without code
  nlohmann::json arguments = nlohmann::json::object();    // as the action gets them
  nlohmann::json environment = nlohmann::json::object();  // parameters with "init"
  std::string annotations;                    // {"f3-mounts", "f3-hints"} as text; empty: none
  std::string call_hints;                     // `__f3` as text; empty: none
  std::function<Result<std::string>()> code;  // read where a container is initialised

  // What a warm container is found by: nobody else's, no other version's.
  std::string ContainerKey() const;
};

struct RunResult {
  Response response;
  std::vector<std::string> logs;
  StartKind start = StartKind::kWarm;
  int64_t start_wall_millis = 0;
  int64_t end_wall_millis = 0;
  int64_t wait_millis = 0;             // from the request to the run
  std::optional<int64_t> init_millis;  // where /init was called
  int64_t ready_micros = 0;            // until the container was there, attached and awake
  int64_t run_micros = 0;              // of /run
  bool timed_out = false;
  bool reusable = false;  // the container may run another activation
};

class Sandbox {
 public:
  Sandbox(const ContainerOptions& options, AgentClient* agent, ContainerFactory factory,
          Clock* clock);
  ~Sandbox();
  Sandbox(const Sandbox&) = delete;
  Sandbox& operator=(const Sandbox&) = delete;

  // Makes the container ahead of use, of no action yet: f3-runc gives it a late root.
  Status Prewarm();
  // Runs `spec` from where the sandbox is: creates, attaches, initialises, wakes as needed.
  RunResult Execute(const ActivationSpec& spec);
  Status Pause();
  // False when the container has died on its own.
  bool alive();
  bool paused() const { return paused_; }
  const std::string& id() const { return options_.id; }
  // Ends what is under way; Execute returns soon. Thread-safe.
  void Kill();
  // Container and attachment are gone afterwards. Errors are logged: nothing waits for them.
  void Destroy();

 private:
  Status MakeReady(const ActivationSpec& spec, RunResult* result);
  Status Attach(const ActivationSpec& spec);
  Status Create();
  Status Initialize(const ActivationSpec& spec, RunResult* result);
  Status Update(const ActivationSpec& spec);
  void Run(const ActivationSpec& spec, RunResult* result);
  Container* container();

  const ContainerOptions options_;
  AgentClient* const agent_;
  const ContainerFactory factory_;
  Clock* const clock_;
  bool attached_ = false;
  bool initialized_ = false;
  bool paused_ = false;
  Mutex mutex_;  // of who may come from another thread: Kill
  std::unique_ptr<Container> container_ F3_GUARDED_BY(mutex_);
  bool killed_ F3_GUARDED_BY(mutex_) = false;
};

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_GATEWAY_SANDBOX_H_
