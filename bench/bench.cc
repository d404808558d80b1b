#include "bench/bench.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "cli/control.h"
#include "common/clock.h"
#include "common/unique_fd.h"

namespace f3::bench {

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double Percentile(std::vector<double> values, double part) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(part * static_cast<double>(values.size() - 1) + 0.5)];
}

double Measurement::Ratio() const {
  double mine = Median(f3), theirs = Median(other);
  if (mine == 0 || theirs == 0) return 0;
  return less_is_better ? theirs / mine : mine / theirs;
}

Result<WorkDirs> WorkDirs::Make(const cli::ClusterLayout& layout, bool follow) {
  WorkDirs dirs;
  dirs.name_ = "f3-bench-" + std::to_string(::getpid());
  for (const auto& node : layout.nodes) dirs.mounts_.push_back(layout.mount(node));
  dirs.native_ = layout.state(layout.nodes[0]) + "/" + dirs.name_;
  std::string first = dirs.mounts_[0] + "/" + dirs.name_;
  if (::mkdir(first.c_str(), 0755) != 0) return Status::FromErrno(errno, "make " + first);
  if (::mkdir(dirs.native_.c_str(), 0755) != 0) {
    return Status::FromErrno(errno, "make " + dirs.native_);
  }
  if (::setxattr(first.c_str(), "user.f3.class", "ephemeral", 9, 0) != 0) {
    return Status::FromErrno(errno, "set user.f3.class of " + first);
  }
  if (follow && ::setxattr(first.c_str(), "user.f3.follow", "1", 1, 0) != 0) {
    return Status::FromErrno(errno, "set user.f3.follow of " + first);
  }
  return dirs;
}

WorkDirs::WorkDirs(WorkDirs&& other) noexcept
    : mounts_(std::move(other.mounts_)),
      native_(std::exchange(other.native_, "")),
      name_(std::exchange(other.name_, "")) {}

WorkDirs::~WorkDirs() {
  if (name_.empty()) return;
  std::error_code error;
  std::filesystem::remove_all(mounts_[0] + "/" + name_, error);
  std::filesystem::remove_all(native_, error);
}

std::string WorkDirs::In(size_t node, const std::string& file) const {
  return mounts_[node] + "/" + name_ + "/" + file;
}

std::string WorkDirs::Native(const std::string& file) const { return native_ + "/" + file; }

std::string SizeName(size_t bytes) {
  if (bytes >= 1'000'000) return std::to_string(bytes / 1'000'000) + " MB";
  return std::to_string(bytes / 1000) + " KB";
}

Result<double> Time(const std::function<Status()>& body) {
  int64_t start = Clock::Real()->MonotonicMicros();
  F3_RETURN_IF_ERROR(body());
  return static_cast<double>(std::max<int64_t>(Clock::Real()->MonotonicMicros() - start, 1)) / 1e6;
}

Status WriteSequential(const std::string& path, uint64_t bytes, size_t block) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.valid()) return Status::FromErrno(errno, "create " + path);
  std::vector<char> buffer(block, 'f');
  for (uint64_t at = 0; at < bytes; at += block) {
    size_t want = std::min<uint64_t>(block, bytes - at);
    if (::write(fd.get(), buffer.data(), want) != static_cast<ssize_t>(want)) {
      return Status::FromErrno(errno, "write " + path);
    }
  }
  // close reports what writing could not.
  if (::close(fd.Release()) != 0) return Status::FromErrno(errno, "close " + path);
  return Status();
}

Status ReadSequential(const std::string& path, uint64_t bytes, size_t block) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return Status::FromErrno(errno, "open " + path);
  std::vector<char> buffer(block);
  uint64_t total = 0;
  while (true) {
    ssize_t n = ::read(fd.get(), buffer.data(), block);
    if (n < 0) return Status::FromErrno(errno, "read " + path);
    if (n == 0) break;
    total += static_cast<uint64_t>(n);
  }
  if (total != bytes) {
    return Status::Corruption(path + " has " + std::to_string(total) + " bytes where " +
                              std::to_string(bytes) + " were written");
  }
  return Status();
}

nlohmann::json AgentStatus(const cli::ClusterLayout& layout, size_t node) {
  auto reply =
      cli::AskControl(layout.run(layout.nodes[node].name + ".sock"), {{"op", "status"}}, 5'000'000);
  return reply.ok() ? *reply : nlohmann::json::object();
}

}  // namespace f3::bench
