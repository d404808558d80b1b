// ActivationLogs: makes log lines of what a container writes to its standard output and error, from
// one sentinel line to the next, as OpenWhisk's runtimes end an activation. Not thread-safe. Owns
// the bytes of lines that are not complete yet.
#ifndef F3_OPENWHISK_PLUGIN_GATEWAY_ACTIVATION_LOGS_H_
#define F3_OPENWHISK_PLUGIN_GATEWAY_ACTIVATION_LOGS_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace f3::openwhisk {

enum class LogStream { kStdout = 0, kStderr = 1 };

class ActivationLogs {
 public:
  // Of one activation at most `max_bytes` of text are kept; a line then says so.
  explicit ActivationLogs(uint64_t max_bytes) : max_bytes_(max_bytes) {}

  // Bytes as they come; `wall_nanos`: when (since 1970).
  void Add(LogStream stream, std::string_view bytes, int64_t wall_nanos);
  // A line of our own, on standard error.
  void AddNote(std::string_view line, int64_t wall_nanos) {
    AddLine(LogStream::kStderr, line, wall_nanos);
  }
  // Whether both streams have had their sentinel since the last Take.
  bool complete() const { return ended_[0] && ended_[1]; }
  // Whether this stream has: what it says next belongs to the next activation, and should not be
  // read before Take.
  bool ended(LogStream stream) const { return ended_[static_cast<size_t>(stream)]; }
  // The lines so far, "TIMESTAMP stdout: text\n" each; begins anew. `now` is for a line that has no
  // end yet, which becomes one.
  std::string Take(int64_t wall_nanos);

 private:
  void AddLine(LogStream stream, std::string_view line, int64_t wall_nanos);

  const uint64_t max_bytes_;
  std::string lines_;
  uint64_t text_bytes_ = 0;
  bool cut_ = false;
  std::array<std::string, 2> partial_;
  std::array<bool, 2> ended_{};
};

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_GATEWAY_ACTIVATION_LOGS_H_
