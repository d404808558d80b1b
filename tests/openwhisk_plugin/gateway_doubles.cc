#include "tests/openwhisk_plugin/gateway_doubles.h"

#include <httplib.h>

#include <utility>

#include "common/clock.h"

namespace f3::openwhisk {

using nlohmann::json;

namespace {

constexpr int64_t kWaitMicros = 20'000'000;

}  // namespace

FakeAgent::FakeAgent(const std::string& socket) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + socket, grpc::InsecureServerCredentials());
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
}

FakeAgent::~FakeAgent() { server_->Shutdown(std::chrono::system_clock::now()); }

grpc::Status FakeAgent::Attach(grpc::ServerContext*, const AttachRequest* request, AttachReply*) {
  MutexLock lock(mutex_);
  attaches_.push_back(*request);
  if (attach_status_.ok()) attached_.insert(request->container());
  changed_.SignalAll();
  return attach_status_;
}

grpc::Status FakeAgent::Update(grpc::ServerContext*, const UpdateRequest* request, UpdateReply*) {
  MutexLock lock(mutex_);
  if (attached_.count(request->container()) == 0) {
    return {grpc::StatusCode::NOT_FOUND, "no such container"};
  }
  updates_.push_back(*request);
  changed_.SignalAll();
  return grpc::Status::OK;
}

grpc::Status FakeAgent::Detach(grpc::ServerContext*, const DetachRequest* request, DetachReply*) {
  MutexLock lock(mutex_);
  attached_.erase(request->container());
  changed_.SignalAll();
  return grpc::Status::OK;
}

grpc::Status FakeAgent::EndWorkflow(grpc::ServerContext*, const EndWorkflowRequest* request,
                                    EndWorkflowReply*) {
  MutexLock lock(mutex_);
  ended_.push_back(request->namespace_() + "/" + request->workflow());
  changed_.SignalAll();
  return grpc::Status::OK;
}

grpc::Status FakeAgent::Locate(grpc::ServerContext*, const LocateRequest* request,
                               LocateReply* reply) {
  MutexLock lock(mutex_);
  locates_.push_back(*request);
  *reply = located_;
  return locate_status_;
}

grpc::Status FakeAgent::List(grpc::ServerContext*, const ListRequest*, ListReply* reply) {
  MutexLock lock(mutex_);
  for (const auto& container : attached_) reply->add_attached()->set_container(container);
  return grpc::Status::OK;
}

grpc::Status FakeAgent::Check(grpc::ServerContext*, const CheckRequest* request, CheckReply*) {
  MutexLock lock(mutex_);
  checks_.push_back(*request);
  return check_status_;
}

void FakeAgent::FailAttach(grpc::Status status) {
  MutexLock lock(mutex_);
  attach_status_ = std::move(status);
}

void FakeAgent::FailCheck(grpc::Status status) {
  MutexLock lock(mutex_);
  check_status_ = std::move(status);
}

void FakeAgent::FailLocate(grpc::Status status) {
  MutexLock lock(mutex_);
  locate_status_ = std::move(status);
}

void FakeAgent::Answer(const LocateReply& reply) {
  MutexLock lock(mutex_);
  located_ = reply;
}

void FakeAgent::AddLeftover(const std::string& container) {
  MutexLock lock(mutex_);
  attached_.insert(container);
}

std::vector<AttachRequest> FakeAgent::attaches() {
  MutexLock lock(mutex_);
  return attaches_;
}

std::vector<UpdateRequest> FakeAgent::updates() {
  MutexLock lock(mutex_);
  return updates_;
}

std::vector<LocateRequest> FakeAgent::locates() {
  MutexLock lock(mutex_);
  return locates_;
}

std::vector<CheckRequest> FakeAgent::checks() {
  MutexLock lock(mutex_);
  return checks_;
}

std::vector<std::string> FakeAgent::ended_workflows() {
  MutexLock lock(mutex_);
  return ended_;
}

std::set<std::string> FakeAgent::attached() {
  MutexLock lock(mutex_);
  return attached_;
}

