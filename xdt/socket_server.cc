#include "xdt/socket_server.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

namespace f3::xdt {
namespace {

constexpr size_t kMaxQueued = 256;
constexpr size_t kSlowBytes = 1 << 20;
constexpr size_t kMaxQueuedBytes = 16 << 20;
// Packets taken from one connection before others have their turn.
constexpr int kPacketsPerTurn = 16;

Result<sockaddr_un> AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return Status::BadConfig("the socket path " + path + " is too long; at most 107 bytes");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

// 1: sent. 0: would wait. -1: the peer is gone.
int SendPacket(int socket, const std::string& packet, const Connection::Data& data, int fd) {
  iovec parts[2] = {{const_cast<char*>(packet.data()), packet.size()}, {}};
  if (data != nullptr) parts[1] = {const_cast<char*>(data->data()), data->size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> space{};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = data == nullptr ? 1 : 2;
  if (fd >= 0) {
    message.msg_control = space.data();
    message.msg_controllen = space.size();
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(head), &fd, sizeof(int));
  }
  for (;;) {
    if (::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return 1;
    if (errno == EINTR) continue;
    // Too many descriptors on their way: as little room as a full buffer.
    return errno == EAGAIN || errno == ENOBUFS || errno == ETOOMANYREFS ? 0 : -1;
  }
}

}  // namespace

bool Connection::Send(const std::string& packet, const Data& data, int fd) {
  MutexLock lock(mutex_);
  if (over_) return false;
  if (queue_.empty()) {
    const int sent = SendPacket(fd_.get(), packet, data, fd);
    if (sent == 1) return true;
    if (sent < 0) return false;
  }
  Queued queued{packet, data, UniqueFd(fd >= 0 ? ::fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1)};
  queued_bytes_ += queued.bytes();
  if (queue_.size() >= kMaxQueued || queued_bytes_ > kMaxQueuedBytes ||
      (fd >= 0 && !queued.fd.valid())) {
    over_ = true;
    ::shutdown(fd_.get(), SHUT_RDWR);  // the server's thread sees it end
    return false;
  }
  queue_.push_back(std::move(queued));
  Arm();
  return true;
}

bool Connection::Flush() {
  MutexLock lock(mutex_);
  while (!queue_.empty()) {
    const Queued& next = queue_.front();
    const int sent = SendPacket(fd_.get(), next.packet, next.data, next.fd.get());
    if (sent < 0) return false;
    if (sent == 0) break;
    queued_bytes_ -= next.bytes();
    queue_.pop_front();
  }
  Arm();
  return true;
}

bool Connection::slow() {
  MutexLock lock(mutex_);
  return queued_bytes_ > kSlowBytes;
}

void Connection::Arm() {
  epoll_event event{};
  event.events = (queued_bytes_ > kSlowBytes ? 0u : EPOLLIN) | (queue_.empty() ? 0u : EPOLLOUT);
  event.data.u64 = id_;
  ::epoll_ctl(epoll_, EPOLL_CTL_MOD, fd_.get(), &event);
}

void Connection::Shut() {
  MutexLock lock(mutex_);
  over_ = true;
  queue_.clear();
  queued_bytes_ = 0;
  ::shutdown(fd_.get(), SHUT_RDWR);
}

Status SocketServer::Start() {
  epoll_.Reset(::epoll_create1(EPOLL_CLOEXEC));
  wake_.Reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  spare_.Reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!epoll_.valid() || !wake_.valid()) return Status::FromErrno(errno, "start the XDT sockets");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = 0;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) != 0) {
    return Status::FromErrno(errno, "start the XDT sockets");
  }
  packet_.resize(kPacketRoom);
  thread_ = std::thread([this] { Run(); });
  ::pthread_setname_np(thread_.native_handle(), "f3-xdt");
  return Status();
}

Status SocketServer::Open(const std::string& path, mode_t mode,
                          std::shared_ptr<SocketOwner> owner) {
  F3_ASSIGN_OR_RETURN(sockaddr_un address, AddressOf(path));
  const auto* at = reinterpret_cast<const sockaddr*>(&address);
  UniqueFd probe(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe.valid()) return Status::FromErrno(errno, "make a socket");
  if (::connect(probe.get(), at, sizeof(address)) == 0 || errno == EAGAIN) {
    return Status::Busy("another process listens at " + path);
  }
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0) {
    if (!S_ISSOCK(info.st_mode)) return Status::Exists(path + " exists and is no socket");
    ::unlink(path.c_str());
  }
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid() || ::bind(fd.get(), at, sizeof(address)) != 0 ||
      ::chmod(path.c_str(), mode) != 0 || ::listen(fd.get(), 128) != 0) {
    return Status::FromErrno(errno, "listen at " + path);
  }
  MutexLock lock(mutex_);
  const uint64_t id = next_id_++;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = id;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd.get(), &event) != 0) {
    return Status::FromErrno(errno, "poll " + path);
  }
  sockets_[id] = {path, std::move(fd), std::move(owner)};
  return Status();
}

