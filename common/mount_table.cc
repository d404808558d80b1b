#include "common/mount_table.h"

#include <sys/mount.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>

namespace f3 {
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

std::vector<MountEntry> ReadTable(const std::string& file) {
  std::ifstream in(file);
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  return ParseMountInfo(text);
}

}  // namespace

std::vector<MountEntry> ParseMountInfo(std::string_view text) {
  std::vector<MountEntry> mounts;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string parent, word;
    MountEntry mount;
    words >> mount.id >> parent >> mount.device >> mount.root >> mount.dir;
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

std::vector<MountEntry> ListMounts() { return ReadTable("/proc/self/mountinfo"); }

std::vector<MountEntry> ListMountsOf(pid_t pid) {
  return ReadTable("/proc/" + std::to_string(pid) + "/mountinfo");
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

Status DetachF3Below(const std::string& dir) {
  Status first;
  for (const auto& mount : ListMounts()) {
    if (!IsF3(mount) || !IsBelow(mount.dir, dir)) continue;
    Status detached = Detach(mount.dir, "fuse");
    if (first.ok()) first = std::move(detached);
  }
  return first;
}

}  // namespace f3
