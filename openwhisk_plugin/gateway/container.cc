#include "openwhisk_plugin/gateway/container.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/syscall.h>

#include <atomic>
#include <cerrno>
#include <fstream>
#include <utility>

#include "common/clock.h"
#include "common/mutex.h"
#include "common/unique_fd.h"
#include "openwhisk_plugin/gateway/action_channel.h"
#include "openwhisk_plugin/gateway/cgroup.h"
#include "openwhisk_plugin/gateway/run_program.h"
#include "openwhisk_plugin/gateway/sandbox_files.h"

namespace f3::openwhisk {
namespace {

constexpr int64_t kRuntimeMicros = 20'000'000;  // for one call of runc
constexpr int64_t kListenMicros = 30'000'000;   // for the runtime inside to accept connections
constexpr int64_t kLogMicros = 2'000'000;       // for the sentinels, after the answer
constexpr int64_t kLastLogMicros = 50'000;      // for what it has printed, when it never answered
constexpr size_t kMessageBytes = 2000;
constexpr int kPipeBytes = 1 << 20;  // what it may print between two calls

int64_t Now() { return Clock::Real()->MonotonicMicros(); }

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

Result<Pipe> MakePipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return Status::FromErrno(errno, "pipe2");
  Pipe pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
  ::fcntl(pipe.read.get(), F_SETFL, O_NONBLOCK);  // of this end alone
  // Refused where the user has many pipes: then it is 64 KiB.
  ::fcntl(pipe.read.get(), F_SETPIPE_SZ, kPipeBytes);
  return pipe;
}

// What is in a pipe that nobody will write to again.
std::string Printed(const UniqueFd& pipe) {
  std::string text(kMessageBytes, '\0');
  const ssize_t got = ::read(pipe.get(), text.data(), text.size());
  text.resize(got > 0 ? got : 0);
  return text;
}

class RuncContainer : public Container {
 public:
  RuncContainer(ContainerOptions options, SandboxFiles files)
      : options_(std::move(options)), files_(std::move(files)) {}
  ~RuncContainer() override { DestroyOnce(); }

  // REQUIRES: not called before. What it made is taken away by Destroy.
  Status Start();

  Result<RunOutcome> Init(const nlohmann::json& body, int64_t timeout_micros) override {
    return Call("/init", body, timeout_micros);
  }
  Result<RunOutcome> Run(const nlohmann::json& body, int64_t timeout_micros) override {
    return Call("/run", body, timeout_micros);
  }
  Status Pause() override { return Runtime({"pause", files_.id}); }
  Status Resume() override { return Runtime({"resume", files_.id}); }
  pid_t pid() const override { return pid_; }
  bool alive() override { return !destroyed_ && !channel_->ended(); }
  void Destroy() override { DestroyOnce(); }

 private:
  Status Runtime(std::vector<std::string> command) const {
    return RunProgram({.argv = files_.Runtime(command), .environment = {}, .log_file = ""},
                      kRuntimeMicros);
  }
  Status StartProcess(Pipe* out, Pipe* err);
  Status OpenChannel(Pipe* out, Pipe* err);
  Result<RunOutcome> Call(std::string_view path, const nlohmann::json& body,
                          int64_t timeout_micros);
  std::string CollectLogs(bool answered);
  void DestroyOnce();

  const ContainerOptions options_;
  const SandboxFiles files_;
  // Constant once Start has succeeded.
  pid_t pid_ = 0;
  std::unique_ptr<ActionChannel> channel_;

