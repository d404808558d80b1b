// xdt: a value from function to function by reference, on one node and between two, against Redis
// on the same machine. patterns: scatter, gather and broadcast, likewise.
//
// Both sides take turns. A value is put (SET), then got (GET), and one byte of each page of it is
// read: what a function that uses it would do at least.
#include "xdt/libxdt/xdt.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>

#include "bench/bench.h"
#include "bench/redis.h"
#include "cli/xdt_socket.h"
#include "common/clock.h"

namespace f3::bench {
namespace {

using nlohmann::json;

constexpr int kTimeoutMs = 30'000;
constexpr size_t kPage = 4096;
constexpr uint64_t kBytesPerSize = 400'000'000;  // moved for one size, at most
constexpr int kMostRuns = 1000;
constexpr int kFewestRuns = 5;

struct Xdt {
  ~Xdt() { xdt_close(handle); }
  Status Open(const std::string& socket) { return From(xdt_open(socket.c_str(), &handle)); }
  static Status From(int code) {
    if (code == 0) return Status();
    return Status(CodeFromNumber(code), xdt_last_message());
  }
  xdt* handle = nullptr;
};

unsigned TouchPages(const void* data, size_t bytes) {
  const auto* at = static_cast<const volatile unsigned char*>(data);
  unsigned sum = 0;
  for (size_t i = 0; i < bytes; i += kPage) sum += at[i];
  return sum;
}

Result<std::string> PutXdt(const Xdt& sender, const std::vector<char>& value, uint32_t times) {
  char reference[XDT_REF_CHARS];
  const xdt_put_options options{0, times, nullptr};
  F3_RETURN_IF_ERROR(Xdt::From(
      xdt_put_bytes(sender.handle, value.data(), value.size(), &options, kTimeoutMs, reference)));
  return std::string(reference);
}

Status GetXdt(const Xdt& receiver, const std::string& reference, size_t bytes) {
  xdt_view* view = nullptr;
  F3_RETURN_IF_ERROR(Xdt::From(xdt_get(receiver.handle, reference.c_str(), kTimeoutMs, &view)));
  TouchPages(xdt_view_data(view), xdt_view_bytes(view));
  const bool whole = xdt_view_bytes(view) == bytes;
  xdt_release(view);
  return whole ? Status() : Status::Corruption("a value is not as long as it was");
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

std::string SizeName(size_t bytes) {
  if (bytes >= 1'000'000) return std::to_string(bytes / 1'000'000) + " MB";
  return std::to_string(bytes / 1000) + " KB";
}

Result<double> MicrosOf(const std::function<Status()>& body) {
  F3_ASSIGN_OR_RETURN(double seconds, Time(body));
  return seconds * 1e6;
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

Result<Measurement> Compare(const Route& route, size_t bytes, int runs, json* extra) {
  Measurement m{
      SizeName(bytes) + " " + route.name, "us", route.against, {}, {}, true, route.target};
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
  const auto gigabytes = [bytes](double micros) {
    return static_cast<double>(bytes) / micros / 1e3;
  };
  (*extra)[m.what + ", " + route.against] = {
      {"f3_p50_us", Percentile(m.f3, 0.5)},
      {"f3_p99_us", Percentile(m.f3, 0.99)},
      {"other_p50_us", Percentile(m.other, 0.5)},
      {"other_p99_us", Percentile(m.other, 0.99)},
      {"f3_gb_per_s", gigabytes(Percentile(m.f3, 0.5))},
      {"other_gb_per_s", gigabytes(Percentile(m.other, 0.5))}};
  return m;
}

// Functions at two nodes and Redis at the first, connected to in every way.
struct Parties {
  Xdt one, two;
  std::unique_ptr<RedisServer> server;
  std::unique_ptr<RedisClient> by_unix, by_tcp, from_two;

  Status Open(const cli::ClusterLayout& layout) {
    const auto& first = layout.nodes[0];
    const auto& second = layout.nodes[1];
    F3_RETURN_IF_ERROR(one.Open(cli::XdtSocketBeside(layout.run(first.name + ".sock"))));
    F3_RETURN_IF_ERROR(two.Open(cli::XdtSocketBeside(layout.run(second.name + ".sock"))));
    F3_ASSIGN_OR_RETURN(RedisServer started,
                        RedisServer::Start(first.netns, first.address, layout.dir + "/run"));
    server = std::make_unique<RedisServer>(std::move(started));
    F3_ASSIGN_OR_RETURN(RedisClient local, RedisClient::ConnectUnix(server->unix_path()));
    by_unix = std::make_unique<RedisClient>(std::move(local));
    F3_ASSIGN_OR_RETURN(RedisClient loop,
                        RedisClient::ConnectTcp(first.netns, server->address(), server->port()));
    by_tcp = std::make_unique<RedisClient>(std::move(loop));
    F3_ASSIGN_OR_RETURN(RedisClient remote,
                        RedisClient::ConnectTcp(second.netns, server->address(), server->port()));
    from_two = std::make_unique<RedisClient>(std::move(remote));
    return Status();
  }
};

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
  const size_t most = options.bytes == 0 ? 100'000'000 : options.bytes;
  Report report{"xdt", {}, {{"percentiles", json::object()}}};
  for (const Route& route : routes) {
    for (size_t bytes = 1000; bytes <= most; bytes *= 10) {
      options.say(SizeName(bytes) + " " + route.name + " against " + route.against);
      int runs = options.runs;
      if (runs == 0) {
        runs =
            static_cast<int>(std::clamp<uint64_t>(kBytesPerSize / bytes, kFewestRuns, kMostRuns));
      }
      F3_ASSIGN_OR_RETURN(Measurement m, Compare(route, bytes, runs, &report.extra["percentiles"]));
      report.measurements.push_back(std::move(m));
    }
  }
  return report;
}

namespace {

constexpr int kParts = 8;

// A value in parts from node one to node two: each part put and got by itself, or all got at once.
Status ScatterXdt(const Parties& p, const std::vector<char>& part, bool gather) {
  std::vector<std::string> references;
  for (int i = 0; i < kParts; ++i) {
    F3_ASSIGN_OR_RETURN(std::string reference, PutXdt(p.one, part, 1));
    references.push_back(std::move(reference));
  }
  if (!gather) {
    for (const auto& reference : references) {
      F3_RETURN_IF_ERROR(GetXdt(p.two, reference, part.size()));
    }
    return Status();
  }
  std::vector<const char*> texts;
  for (const auto& reference : references) texts.push_back(reference.c_str());
  std::vector<xdt_view*> views(kParts);
  std::vector<int> codes(kParts);
  Status status = Xdt::From(
      xdt_get_many(p.two.handle, texts.data(), kParts, kTimeoutMs, views.data(), codes.data()));
  for (xdt_view* view : views) {
    if (view != nullptr) TouchPages(xdt_view_data(view), xdt_view_bytes(view));
    xdt_release(view);
  }
  return status;
}

Status ScatterRedis(const Parties& p, const std::vector<char>& part, std::vector<char>* into) {
  for (int i = 0; i < kParts; ++i) {
    F3_RETURN_IF_ERROR(p.by_unix->Set("part" + std::to_string(i), part));
  }
  for (int i = 0; i < kParts; ++i) {
    F3_RETURN_IF_ERROR(p.from_two->Get("part" + std::to_string(i), into));
    TouchPages(into->data(), into->size());
  }
  return Status();
}

Status BroadcastXdt(const Parties& p, const std::vector<char>& value) {
  F3_ASSIGN_OR_RETURN(std::string reference, PutXdt(p.one, value, kParts));
  for (int i = 0; i < kParts; ++i) F3_RETURN_IF_ERROR(GetXdt(p.two, reference, value.size()));
  return Status();
}

Status BroadcastRedis(const Parties& p, const std::vector<char>& value, std::vector<char>* into) {
  F3_RETURN_IF_ERROR(p.by_unix->Set("value", value));
  for (int i = 0; i < kParts; ++i) {
    F3_RETURN_IF_ERROR(p.from_two->Get("value", into));
    TouchPages(into->data(), into->size());
  }
  return Status();
}

}  // namespace

Result<Report> RunPatterns(const Options& options) {
  if (options.layout.nodes.size() < 2) return Status::InvalidArgument("patterns needs two nodes");
  Parties parties;
  F3_RETURN_IF_ERROR(parties.Open(options.layout));
  const size_t bytes = options.bytes == 0 ? 1'000'000 : options.bytes;
  const int runs = options.runs == 0 ? 20 : options.runs;
  const std::vector<char> value(bytes, 'p');
  std::vector<char> into;
  struct Pattern {
    const char* name;
    std::function<Status()> ours, theirs;
  };
  const auto redis_parts = [&] { return ScatterRedis(parties, value, &into); };
  const Pattern patterns[] = {
      {"scatter to 8", [&] { return ScatterXdt(parties, value, false); }, redis_parts},
      {"gather of 8", [&] { return ScatterXdt(parties, value, true); }, redis_parts},
      {"broadcast to 8 on a node", [&] { return BroadcastXdt(parties, value); },
       [&] { return BroadcastRedis(parties, value, &into); }},
  };
  Report report{"patterns", {}, {{"bytes", bytes}, {"runs", runs}}};
  for (const Pattern& pattern : patterns) {
    options.say(pattern.name);
    Measurement m{
        std::string(pattern.name) + ", " + SizeName(bytes), "us", "Redis, TCP", {}, {}, true, 1};
    for (int run = 0; run <= runs; ++run) {
      F3_ASSIGN_OR_RETURN(double ours, MicrosOf(pattern.ours));
      F3_ASSIGN_OR_RETURN(double theirs, MicrosOf(pattern.theirs));
      if (run == 0) continue;
      m.f3.push_back(ours);
      m.other.push_back(theirs);
    }
    report.measurements.push_back(std::move(m));
  }
  return report;
}

}  // namespace f3::bench
