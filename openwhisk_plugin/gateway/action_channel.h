// ActionChannel: what the gateway and the runtime in one sandbox say to each other: HTTP on port
// 8080 of the sandbox's network namespace, and the lines that it prints. One loop watches the
// connection, both streams, the process and the deadline, so nothing it prints can block it during
// a call.
//
// One thread at a time, but for Interrupt and ended, which may come from any. Owns its descriptors.
#ifndef F3_OPENWHISK_PLUGIN_GATEWAY_ACTION_CHANNEL_H_
#define F3_OPENWHISK_PLUGIN_GATEWAY_ACTION_CHANNEL_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/status.h"
#include "common/unique_fd.h"
#include "openwhisk_plugin/gateway/activation_logs.h"
#include "openwhisk_plugin/gateway/http_response.h"

namespace f3::openwhisk {

class ActionChannel {
 public:
  struct Descriptors {
    UniqueFd netns;    // the sandbox's network namespace
    UniqueFd process;  // pidfd of its first process
    UniqueFd out;      // pipes with its standard output and error; do not block
    UniqueFd err;
  };
  // `log_bytes`: of one activation.
  ActionChannel(Descriptors descriptors, uint64_t log_bytes);

  // Waits until the port accepts a connection. Unavailable: the sandbox ended, Timeout: it did not
  // accept, Interrupted. `deadline` as Clock::MonotonicMicros, in all of these.
  Status Connect(int64_t deadline);

  struct Answer {
    int http_status = 0;
    std::string body;
  };
  // POST `path`. Unavailable: the sandbox ended or closed the connection. Timeout. BadMessage: it
  // does not speak HTTP, or says more than 64 MiB. Interrupted. After an error of any kind the next
  // call connects anew.
  Result<Answer> Post(std::string_view path, std::string_view body, int64_t deadline);

  // Reads lines until both streams have ended the activation. Timeout, or Unavailable when the
  // sandbox has ended; then everything that it printed has been read.
  Status AwaitLogs(int64_t deadline);
  // Adds one of our own.
  void AddLogLine(std::string_view line);
  // The lines since the last call.
  std::string TakeLogs();

  // Ends what is under way, and all that comes later, with Interrupted.
  void Interrupt();
  // Whether the sandbox's first process has ended.
  bool ended() const;

 private:
  enum class Event { kSocket, kEnded, kInterrupted, kTimeout, kLogs };

  // Waits for one thing. Reads log lines that are there.
  Event Wait(short socket_events, int64_t deadline);
  // As an error; kSocket and kLogs are none.
  Status ErrorOf(Event event) const;
  void ReadLogs(LogStream stream);
  Status OpenSocket();
  // Whether the connection can be used again.
  bool Usable() const;
  Status Send(std::string_view bytes, int64_t deadline);
  Status Receive(HttpResponse* response, int64_t deadline);

  const Descriptors descriptors_;
  const UniqueFd wake_;  // eventfd, written to by Interrupt
  UniqueFd socket_;
  std::array<bool, 2> log_open_ = {true, true};
  ActivationLogs logs_;
};

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_GATEWAY_ACTION_CHANNEL_H_