  std::atomic<bool> destroyed_ = true;  // nothing of it is there
  Mutex destroy_mutex_;  // held while it is destroyed, so that a second call returns after it
};

Status RuncContainer::StartProcess(Pipe* out, Pipe* err) {
  // One command for runc's create and start: each costs the start of a Go program.
  Program run{.argv = files_.Runtime({"run", "--detach", "--bundle", files_.Dir(), "--pid-file",
                                      files_.PidFile(), files_.id}),
              .environment = {},
              .stdout_fd = out->write.get(),
              .stderr_fd = err->write.get(),
              .log_file = files_.LogFile()};
  if (!options_.sandbox_dir.empty()) {
    run.environment.push_back("F3_SANDBOXES=" + options_.sandbox_dir);
  }
  const Status status = RunProgram(run, kRuntimeMicros);
  // The container's processes alone hold them now: their end is the stream's end.
  out->write.Reset();
  err->write.Reset();
  F3_RETURN_IF_ERROR(status);
  std::ifstream in(files_.PidFile());
  if (!(in >> pid_) || pid_ <= 0) {
    return Status::Io(options_.runtime + " wrote no process id to " + files_.PidFile());
  }
  return Status();
}

Status RuncContainer::OpenChannel(Pipe* out, Pipe* err) {
  UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  const std::string netns_path = "/proc/" + std::to_string(pid_) + "/ns/net";
  UniqueFd netns(::open(netns_path.c_str(), O_RDONLY | O_CLOEXEC));
  // It may have ended already, and its number may be another process's.
  if (!process.valid() || !netns.valid() || !IsInGroup(pid_, files_.id)) {
    return Status::Unavailable("the runtime of " + options_.kind + " in " + files_.id +
                               " ended at once; it printed: " + Printed(out->read) +
                               Printed(err->read));
  }
  channel_ = std::make_unique<ActionChannel>(
      ActionChannel::Descriptors{std::move(netns), std::move(process), std::move(out->read),
                                 std::move(err->read)},
      options_.log_bytes);
  return Status();
}

Status RuncContainer::Start() {
  F3_RETURN_IF_ERROR(ClaimSandbox(files_, options_));
  destroyed_ = false;
  const int64_t begun = Now();
  F3_RETURN_IF_ERROR(MakeSandbox(files_, options_));
  F3_ASSIGN_OR_RETURN(Pipe out, MakePipe());
  F3_ASSIGN_OR_RETURN(Pipe err, MakePipe());
  const int64_t made = Now();
  F3_RETURN_IF_ERROR(StartProcess(&out, &err));
  const int64_t started = Now();
  F3_RETURN_IF_ERROR(OpenChannel(&out, &err));
  const Status connected = channel_->Connect(started + kListenMicros);
  if (connected.ok()) {
    spdlog::debug("{}: files {} us, {} {} us, listening {} us", files_.id, made - begun,
                  options_.runtime, started - made, Now() - started);
    return connected;
  }
  channel_->AwaitLogs(Now()).PermitUnchecked();  // what is there
  return connected.WithContext("starting the runtime of " + options_.kind + " in " + files_.id +
                               ", which printed: " + channel_->TakeLogs());
}

std::string RuncContainer::CollectLogs(bool answered) {
  const bool all_comes = answered || channel_->ended();
  const Status complete = channel_->AwaitLogs(Now() + (all_comes ? kLogMicros : kLastLogMicros));
  if (answered && !complete.ok()) {
    channel_->AddLogLine("There was an issue while collecting your logs. Data might be missing.");
  }
  return channel_->TakeLogs();
}

Result<RunOutcome> RuncContainer::Call(std::string_view path, const nlohmann::json& body,
                                       int64_t timeout_micros) {
  const uint64_t kills = OutOfMemoryKills(files_.id);
  const std::string text = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  auto answer = channel_->Post(path, text, Now() + timeout_micros);
  if (!answer.ok() && answer.status().Is(Code::kInterrupted)) return answer.status();

  RunOutcome outcome;
  if (answer.ok()) {
    outcome.http_status = answer->http_status;
    outcome.response = nlohmann::json::parse(answer->body, nullptr, /*allow_exceptions=*/false);
    if (!outcome.response.is_object()) outcome.response = nullptr;
  } else {
    spdlog::debug("{} of {}: {}", path, files_.id, answer.status().message());
    outcome.timed_out = answer.status().Is(Code::kTimeout);
  }
  outcome.out_of_memory = OutOfMemoryKills(files_.id) > kills;
  // A runtime ends no logs after an init that went well: what it printed is the first run's.
  if (path != "/init" || outcome.http_status != 200) outcome.logs = CollectLogs(answer.ok());
  return outcome;
}

void RuncContainer::DestroyOnce() {
  if (channel_ != nullptr) channel_->Interrupt();
  MutexLock lock(destroy_mutex_);
  if (destroyed_.exchange(true)) return;
  Status removed = RemoveSandbox(files_);
  if (!removed.ok()) removed = RemoveSandbox(files_);  // what was still ending has ended by now
  if (!removed.ok()) spdlog::warn("destroying {}: {}", files_.id, removed.message());
}

}  // namespace

Result<std::unique_ptr<Container>> Container::Create(const ContainerOptions& options) {
  SandboxFiles files{options.runtime, options.state_dir, options.id};
  auto container = std::make_unique<RuncContainer>(options, std::move(files));
  F3_RETURN_IF_ERROR(container->Start());
  return std::unique_ptr<Container>(std::move(container));
}

Status DestroyLeftContainers(const std::string& runtime, const std::string& state_dir) {
  Status first;
  for (const auto& id : ListSandboxes(state_dir)) {
    const SandboxFiles files{runtime, state_dir, id};
    Status removed = RemoveSandbox(files);
    if (!removed.ok()) removed = RemoveSandbox(files);
    if (!removed.ok() && first.ok()) first = removed;
  }
  return first;
}

}  // namespace f3::openwhisk
