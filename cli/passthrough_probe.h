// Asks the kernel whether FUSE passthrough works with files of a directory. Thread-safe.
#ifndef F3_CLI_PASSTHROUGH_PROBE_H_
#define F3_CLI_PASSTHROUGH_PROBE_H_

#include <string>

#include "common/status.h"

namespace f3::cli {

// OK when /dev/fuse can be opened.
Status ProbeFuseDevice();

// Mounts a FUSE file system of its own for a moment, at a fresh directory, and offers it a file of
// `dir` as backing. OK when the kernel takes it; else the reason and what would help.
Status ProbePassthrough(const std::string& dir);

}  // namespace f3::cli

#endif  // F3_CLI_PASSTHROUGH_PROBE_H_
