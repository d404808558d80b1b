// RecordTrace: runs a program in the emulator and writes what it does to a trace file.
//
// The program must be a dynamically linked x86-64 executable; it runs about thirty times slower
// than on its own. Its children and what it executes in its place are not recorded. Call it from
// one thread of a process that has no children it cannot tell apart from this one.
#ifndef F3_HWALLOC_MODEL_RECORDER_H_
#define F3_HWALLOC_MODEL_RECORDER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "common/status.h"

namespace f3::hwmodel {

// References recorded at most, unless said otherwise: about 2 GB of trace.
inline constexpr uint64_t kDefaultReferenceLimit = 1'000'000'000;

struct RecordOptions {
  std::vector<std::string> command;  // the program, a path or searched in PATH, and its arguments
  std::string output;                // the trace; replaced if there is one
  std::string directory;             // where it runs; empty: here
  std::string libraries;             // the directory of the shim and the plugin
  std::string emulator = "qemu-x86_64";
  std::string program_output;  // a file for its standard output; empty: ours
  uint64_t reference_limit = kDefaultReferenceLimit;
};

struct RecordSummary {
  int exit_code = 0;  // of the program
  uint64_t calls = 0;
  uint64_t references = 0;
  uint64_t instructions = 0;
  uint64_t trace_bytes = 0;
  bool references_cut = false;  // by the limit
};

// NotFound: no such program, or the emulator, the shim or the plugin is missing. InvalidArgument:
// it cannot be recorded (a script, static, another machine's). Io: the program was killed, or
// replaced itself by another, so that there is no complete trace; nothing is left at `output` then.
Result<RecordSummary> RecordTrace(const RecordOptions& options);

}  // namespace f3::hwmodel

#endif  // F3_HWALLOC_MODEL_RECORDER_H_
