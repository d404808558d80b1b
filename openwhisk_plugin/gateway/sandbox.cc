#include "openwhisk_plugin/gateway/sandbox.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "openwhisk_plugin/gateway/outcome.h"

namespace f3::openwhisk {
namespace {

using nlohmann::json;

int64_t WallMillis(Clock* clock) { return clock->WallNanos() / 1'000'000; }

// What the runtimes turn into __OW_* variables.
json CallContext(const ActivationSpec& spec, Clock* clock) {
  json context = {
      {"namespace", spec.user.name_space},
      {"action_name", spec.action.id.ToString()},
      {"action_version", spec.action.version},
      {"activation_id", spec.id},
      {"transaction_id", spec.transaction},
      {"deadline", std::to_string(WallMillis(clock) + spec.action.limits.timeout_millis)}};
  auto wanted = spec.action.annotations.find("provide-api-key");
  if (wanted != spec.action.annotations.end() && IsTruthy(wanted->second)) {
    context["api_key"] = spec.user.uuid + ":" + spec.user.key;
  }
  return context;
}

std::string Upper(std::string text) {
  for (char& c : text) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return text;
}

json InitBody(const ActivationSpec& spec, const std::string& code, Clock* clock) {
  json environment = json::object();
  for (const auto& [key, value] : spec.environment.items()) {
    environment[key] = value.is_string() ? value.get<std::string>() : value.dump();
  }
  const json context = CallContext(spec, clock);
  for (const auto& [key, value] : context.items()) {
    environment["__OW_" + Upper(key)] = value;
  }
  const Exec& exec = spec.action.exec;
  return {{"value",
           {{"name", spec.action.id.name},
            {"main", exec.main.empty() ? "main" : exec.main},
            {"code", code},
            {"binary", exec.binary},
            {"env", environment}}}};
}

void AppendLogs(const RunOutcome& outcome, const ActivationSpec& spec, RunResult* result) {
  AppendLogLines(outcome.logs, static_cast<uint64_t>(spec.action.limits.logs_mb) << 20,
                 &result->logs);
}

}  // namespace

std::string ActivationSpec::ContainerKey() const {
  return user.name_space + action.id.ToString() + "@" + std::to_string(action.revision);
}

Sandbox::Sandbox(const ContainerOptions& options, AgentClient* agent, ContainerFactory factory,
                 Clock* clock)
    : options_(options), agent_(agent), factory_(std::move(factory)), clock_(clock) {}

Sandbox::~Sandbox() { Destroy(); }

Container* Sandbox::container() {
  MutexLock lock(mutex_);
  return container_.get();
}

bool Sandbox::alive() {
  Container* running = container();
  return running != nullptr && running->alive();
}

Status Sandbox::Prewarm() { return Create(); }

Status Sandbox::Create() {
  {
    MutexLock lock(mutex_);
    if (killed_) return Status::Interrupted("the gateway is stopping");
  }
  auto made = factory_(options_);
  if (!made.ok()) return made.status();
  MutexLock lock(mutex_);
  container_ = *std::move(made);
  // Killed while it was made: nobody else saw it.
  if (killed_) container_->Destroy();
  return killed_ ? Status::Interrupted("the gateway is stopping") : Status();
}

Status Sandbox::Attach(const ActivationSpec& spec) {
  AttachRequest request;
  request.set_container(options_.id);
  request.set_namespace_(spec.action.id.name_space);
  request.set_action(spec.action.id.local());
  request.set_activation(spec.id);
  request.set_workflow(spec.workflow);
  request.set_annotations(spec.annotations);
  Container* running = container();
  if (running != nullptr) request.set_pid(running->pid());
  attached_ = true;  // also when it fails half-way: Destroy detaches
  return agent_->Attach(request);
}

Status Sandbox::MakeReady(const ActivationSpec& spec, RunResult* result) {
  int64_t begin = clock_->MonotonicMicros();
  if (container() == nullptr) {
    result->start = StartKind::kCold;
    // Before it exists, so that its mounts are there from the first moment; and again when it
    // does, so that the agent knows which process to watch.
    F3_RETURN_IF_ERROR(Attach(spec));
    F3_RETURN_IF_ERROR(Create());
    F3_RETURN_IF_ERROR(Attach(spec));
  } else if (!attached_) {
    result->start = StartKind::kPrewarmed;
    F3_RETURN_IF_ERROR(Attach(spec));
  }
  if (paused_) {
    F3_RETURN_IF_ERROR(container()->Resume());
    paused_ = false;
  }
  result->ready_micros = clock_->MonotonicMicros() - begin;
  return Status();
}

Status Sandbox::Initialize(const ActivationSpec& spec, RunResult* result) {
  F3_ASSIGN_OR_RETURN(std::string code, spec.code());
  int64_t begin = clock_->MonotonicMicros();
  int64_t limit = spec.action.limits.timeout_millis;
  F3_ASSIGN_OR_RETURN(RunOutcome outcome,
                      container()->Init(InitBody(spec, code, clock_), limit * 1000));
  result->init_millis = (clock_->MonotonicMicros() - begin) / 1000;
  AppendLogs(outcome, spec, result);
  result->timed_out = outcome.timed_out;
  if (auto failed = InitFailure(outcome, limit)) {
    result->response = *failed;
  } else {
    initialized_ = true;
  }
  return Status();
}

Status Sandbox::Update(const ActivationSpec& spec) {
  UpdateRequest request;
  request.set_container(options_.id);
  request.set_activation(spec.id);
  request.set_workflow(spec.workflow);
  request.set_call_hints(spec.call_hints);
  Status status = agent_->Update(request);
  if (!status.Is(Code::kNotFound)) return status;
  // An agent that has lost its state takes the container as a late one.
  F3_RETURN_IF_ERROR(Attach(spec));
  return agent_->Update(request);
}

void Sandbox::Run(const ActivationSpec& spec, RunResult* result) {
  json body = CallContext(spec, clock_);
  body["value"] = spec.arguments;
  int64_t limit = spec.action.limits.timeout_millis;
  int64_t begin = clock_->MonotonicMicros();
  auto outcome = container()->Run(body, limit * 1000);
  result->run_micros = clock_->MonotonicMicros() - begin;
  if (!outcome.ok()) {
    result->response = Response::Error(Outcome::kWhiskError, outcome.status().message());
    return;
  }
  AppendLogs(*outcome, spec, result);
  result->timed_out = outcome->timed_out;
  result->response = RunResponse(*outcome, limit);
  // As OpenWhisk does: a container that misbehaved does not run again, an action's error is none.
  result->reusable = result->response.outcome == Outcome::kSuccess ||
                     result->response.outcome == Outcome::kApplicationError;
}

RunResult Sandbox::Execute(const ActivationSpec& spec) {
  RunResult result;
  Status status = MakeReady(spec, &result);
  // The container's making is waiting, as in OpenWhisk; the activation begins with /init or /run.
  result.start_wall_millis = WallMillis(clock_);
  result.wait_millis = result.start_wall_millis - spec.received_wall_millis;
  if (status.ok() && !initialized_) status = Initialize(spec, &result);
  if (status.ok() && initialized_) status = Update(spec);
  if (!status.ok()) {
    result.response = Response::Error(Outcome::kWhiskError, status.message());
  } else if (initialized_) {
    Run(spec, &result);
  }
  result.end_wall_millis = WallMillis(clock_);
  return result;
}

Status Sandbox::Pause() {
  F3_RETURN_IF_ERROR(container()->Pause());
  paused_ = true;
  return Status();
}

void Sandbox::Kill() {
  MutexLock lock(mutex_);
  killed_ = true;
  if (container_ != nullptr) container_->Destroy();
}

void Sandbox::Destroy() {
  std::unique_ptr<Container> container;
  {
    MutexLock lock(mutex_);
    killed_ = true;
    container = std::move(container_);
  }
  if (container != nullptr) container->Destroy();
  container.reset();
  if (!attached_) return;
  attached_ = false;
  Status status = agent_->Detach(options_.id);
  if (!status.ok()) spdlog::warn("detach {}: {}", options_.id, status.message());
}

}  // namespace f3::openwhisk
