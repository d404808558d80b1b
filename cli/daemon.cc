#include "cli/daemon.h"

#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace f3::cli {
namespace {

sigset_t StopSignals() {
  sigset_t mask;
  sigemptyset(&mask);
  for (int signal : {SIGTERM, SIGINT, SIGUSR1}) sigaddset(&mask, signal);
  return mask;
}

}  // namespace

void BlockStopSignals() {
  sigset_t mask = StopSignals();
  ::pthread_sigmask(SIG_BLOCK, &mask, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGHUP, SIG_IGN);
}

void WaitForStopSignal() {
  sigset_t mask = StopSignals();
  int signal = 0;
  while (::sigwait(&mask, &signal) == EINTR) {
  }
}

void WakeFromWait() { ::kill(::getpid(), SIGUSR1); }

Status LoadSettings(const std::string& config_file, Settings* settings) {
  if (!config_file.empty()) F3_RETURN_IF_ERROR(settings->ApplyTomlFile(config_file));
  return settings->ApplyFlags();
}

}  // namespace f3::cli
