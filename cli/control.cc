#include "cli/control.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "common/clock.h"

namespace f3::cli {
namespace {

using nlohmann::json;

constexpr size_t kMaxMessageBytes = 16 << 20;
constexpr int64_t kPeerPatienceMicros = 2'000'000;

Status Address(const std::string& path, sockaddr_un* address) {
  std::memset(address, 0, sizeof(*address));
  address->sun_family = AF_UNIX;
  if (path.size() >= sizeof(address->sun_path)) {
    return Status::NameTooLong("the socket path " + path + " is longer than " +
                               std::to_string(sizeof(address->sun_path) - 1) +
                               " bytes; use a directory with a shorter name");
  }
  std::memcpy(address->sun_path, path.data(), path.size());
  return Status();
}

bool WaitFor(int fd, short events, int64_t deadline) {
  while (true) {
    int64_t left = deadline - Clock::Real()->MonotonicMicros();
    if (left <= 0) return false;
    pollfd wait = {fd, events, 0};
    int ready = ::poll(&wait, 1, static_cast<int>(left / 1000 + 1));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
  }
}

Status SendAll(int fd, const std::string& text, int64_t deadline) {
  size_t done = 0;
  while (done < text.size()) {
    if (!WaitFor(fd, POLLOUT, deadline)) return Status::Timeout("no answer in time");
    ssize_t n = ::send(fd, text.data() + done, text.size() - done, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR) return Status::FromErrno(errno, "send");
    if (n > 0) done += static_cast<size_t>(n);
  }
  return Status();
}

// Up to a newline or the end of the stream.
Result<std::string> ReceiveLine(int fd, int64_t deadline) {
  std::string text;
  while (text.size() < kMaxMessageBytes) {
    if (!WaitFor(fd, POLLIN, deadline)) return Status::Timeout("no answer in time");
    char buffer[65536];
    ssize_t n = ::recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (n < 0) return Status::FromErrno(errno, "receive");
    if (n == 0) break;
    text.append(buffer, static_cast<size_t>(n));
    if (text.find('\n') != std::string::npos) break;
  }
  return text;
}

std::string ErrorText(const Status& status) {
  json reply = {{"error", status.message()}, {"code", static_cast<int>(status.code())}};
  return reply.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace

Result<json> AskControl(const std::string& socket, const json& request, int64_t timeout_micros) {
  sockaddr_un address;
  F3_RETURN_IF_ERROR(Address(socket, &address));
  std::string line;
  try {
    line = request.dump() + "\n";
  } catch (const json::exception&) {
    return Status::InvalidArgument("what is asked of " + socket + " is not UTF-8 text");
  }
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return Status::FromErrno(errno, "make a socket");
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    return Status::Unavailable("no daemon listens at " + socket + " (" + std::strerror(errno) +
                               ")");
  }
  int64_t deadline = Clock::Real()->MonotonicMicros() + timeout_micros;
  F3_RETURN_IF_ERROR(SendAll(fd.get(), line, deadline).WithContext(socket));
  auto text = ReceiveLine(fd.get(), deadline);
  if (!text.ok()) return text.status().WithContext(socket);
  auto reply = ReadControlReply(*text);
  if (reply.status().Is(Code::kBadMessage)) return reply.status().WithContext(socket);
  return reply;
}

std::string AnswerControl(std::string_view text, const ControlHandler& handler) {
  const json request = json::parse(text, nullptr, false);
  if (!request.is_object() || !request.contains("op") || !request["op"].is_string()) {
    return ErrorText(Status::BadMessage("a control request is one JSON object with \"op\""));
  }
  try {
    Result<json> answer = handler(request);
    if (!answer.ok()) return ErrorText(answer.status());
    return answer->dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  } catch (const json::exception& error) {
    return ErrorText(
        Status::InvalidArgument(std::string("a malformed control request: ") + error.what()));
  }
}

Result<json> ReadControlReply(std::string_view text) {
  json reply = json::parse(text, nullptr, false);
  if (!reply.is_object()) return Status::BadMessage("not a proper answer");
  const auto error = reply.find("error");
  if (error == reply.end() || !error->is_string()) return reply;
  const auto number = reply.find("code");
  Code code = Code::kInternal;
  if (number != reply.end() && number->is_number_integer()) {
    code = CodeFromNumber(number->get<int>());
  }
  // Code 0 would make a success of an error.
  return Status(code == Code::kOk ? Code::kInternal : code, error->get<std::string>());
}

Result<ControlListener> ControlListener::Listen(const std::string& path) {
  sockaddr_un address;
  F3_RETURN_IF_ERROR(Address(path, &address));
  ControlListener listener;
  listener.path_ = path;
  listener.fd_.Reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener.fd_.valid()) return Status::FromErrno(errno, "make a socket");
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(probe.get(), generic, sizeof(address)) == 0) {
    return Status::Busy("another daemon already listens at " + path);
  }
  if (errno == ECONNREFUSED) ::unlink(path.c_str());
  if (::bind(listener.fd_.get(), generic, sizeof(address)) != 0 ||
      ::listen(listener.fd_.get(), 16) != 0) {
    return Status::FromErrno(errno, "listen at " + path);
  }
  return listener;
}

void ControlListener::ServeOne(const Handler& handler) {
  UniqueFd peer(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!peer.valid()) return;
  int64_t deadline = Clock::Real()->MonotonicMicros() + kPeerPatienceMicros;
  auto text = ReceiveLine(peer.get(), deadline);
  if (!text.ok()) return;
  const std::string reply = AnswerControl(*text, handler);
  SendAll(peer.get(), reply, Clock::Real()->MonotonicMicros() + kPeerPatienceMicros)
      .PermitUnchecked();
}

void ControlListener::Close() {
  if (!fd_.valid()) return;
  ::unlink(path_.c_str());
  fd_.Reset();
}

ControlThread::ControlThread(ControlListener listener, ControlListener::Handler handler)
    : listener_(std::move(listener)),
      handler_(std::move(handler)),
      wake_(::eventfd(0, EFD_CLOEXEC)),
      thread_([this] { Run(); }) {}

ControlThread::~ControlThread() {
  uint64_t one = 1;
  while (::write(wake_.get(), &one, sizeof(one)) < 0 && errno == EINTR) {
  }
  thread_.join();
  listener_.Close();
}

void ControlThread::Run() {
  while (true) {
    pollfd fds[2] = {{wake_.get(), POLLIN, 0}, {listener_.fd(), POLLIN, 0}};
    if (::poll(fds, 2, -1) < 0 && errno != EINTR) return;
    if (fds[0].revents != 0) return;
    if (fds[1].revents != 0) listener_.ServeOne(handler_);
  }
}

}  // namespace f3::cli
