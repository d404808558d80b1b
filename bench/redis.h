// A Redis server of our own and a minimal client, for comparison. Used by one thread.
#ifndef F3_BENCH_REDIS_H_
#define F3_BENCH_REDIS_H_

#include <sys/types.h>

#include <span>
#include <string>
#include <vector>

#include "common/status.h"
#include "common/unique_fd.h"

namespace f3::bench {

// A running redis-server without persistence; ended by the destructor.
class RedisServer {
 public:
  // Listens at `address` (in network namespace `netns`, empty: ours) and at a Unix socket in `dir`.
  // NotFound, naming the package, when there is no redis-server.
  static Result<RedisServer> Start(const std::string& netns, const std::string& address,
                                   const std::string& dir);
  ~RedisServer();
  RedisServer(RedisServer&& other) noexcept;
  RedisServer& operator=(RedisServer&&) = delete;

  const std::string& unix_path() const { return path_; }
  const std::string& address() const { return address_; }
  int port() const { return port_; }

 private:
  RedisServer() = default;
  pid_t pid_ = -1;
  std::string path_;
  std::string address_;
  int port_ = 0;
};

class RedisClient {
 public:
  static Result<RedisClient> ConnectUnix(const std::string& path);
  // The connection is made from within `netns` (empty: ours).
  static Result<RedisClient> ConnectTcp(const std::string& netns, const std::string& address,
                                        int port);
  Status Set(const std::string& key, std::span<const char> value);
  // Into `into`, which is made as long as the value.
  Status Get(const std::string& key, std::vector<char>* into);
  // All of them with one packet of requests; every value is read into `into`, one after another.
  Status GetAll(const std::vector<std::string>& keys, std::vector<char>* into);
  Status Delete(const std::string& key);

 private:
  explicit RedisClient(UniqueFd fd) : fd_(std::move(fd)) {}
  Status SendAll(std::span<const char> bytes);
  // One line of a reply, without its end.
  Result<std::string> ReadLine();
  Status ReadValue(const std::string& key, std::vector<char>* into);
  Status ReadExactly(char* into, size_t bytes);

  UniqueFd fd_;
  std::string read_;  // what was received and not used yet
};

}  // namespace f3::bench

#endif  // F3_BENCH_REDIS_H_
