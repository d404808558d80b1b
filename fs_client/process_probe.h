// ProcessProbe: what the follow rules need to know of processes on this host. Thread-safe.
#ifndef F3_FS_CLIENT_PROCESS_PROBE_H_
#define F3_FS_CLIENT_PROCESS_PROBE_H_

#include <cstdint>
#include <string_view>

#include "common/status.h"

namespace f3::fs {

struct ProcessStat {
  int32_t pid = 0;
  int32_t parent = 0;
  int32_t session = 0;
  bool dying_from_signal = false;  // it is exiting, and a signal is the reason
};

class ProcessProbe {
 public:
  virtual ~ProcessProbe() = default;
  // NotFound when there is no such process. Never waits for the process.
  virtual Result<ProcessStat> Stat(int32_t pid) = 0;
  // Reads /proc. Never destroyed.
  static ProcessProbe* Real();
};

// Parses the text of /proc/PID/status, which does not say how a process dies.
Result<ProcessStat> ParseProcessStatus(std::string_view text);
// By the text of /proc/PID/stat: the process is exiting, and a signal is the reason.
bool ExitsBySignal(std::string_view text);

// True when `reader` and the writer belong together, so that waiting for the writer could be
// waiting for oneself: same process session, or the writer is an ancestor of the reader.
bool BelongTogether(ProcessProbe* probe, int32_t reader, int32_t writer, int32_t writer_session);

}  // namespace f3::fs

#endif  // F3_FS_CLIENT_PROCESS_PROBE_H_
