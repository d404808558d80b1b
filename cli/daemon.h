// What `f3 meta` and `f3 node` have in common: signals and configuration. Not thread-safe.
#ifndef F3_CLI_DAEMON_H_
#define F3_CLI_DAEMON_H_

#include <string>

#include "cli/settings.h"
#include "common/status.h"

namespace CLI {
class App;
}

namespace f3::cli {

// Blocks SIGTERM, SIGINT and SIGUSR1 in this thread and those it starts from now on, and ignores
// SIGPIPE and SIGHUP. Call it before the first thread.
void BlockStopSignals();
// Returns when SIGTERM or SIGINT arrives, or WakeFromWait is called.
void WaitForStopSignal();
void WakeFromWait();

// --config, then the file's settings, then the flags.
Status LoadSettings(const std::string& config_file, Settings* settings);

}  // namespace f3::cli

#endif  // F3_CLI_DAEMON_H_
