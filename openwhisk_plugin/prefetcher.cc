#include "openwhisk_plugin/prefetcher.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "common/unique_fd.h"

namespace f3::openwhisk {
namespace {
constexpr size_t kReadBytes = 1u << 20;
}  // namespace

void Prefetcher::Submit(std::string dir, std::function<std::vector<std::string>()> find,
                        std::function<void()> done) {
  auto work = [this, dir = std::move(dir), find = std::move(find), done] {
    UniqueFd at(stopping_ ? -1 : ::open(dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (at.valid()) {
      for (const std::string& path : find()) ReadAll(at.get(), path);
    }
    done();
  };
  if (!executor_.TrySubmit(std::move(work))) done();
}

void Prefetcher::ReadAll(int dir, const std::string& path) {
  open_how how = {};
  how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  UniqueFd fd(static_cast<int>(::syscall(SYS_openat2, dir, path.c_str(), &how, sizeof(how))));
  if (!fd.valid()) return;
  auto buffer = std::make_unique<char[]>(kReadBytes);
  for (off_t at = 0; !stopping_;) {
    const ssize_t n = ::pread(fd.get(), buffer.get(), kReadBytes, at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    at += n;
  }
}

void Prefetcher::Stop() {
  stopping_ = true;
  executor_.Shutdown();
}

}  // namespace f3::openwhisk
