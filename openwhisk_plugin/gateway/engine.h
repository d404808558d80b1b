// Engine: runs activations: places each on a node, follows sequences, writes the records.
//
// Thread-safe. Owns one invoker and one agent client per node; the store must outlive it.
#ifndef F3_OPENWHISK_PLUGIN_GATEWAY_ENGINE_H_
#define F3_OPENWHISK_PLUGIN_GATEWAY_ENGINE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/mutex.h"
#include "common/status.h"
#include "openwhisk_plugin/gateway/invoker.h"
#include "openwhisk_plugin/gateway/placement.h"
#include "openwhisk_plugin/gateway/resolve.h"
#include "openwhisk_plugin/gateway/store.h"
#include "openwhisk_plugin/gateway/throttle.h"

namespace f3::openwhisk {

struct EngineNode {
  std::string name;
  std::string agent_socket;
  std::string sandbox_dir;  // of the agent, for f3-runc
};

struct EngineOptions {
  std::vector<EngineNode> nodes;
  PlacementPolicy policy = PlacementPolicy::kLocate;
  InvokerOptions invoker;  // node and sandbox_dir are filled in
  ThrottleLimits throttle;
  Clock* clock = Clock::Real();
};

class Engine {
 public:
  Engine(const EngineOptions& options, Store* store, const ContainerFactory& factory);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  struct Request {
    Identity user;
    std::string transaction;
    ResolvedAction target;
    nlohmann::json payload = nlohmann::json::object();
  };
  // On a thread of the engine, once, when the record is stored.
  using Done = std::function<void(const Activation& activation)>;
  // Returns the activation's id as soon as it waits for a container. Again: a limit of the
  // namespace or a full queue; nothing was begun then.
  Result<std::string> Invoke(Request request, Done done);

  // Asks an agent whether the namespace may have these annotations and call hints. What the user
  // got wrong is InvalidArgument or NotPermitted, and names the field.
  Status CheckHints(const std::string& name_space, const nlohmann::json& annotations,
                    const std::string& call_hints);
  const ThrottleLimits& limits() const { return throttle_.limits(); }

  // Detaches what an earlier process with the same id prefix left at the agents.
  void DetachLeftovers();
  // Everything that runs or waits ends with an error; later calls of Invoke are refused.
  void Shutdown();

 private:
  // Everything that one request brings about.
  struct Workflow {
    std::string id;
    std::atomic<size_t> steps{0};      // actions begun
    std::atomic<size_t> sequences{0};  // so that one which contains itself ends
    Mutex mutex;
    // Namespaces with mounts that last as long as the workflow.
    std::set<std::string> with_directories F3_GUARDED_BY(mutex);
  };
  struct Call {
    Identity user;
    std::string transaction;
    ResolvedAction target;
    nlohmann::json payload;
    std::string hints;  // `__f3`, from this call or the workflow's
    std::string cause;
    std::shared_ptr<Workflow> workflow;
    Done done;
  };
  struct Placed {
    std::vector<size_t> order;  // of invokers_
    LocateReply located;
    bool asked = false;
    std::string error;  // of locate
  };
  struct Sequence;

  Result<std::string> Start(Call call);
  Result<std::string> StartAction(Call call, Activation record, CallArguments arguments);
  Result<std::string> StartSequence(Call call, Activation record, CallArguments arguments);
  void NextStep(const std::shared_ptr<Sequence>& sequence);
  void StepDone(const std::shared_ptr<Sequence>& sequence, const Activation& step);
  void EndSequence(const std::shared_ptr<Sequence>& sequence, Response response);
  Activation NewRecord(const Call& call) const;
  Placed Place(const ActivationSpec& spec, const nlohmann::json& annotations);
  void Locate(const LocateRequest& request, Placed* placed);
  nlohmann::json Locality(const Placed& placed, const std::string& node) const;
  void ActionDone(const Call& call, Activation record, const nlohmann::json& locality,
                  const RunResult& result);
  void Finish(const Activation& record, const Done& done);
  void EndWorkflow(Workflow* workflow);

  const EngineOptions options_;
  Store* const store_;
  Throttle throttle_;
  PlacementCosts costs_;
  std::atomic<size_t> next_agent_{0};
  std::atomic<bool> stopping_{false};
  std::vector<std::unique_ptr<AgentClient>> agents_;
  std::vector<std::unique_ptr<Invoker>> invokers_;  // as agents_; constant after construction
};

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_GATEWAY_ENGINE_H_
