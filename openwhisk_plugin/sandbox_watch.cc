#include "openwhisk_plugin/sandbox_watch.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "common/clock.h"

namespace f3::openwhisk {

Status SandboxWatch::Start() {
  wake_.Reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_.valid()) return Status::FromErrno(errno, "make an eventfd");
  thread_ = std::thread([this] { Run(); });
  ::pthread_setname_np(thread_.native_handle(), "f3-sandboxes");
  return Status();
}

void SandboxWatch::Stop() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  Wake();
  thread_.join();
}

Status SandboxWatch::Add(const std::string& container, int pidfd) {
  auto fd = std::make_shared<UniqueFd>(::fcntl(pidfd, F_DUPFD_CLOEXEC, 0));
  if (!fd->valid()) return Status::FromErrno(errno, "watch container " + container);
  {
    MutexLock lock(mutex_);
    watched_[container] = std::move(fd);
  }
  Wake();
  return Status();
}

void SandboxWatch::Remove(const std::string& container) {
  MutexLock lock(mutex_);
  watched_.erase(container);
}

void SandboxWatch::Wake() {
  const uint64_t one = 1;
  // Full means that it is awake already.
  [[maybe_unused]] const ssize_t n = ::write(wake_.get(), &one, sizeof(one));
}

void SandboxWatch::Run() {
  int64_t tick_at = Clock::Real()->MonotonicMicros();
  for (;;) {
    std::vector<std::pair<std::string, std::shared_ptr<UniqueFd>>> watched;
    {
      MutexLock lock(mutex_);
      if (stopping_) return;
      watched.assign(watched_.begin(), watched_.end());
    }
    std::vector<pollfd> wait = {{wake_.get(), POLLIN, 0}};
    for (const auto& [container, fd] : watched) wait.push_back({fd->get(), POLLIN, 0});
    const int64_t left = tick_at - Clock::Real()->MonotonicMicros();
    ::poll(wait.data(), wait.size(), static_cast<int>(std::max<int64_t>(left, 0) / 1000));
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t n = ::read(wake_.get(), &count, sizeof(count));
    for (size_t i = 0; i < watched.size(); ++i) {
      if (wait[i + 1].revents == 0) continue;
      {
        // Not one that was removed, or replaced, meanwhile.
        MutexLock lock(mutex_);
        auto at = watched_.find(watched[i].first);
        if (at == watched_.end() || at->second != watched[i].second) continue;
        watched_.erase(at);
      }
      ended_(watched[i].first);
    }
    if (Clock::Real()->MonotonicMicros() >= tick_at) {
      tick_();
      tick_at = Clock::Real()->MonotonicMicros() + tick_micros_;
    }
  }
}

}  // namespace f3::openwhisk
