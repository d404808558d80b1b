// Sequences: one activation that runs others, each with the result of the one before. No thread
// waits for a step: the end of one starts the next.
#include <algorithm>
#include <utility>

#include "openwhisk_plugin/gateway/engine.h"

namespace f3::openwhisk {

struct Engine::Sequence {
  Call call;
  Activation record;
  std::vector<std::string> components;
  size_t next = 0;
  nlohmann::json payload;  // of the next step
};

Result<std::string> Engine::StartSequence(Call call, Activation record, CallArguments arguments) {
  if (++call.workflow->sequences > kMaxSequenceSteps) {
    return Status::InvalidArgument("more than " + std::to_string(kMaxSequenceSteps) +
                                   " sequences are in one another; does one contain itself?");
  }
  if (call.cause.empty()) record.annotations["topmost"] = true;
  F3_RETURN_IF_ERROR(store_->BeginActivation(record));
  auto sequence = std::make_shared<Sequence>();
  sequence->components = call.target.action.exec.components;
  sequence->payload = std::move(arguments.arguments);
  // A sequence has no container whose environment they could be in.
  sequence->payload.update(arguments.environment);
  sequence->call = std::move(call);
  sequence->record = std::move(record);
  sequence->record.duration_millis = 0;
  std::string id = sequence->record.id;
  NextStep(sequence);
  return id;
}

void Engine::NextStep(const std::shared_ptr<Sequence>& sequence) {
  const Call& outer = sequence->call;
  auto name = ParseActionName(sequence->components[sequence->next++], outer.user.name_space);
  auto target =
      name.ok() ? ResolveAction(store_, outer.user, *name) : Result<ResolvedAction>(name.status());
  if (!target.ok()) {
    EndSequence(sequence, Response::Error(Outcome::kApplicationError, target.status().message()));
    return;
  }
  Call call;
  call.user = outer.user;
  call.transaction = outer.transaction;
  call.target = *std::move(target);
  call.payload = std::move(sequence->payload);
  call.hints = outer.hints;
  call.cause = sequence->record.id;
  call.workflow = outer.workflow;
  call.done = [this, sequence](const Activation& step) { StepDone(sequence, step); };
  auto started = Start(std::move(call));
  if (started.ok()) return;
  bool of_the_user = started.status().Is(Code::kInvalidArgument);
  EndSequence(sequence,
              Response::Error(of_the_user ? Outcome::kApplicationError : Outcome::kWhiskError,
                              started.status().message()));
}

void Engine::StepDone(const std::shared_ptr<Sequence>& sequence, const Activation& step) {
  Activation& record = sequence->record;
  record.logs.push_back(step.id);
  *record.duration_millis += step.duration_millis.value_or(step.end_millis - step.start_millis);
  auto limits = step.annotations.find("limits");
  if (limits != step.annotations.end()) {
    nlohmann::json& memory = record.annotations["limits"]["memory"];
    memory = std::max(memory.get<int64_t>(), limits->second.value("memory", int64_t{0}));
  }
  bool over =
      step.response.outcome != Outcome::kSuccess || sequence->next >= sequence->components.size();
  if (over) {
    EndSequence(sequence, step.response);
    return;
  }
  sequence->payload = step.response.result;
  NextStep(sequence);
}

void Engine::EndSequence(const std::shared_ptr<Sequence>& sequence, Response response) {
  sequence->record.response = std::move(response);
  sequence->record.end_millis = options_.clock->WallNanos() / 1'000'000;
  Finish(sequence->record, sequence->call.done);
}

}  // namespace f3::openwhisk
