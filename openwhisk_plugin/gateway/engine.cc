#include "openwhisk_plugin/gateway/engine.h"

#include <sodium.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "openwhisk_plugin/gateway/json_text.h"

namespace f3::openwhisk {
namespace {

using nlohmann::json;

int64_t WallMillis(Clock* clock) { return clock->WallNanos() / 1'000'000; }

bool HasWorkflowMount(const json& annotations) {
  auto mounts = annotations.find("f3-mounts");
  if (mounts == annotations.end() || !mounts->is_array()) return false;
  return std::any_of(mounts->begin(), mounts->end(), [](const json& mount) {
    return mount.is_object() && mount.contains("lifetime") && mount["lifetime"] == "workflow";
  });
}

// Text that Dump made of JSON.
json Reparse(const std::string& text) {
  return text.empty() ? json() : json::parse(text, nullptr, false);
}

uint64_t HeldBy(const LocateReply& reply, const std::string& node) {
  for (const auto& held : reply.nodes()) {
    if (held.node() == node) return held.bytes();
  }
  return 0;
}

// Bytes of the inputs that are elsewhere, as located before the run.
uint64_t Lacking(const LocateReply& reply, const std::string& node) {
  uint64_t held = HeldBy(reply, node);
  return reply.bytes() > held ? reply.bytes() - held : 0;
}

}  // namespace

Engine::Engine(const EngineOptions& options, Store* store, const ContainerFactory& factory)
    : options_(options), store_(store), throttle_(options.throttle, options.clock) {
  for (const auto& node : options.nodes) {
    agents_.push_back(std::make_unique<AgentClient>(node.name, node.agent_socket));
    InvokerOptions invoker = options.invoker;
    invoker.node = node.name;
    invoker.container.sandbox_dir = node.sandbox_dir;
    invoker.clock = options.clock;
    invokers_.push_back(std::make_unique<Invoker>(invoker, agents_.back().get(), factory));
  }
}

Engine::~Engine() { Shutdown(); }

void Engine::Shutdown() {
  stopping_ = true;
  for (auto& invoker : invokers_) invoker->Shutdown();
}

void Engine::DetachLeftovers() {
  for (auto& agent : agents_) {
    auto attached = agent->List();
    if (!attached.ok()) {
      spdlog::warn("{}", attached.status().message());
      continue;
    }
    for (const auto& sandbox : attached->attached()) {
      if (sandbox.container().rfind(
              options_.invoker.id_prefix.substr(0, options_.invoker.id_prefix.rfind('-') + 1), 0) !=
          0) {
        continue;
      }
      Status status = agent->Detach(sandbox.container());
      if (!status.ok()) spdlog::warn("{}", status.message());
    }
  }
}

Status Engine::CheckHints(const std::string& name_space, const json& annotations,
                          const std::string& call_hints) {
  CheckRequest request;
  request.set_namespace_(name_space);
  if (!annotations.empty()) request.set_annotations(DumpJson(annotations));
  request.set_call_hints(call_hints);
  Status status = Status::Unavailable("there is no node");
  size_t first = next_agent_++;
  for (size_t i = 0; i < agents_.size(); ++i) {
    status = agents_[(first + i) % agents_.size()]->Check(request);
    if (!status.Is(Code::kUnavailable) && !status.Is(Code::kTimeout)) break;
  }
  return status;
}

Result<std::string> Engine::Invoke(Request request, Done done) {
  if (stopping_) return Status::Unavailable("the gateway is stopping");
  const std::string name_space = request.user.name_space;
  F3_RETURN_IF_ERROR(throttle_.Enter(name_space));
  auto workflow = std::make_shared<Workflow>();
  Call call;
  call.user = std::move(request.user);
  call.transaction = std::move(request.transaction);
  call.target = std::move(request.target);
  call.payload = std::move(request.payload);
  call.workflow = workflow;
  call.done = [this, workflow, name_space, done = std::move(done)](const Activation& record) {
    throttle_.Leave(name_space);
    done(record);
    EndWorkflow(workflow.get());
  };
  auto id = Start(std::move(call));
  if (!id.ok()) throttle_.Leave(name_space);
  return id;
}

void Engine::EndWorkflow(Workflow* workflow) {
  std::set<std::string> namespaces;
  {
    MutexLock lock(workflow->mutex);
    namespaces = workflow->with_directories;
  }
  for (const auto& name_space : namespaces) {
    Status status = Status::Unavailable("there is no node");
    for (size_t i = 0; i < agents_.size() && !status.ok(); ++i) {
      status = agents_[i]->EndWorkflow(name_space, workflow->id);
    }
    if (!status.ok()) {
      spdlog::warn("the directories of workflow {} are left: {}", workflow->id, status.message());
    }
  }
}

Activation Engine::NewRecord(const Call& call) const {
  const Action& action = call.target.action;
  Activation record;
  record.id = NewActivationId();
  record.name_space = call.user.name_space;
  record.name = action.id.name;
  record.version = action.version;
  record.subject = call.user.name_space;
  record.cause = call.cause;
  record.start_millis = record.end_millis = WallMillis(options_.clock);
  record.annotations["path"] = action.id.ToString().substr(1);
  record.annotations["kind"] = action.exec.kind;
  record.annotations["limits"] = ToJson(action.limits);
  if (!call.cause.empty()) record.annotations["causedBy"] = "sequence";
  if (!call.target.binding.empty()) record.annotations["binding"] = call.target.binding;
  return record;
}

Result<std::string> Engine::Start(Call call) {
  Activation record = NewRecord(call);
  if (call.workflow->id.empty()) call.workflow->id = record.id;
  CallArguments arguments = MergeArguments(call.target.parameters, call.payload);
  // A step's own `__f3` (its parameter, or the result before it) comes before the workflow's.
  if (!arguments.hints.empty()) call.hints = arguments.hints;
  if (call.target.action.exec.is_sequence()) {
    return StartSequence(std::move(call), std::move(record), std::move(arguments));
  }
  return StartAction(std::move(call), std::move(record), std::move(arguments));
}

Result<std::string> Engine::StartAction(Call call, Activation record, CallArguments arguments) {
  if (stopping_) return Status::Unavailable("the gateway is stopping");
  if (++call.workflow->steps > kMaxSequenceSteps) {
    return Status::InvalidArgument("the sequence has more than " +
                                   std::to_string(kMaxSequenceSteps) + " steps");
  }
  json annotations = F3Annotations(call.target.action.annotations);
  if (HasWorkflowMount(annotations)) {
    MutexLock lock(call.workflow->mutex);
    call.workflow->with_directories.insert(call.target.action.id.name_space);
  }
  auto spec = std::make_shared<ActivationSpec>();
  spec->id = record.id;
  spec->workflow = call.workflow->id;
  spec->transaction = call.transaction;
  spec->received_wall_millis = record.start_millis;
  spec->user = call.user;
  spec->action = call.target.action;
  spec->arguments = std::move(arguments.arguments);
  spec->environment = std::move(arguments.environment);
  if (!annotations.empty()) spec->annotations = DumpJson(annotations);
  spec->call_hints = call.hints;
  spec->code = [store = store_, name = spec->action.id] { return store->GetCode(name); };
  Placed placed = Place(*spec, annotations);
  F3_RETURN_IF_ERROR(store_->BeginActivation(record));
  Status status = Status::Unavailable("there is no node");
  const std::string id = record.id;
  auto shared = std::make_shared<const std::pair<Call, Activation>>(std::move(call), record);
  for (size_t index : placed.order) {
    Invoker* invoker = invokers_[index].get();
    json locality = Locality(placed, invoker->node());
    status = invoker->Submit(spec, [this, shared, locality](const RunResult& result) {
      ActionDone(shared->first, shared->second, locality, result);
    });
    if (status.ok()) return id;
  }
  F3_RETURN_IF_ERROR(store_->ForgetActivation(record));
  return status;
}

Engine::Placed Engine::Place(const ActivationSpec& spec, const json& annotations) {
  Placed placed;
  PlacementInputs inputs = FindInputs(annotations, Reparse(spec.call_hints), spec.arguments);
  PlacementRequest request;
  request.policy = options_.policy;
  request.locality = inputs.locality;
  request.name_space = spec.user.name_space;
  request.action = spec.action.id.ToString();
  request.random = (static_cast<uint64_t>(randombytes_random()) << 32) | randombytes_random();
  request.costs = costs_.Get();
  if (!inputs.paths.empty() || !inputs.references.empty()) {
    LocateRequest locate;
    locate.set_namespace_(spec.action.id.name_space);
    locate.set_annotations(spec.annotations);
    locate.set_workflow(spec.workflow);
    for (auto& path : inputs.paths) locate.add_paths(std::move(path));
    for (auto& reference : inputs.references) locate.add_references(std::move(reference));
    Locate(locate, &placed);
    if (!placed.error.empty() && request.policy == PlacementPolicy::kLocate) {
      request.policy = PlacementPolicy::kHash;
    }
  }
  request.input_bytes = placed.located.bytes();
  for (const auto& invoker : invokers_) {
    Candidate candidate = invoker->Expect(spec);
    candidate.held_bytes = HeldBy(placed.located, invoker->node());
    request.candidates.push_back(candidate);
  }
  placed.order = ChoosePlacement(request);
  return placed;
}

void Engine::Locate(const LocateRequest& request, Placed* placed) {
  placed->asked = true;
  // A second agent only where the first one cannot be reached, which shows at once.
  for (int attempt = 0; attempt < 2; ++attempt) {
    auto reply = agents_[next_agent_ % agents_.size()]->Locate(request);
    if (reply.ok()) {
      placed->located = *std::move(reply);
      placed->error.clear();
      return;
    }
    placed->error = reply.status().message();
    ++next_agent_;
    if (!reply.status().Is(Code::kUnavailable)) return;
  }
}

json Engine::Locality(const Placed& placed, const std::string& node) const {
  json locality = {{"node", node}};
  if (!placed.error.empty()) {
    locality["hit"] = false;
    locality["error"] = placed.error;
    return locality;
  }
  uint64_t lacking = Lacking(placed.located, node);
  locality["hit"] = lacking == 0;
  if (placed.asked) {
    locality["bytes"] = placed.located.bytes();
    locality["pulled"] = lacking;
  }
  return locality;
}

void Engine::ActionDone(const Call& call, Activation record, const json& locality,
                        const RunResult& result) {
  const Action& action = call.target.action;
  bool ran = result.end_wall_millis > 0;  // otherwise it ended in the queue
  record.start_millis = ran ? result.start_wall_millis : record.start_millis;
  record.end_millis = ran ? result.end_wall_millis : WallMillis(options_.clock);
  record.response = result.response;
  record.logs = result.logs;
  record.annotations["waitTime"] = result.wait_millis;
  record.annotations["timeout"] = result.timed_out;
  if (result.init_millis) record.annotations["initTime"] = *result.init_millis;
  record.annotations["f3-locality"] = locality;
  if (result.response.outcome == Outcome::kSuccess) {
    costs_.AddStart(result.start, result.ready_micros + result.init_millis.value_or(0) * 1000);
    if (locality.contains("pulled")) {
      costs_.AddRun(action.id.ToString(), locality["pulled"], result.run_micros);
    }
  }
  Finish(record, call.done);
}

void Engine::Finish(const Activation& record, const Done& done) {
  Status status = store_->EndActivation(record);
  if (!status.ok()) spdlog::error("activation {} is not stored: {}", record.id, status.message());
  done(record);
}

}  // namespace f3::openwhisk
