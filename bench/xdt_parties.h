// Functions at two nodes, and Redis to compare with: what the workloads xdt and patterns share.
// Used by one thread, but for what each says.
#ifndef F3_BENCH_XDT_PARTIES_H_
#define F3_BENCH_XDT_PARTIES_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/bench.h"
#include "bench/redis.h"
#include "xdt/libxdt/xdt.h"

namespace f3::bench {

inline constexpr int kXdtTimeoutMs = 30'000;

// A function at a broker; any thread.
struct Xdt {
  ~Xdt() { xdt_close(handle); }
  Status Open(const std::string& socket) { return From(xdt_open(socket.c_str(), &handle)); }
  // Of a node of the cluster.
  Status Open(const cli::ClusterLayout& layout, size_t node);
  static Status From(int code);
  xdt* handle = nullptr;
};

// Reads a byte of each page: what a function that uses a value does at least.
unsigned TouchPages(const void* data, size_t bytes);
Result<std::string> PutXdt(const Xdt& sender, const std::vector<char>& value, uint32_t times);
// Gets, touches and releases; Corruption when it has not `bytes` bytes.
Status GetXdt(const Xdt& receiver, const std::string& reference, size_t bytes);

Result<double> MicrosOf(const std::function<Status()>& body);

// Functions at the first two nodes and Redis at the first, connected to in every way.
struct Parties {
  Xdt one, two;
  std::unique_ptr<RedisServer> server;
  std::unique_ptr<RedisClient> by_unix, by_tcp, from_two;

  Status Open(const cli::ClusterLayout& layout);
  // Another connection to Redis from within a node.
  Result<std::unique_ptr<RedisClient>> RedisFrom(const cli::ClusterNode& node) const;
};

}  // namespace f3::bench

#endif  // F3_BENCH_XDT_PARTIES_H_