bool FakeAgent::WaitFor(const std::function<bool()>& holds) {
  int64_t deadline = Clock::Real()->MonotonicMicros() + kWaitMicros;
  while (!holds()) {
    MutexLock lock(mutex_);
    if (Clock::Real()->MonotonicMicros() > deadline) return false;
    changed_.WaitFor(mutex_, 20'000);
  }
  return true;
}

class FakeContainer : public Container {
 public:
  FakeContainer(ContainerWorld* world, ContainerOptions options)
      : world_(world), options_(std::move(options)) {}
  ~FakeContainer() override { Destroy(); }

  Result<RunOutcome> Init(const json& body, int64_t /*timeout_micros*/) override {
    world_->Note("init", options_.id, body);
    code_ = body["value"]["code"];
    env_ = body["value"]["env"];
    RunOutcome outcome;
    outcome.http_status = code_ == "badinit" ? 502 : code_ == "deadinit" ? 0 : 200;
    if (code_ == "badinit") outcome.response = {{"error", "no main in it"}};
    return outcome;
  }
  Result<RunOutcome> Run(const json& body, int64_t /*timeout_micros*/) override {
    world_->Note("run", options_.id, body);
    ++runs_;
    RunOutcome outcome;
    outcome.http_status = code_ == "crash" || code_ == "oom" || code_ == "slow" ? 0 : 200;
    outcome.timed_out = code_ == "slow";
    outcome.out_of_memory = code_ == "oom";
    outcome.response = Respond(body["value"]);
    if (code_ == "log") outcome.logs = "2026 stdout: one\n2026 stderr: two\n";
    if (code_ == "block" && !Block()) outcome.http_status = 0;
    return outcome;
  }
  Status Pause() override {
    world_->Note("pause", options_.id, nullptr);
    return Status();
  }
  Status Resume() override {
    world_->Note("resume", options_.id, nullptr);
    return Status();
  }
  pid_t pid() const override { return 4242; }
  bool alive() override {
    MutexLock lock(world_->mutex_);
    return world_->dead_.count(options_.id) == 0;
  }
  void Destroy() override {
    {
      MutexLock lock(world_->mutex_);
      if (!world_->dead_.insert(options_.id).second && destroyed_) return;
      destroyed_ = true;
    }
    world_->Note("destroy", options_.id, nullptr);
  }

 private:
  json Respond(const json& value) {
    if (code_ == "error") return {{"error", "boom"}};
    if (code_ == "env") return env_;
    if (code_ == "none") return nullptr;
    if (code_ == "huge") return {{"text", std::string(2'000'000, 'x')}};
    if (code_ == "count") return {{"count", runs_}};
    if (code_ == "nest") return {{"n", value.value("n", 0) + 1}};
    return value;
  }
  // False when it was destroyed meanwhile.
  bool Block() {
    MutexLock lock(world_->mutex_);
    ++world_->blocked_;
    world_->changed_.SignalAll();
    world_->WaitFor([&]() F3_NO_THREAD_SAFETY_ANALYSIS {
      return world_->released_ || world_->dead_.count(options_.id) > 0;
    });
    return world_->dead_.count(options_.id) == 0;
  }

  ContainerWorld* const world_;
  const ContainerOptions options_;
  std::string code_;
  json env_;
  int runs_ = 0;
  bool destroyed_ = false;
};

ContainerFactory ContainerWorld::Factory() {
  return [this](const ContainerOptions& options) -> Result<std::unique_ptr<Container>> {
    {
      MutexLock lock(mutex_);
      if (!fail_create_.empty()) {
        return Status::Io(std::exchange(fail_create_, ""));
      }
      created_.push_back(options);
    }
    Note("create", options.id, nullptr);
    return std::unique_ptr<Container>(new FakeContainer(this, options));
  };
}

void ContainerWorld::Note(const std::string& what, const std::string& id, const json& body) {
  MutexLock lock(mutex_);
  events_.push_back({what, id, body});
  changed_.SignalAll();
}

bool ContainerWorld::WaitFor(const std::function<bool()>& holds) {
  int64_t deadline = Clock::Real()->MonotonicMicros() + kWaitMicros;
  while (!holds()) {
    int64_t left = deadline - Clock::Real()->MonotonicMicros();
    if (left <= 0) return false;
    changed_.WaitFor(mutex_, left);
  }
  return true;
}

void ContainerWorld::Release() {
  MutexLock lock(mutex_);
  released_ = true;
  changed_.SignalAll();
}

void ContainerWorld::FailNextCreate(const std::string& message) {
  MutexLock lock(mutex_);
  fail_create_ = message;
}

void ContainerWorld::Kill(const std::string& id) {
  MutexLock lock(mutex_);
  dead_.insert(id);
  changed_.SignalAll();
}

bool ContainerWorld::WaitBlocked(int count) {
  MutexLock lock(mutex_);
  return WaitFor([&]() F3_NO_THREAD_SAFETY_ANALYSIS { return blocked_ >= count; });
}

std::vector<ContainerWorld::Event> ContainerWorld::events() {
  MutexLock lock(mutex_);
  return events_;
}

int ContainerWorld::Count(const std::string& what) {
  MutexLock lock(mutex_);
  int count = 0;
  for (const auto& event : events_) count += event.what == what ? 1 : 0;
  return count;
}

bool ContainerWorld::WaitCount(const std::string& what, int at_least) {
  MutexLock lock(mutex_);
  return WaitFor([&]() F3_NO_THREAD_SAFETY_ANALYSIS {
    int count = 0;
    for (const auto& event : events_) count += event.what == what ? 1 : 0;
    return count >= at_least;
  });
}

std::vector<ContainerOptions> ContainerWorld::created() {
  MutexLock lock(mutex_);
  return created_;
}

HttpAnswer CallHttp(int port, const std::string& method, const std::string& path,
                    const std::string& authorization, const std::string& body) {
  httplib::Client client("127.0.0.1", port);
  client.set_read_timeout(60);
  httplib::Request request;
  request.method = method;
  request.path = path;
  if (!authorization.empty()) {
    size_t colon = authorization.find(':');
    request.headers.insert(httplib::make_basic_authentication_header(
        authorization.substr(0, colon), authorization.substr(colon + 1)));
  }
  if (!body.empty()) {
    request.body = body;
    request.set_header("Content-Type", "application/json");
  }
  HttpAnswer answer;
  auto result = client.send(request);
  if (!result) return answer;
  answer.status = result->status;
  answer.body = json::parse(result->body, nullptr, false);
  for (const auto& [key, value] : result->headers) answer.headers[key] = value;
  return answer;
}

}  // namespace f3::openwhisk
