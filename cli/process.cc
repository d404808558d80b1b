#include "cli/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include "common/clock.h"

extern char** environ;

namespace f3::cli {
namespace {

constexpr size_t kMaxCapturedBytes = 4 << 20;

std::string PackageOf(const std::string& program) {
  static const std::map<std::string, std::string> kPackages = {
      {"ip", "iproute2"},  {"ffmpeg", "ffmpeg"}, {"ffprobe", "ffmpeg"},    {"iperf3", "iperf3"},
      {"cp", "coreutils"}, {"dpkg-deb", "dpkg"}, {"fusermount3", "fuse3"}, {"apt-get", "apt"}};
  auto it = kPackages.find(program);
  return it == kPackages.end() ? "" : "; install the package " + it->second;
}

std::vector<char*> Pointers(const std::vector<std::string>& argv) {
  std::vector<char*> pointers;
  for (const auto& word : argv) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

int ExitCode(int wait_status) {
  return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

// The name of the daemon that this command line is, when it belongs to `run_dir`.
std::string DaemonName(const std::vector<std::string>& argv, const std::string& run_dir) {
  if (argv.size() < 4 || std::filesystem::path(argv[0]).filename() != "f3") return "";
  if (argv[1] != "meta" && argv[1] != "node" && argv[1] != "supervise") return "";
  for (const auto& word : argv) {
    std::filesystem::path path(word);
    if (path.parent_path() == run_dir && path.extension() == ".toml") {
      return argv[1] == "supervise" ? "supervise" : path.stem().string();
    }
  }
  return "";
}

// In the child, between fork and exec: only what is safe there.
[[noreturn]] void RunChild(const SpawnOptions& options, char* const* argv, int netns, int log) {
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (options.new_session) ::setsid();
  if (options.ends_with_parent) ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  int null = ::open("/dev/null", O_RDONLY);
  if (null >= 0) ::dup2(null, 0);
  if (log >= 0) {
    ::dup2(log, 1);
    ::dup2(log, 2);
  }
  if (!options.pid_file.empty()) {
    char text[32];
    int n = std::snprintf(text, sizeof(text), "%d\n", ::getpid());
    int fd = ::open(options.pid_file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || ::write(fd, text, static_cast<size_t>(n)) != n) ::_exit(126);
  }
  // Only the network namespace: another mount namespace would hide the mounts from the caller.
  if (netns >= 0 && ::setns(netns, CLONE_NEWNET) != 0) ::_exit(125);
  ::execvp(argv[0], argv);
  ::_exit(127);
}

}  // namespace

Result<CommandResult> RunCommand(const std::vector<std::string>& argv, int64_t timeout_micros) {
  int out_pipe[2], err_pipe[2];
  if (::pipe2(out_pipe, O_CLOEXEC) != 0) return Status::FromErrno(errno, "make a pipe");
  UniqueFd out_read(out_pipe[0]), out_write(out_pipe[1]);
  if (::pipe2(err_pipe, O_CLOEXEC) != 0) return Status::FromErrno(errno, "make a pipe");
  UniqueFd err_read(err_pipe[0]), err_write(err_pipe[1]);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out_write.get(), 1);
  posix_spawn_file_actions_adddup2(&actions, err_write.get(), 2);
  pid_t pid = 0;
  int error =
      ::posix_spawnp(&pid, argv[0].c_str(), &actions, nullptr, Pointers(argv).data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error == ENOENT) {
    return Status::NotFound("there is no program " + argv[0] + PackageOf(argv[0]));
  }
  if (error != 0) return Status::FromErrno(error, "start " + argv[0]);
  out_write.Reset();
  err_write.Reset();
  UniqueFd pidfd = OpenPidFd(pid);

  CommandResult result;
  int64_t deadline = Clock::Real()->MonotonicMicros() + timeout_micros;
  pollfd fds[2] = {{out_read.get(), POLLIN, 0}, {err_read.get(), POLLIN, 0}};
  std::string* texts[2] = {&result.out, &result.err};
  bool late = false;
  while (fds[0].fd >= 0 || fds[1].fd >= 0) {
    int64_t left = deadline - Clock::Real()->MonotonicMicros();
    if (left <= 0) {
      late = true;
      break;
    }
    int ready = ::poll(fds, 2, static_cast<int>(left / 1000 + 1));
    if (ready < 0 && errno != EINTR) break;
    for (int i = 0; i < 2 && ready > 0; ++i) {
      if (fds[i].fd < 0 || fds[i].revents == 0) continue;
      char buffer[16384];
      ssize_t n = ::read(fds[i].fd, buffer, sizeof(buffer));
      if (n <= 0) {
        fds[i].fd = -1;
      } else if (texts[i]->size() < kMaxCapturedBytes) {
        texts[i]->append(buffer, static_cast<size_t>(n));
      }
    }
  }
  // It closed its output; a program that then lingers is held to the same deadline.
  int64_t left = std::max<int64_t>(deadline - Clock::Real()->MonotonicMicros(), 0);
  if (late || (pidfd.valid() && !WaitForEnd(pidfd, left))) {
    late = true;
    ::kill(pid, SIGKILL);
  }
  int wait_status = 0;
  // A killed program can be stuck in a dead mount; it is then left to init.
  if (!late || WaitForEnd(pidfd, 1'000'000)) {
    while (::waitpid(pid, &wait_status, 0) < 0 && errno == EINTR) {
    }
  }
  if (late) {
    std::string line;
    for (const auto& word : argv) line += (line.empty() ? "" : " ") + word;
    return Status::Timeout("`" + line + "` did not end in time and was killed");
  }
  result.exit_code = ExitCode(wait_status);
  return result;
}

Status RunOrFail(const std::vector<std::string>& argv, int64_t timeout_micros) {
  F3_ASSIGN_OR_RETURN(CommandResult result, RunCommand(argv, timeout_micros));
  if (result.exit_code == 0) return Status();
  std::string line;
  for (const auto& word : argv) line += (line.empty() ? "" : " ") + word;
  std::string reason = result.err.empty() ? result.out : result.err;
  if (reason.size() > 2000) reason = "…" + reason.substr(reason.size() - 2000);
  while (!reason.empty() && reason.back() == '\n') reason.pop_back();
  return Status::Io("`" + line + "` failed with " + std::to_string(result.exit_code) +
                    (reason.empty() ? "" : ": " + reason));
}

Result<pid_t> Spawn(const SpawnOptions& options) {
  UniqueFd netns, log;
  if (!options.netns.empty()) {
    std::string path = "/run/netns/" + options.netns;
    netns.Reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!netns.valid()) return Status::FromErrno(errno, "open the network namespace " + path);
  }
  if (!options.log_file.empty()) {
    log.Reset(::open(options.log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    if (!log.valid()) return Status::FromErrno(errno, "open the log " + options.log_file);
  }
  std::vector<char*> argv = Pointers(options.argv);
  pid_t pid = ::fork();
  if (pid < 0) return Status::FromErrno(errno, "start a process");
  if (pid == 0) RunChild(options, argv.data(), netns.get(), log.get());
  return pid;
}

UniqueFd OpenPidFd(pid_t pid) {
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

std::vector<std::string> CommandLine(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/cmdline", std::ios::binary);
  std::vector<std::string> argv;
  for (std::string word; std::getline(in, word, '\0');) argv.push_back(word);
  return argv;
}

std::vector<Daemon> FindDaemons(const std::string& run_dir) {
  std::vector<Daemon> daemons;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    std::string text = entry.path().filename();
    if (text.find_first_not_of("0123456789") != std::string::npos) continue;
    pid_t pid = std::atoi(text.c_str());
    std::string name = DaemonName(CommandLine(pid), run_dir);
    if (name.empty() || pid == ::getpid()) continue;
    Daemon daemon{name, pid, OpenPidFd(pid)};
    // Looked at again with the descriptor in hand: the id may have been reused in between.
    if (!daemon.pidfd.valid() || DaemonName(CommandLine(pid), run_dir) != name) continue;
    daemons.push_back(std::move(daemon));
  }
  std::sort(daemons.begin(), daemons.end(),
            [](const Daemon& a, const Daemon& b) { return a.name < b.name; });
  return daemons;
}

bool WaitForEnd(const UniqueFd& pidfd, int64_t timeout_micros) {
  int64_t deadline = Clock::Real()->MonotonicMicros() + timeout_micros;
  while (true) {
    int64_t left = std::max<int64_t>(deadline - Clock::Real()->MonotonicMicros(), 0);
    pollfd fd = {pidfd.get(), POLLIN, 0};
    int ready = ::poll(&fd, 1, static_cast<int>((left + 999) / 1000));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

Status SignalProcess(const UniqueFd& pidfd, int signal) {
  if (::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0) == 0 || errno == ESRCH) {
    return Status();
  }
  return Status::FromErrno(errno, "signal a process");
}

bool StopProcess(const Daemon& daemon, int64_t patience_micros) {
  SignalProcess(daemon.pidfd, SIGTERM).PermitUnchecked();
  if (WaitForEnd(daemon.pidfd, patience_micros)) return true;
  SignalProcess(daemon.pidfd, SIGKILL).PermitUnchecked();
  WaitForEnd(daemon.pidfd, 10'000'000);
  return false;
}

void StopChild(pid_t pid, int64_t patience_micros) {
  StopProcess(Daemon{"", pid, OpenPidFd(pid)}, patience_micros);
  ::waitpid(pid, nullptr, 0);
}

std::string SelfPath() {
  std::error_code error;
  std::string path = std::filesystem::read_symlink("/proc/self/exe", error).string();
  // The program was replaced while this one runs: what it starts is the new one.
  constexpr std::string_view kDeleted = " (deleted)";
  if (path.ends_with(kDeleted)) path.resize(path.size() - kDeleted.size());
  return path;
}

}  // namespace f3::cli