Status SocketServer::Close(const std::string& path) {
  std::vector<ConnectionRef> ending;
  {
    MutexLock lock(mutex_);
    auto at = sockets_.begin();
    while (at != sockets_.end() && at->second.path != path) ++at;
    if (at == sockets_.end()) return Status::NotFound("no XDT socket is open at " + path);
    ::unlink(path.c_str());
    for (auto& [id, connection] : connections_) {
      if (connection->owner_ == at->second.owner) ending.push_back(connection);
    }
    sockets_.erase(at);
  }
  for (const auto& connection : ending) connection->Shut();
  return Status();
}

void SocketServer::Wake() {
  const uint64_t one = 1;
  if (::write(wake_.get(), &one, sizeof(one)) < 0 && errno != EAGAIN) {
    spdlog::error("the XDT broker cannot be woken: {}", std::strerror(errno));
  }
}

void SocketServer::Run() {
  std::array<epoll_event, 64> events;
  while (!stopping_) {
    const int n = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()),
                               static_cast<int>(kTickMicros / 1000));
    bool tick = n <= 0;
    for (int i = 0; i < n; ++i) {
      const epoll_event& event = events[static_cast<size_t>(i)];
      const uint64_t id = event.data.u64;  // copied: the structure is packed
      if (id == 0) {
        uint64_t count = 0;
        tick |= ::read(wake_.get(), &count, sizeof(count)) > 0;
        continue;
      }
      bool socket = false;
      {
        MutexLock lock(mutex_);
        socket = sockets_.contains(id);
      }
      if (socket) {
        Accept(id);
      } else {
        Receive(id, event.events);
      }
    }
    if (tick) handler_->OnTick();
  }
}

void SocketServer::Accept(uint64_t id) {
  ConnectionRef connection;
  {
    MutexLock lock(mutex_);
    auto at = sockets_.find(id);
    if (at == sockets_.end()) return;
    UniqueFd fd(::accept4(at->second.fd.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd.valid() && (errno == EMFILE || errno == ENFILE)) {
      // Left pending it would wake the thread for ever.
      spare_.Reset();
      fd.Reset(::accept4(at->second.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
      fd.Reset();
      spare_.Reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    }
    if (!fd.valid()) return;
    if (at->second.connections >= kMaxConnections) return;
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = next_id_;
    const int raw = fd.get();
    const int room = XDT_SEND_ROOM_BYTES;
    ::setsockopt(raw, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    connection =
        std::make_shared<Connection>(std::move(fd), next_id_++, at->second.owner, epoll_.get());
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, raw, &event) != 0) return;
    ++at->second.connections;
    connections_[connection->id()] = connection;
  }
  handler_->OnConnect(connection);
}

void SocketServer::Receive(uint64_t id, uint32_t events) {
  ConnectionRef connection;
  {
    MutexLock lock(mutex_);
    auto at = connections_.find(id);
    if (at == connections_.end()) return;
    connection = at->second;
  }
  // Whoever hangs up and has not read its replies is not asked what else it wanted.
  bool good = (events & (EPOLLHUP | EPOLLERR)) == 0 || !connection->slow();
  if (good && (events & EPOLLOUT) != 0) good = connection->Flush();
  if (good && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) good = ReadPackets(connection);
  if (!good) End(id);
}

bool SocketServer::ReadPackets(const ConnectionRef& connection) {
  for (int i = 0; i < kPacketsPerTurn && !connection->slow(); ++i) {
    // No room for descriptors: the kernel drops any that are sent.
    const ssize_t n = ::recv(connection->fd_.get(), packet_.data(), packet_.size(), MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EAGAIN;
    if (n == 0) return false;
    if (!handler_->OnPacket(connection, std::span(packet_).first(static_cast<size_t>(n)))) {
      return false;
    }
  }
  return true;
}

void SocketServer::End(uint64_t id) {
  ConnectionRef connection;
  {
    MutexLock lock(mutex_);
    auto at = connections_.find(id);
    if (at == connections_.end()) return;
    connection = std::move(at->second);
    connections_.erase(at);
    for (auto& [number, socket] : sockets_) {
      if (socket.owner == connection->owner_) --socket.connections;
    }
  }
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, connection->fd_.get(), nullptr);
  connection->Shut();
  handler_->OnClose(connection);
}

void SocketServer::Shutdown() {
  if (stopping_.exchange(true)) return;
  if (thread_.joinable()) {
    Wake();
    thread_.join();
  }
  std::vector<uint64_t> ids;
  {
    MutexLock lock(mutex_);
    for (auto& [id, socket] : sockets_) ::unlink(socket.path.c_str());
    sockets_.clear();
    for (auto& [id, connection] : connections_) ids.push_back(id);
  }
  for (const uint64_t id : ids) End(id);
}

}  // namespace f3::xdt
