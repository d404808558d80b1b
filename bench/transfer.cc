// pull: the first read on another node, against iperf3 over the same link. follow: how long after
// the writer's close a reader on another node is done.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <sstream>

#include "bench/bench.h"
#include "bench/link.h"
#include "cli/process.h"
#include "common/clock.h"
#include "common/small_file.h"
#include "common/unique_fd.h"

namespace f3::bench {
namespace {

using nlohmann::json;

constexpr size_t kBlock = 1 << 20;
constexpr int64_t kPatienceMicros = 120'000'000;
constexpr double kStreamBytesPerMicro = 209.7;

Status WaitForExit(pid_t pid, int64_t timeout_micros) {
  UniqueFd pidfd = cli::OpenPidFd(pid);
  if (!cli::WaitForEnd(pidfd, timeout_micros)) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    return Status::Timeout("the reader did not end in time");
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return status == 0 ? Status() : Status::Io("the reader failed");
}

struct ReaderReport {
  int64_t end_micros = 0;
  uint64_t bytes = 0;
};

}  // namespace

Result<Report> RunPull(const Options& options) {
  if (options.layout.nodes.size() < 2) return Status::InvalidArgument("pull needs two nodes");
  uint64_t bytes = options.bytes == 0 ? 256ull << 20 : options.bytes;
  int runs = options.runs == 0 ? 5 : options.runs;
  F3_ASSIGN_OR_RETURN(WorkDirs dirs, WorkDirs::Make(options.layout));
  Measurement pull{"first read on another node", "MB/s", "iperf3, same link", {}, {}, false, 0.7};
  Measurement again{"second read there", "MB/s", "iperf3, same link", {}, {}, false, 0};
  for (int run = 0; run <= runs; ++run) {
    options.say("run " + std::to_string(run) + " of " + std::to_string(runs));
    std::string name = "pull" + std::to_string(run);
    F3_RETURN_IF_ERROR(WriteSequential(dirs.In(0, name), bytes, kBlock));
    F3_ASSIGN_OR_RETURN(double first,
                        Time([&] { return ReadSequential(dirs.In(1, name), bytes, kBlock); }));
    F3_ASSIGN_OR_RETURN(double second,
                        Time([&] { return ReadSequential(dirs.In(1, name), bytes, kBlock); }));
    ::unlink(dirs.In(0, name).c_str());
    F3_ASSIGN_OR_RETURN(double link, Iperf(options.layout, bytes, run));
    if (run == 0) continue;
    double megabytes = static_cast<double>(bytes) / 1e6;
    pull.f3.push_back(megabytes / first);
    again.f3.push_back(megabytes / second);
    pull.other.push_back(link / 1e6);
    again.other.push_back(link / 1e6);
  }
  return Report{"pull", {pull, again}, {{"bytes", bytes}, {"runs", runs}}};
}

Status ReadToEnd(const std::string& path, const std::string& report) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return Status::FromErrno(errno, "open " + path);
  std::vector<char> buffer(kBlock);
  uint64_t total = 0;
  while (true) {
    ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
    if (n < 0) return Status::FromErrno(errno, "read " + path);
    if (n == 0) break;
    total += static_cast<uint64_t>(n);
  }
  int64_t now = Clock::Real()->MonotonicMicros();
  return WriteFile(report, std::to_string(now) + " " + std::to_string(total) + "\n");
}

Result<Report> RunFollow(const Options& options) {
  if (options.layout.nodes.size() < 2) return Status::InvalidArgument("follow needs two nodes");
  uint64_t bytes = options.bytes == 0 ? 1ull << 30 : options.bytes;
  int runs = options.runs == 0 ? 3 : options.runs;
  F3_ASSIGN_OR_RETURN(WorkDirs dirs, WorkDirs::Make(options.layout, true));
  Measurement lag{
      "reader done after the writer's close", "s", "5 % of the time of writing", {}, {}, true, 1.0};
  json writes = json::array();
  for (int run = 0; run < runs; ++run) {
    options.say("run " + std::to_string(run + 1) + " of " + std::to_string(runs));
    std::string name = "follow" + std::to_string(run);
    std::string path = dirs.In(0, name);
    UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (!fd.valid()) return Status::FromErrno(errno, "create " + path);
    // In a session of its own: a reader never waits for a writer of its own session.
    cli::SpawnOptions reader;
    std::string report = dirs.Native("report" + std::to_string(run));
    reader.argv = {cli::SelfPath(), "bench", "read-to-end", dirs.In(1, name), report};
    F3_ASSIGN_OR_RETURN(pid_t pid, cli::Spawn(reader));
    std::vector<char> buffer(kBlock, 'f');
    int64_t start = Clock::Real()->MonotonicMicros();
    Status status;
    for (uint64_t at = 0; at < bytes && status.ok(); at += kBlock) {
      if (::write(fd.get(), buffer.data(), kBlock) != static_cast<ssize_t>(kBlock)) {
        status = Status::FromErrno(errno, "write " + path);
      }
      // A producer that computes what it writes: 200 MiB/s, which is 5 s for 1 GiB.
      const int64_t due = start + static_cast<int64_t>((at + kBlock) / kStreamBytesPerMicro);
      const int64_t early = due - Clock::Real()->MonotonicMicros();
      if (early > 0) ::usleep(static_cast<useconds_t>(early));
    }
    if (status.ok() && ::close(fd.Release()) != 0)
      status = Status::FromErrno(errno, "close " + path);
    int64_t closed = Clock::Real()->MonotonicMicros();
    fd.Reset();
    Status ended = WaitForExit(pid, kPatienceMicros);
    F3_RETURN_IF_ERROR(status);
    F3_RETURN_IF_ERROR(ended);
    F3_ASSIGN_OR_RETURN(std::string text, ReadFile(report));
    ReaderReport read;
    std::istringstream(text) >> read.end_micros >> read.bytes;
    if (read.bytes != bytes) {
      return Status::Corruption("the reader saw " + std::to_string(read.bytes) + " of " +
                                std::to_string(bytes) + " bytes");
    }
    double writing = static_cast<double>(closed - start) / 1e6;
    lag.f3.push_back(static_cast<double>(std::max<int64_t>(read.end_micros - closed, 1)) / 1e6);
    lag.other.push_back(writing * 0.05);
    writes.push_back(writing);
    ::unlink(path.c_str());
  }
  return Report{"follow", {lag}, {{"bytes", bytes}, {"runs", runs}, {"write_seconds", writes}}};
}

}  // namespace f3::bench
