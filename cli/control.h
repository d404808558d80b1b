// Control sockets: how commands talk to daemons beside the mount. One JSON request and one JSON
// reply per connection, both with a deadline; each daemon's socket is RUN/NAME.sock.
#ifndef F3_CLI_CONTROL_H_
#define F3_CLI_CONTROL_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <thread>

#include "common/status.h"
#include "common/unique_fd.h"

namespace f3::cli {

// Sends a request and returns the reply. Unavailable when nobody listens, Timeout at the deadline;
// a reply {"error": TEXT, "code": NUMBER} becomes that status. Thread-safe.
Result<nlohmann::json> AskControl(const std::string& socket, const nlohmann::json& request,
                                  int64_t timeout_micros);

// Answers a request whose "op" is a string. Fields that have another type than it expects may throw
// json::exception, which becomes InvalidArgument: whoever connects cannot end a daemon.
using ControlHandler = std::function<Result<nlohmann::json>(const nlohmann::json&)>;

// The reply line to one request, whatever its bytes are. Pure but for the handler.
std::string AnswerControl(std::string_view request, const ControlHandler& handler);

// What a reply line says; BadMessage for bytes that are none. Pure.
Result<nlohmann::json> ReadControlReply(std::string_view reply);

// A listening control socket of the commands' own daemons. Not thread-safe.
class ControlListener {
 public:
  using Handler = ControlHandler;
  // Replaces a socket file that nobody listens at. Busy when somebody does.
  static Result<ControlListener> Listen(const std::string& path);
  int fd() const { return fd_.get(); }
  // Accepts one connection, which must be pending, and answers it; a silent peer is given up on.
  void ServeOne(const Handler& handler);
  // Removes the socket file.
  void Close();

 private:
  std::string path_;
  UniqueFd fd_;
};

// Serves a ControlListener on a thread of its own, one request at a time, until destroyed.
class ControlThread {
 public:
  ControlThread(ControlListener listener, ControlListener::Handler handler);
  ~ControlThread();
  ControlThread(const ControlThread&) = delete;
  ControlThread& operator=(const ControlThread&) = delete;

 private:
  void Run();
  ControlListener listener_;
  const ControlListener::Handler handler_;
  UniqueFd wake_;
  std::thread thread_;
};

}  // namespace f3::cli

#endif  // F3_CLI_CONTROL_H_
