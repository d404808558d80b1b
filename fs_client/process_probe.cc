#include "fs_client/process_probe.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <string>

#include "common/unique_fd.h"

namespace f3::fs {
namespace {

constexpr int64_t kFlagExiting = 0x4;  // PF_EXITING
constexpr int kMaxAncestors = 64;

// Numbers of fields of /proc/PID/stat as in proc(5); the first after the name is 3.
constexpr size_t kFirstField = 3, kFlagsField = 9, kExitCodeField = 52;

std::string ReadProcFile(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return "";
  char text[8192];
  const ssize_t n = ::read(fd.get(), text, sizeof(text));
  return n <= 0 ? "" : std::string(text, static_cast<size_t>(n));
}

// Reading /proc/PID/stat waits for an exec that is under way in PID, and that may be waiting for
// the answer that we are about to give (it closes files). /proc/PID/status does not wait, and tells
// that a process has no memory any more: then it exits and execs nothing.
class RealProbe : public ProcessProbe {
 public:
  Result<ProcessStat> Stat(int32_t pid) override {
    const std::string dir = "/proc/" + std::to_string(pid);
    const std::string status = ReadProcFile(dir + "/status");
    if (status.empty()) return Status::NotFound("no process " + std::to_string(pid));
    F3_ASSIGN_OR_RETURN(ProcessStat stat, ParseProcessStatus(status));
    if (status.find("\nVmSize:") == std::string::npos) {
      stat.dying_from_signal = ExitsBySignal(ReadProcFile(dir + "/stat"));
    }
    return stat;
  }
};

int64_t NumberIn(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  int64_t value = -1;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

}  // namespace

ProcessProbe* ProcessProbe::Real() {
  static ProcessProbe* probe = new RealProbe;
  return probe;
}

Result<ProcessStat> ParseProcessStatus(std::string_view text) {
  // The first line, "Name:", may hold anything but a line break, which is escaped.
  auto field = [text](std::string_view name) -> int64_t {
    const size_t at = text.find(name);
    return at == std::string_view::npos ? -1 : NumberIn(text.substr(at + name.size()));
  };
  ProcessStat stat;
  const int64_t pid = field("\nPid:"), parent = field("\nPPid:");
  if (pid < 0 || parent < 0) return Status::Internal("unexpected /proc/PID/status");
  stat.pid = static_cast<int32_t>(pid);
  stat.parent = static_cast<int32_t>(parent);
  // As seen from this process's namespace, then from inner ones.
  stat.session = static_cast<int32_t>(std::max<int64_t>(field("\nNSsid:"), 0));
  return stat;
}

bool ExitsBySignal(std::string_view text) {
  // The name, in parentheses, may hold anything, parentheses and spaces too.
  const size_t name_end = text.rfind(')');
  if (name_end == std::string_view::npos) return false;
  int64_t flags = 0, exit_code = 0;
  size_t number = kFirstField;
  for (size_t at = name_end + 2; at < text.size(); ++number) {
    if (number == kFlagsField) flags = NumberIn(text.substr(at));
    if (number == kExitCodeField) exit_code = NumberIn(text.substr(at));
    const size_t space = text.find(' ', at);
    at = space == std::string_view::npos ? text.size() : space + 1;
  }
  return (flags & kFlagExiting) != 0 && (exit_code & 0x7f) != 0;
}

bool BelongTogether(ProcessProbe* probe, int32_t reader, int32_t writer, int32_t writer_session) {
  if (reader <= 0 || writer <= 0) return false;
  int32_t pid = reader;
  for (int i = 0; i < kMaxAncestors && pid > 0; ++i) {
    if (pid == writer) return true;
    auto stat = probe->Stat(pid);
    if (!stat.ok()) return false;
    if (i == 0 && writer_session > 0 && stat->session == writer_session) return true;
    pid = stat->parent;
  }
  return false;
}

}  // namespace f3::fs
