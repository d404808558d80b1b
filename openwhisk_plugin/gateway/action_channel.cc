#include "openwhisk_plugin/gateway/action_channel.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <vector>

#include "common/clock.h"
#include "openwhisk_plugin/gateway/bundle.h"

namespace f3::openwhisk {
namespace {

constexpr uint64_t kMaxResponseBytes = 64ull << 20;
constexpr size_t kReadBytes = 64 << 10;
constexpr int64_t kConnectEveryMicros = 2'000;
// A sandbox that has closed its connection is given so long to end, so that we know which it was.
constexpr int64_t kEndMicros = 200'000;

int64_t Now() { return Clock::Real()->MonotonicMicros(); }

bool IsReadable(int fd) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, 0) > 0;
}

// For poll: rounded up, so that it does not spin in the last millisecond.
int MillisUntil(int64_t deadline) {
  return static_cast<int>(std::clamp<int64_t>((deadline - Now() + 999) / 1000, 0, 600'000));
}

// A socket of that network namespace. On a thread of its own, since a thread that cannot go back
// must not be used for anything else.
Result<UniqueFd> SocketIn(int netns) {
  UniqueFd made;
  int error = 0;
  std::thread([&] {
    if (::setns(netns, CLONE_NEWNET) != 0) {
      error = errno;
      return;
    }
    made.Reset(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!made.valid()) error = errno;
  }).join();
  if (!made.valid()) return Status::FromErrno(error, "a socket in a sandbox's network namespace");
  return made;
}

}  // namespace

ActionChannel::ActionChannel(Descriptors descriptors, uint64_t log_bytes)
    : descriptors_(std::move(descriptors)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      logs_(log_bytes) {}

void ActionChannel::Interrupt() {
  const uint64_t one = 1;
  // It can only fail when it has been interrupted 2^64 times.
  if (::write(wake_.get(), &one, sizeof one) < 0) return;
}

bool ActionChannel::ended() const { return IsReadable(descriptors_.process.get()); }

void ActionChannel::ReadLogs(LogStream stream) {
  const int fd = stream == LogStream::kStdout ? descriptors_.out.get() : descriptors_.err.get();
  std::string bytes(kReadBytes, '\0');
  const ssize_t got = ::read(fd, bytes.data(), bytes.size());
  if (got > 0) {
    logs_.Add(stream, std::string_view(bytes).substr(0, got), Clock::Real()->WallNanos());
  } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
    log_open_[static_cast<size_t>(stream)] = false;
  }
}

ActionChannel::Event ActionChannel::Wait(short socket_events, int64_t deadline) {
  for (;;) {
    const auto stream_fd = [&](LogStream stream, const UniqueFd& fd) {
      return log_open_[static_cast<size_t>(stream)] ? fd.get() : -1;
    };
    pollfd entries[] = {{wake_.get(), POLLIN, 0},
                        {stream_fd(LogStream::kStdout, descriptors_.out), POLLIN, 0},
                        {stream_fd(LogStream::kStderr, descriptors_.err), POLLIN, 0},
                        {socket_events != 0 ? socket_.get() : -1, socket_events, 0},
                        {descriptors_.process.get(), POLLIN, 0}};
    const int ready = ::poll(entries, std::size(entries), MillisUntil(deadline));
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return Event::kTimeout;
    if (entries[0].revents != 0) return Event::kInterrupted;
    if (entries[1].revents != 0) ReadLogs(LogStream::kStdout);
    if (entries[2].revents != 0) ReadLogs(LogStream::kStderr);
    // An answer counts, even from one that has ended since.
    if (entries[3].revents != 0) return Event::kSocket;
    if (entries[1].revents != 0 || entries[2].revents != 0) {
      return Now() < deadline ? Event::kLogs : Event::kTimeout;
    }
    if (entries[4].revents != 0) return Event::kEnded;
  }
}

Status ActionChannel::ErrorOf(Event event) const {
  switch (event) {
    case Event::kEnded:
      return Status::Unavailable("the sandbox has ended");
    case Event::kInterrupted:
      return Status::Interrupted("the sandbox is being destroyed");
    case Event::kTimeout:
      return Status::Timeout("the sandbox did not answer in time");
    default:
      return Status();
  }
}

Status ActionChannel::OpenSocket() {
  F3_ASSIGN_OR_RETURN(socket_, SocketIn(descriptors_.netns.get()));
  const int on = 1;
  ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return Status();
}

Status ActionChannel::Connect(int64_t deadline) {
  F3_RETURN_IF_ERROR(OpenSocket());
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(kActionPort);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  for (;;) {
    // Linux lets a socket try again after it was refused.
    if (::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 ||
        errno == EISCONN) {
      return Status();
    }
    const bool under_way = errno == EINPROGRESS || errno == EALREADY;
    if (!under_way && errno != ECONNREFUSED && errno != ECONNABORTED && errno != EINTR) {
      return Status::FromErrno(errno, "connecting to a sandbox");
    }
    const int64_t next = Now() + kConnectEveryMicros;
    const Event event = Wait(under_way ? POLLOUT : 0, std::min(next, deadline));
    if (event == Event::kTimeout && Now() < deadline) continue;
    F3_RETURN_IF_ERROR(ErrorOf(event));
  }
}

bool ActionChannel::Usable() const {
  // Between two calls a connection has nothing to say but that it is over.
  return socket_.valid() && !IsReadable(socket_.get());
}

Status ActionChannel::Send(std::string_view bytes, int64_t deadline) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      bytes.remove_prefix(sent);
    } else if (errno == EAGAIN) {
      F3_RETURN_IF_ERROR(ErrorOf(Wait(POLLOUT, deadline)));
    } else if (errno == EPIPE || errno == ECONNRESET) {
      return Status();  // it may have answered before it had read everything
    } else if (errno != EINTR) {
      return Status::FromErrno(errno, "sending to a sandbox");
    }
  }
  return Status();
}

