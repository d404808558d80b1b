// xdt: a value from function to function by reference, on one node and between two, against Redis
// on the same machine; what one call and a hand-over take; and between nodes what libfabric and
// iperf3 alone can do.
//
// Both sides take turns. A value is put (SET), then got (GET), and one byte of each page of it is
// read: what a function that uses it would do at least.
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>

#include "bench/bench.h"
#include "bench/link.h"
#include "bench/xdt_parties.h"

namespace f3::bench {
namespace {

constexpr size_t kSmallest = 1000;
constexpr size_t kLargest = 100'000'000;
constexpr size_t kHandOver = 256'000'000;
constexpr uint64_t kBytesPerSize = 400'000'000;  // moved for one size, at most
constexpr int kMostRuns = 1000;
constexpr int kFewestRuns = 5;
constexpr int kHandOverRuns = 20;
constexpr int kIperfRuns = 3;
// DESIGN's targets.
constexpr double kCallMicros = 15;
constexpr double kHandOverMicros = 100;

int RunsFor(const Options& options, size_t bytes) {
  if (options.runs != 0) return options.runs;
  return static_cast<int>(std::clamp<uint64_t>(kBytesPerSize / bytes, kFewestRuns, kMostRuns));
}

Status OverXdt(const Xdt& sender, const Xdt& receiver, const std::vector<char>& value) {
  F3_ASSIGN_OR_RETURN(std::string reference, PutXdt(sender, value, 1));
  return GetXdt(receiver, reference, value.size());
}

Status OverRedis(RedisClient* sender, RedisClient* receiver, const std::vector<char>& value,
                 std::vector<char>* into) {
  F3_RETURN_IF_ERROR(sender->Set("value", value));
  F3_RETURN_IF_ERROR(receiver->Get("value", into));
  TouchPages(into->data(), into->size());
  return into->size() == value.size() ? Status() : Status::Corruption("Redis lost bytes");
}

// With parts of microseconds, which Time has not.
class Stopwatch {
 public:
  double Lap() {
    const auto now = std::chrono::steady_clock::now();
    const std::chrono::duration<double, std::micro> lap = now - last_;
    last_ = now;
    return lap.count();
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

Measurement Micros(std::string what, std::string against, size_t bytes, double target) {
  Measurement m{std::move(what), "us", std::move(against), {}, {}, true, target};
  m.bytes = bytes;
  return m;
}

// One pair of endpoints on each side.
struct Route {
  std::string name;
  std::string against;
  Xdt* sender = nullptr;
  Xdt* receiver = nullptr;
  RedisClient* redis_sender = nullptr;
  RedisClient* redis_receiver = nullptr;
  double target = 0;
};

Result<Measurement> Compare(const Route& route, size_t bytes, int runs) {
  Measurement m = Micros(SizeName(bytes) + " " + route.name, route.against, bytes, route.target);
  std::vector<char> value(bytes);
  for (size_t i = 0; i < bytes; ++i) value[i] = static_cast<char>(i * 31 >> 3);
  std::vector<char> into;
  into.reserve(bytes + 2);
  for (int run = 0; run <= runs; ++run) {
    F3_ASSIGN_OR_RETURN(double ours,
                        MicrosOf([&] { return OverXdt(*route.sender, *route.receiver, value); }));
    F3_ASSIGN_OR_RETURN(double theirs, MicrosOf([&] {
                          return OverRedis(route.redis_sender, route.redis_receiver, value, &into);
                        }));
    if (run == 0) continue;
    m.f3.push_back(ours);
    m.other.push_back(theirs);
  }
  return m;
}

// Another thread that sends back as much as it is told, through a Unix socket as libxdt's.
class SocketEcho {
 public:
  SocketEcho() {
    int ends[2] = {-1, -1};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return;
    near_.Reset(ends[0]);
    far_.Reset(ends[1]);
    thread_ = std::thread([this] {
      std::vector<char> packet(kPacketBytes);
      for (;;) {
        const ssize_t n = ::recv(far_.get(), packet.data(), packet.size(), 0);
        if (n <= 0 || ::send(far_.get(), packet.data(), kSmallest, MSG_NOSIGNAL) < 0) return;
      }
    });
  }
  ~SocketEcho() {
    if (near_.valid()) ::shutdown(near_.get(), SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
  }
  Status Call(size_t bytes) {
    std::vector<char> packet(kPacketBytes);
    if (::send(near_.get(), packet.data(), bytes, MSG_NOSIGNAL) < 0 ||
        ::recv(near_.get(), packet.data(), packet.size(), 0) <= 0) {
      return Status::Io("a socket pair does not work");
    }
    return Status();
  }

 private:
  static constexpr size_t kPacketBytes = 4096;
  UniqueFd near_, far_;
  std::thread thread_;
};

// One call each: put takes a small value to the broker, get brings it back.
Status MeasureCalls(const Parties& parties, int runs, Report* report) {
  Measurement put = Micros("1 KB put, one call", "15 us", kSmallest, 1);
  Measurement get = Micros("1 KB get, one call", "15 us", kSmallest, 1);
  Measurement echo = Micros("1 KB get, one call", "echo of a Unix socket", kSmallest, 0);
  const std::vector<char> value(kSmallest, 'v');
  SocketEcho floor;
  for (int run = 0; run <= runs; ++run) {
    Stopwatch watch;
    F3_ASSIGN_OR_RETURN(const std::string reference, PutXdt(parties.one, value, 1));
    const double put_micros = watch.Lap();
    F3_RETURN_IF_ERROR(GetXdt(parties.one, reference, value.size()));
    const double get_micros = watch.Lap();
    F3_RETURN_IF_ERROR(floor.Call(reference.size()));
    const double echo_micros = watch.Lap();
    if (run == 0) continue;
    put.f3.push_back(put_micros);
    get.f3.push_back(get_micros);
    echo.f3.push_back(get_micros);
    put.other.push_back(kCallMicros);
    get.other.push_back(kCallMicros);
    echo.other.push_back(echo_micros);
  }
  for (Measurement* m : {&put, &get, &echo}) report->measurements.push_back(std::move(*m));
  return Status();
}

// A buffer that was filled before, handed to another function of the node and mapped there.
Status MeasureHandOver(const Parties& parties, size_t bytes, int runs, Report* report) {
  Measurement m = Micros(SizeName(bytes) + " handed over", "100 us", bytes, 1);
  for (int run = 0; run <= runs; ++run) {
    xdt_buffer* buffer = nullptr;
    F3_RETURN_IF_ERROR(Xdt::From(xdt_alloc(parties.one.handle, bytes, kXdtTimeoutMs, &buffer)));
    std::memset(xdt_buffer_data(buffer), run, bytes);
    char reference[XDT_REF_CHARS];
    xdt_view* view = nullptr;
    Stopwatch watch;
    F3_RETURN_IF_ERROR(Xdt::From(xdt_put(buffer, bytes, nullptr, kXdtTimeoutMs, reference)));
    F3_RETURN_IF_ERROR(Xdt::From(xdt_get(parties.one.handle, reference, kXdtTimeoutMs, &view)));
    const double micros = watch.Lap();
    TouchPages(xdt_view_data(view), xdt_view_bytes(view));
    xdt_release(view);
    if (run == 0) continue;
    m.f3.push_back(micros);
    m.other.push_back(kHandOverMicros);
  }
  report->measurements.push_back(std::move(m));
  return Status();
}

// The figures of "other node" again, with what the link does without F3.
Status MeasureLink(const Options& options, const std::vector<Measurement>& routes, Report* report) {
  for (const Measurement& route : routes) {
    options.say(route.what + " against libfabric");
    Measurement ping = Micros(route.what, "libfabric, request and bytes", route.bytes, 0);
    ping.f3 = route.f3;
    F3_ASSIGN_OR_RETURN(ping.other,
                        FabricPing(options.layout, route.bytes, static_cast<int>(route.f3.size())));
    report->measurements.push_back(std::move(ping));
  }
  options.say("iperf3");
  const Measurement& largest = routes.back();
  Measurement iperf{largest.what, "MB/s", "iperf3, same link", {}, {}, false, 0};
  for (const double micros : largest.f3) {
    iperf.f3.push_back(static_cast<double>(largest.bytes) / micros);
  }
  for (int run = 0; run < kIperfRuns; ++run) {
    F3_ASSIGN_OR_RETURN(double bytes_per_s,
                        Iperf(options.layout, std::max<uint64_t>(largest.bytes, kLargest), run));
    iperf.other.push_back(bytes_per_s / 1e6);
  }
  report->measurements.push_back(std::move(iperf));
  return Status();
}

}  // namespace

Result<Report> RunXdt(const Options& options) {
  if (options.layout.nodes.size() < 2) return Status::InvalidArgument("xdt needs two nodes");
  Parties parties;
  F3_RETURN_IF_ERROR(parties.Open(options.layout));
  const Route routes[] = {
      {"same node", "Redis, Unix socket", &parties.one, &parties.one, parties.by_unix.get(),
       parties.by_unix.get(), 1},
      {"same node", "Redis, TCP", &parties.one, &parties.one, parties.by_tcp.get(),
       parties.by_tcp.get(), 1},
      {"other node", "Redis, TCP", &parties.one, &parties.two, parties.by_unix.get(),
       parties.from_two.get(), 2},
  };
  const size_t most = options.bytes == 0 ? kLargest : options.bytes;
  Report report{"xdt", {}, nlohmann::json::object()};
  std::vector<Measurement> other_node;
  for (const Route& route : routes) {
    for (size_t bytes = kSmallest; bytes <= most; bytes *= 10) {
      options.say(SizeName(bytes) + " " + route.name + " against " + route.against);
      F3_ASSIGN_OR_RETURN(Measurement m, Compare(route, bytes, RunsFor(options, bytes)));
      if (route.sender != route.receiver) other_node.push_back(m);
      report.measurements.push_back(std::move(m));
    }
  }
  F3_RETURN_IF_ERROR(MeasureLink(options, other_node, &report));
  options.say("calls and hand-overs");
  F3_RETURN_IF_ERROR(MeasureCalls(parties, RunsFor(options, kSmallest), &report));
  const size_t handed = options.bytes == 0 ? kHandOver : options.bytes;
  const int runs = options.runs == 0 ? kHandOverRuns : options.runs;
  F3_RETURN_IF_ERROR(MeasureHandOver(parties, handed, runs, &report));
  return report;
}

}  // namespace f3::bench
