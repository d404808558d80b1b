// Processes as the commands see them: run one and capture its output, find the daemons of a
// cluster, wait for any process's end. Every wait has a deadline. Thread-safe, except that Spawn
// forks: call it from a process that has one thread.
#ifndef F3_CLI_PROCESS_H_
#define F3_CLI_PROCESS_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "common/status.h"
#include "common/unique_fd.h"

namespace f3::cli {

struct CommandResult {
  int exit_code = 0;  // 128 + signal when it was killed
  std::string out;    // at most kMaxCapturedBytes
  std::string err;
};

// Runs argv[0] (searched in PATH) to its end. Timeout when it was killed at the deadline. NotFound
// when there is no such program: the message names the package when it is one we know.
Result<CommandResult> RunCommand(const std::vector<std::string>& argv, int64_t timeout_micros);
// As RunCommand; a non-zero exit is Io with the command and what it wrote to standard error.
Status RunOrFail(const std::vector<std::string>& argv, int64_t timeout_micros = 20'000'000);

// What a daemon process is started with.
struct SpawnOptions {
  std::vector<std::string> argv;
  std::string log_file;  // standard output and error are appended to it; empty: inherited
  std::string pid_file;  // written by the child before it runs; empty: none
  std::string netns;     // name of a network namespace (/run/netns/NAME) to run in; empty: ours
  bool new_session = true;
  bool ends_with_parent = false;  // SIGTERM when the thread that spawns ends
};
// Starts a process; the caller reaps it when it is the parent.
Result<pid_t> Spawn(const SpawnOptions& options);

// A live process that can be signalled without hitting a reused id.
struct Daemon {
  std::string name;  // "meta", "supervise", "n1" …
  pid_t pid = 0;
  UniqueFd pidfd;
};
// The f3 daemons on this machine that were started with a configuration below `run_dir`
// ("f3 node --config RUN/n1.toml"): found by their command lines, so that it works when pid files
// are stale or gone.
std::vector<Daemon> FindDaemons(const std::string& run_dir);

// A descriptor of a process, to wait for it or signal it. Invalid when it is gone.
UniqueFd OpenPidFd(pid_t pid);
// True when the process has ended within the time. `pidfd` need not be of a child.
bool WaitForEnd(const UniqueFd& pidfd, int64_t timeout_micros);
// Sends `signal`. OK when the process is already gone.
Status SignalProcess(const UniqueFd& pidfd, int signal);
// SIGTERM, and SIGKILL when it has not ended within `patience_micros`. True when it was asked once
// only.
bool StopProcess(const Daemon& daemon, int64_t patience_micros);
// The same for a child of this process, which is reaped.
void StopChild(pid_t pid, int64_t patience_micros);

// This program's file.
std::string SelfPath();
// The arguments of a process; empty when it is gone.
std::vector<std::string> CommandLine(pid_t pid);

}  // namespace f3::cli

#endif  // F3_CLI_PROCESS_H_
