#include "cli/mounts.h"

#include <sys/mount.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>

#include "cli/process.h"

namespace f3::cli {
namespace {

// mountinfo writes blanks and backslashes as \ooo.
std::string Unescape(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      out.push_back(static_cast<char>(std::strtol(text.substr(i + 1, 3).c_str(), nullptr, 8)));
      i += 3;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

bool IsBelow(const std::string& path, const std::string& dir) {
  return path == dir || dir == "/" ||
         (path.size() > dir.size() && path.compare(0, dir.size(), dir) == 0 &&
          path[dir.size()] == '/');
}

}  // namespace

std::vector<MountEntry> ParseMountInfo(std::string_view text) {
  std::vector<MountEntry> mounts;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string id, parent, root, word;
    MountEntry mount;
    words >> id >> parent >> mount.device >> root >> mount.dir;
    while (words >> word && word != "-") {
    }
    if (word != "-" || !(words >> mount.type)) continue;
    words >> mount.source;
    mount.dir = Unescape(mount.dir);
    mount.source = Unescape(mount.source);
    mounts.push_back(std::move(mount));
  }
  return mounts;
}

std::vector<MountEntry> ListMounts() {
  std::ifstream in("/proc/self/mountinfo");
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  return ParseMountInfo(text);
}

bool IsF3(const MountEntry& mount) { return mount.type == "fuse.f3"; }

MountEntry MountAt(const std::string& dir) {
  MountEntry found;
  for (auto& mount : ListMounts()) {
    if (mount.dir == dir) found = std::move(mount);
  }
  return found;
}

MountEntry F3MountOf(const std::string& path) {
  MountEntry best;
  for (auto& mount : ListMounts()) {
    if (IsBelow(path, mount.dir) && mount.dir.size() >= best.dir.size()) best = std::move(mount);
  }
  return IsF3(best) ? best : MountEntry();
}

Status Detach(const std::string& dir, std::string_view type) {
  for (int layers = 0; layers < 16; ++layers) {
    MountEntry mount = MountAt(dir);
    bool wanted = type == "fuse" ? IsF3(mount) : mount.type == type;
    if (mount.dir.empty() || !wanted) return Status();
    if (::umount2(dir.c_str(), MNT_DETACH) != 0) {
      return Status::FromErrno(errno, "unmount " + dir);
    }
  }
  return Status::Busy(dir + " is still mounted after 16 layers were taken away");
}

Status MountTmpfs(const std::string& dir, uint64_t bytes, const std::string& source) {
  std::string options = "mode=0700,size=" + std::to_string(bytes);
  if (::mount(source.c_str(), dir.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, options.c_str()) != 0) {
    return Status::FromErrno(errno, "mount a tmpfs at " + dir);
  }
  return Status();
}

Status RemountF3(const std::string& dir, bool read_only, bool dev, bool suid) {
  if (!IsF3(MountAt(dir))) return Status::NotFound(dir + " is not an F3 mount");
  unsigned long flags = MS_REMOUNT;
  if (read_only) flags |= MS_RDONLY;
  if (!dev) flags |= MS_NODEV;
  if (!suid) flags |= MS_NOSUID;
  if (::mount(nullptr, dir.c_str(), nullptr, flags, nullptr) != 0) {
    return Status::FromErrno(errno, "remount " + dir);
  }
  return Status();
}

bool Answers(const std::string& dir, int64_t timeout_micros) {
  auto result = RunCommand({"stat", "-f", dir}, timeout_micros);
  return result.ok() && result->exit_code == 0;
}

}  // namespace f3::cli
