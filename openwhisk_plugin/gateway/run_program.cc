#include "openwhisk_plugin/gateway/run_program.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <string_view>

#include "common/clock.h"
#include "common/unique_fd.h"

extern char** environ;

namespace f3::openwhisk {
namespace {

constexpr off_t kMessageBytes = 2000;

std::vector<char*> Pointers(const std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (const auto& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> EnvironmentWith(const std::vector<std::string>& more) {
  std::vector<std::string> all = more;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view old(*entry);
    const auto name = old.substr(0, old.find('=') + 1);
    const bool replaced = std::any_of(more.begin(), more.end(), [&](const std::string& setting) {
      return std::string_view(setting).substr(0, name.size()) == name;
    });
    if (!replaced) all.emplace_back(old);
  }
  return all;
}

// The end of a file, without the spaces after it.
std::string TailOf(int fd) {
  const off_t size = ::lseek(fd, 0, SEEK_END);
  if (size <= 0) return "";
  const off_t length = std::min(size, kMessageBytes);
  std::string text(length, '\0');
  const ssize_t got = ::pread(fd, text.data(), text.size(), size - length);
  text.resize(std::max<ssize_t>(got, 0));
  while (!text.empty() && isspace(static_cast<unsigned char>(text.back())) != 0) text.pop_back();
  return text;
}

Result<pid_t> Start(const Program& program, int out, int err) {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&files);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, out, 1);
  posix_spawn_file_actions_adddup2(&files, err, 2);
  // What this thread blocks or ignores is not the program's business.
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  const auto environment = EnvironmentWith(program.environment);
  pid_t pid = 0;
  const int error = posix_spawnp(&pid, program.argv[0].c_str(), &files, &attributes,
                                 Pointers(program.argv).data(), Pointers(environment).data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (error == ENOENT) {
    return Status::NotFound("there is no program " + program.argv[0] +
                            "; install its package, or name its file");
  }
  if (error != 0) return Status::FromErrno(error, "starting " + program.argv[0]);
  return pid;
}

// The exit code, 128 + signal, or -1 when it had to be killed at the deadline.
int WaitFor(pid_t pid, int64_t timeout_micros) {
  const int64_t deadline = Clock::Real()->MonotonicMicros() + timeout_micros;
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  bool killed = false;
  for (;;) {
    pollfd entry{pidfd.get(), POLLIN, 0};
    const int64_t left = (deadline - Clock::Real()->MonotonicMicros()) / 1000;
    const int ready = ::poll(&entry, 1, static_cast<int>(std::clamp<int64_t>(left, 0, 600'000)));
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) {
      ::kill(pid, SIGKILL);
      killed = true;
    }
    break;
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  if (killed) return -1;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

Status RunProgram(const Program& program, int64_t timeout_micros) {
  UniqueFd printed(::memfd_create("printed", MFD_CLOEXEC));
  if (!printed.valid()) return Status::FromErrno(errno, "memfd_create");
  auto pid = Start(program, program.stdout_fd >= 0 ? program.stdout_fd : printed.get(),
                   program.stderr_fd >= 0 ? program.stderr_fd : printed.get());
  if (!pid.ok()) return pid.status();
  const int code = WaitFor(*pid, timeout_micros);
  if (code == 0) return Status();

  std::string command;
  for (const auto& word : program.argv) command += (command.empty() ? "" : " ") + word;
  std::string text = TailOf(printed.get());
  if (!program.log_file.empty()) {
    UniqueFd log(::open(program.log_file.c_str(), O_RDONLY | O_CLOEXEC));
    if (log.valid()) text += TailOf(log.get());
  }
  if (code < 0) return Status::Timeout(command + " did not end in time: " + text);
  return Status::Io(command + " ended with " + std::to_string(code) + ": " + text);
}

}  // namespace f3::openwhisk
