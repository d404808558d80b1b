#include "cli/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "cli/mounts.h"
#include "cli/process.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/small_file.h"

namespace f3::cli {
namespace {

using nlohmann::json;

// An agent publishes and spills when it is stopped, which takes as long as its disk needs.
constexpr int64_t kStopPatienceMicros = 60'000'000;
constexpr int64_t kReadyPollMicros = 20'000;

int64_t Now() { return Clock::Real()->MonotonicMicros(); }

}  // namespace

int64_t Backoff::AfterEnd(int64_t ran_micros) {
  if (ran_micros >= kHealthyRunMicros) failures_ = 0;
  if (failures_ >= kMaxFailures) return -1;
  int64_t pause = kFirstPauseMicros << std::min(failures_, 10);
  ++failures_;
  return std::min(pause, kLongestPauseMicros);
}

Status Supervisor::Prepare() {
  lock_.Reset(::open(layout_.run("lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!lock_.valid()) return Status::FromErrno(errno, "open " + layout_.run("lock"));
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    return Status::Busy("another supervisor runs this cluster");
  }
  sigset_t mask;
  sigemptyset(&mask);
  for (int signal : {SIGTERM, SIGINT, SIGCHLD, SIGHUP}) sigaddset(&mask, signal);
  ::sigprocmask(SIG_BLOCK, &mask, nullptr);
  signals_.Reset(::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_.valid()) return Status::FromErrno(errno, "make a signalfd");
  auto control = ControlListener::Listen(layout_.run("supervise.sock"));
  if (!control.ok()) return control.status();
  control_ = std::move(control).value();
  F3_RETURN_IF_ERROR(WriteFile(layout_.run("supervise.pid"), std::to_string(::getpid()) + "\n"));
  children_.resize(1 + layout_.nodes.size());
  children_[0].name = "meta";
  for (size_t i = 0; i < layout_.nodes.size(); ++i) {
    children_[i + 1].name = layout_.nodes[i].name;
    children_[i + 1].node = &layout_.nodes[i];
  }
  return Status();
}

void Supervisor::Adopt() {
  for (auto& daemon : FindDaemons(layout_.dir + "/run")) {
    Child* child = Find(daemon.name);
    if (child == nullptr || child->state == State::kRunning) continue;
    child->state = State::kRunning;
    child->pid = daemon.pid;
    child->pidfd = std::move(daemon.pidfd);
    child->started_micros = Now();
    spdlog::info("{} (process {}) was left running by an earlier supervisor; watching it",
                 child->name, child->pid);
  }
}

Supervisor::Child* Supervisor::Find(const std::string& name) {
  for (auto& child : children_) {
    if (child.name == name) return &child;
  }
  return nullptr;
}

bool Supervisor::MetadataReady() const {
  return children_[0].state == State::kRunning &&
         AskControl(layout_.run("meta.sock"), {{"op", "status"}}, 1'000'000).ok();
}

void Supervisor::StartDue(int64_t now) {
  if (stopping_) return;
  bool metadata_ready = false, asked = false;
  for (auto& child : children_) {
    if (child.state != State::kWaiting || !child.wanted || child.next_start_micros > now) continue;
    if (child.node != nullptr && !metadata_ready) {
      if (!asked) metadata_ready = MetadataReady();
      asked = true;
      if (!metadata_ready) {
        child.next_start_micros = now + kReadyPollMicros;
        continue;
      }
    }
    Start(&child, now);
  }
}

void Supervisor::Start(Child* child, int64_t now) {
  SpawnOptions spawn;
  spawn.argv = {SelfPath(), child->node == nullptr ? "meta" : "node", "--config",
                layout_.run(child->name + ".toml")};
  spawn.log_file = layout_.run(child->name + ".log");
  spawn.pid_file = layout_.run(child->name + ".pid");
  if (child->node != nullptr) {
    spawn.netns = child->node->netns;
    // What a dead agent left mounted answers nobody any more.
    Status detached = Detach(layout_.mount(*child->node), "fuse");
    if (!detached.ok()) spdlog::warn("{}: {}", child->name, detached.message());
  }
  child->started_micros = now;
  auto pid = Spawn(spawn);
  if (!pid.ok()) {
    child->last_end = pid.status().message();
    spdlog::error("cannot start {}: {}", child->name, child->last_end);
    Ended(child, now);
    return;
  }
  child->pid = *pid;
  auto fd = OpenPidFd(*pid);
  child->pidfd = std::move(fd);
  child->state = State::kRunning;
  child->kill_at_micros = 0;
  spdlog::info("started {} (process {})", child->name, child->pid);
}

void Supervisor::Ended(Child* child, int64_t now) {
  if (child->pidfd.valid()) {
    siginfo_t info = {};
    // Not a child of ours when it was adopted: how it ended is then unknown.
    if (::waitid(P_PIDFD, static_cast<id_t>(child->pidfd.get()), &info, WEXITED | WNOHANG) == 0 &&
        info.si_pid != 0) {
      child->last_end =
          (info.si_code == CLD_EXITED ? "exit code " : "signal ") + std::to_string(info.si_status);
    } else {
      child->last_end = "unknown, it was not started by this supervisor";
    }
    child->pidfd.Reset();
  }
  ::unlink(layout_.run(child->name + ".pid").c_str());
  child->pid = 0;
  child->kill_at_micros = 0;
  if (!child->wanted || stopping_) {
    child->state = State::kStopped;
    if (child->node != nullptr) Detach(layout_.mount(*child->node), "fuse").PermitUnchecked();
    spdlog::info("{} has stopped ({})", child->name, child->last_end);
    return;
  }
  int64_t pause = child->backoff.AfterEnd(now - child->started_micros);
  if (pause < 0) {
    child->state = State::kFailed;
    spdlog::error(
        "{} ended {} times in a row (last: {}) and stays down; see {}, then `f3 up` again",
        child->name, Backoff::kMaxFailures, child->last_end, layout_.run(child->name + ".log"));
    return;
  }
  ++child->restarts;
  child->state = State::kWaiting;
  child->next_start_micros = now + pause;
  spdlog::warn("{} ended ({}); starting it again in {} ms", child->name, child->last_end,
               pause / 1000);
}

void Supervisor::AskToStop(Child* child, int64_t now) {
  child->wanted = false;
  if (child->state != State::kRunning) {
    child->state = State::kStopped;
  } else if (child->kill_at_micros == 0) {
    child->kill_at_micros = now + kStopPatienceMicros;
    SignalProcess(child->pidfd, SIGTERM).PermitUnchecked();
  }
}

// Agents first: stopping needs the metadata server.
void Supervisor::AdvanceStop(int64_t now) {
  for (auto& child : children_) {
    if (child.kill_at_micros != 0 && now >= child.kill_at_micros) {
      spdlog::error("{} did not stop in {} s and is killed", child.name,
                    kStopPatienceMicros / 1'000'000);
      SignalProcess(child.pidfd, SIGKILL).PermitUnchecked();
      child.kill_at_micros = now + kStopPatienceMicros;
    }
  }
  if (!stopping_) return;
  bool agents_left = false;
  for (auto& child : children_) {
    if (child.node == nullptr) continue;
    AskToStop(&child, now);
    agents_left = agents_left || child.state == State::kRunning;
  }
  if (!agents_left) AskToStop(&children_[0], now);
}

int Supervisor::PollTimeout(int64_t now) const {
  int64_t next = now + 3'600'000'000;
  for (const auto& child : children_) {
    if (child.state == State::kWaiting && child.wanted) {
      next = std::min(next, child.next_start_micros);
    }
    if (child.kill_at_micros != 0) next = std::min(next, child.kill_at_micros);
  }
  return static_cast<int>(std::max<int64_t>(0, (next - now + 999) / 1000));
}

Result<json> Supervisor::Handle(const json& request) {
  const std::string op = request["op"];
  int64_t now = Now();
  if (op == "status") {
    json list = json::array();
    static constexpr const char* kStates[] = {"waiting", "running", "stopped", "failed"};
    for (const auto& child : children_) {
      list.push_back(
          {{"name", child.name},
           {"state", kStates[static_cast<int>(child.state)]},
           {"pid", child.pid},
           {"restarts", child.restarts},
           {"last_end", child.last_end},
           {"uptime_us", child.state == State::kRunning ? now - child.started_micros : 0}});
    }
    return json{{"pid", ::getpid()}, {"daemons", list}};
  }
  if (op == "stop") {
    stopping_ = true;
    return json{{"stopping", true}};
  }
  if (op == "start_all") {
    for (auto& child : children_) {
      child.wanted = true;
      child.backoff.Reset();
      if (child.state == State::kStopped || child.state == State::kFailed) {
        child.state = State::kWaiting;
        child.next_start_micros = now;
      }
    }
    return json::object();
  }
  if (op == "start_daemon" || op == "stop_daemon") {
    Child* child = Find(request.value("name", ""));
    if (child == nullptr) {
      return Status::NotFound("this cluster has no daemon \"" + request.value("name", "") + "\"");
    }
    if (op == "stop_daemon") {
      AskToStop(child, now);
    } else {
      child->wanted = true;
      child->backoff.Reset();
      if (child->state != State::kRunning) {
        child->state = State::kWaiting;
        child->next_start_micros = now;
      }
    }
    return json::object();
  }
  return Status::NotSupported("the supervisor does not know the request \"" + op + "\"");
}

Status Supervisor::Run() {
  F3_RETURN_IF_ERROR(Prepare());
  Adopt();
  while (true) {
    int64_t now = Now();
    StartDue(now);
    AdvanceStop(now);
    if (stopping_ && std::all_of(children_.begin(), children_.end(), [](const Child& child) {
          return child.state == State::kStopped;
        })) {
      break;
    }
    std::vector<pollfd> fds = {{signals_.get(), POLLIN, 0}, {control_.fd(), POLLIN, 0}};
    std::vector<Child*> watched;
    for (auto& child : children_) {
      if (child.state != State::kRunning) continue;
      fds.push_back({child.pidfd.get(), POLLIN, 0});
      watched.push_back(&child);
    }
    if (::poll(fds.data(), fds.size(), PollTimeout(now)) < 0 && errno != EINTR) {
      return Status::FromErrno(errno, "poll");
    }
    signalfd_siginfo signal;
    while (::read(signals_.get(), &signal, sizeof(signal)) == sizeof(signal)) {
      if (signal.ssi_signo == SIGTERM || signal.ssi_signo == SIGINT) stopping_ = true;
    }
    for (size_t i = 0; i < watched.size(); ++i) {
      if (fds[i + 2].revents != 0) Ended(watched[i], Now());
    }
    if (fds[1].revents != 0) control_.ServeOne([this](const json& r) { return Handle(r); });
  }
  spdlog::info("everything has stopped");
  ::unlink(layout_.run("supervise.pid").c_str());
  control_.Close();
  return Status();
}

}  // namespace f3::cli