Status ActionChannel::Receive(HttpResponse* response, int64_t deadline) {
  std::string bytes(kReadBytes, '\0');
  while (!response->complete()) {
    const ssize_t got = ::recv(socket_.get(), bytes.data(), bytes.size(), 0);
    if (got > 0) {
      F3_RETURN_IF_ERROR(response->Add(std::string_view(bytes).substr(0, got)));
    } else if (got < 0 && errno == EAGAIN) {
      F3_RETURN_IF_ERROR(ErrorOf(Wait(POLLIN, deadline)));
    } else if (got == 0 || errno == ECONNRESET) {
      if (response->started()) return response->End();
      // Most likely its process is ending: then its last lines and why it ended are wanted.
      const int64_t patience = std::min(deadline, Now() + kEndMicros);
      while (Wait(0, patience) == Event::kLogs) continue;
      return Status::Unavailable("the sandbox closed the connection without an answer");
    } else if (errno != EINTR) {
      return Status::FromErrno(errno, "receiving from a sandbox");
    }
  }
  return Status();
}

Result<ActionChannel::Answer> ActionChannel::Post(std::string_view path, std::string_view body,
                                                  int64_t deadline) {
  if (IsReadable(wake_.get())) return ErrorOf(Event::kInterrupted);
  if (!Usable()) F3_RETURN_IF_ERROR(Connect(deadline));
  std::string head = "POST " + std::string(path) +
                     " HTTP/1.1\r\nHost: action\r\nContent-Type: application/json\r\n"
                     "Content-Length: " +
                     std::to_string(body.size()) + "\r\n\r\n";
  HttpResponse response(kMaxResponseBytes);
  Status status = Send(head, deadline);
  if (status.ok()) status = Send(body, deadline);
  if (status.ok()) status = Receive(&response, deadline);
  if (!status.ok() || !response.keep_alive()) socket_.Reset();
  if (!status.ok()) return status;
  return Answer{response.status(), std::move(response.body())};
}

Status ActionChannel::AwaitLogs(int64_t deadline) {
  while (!logs_.complete()) {
    if (!log_open_[0] && !log_open_[1]) return ErrorOf(Event::kEnded);
    F3_RETURN_IF_ERROR(ErrorOf(Wait(0, deadline)));
  }
  return Status();
}

void ActionChannel::AddLogLine(std::string_view line) {
  logs_.AddNote(line, Clock::Real()->WallNanos());
}

std::string ActionChannel::TakeLogs() { return logs_.Take(Clock::Real()->WallNanos()); }

}  // namespace f3::openwhisk
