// SocketServer: the Unix sockets that functions reach the broker through, one per sandbox.
//
// One thread polls every socket and connection. Packets are handed to the Handler on that thread;
// replies may be sent from any thread and never wait: those that a connection does not take at once
// are queued. While much is queued, no more requests of it are taken; a connection for which too
// much is queued all the same, because many had been under way, is closed. Whatever a peer sends,
// only its own connection suffers. Thread-safe.
#ifndef F3_XDT_SOCKET_SERVER_H_
#define F3_XDT_SOCKET_SERVER_H_

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "common/mutex.h"
#include "common/status.h"
#include "common/unique_fd.h"
#include "xdt/libxdt/protocol.h"

namespace f3::xdt {

// What a socket stands for; shared by its connections. The handler's.
class SocketOwner {
 public:
  virtual ~SocketOwner() = default;
};

class Connection {
 public:
  Connection(UniqueFd fd, uint64_t id, std::shared_ptr<SocketOwner> owner, int epoll)
      : fd_(std::move(fd)), id_(id), owner_(std::move(owner)), epoll_(epoll) {}

  uint64_t id() const { return id_; }
  SocketOwner* owner() const { return owner_.get(); }
  // Sends one packet, `packet` and then `data` unless it is null, and, when it is not -1, a copy of
  // a descriptor. False when it cannot arrive: the connection is over.
  using Data = std::shared_ptr<const std::string>;
  bool Send(const std::string& packet, const Data& data, int fd);

 private:
  friend class SocketServer;
  struct Queued {
    std::string packet;
    Data data;
    UniqueFd fd;
    size_t bytes() const { return packet.size() + (data == nullptr ? 0 : data->size()); }
  };
  // Sends what is queued. False when the connection is over.
  bool Flush();
  // So much is queued that no more requests are taken until some of it was sent.
  bool slow();
  void Arm() F3_REQUIRES(mutex_);
  void Shut();

  const UniqueFd fd_;
  const uint64_t id_;
  const std::shared_ptr<SocketOwner> owner_;
  const int epoll_;
  Mutex mutex_;  // leaf
  bool over_ F3_GUARDED_BY(mutex_) = false;
  std::deque<Queued> queue_ F3_GUARDED_BY(mutex_);
  size_t queued_bytes_ F3_GUARDED_BY(mutex_) = 0;
};
using ConnectionRef = std::shared_ptr<Connection>;

class SocketServer {
 public:
  // On the server's thread; must not wait.
  class Handler {
   public:
    virtual ~Handler() = default;
    virtual void OnConnect(const ConnectionRef& connection) = 0;
    // False closes the connection.
    virtual bool OnPacket(const ConnectionRef& connection, std::span<const std::byte> packet) = 0;
    virtual void OnClose(const ConnectionRef& connection) = 0;
    // After Wake, and every kTickMicros.
    virtual void OnTick() = 0;
  };
  static constexpr int64_t kTickMicros = 50'000;
  static constexpr size_t kMaxConnections = 1024;  // of one socket

  explicit SocketServer(Handler* handler) : handler_(handler) {}
  ~SocketServer() { Shutdown(); }

  Status Start();
  // Listens at `path`, with these permission bits. A socket file that nobody listens at is
  // replaced; Busy when somebody does.
  Status Open(const std::string& path, mode_t mode, std::shared_ptr<SocketOwner> owner);
  // Removes the socket and ends its connections. NotFound.
  Status Close(const std::string& path);
  void Wake();
  // Ends everything and joins the thread. Idempotent.
  void Shutdown();

 private:
  struct Socket {
    std::string path;
    UniqueFd fd;
    std::shared_ptr<SocketOwner> owner;
    size_t connections = 0;
  };
  void Run();
  void Accept(uint64_t id);
  void Receive(uint64_t id, uint32_t events);
  void End(uint64_t id);
  bool ReadPackets(const ConnectionRef& connection);
  static constexpr size_t kPacketRoom = XDT_PACKET_BYTES + 1;  // a longer one is seen to be

  Handler* const handler_;
  UniqueFd epoll_;
  UniqueFd wake_;
  UniqueFd spare_;  // given up to refuse a connection when there are no descriptors left
  std::atomic<bool> stopping_{false};
  std::vector<std::byte> packet_;  // the thread's
  std::thread thread_;

  Mutex mutex_;  // leaf; sockets and connections by epoll's number
  uint64_t next_id_ F3_GUARDED_BY(mutex_) = 1;
  std::map<uint64_t, Socket> sockets_ F3_GUARDED_BY(mutex_);
  std::map<uint64_t, ConnectionRef> connections_ F3_GUARDED_BY(mutex_);
};

}  // namespace f3::xdt

#endif  // F3_XDT_SOCKET_SERVER_H_
