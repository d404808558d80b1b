// Runs a short-lived program (runc) to its end, with a deadline. Thread-safe; usable in a process
// of many threads. Owns nothing beyond the call.
#ifndef F3_OPENWHISK_PLUGIN_GATEWAY_RUN_PROGRAM_H_
#define F3_OPENWHISK_PLUGIN_GATEWAY_RUN_PROGRAM_H_

#include <cstdint>
#include <string>
#include <vector>

#include "common/status.h"

namespace f3::openwhisk {

struct Program {
  std::vector<std::string> argv;         // argv[0] is searched in PATH
  std::vector<std::string> environment;  // "NAME=value", besides this process's own
  // What its standard output and error become; -1: they are kept for the error's message.
  int stdout_fd = -1;
  int stderr_fd = -1;
  // Where it writes what went wrong, if that is not standard error; the end goes to the message.
  std::string log_file;
};

// OK when it exits with 0. NotFound: there is no such program. Timeout: it was killed after
// `timeout_micros`. Io: another exit; the message has the command and the end of what it printed.
Status RunProgram(const Program& program, int64_t timeout_micros);

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_GATEWAY_RUN_PROGRAM_H_
