#include "fs_client/process_probe.h"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <string>
#include <vector>

#include "common/unique_fd.h"

namespace f3::fs {
namespace {

constexpr int64_t kFlagExiting = 0x4;  // PF_EXITING
constexpr int kMaxAncestors = 64;

// Numbers of fields as in proc(5), counted from 1; the first after the name is 3.
constexpr size_t kParentField = 4, kSessionField = 6, kFlagsField = 9, kExitCodeField = 52;

class RealProbe : public ProcessProbe {
 public:
  Result<ProcessStat> Stat(int32_t pid) override {
    const std::string path = "/proc/" + std::to_string(pid) + "/stat";
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd.valid()) return Status::NotFound("no process " + std::to_string(pid));
    char text[2048];
    const ssize_t n = ::read(fd.get(), text, sizeof(text));
    if (n <= 0) return Status::NotFound("no process " + std::to_string(pid));
    return ParseProcessStat(std::string_view(text, static_cast<size_t>(n)));
  }
};

}  // namespace

ProcessProbe* ProcessProbe::Real() {
  static ProcessProbe* probe = new RealProbe;
  return probe;
}

Result<ProcessStat> ParseProcessStat(std::string_view text) {
  // The name, in parentheses, may hold anything, parentheses and spaces too.
  const size_t name_end = text.rfind(')');
  if (name_end == std::string_view::npos) return Status::Internal("unexpected /proc/PID/stat");
  std::vector<std::string_view> fields = {"", "", ""};  // 0 is unused; pid; name
  size_t at = name_end + 1;
  while (at < text.size()) {
    while (at < text.size() && (text[at] == ' ' || text[at] == '\n')) ++at;
    const size_t begin = at;
    while (at < text.size() && text[at] != ' ' && text[at] != '\n') ++at;
    if (at > begin) fields.push_back(text.substr(begin, at - begin));
  }
  auto number = [](std::string_view field) {
    int64_t value = 0;
    std::from_chars(field.data(), field.data() + field.size(), value);
    return value;
  };
  if (fields.size() <= kFlagsField) return Status::Internal("short /proc/PID/stat");
  ProcessStat stat;
  stat.pid = static_cast<int32_t>(number(text));
  stat.parent = static_cast<int32_t>(number(fields[kParentField]));
  stat.session = static_cast<int32_t>(number(fields[kSessionField]));
  if (fields.size() > kExitCodeField) {
    stat.dying_from_signal = (number(fields[kFlagsField]) & kFlagExiting) != 0 &&
                             (number(fields[kExitCodeField]) & 0x7f) != 0;
  }
  return stat;
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
