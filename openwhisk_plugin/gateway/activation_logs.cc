#include "openwhisk_plugin/gateway/activation_logs.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/utf8.h"

namespace f3::openwhisk {
namespace {

constexpr std::string_view kSentinel = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX";
// A line without end is cut into lines of this size.
constexpr size_t kMaxLineBytes = 16 << 10;

// As docker writes it: nanoseconds, UTC.
std::string Timestamp(int64_t wall_nanos) {
  const std::time_t seconds = wall_nanos / 1'000'000'000;
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:09d}Z", fmt::gmtime(seconds),
                     wall_nanos % 1'000'000'000);
}

}  // namespace

void ActivationLogs::Add(LogStream stream, std::string_view bytes, int64_t wall_nanos) {
  std::string& partial = partial_[static_cast<size_t>(stream)];
  while (!bytes.empty()) {
    const size_t newline = bytes.find('\n');
    const size_t room = kMaxLineBytes - partial.size();
    const size_t taken = std::min({newline, room, bytes.size()});
    partial.append(bytes.substr(0, taken));
    bytes.remove_prefix(taken);
    const bool line_ends = !bytes.empty() && bytes[0] == '\n';
    if (line_ends) bytes.remove_prefix(1);
    if (line_ends) {
      AddLine(stream, partial, wall_nanos);
      partial.clear();
    } else if (partial.size() == kMaxLineBytes) {
      // The end stays, so that no sentinel is cut in two.
      const size_t cut = kMaxLineBytes - kSentinel.size();
      AddLine(stream, std::string_view(partial).substr(0, cut), wall_nanos);
      partial.erase(0, cut);
    }
  }
}

void ActivationLogs::AddLine(LogStream stream, std::string_view line, int64_t wall_nanos) {
  // An action that printed no newline at last has the sentinel behind its text.
  if (line.ends_with(kSentinel)) {
    ended_[static_cast<size_t>(stream)] = true;
    line.remove_suffix(kSentinel.size());
    if (line.empty()) return;
  }
  if (cut_) return;
  if (text_bytes_ + line.size() > max_bytes_) {
    cut_ = true;
    lines_ += fmt::format(
        "{:<30} stderr: Logs were truncated because the total bytes size exceeds the limit of {} "
        "bytes.\n",
        Timestamp(wall_nanos), max_bytes_);
    return;
  }
  text_bytes_ += line.size();
  lines_ += fmt::format("{:<30} {}: {}\n", Timestamp(wall_nanos),
                        stream == LogStream::kStdout ? "stdout" : "stderr", ValidUtf8(line));
}

std::string ActivationLogs::Take(int64_t wall_nanos) {
  for (const auto stream : {LogStream::kStdout, LogStream::kStderr}) {
    // After its sentinel a line belongs to the next activation.
    auto& partial = partial_[static_cast<size_t>(stream)];
    if (partial.empty() || ended(stream)) continue;
    AddLine(stream, partial, wall_nanos);
    partial.clear();
  }
  ended_ = {};
  text_bytes_ = 0;
  cut_ = false;
  return std::exchange(lines_, {});
}

}  // namespace f3::openwhisk
