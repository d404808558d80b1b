#include "bench/redis.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <utility>

#include "cli/process.h"

namespace f3::bench {
namespace {

constexpr int kPort = 17379;
constexpr size_t kReadBytes = 1 << 16;

Result<UniqueFd> Connected(int family, const sockaddr* address, socklen_t length) {
  UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid() || ::connect(fd.get(), address, length) != 0) {
    return Status::FromErrno(errno, "connect to redis-server");
  }
  const int one = 1;
  if (family == AF_INET) ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  return fd;
}

// A socket belongs to the namespace of the thread that made it.
Result<UniqueFd> ConnectedIn(const std::string& netns, const sockaddr_in& address) {
  Result<UniqueFd> made = Status::Internal("no connection");
  std::thread inside([&] {
    if (!netns.empty()) {
      UniqueFd space(::open(("/run/netns/" + netns).c_str(), O_RDONLY | O_CLOEXEC));
      if (!space.valid() || ::setns(space.get(), CLONE_NEWNET) != 0) {
        made = Status::FromErrno(errno, "enter network namespace " + netns);
        return;
      }
    }
    made = Connected(AF_INET, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  });
  inside.join();
  return made;
}

std::string Command(const std::vector<std::string>& words) {
  std::string out = "*" + std::to_string(words.size()) + "\r\n";
  for (const auto& word : words) {
    out += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
  }
  return out;
}

}  // namespace

Result<RedisServer> RedisServer::Start(const std::string& netns, const std::string& address,
                                       const std::string& dir) {
  if (::access("/usr/bin/redis-server", X_OK) != 0) {
    return Status::NotFound("there is no redis-server; install the package redis-server");
  }
  RedisServer server;
  server.path_ = dir + "/redis.sock";
  server.address_ = address;
  server.port_ = kPort;
  cli::SpawnOptions spawn;
  spawn.argv = {"/usr/bin/redis-server",
                "--port",
                std::to_string(kPort),
                "--bind",
                address,
                "--unixsocket",
                server.path_,
                "--unixsocketperm",
                "700",
                "--protected-mode",
                "no",
                "--save",
                "",
                "--appendonly",
                "no",
                "--dir",
                dir};
  spawn.log_file = "/dev/null";
  spawn.netns = netns;
  spawn.ends_with_parent = true;
  F3_ASSIGN_OR_RETURN(server.pid_, cli::Spawn(spawn));
  for (int i = 0; i < 200; ++i) {
    auto client = RedisClient::ConnectUnix(server.path_);
    if (client.ok()) return server;
    ::usleep(25'000);  // it says nothing when it is ready
  }
  return Status::Timeout("redis-server does not answer");
}

RedisServer::RedisServer(RedisServer&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      path_(std::move(other.path_)),
      address_(std::move(other.address_)),
      port_(other.port_) {}

RedisServer::~RedisServer() {
  if (pid_ < 0) return;
  cli::StopChild(pid_, 5'000'000);
  ::unlink(path_.c_str());
}

Result<RedisClient> RedisClient::ConnectUnix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path))
    return Status::InvalidArgument(path + " is too long");
  std::memcpy(address.sun_path, path.data(), path.size());
  F3_ASSIGN_OR_RETURN(UniqueFd fd, Connected(AF_UNIX, reinterpret_cast<const sockaddr*>(&address),
                                             sizeof(address)));
  return RedisClient(std::move(fd));
}

Result<RedisClient> RedisClient::ConnectTcp(const std::string& netns, const std::string& address,
                                            int port) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(port));
  ::inet_pton(AF_INET, address.c_str(), &to.sin_addr);
  F3_ASSIGN_OR_RETURN(UniqueFd fd, ConnectedIn(netns, to));
  return RedisClient(std::move(fd));
}

Status RedisClient::SendAll(std::span<const char> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status::FromErrno(errno, "send to redis-server");
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return Status();
}

Result<std::string> RedisClient::ReadLine() {
  for (;;) {
    const size_t end = read_.find("\r\n");
    if (end != std::string::npos) {
      std::string line = read_.substr(0, end);
      read_.erase(0, end + 2);
      if (line[0] == '-') return Status::Io("redis-server: " + line.substr(1));
      return line;
    }
    char bytes[kReadBytes];
    const ssize_t n = ::recv(fd_.get(), bytes, sizeof(bytes), 0);
    if (n <= 0) return Status::Io("redis-server ended the connection");
    read_.append(bytes, static_cast<size_t>(n));
  }
}

Status RedisClient::ReadExactly(char* into, size_t bytes) {
  const size_t here = std::min(bytes, read_.size());
  std::memcpy(into, read_.data(), here);
  read_.erase(0, here);
  for (size_t done = here; done < bytes;) {
    const ssize_t n = ::recv(fd_.get(), into + done, bytes - done, 0);
    if (n <= 0) return Status::Io("redis-server ended the connection");
    done += static_cast<size_t>(n);
  }
  return Status();
}

Status RedisClient::Set(const std::string& key, std::span<const char> value) {
  std::string head = "*3\r\n$3\r\nSET\r\n$" + std::to_string(key.size()) + "\r\n" + key + "\r\n$" +
                     std::to_string(value.size()) + "\r\n";
  // Few bytes in one packet; many without another copy.
  if (value.size() <= kReadBytes) {
    head.append(value.data(), value.size()).append("\r\n");
    F3_RETURN_IF_ERROR(SendAll(head));
  } else {
    F3_RETURN_IF_ERROR(SendAll(head));
    F3_RETURN_IF_ERROR(SendAll(value));
    F3_RETURN_IF_ERROR(SendAll(std::string("\r\n")));
  }
  return ReadLine().status();
}

Status RedisClient::Get(const std::string& key, std::vector<char>* into) {
  F3_RETURN_IF_ERROR(SendAll(Command({"GET", key})));
  return ReadValue(key, into);
}

Status RedisClient::GetAll(const std::vector<std::string>& keys, std::vector<char>* into) {
  std::string requests;
  for (const std::string& key : keys) requests += Command({"GET", key});
  F3_RETURN_IF_ERROR(SendAll(requests));
  for (const std::string& key : keys) F3_RETURN_IF_ERROR(ReadValue(key, into));
  return Status();
}

Status RedisClient::ReadValue(const std::string& key, std::vector<char>* into) {
  F3_ASSIGN_OR_RETURN(std::string line, ReadLine());
  const long bytes = std::atol(line.c_str() + 1);
  if (bytes < 0) return Status::NotFound("redis-server has no " + key);
  into->resize(static_cast<size_t>(bytes));
  F3_RETURN_IF_ERROR(ReadExactly(into->data(), into->size()));
  char end[2];
  return ReadExactly(end, sizeof(end));
}

Status RedisClient::Delete(const std::string& key) {
  F3_RETURN_IF_ERROR(SendAll(Command({"DEL", key})));
  return ReadLine().status();
}

}  // namespace f3::bench
