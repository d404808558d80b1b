// patterns: scatter, gather and broadcast of values for 1 to 32 receivers, against Redis on the
// same machine.
//
// The values are put at the first node, by one sender. Scatter: each receiver gets one of its own.
// Gather: one receiver gets as many. Broadcast: each receiver gets the same. Receivers are
// connections of their own, on the other nodes in turn, all at the same time.
#include <algorithm>
#include <functional>
#include <thread>

#include "bench/bench.h"
#include "bench/xdt_parties.h"

namespace f3::bench {
namespace {

constexpr int kMostReceivers = 32;
constexpr int kRuns = 20;

// One receiver, both ways.
struct Receiver {
  Xdt xdt;
  std::unique_ptr<RedisClient> redis;
  std::vector<char> into;
};

// Calls `body` for 0 … count - 1, each on a thread of its own; the first failure.
Status AtTheSameTime(int count, const std::function<Status(int)>& body) {
  std::vector<Status> statuses(static_cast<size_t>(count));
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([&, i] { statuses[static_cast<size_t>(i)] = body(i); });
  }
  for (std::thread& thread : threads) thread.join();
  for (Status& status : statuses) F3_RETURN_IF_ERROR(status);
  return Status();
}

class Patterns {
 public:
  Status Open(const cli::ClusterLayout& layout, size_t bytes) {
    value_.assign(bytes, 'p');
    F3_RETURN_IF_ERROR(parties_.Open(layout));
    for (size_t i = 0; i < kMostReceivers; ++i) {
      auto receiver = std::make_unique<Receiver>();
      const size_t node = 1 + i % (layout.nodes.size() - 1);
      F3_RETURN_IF_ERROR(receiver->xdt.Open(layout, node));
      F3_ASSIGN_OR_RETURN(receiver->redis, parties_.RedisFrom(layout.nodes[node]));
      receivers_.push_back(std::move(receiver));
    }
    return Status();
  }

  Status ScatterXdt(int count) {
    F3_ASSIGN_OR_RETURN(const auto references, Put(count));
    return AtTheSameTime(count, [&](int i) {
      return GetXdt(At(i)->xdt, references[static_cast<size_t>(i)], value_.size());
    });
  }
  Status ScatterRedis(int count) {
    F3_RETURN_IF_ERROR(Set(count));
    return AtTheSameTime(count, [&](int i) { return Get(i, Key(i)); });
  }
  Status GatherXdt(int count) {
    F3_ASSIGN_OR_RETURN(const auto references, Put(count));
    std::vector<const char*> texts;
    for (const auto& reference : references) texts.push_back(reference.c_str());
    std::vector<xdt_view*> views(texts.size());
    std::vector<int> codes(texts.size());
    Status status = Xdt::From(xdt_get_many(At(0)->xdt.handle, texts.data(), texts.size(),
                                           kXdtTimeoutMs, views.data(), codes.data()));
    for (xdt_view* view : views) {
      if (view != nullptr) TouchPages(xdt_view_data(view), xdt_view_bytes(view));
      xdt_release(view);
    }
    return status;
  }
  Status GatherRedis(int count) {
    F3_RETURN_IF_ERROR(Set(count));
    std::vector<std::string> keys;
    for (int i = 0; i < count; ++i) keys.push_back(Key(i));
    return At(0)->redis->GetAll(keys, &At(0)->into);
  }
  Status BroadcastXdt(int count) {
    F3_ASSIGN_OR_RETURN(const std::string reference,
                        PutXdt(parties_.one, value_, static_cast<uint32_t>(count)));
    return AtTheSameTime(count,
                         [&](int i) { return GetXdt(At(i)->xdt, reference, value_.size()); });
  }
  Status BroadcastRedis(int count) {
    F3_RETURN_IF_ERROR(Set(1));
    return AtTheSameTime(count, [&](int i) { return Get(i, Key(0)); });
  }

 private:
  static std::string Key(int i) { return "value" + std::to_string(i); }
  Receiver* At(int i) { return receivers_[static_cast<size_t>(i)].get(); }
  Result<std::vector<std::string>> Put(int count) {
    std::vector<std::string> references;
    for (int i = 0; i < count; ++i) {
      F3_ASSIGN_OR_RETURN(std::string reference, PutXdt(parties_.one, value_, 1));
      references.push_back(std::move(reference));
    }
    return references;
  }
  Status Set(int count) {
    for (int i = 0; i < count; ++i) F3_RETURN_IF_ERROR(parties_.by_unix->Set(Key(i), value_));
    return Status();
  }
  Status Get(int i, const std::string& key) {
    std::vector<char>* into = &At(i)->into;
    F3_RETURN_IF_ERROR(At(i)->redis->Get(key, into));
    TouchPages(into->data(), into->size());
    return into->size() == value_.size() ? Status() : Status::Corruption("Redis lost bytes");
  }

  std::vector<char> value_;
  Parties parties_;
  std::vector<std::unique_ptr<Receiver>> receivers_;
};

}  // namespace

Result<Report> RunPatterns(const Options& options) {
  if (options.layout.nodes.size() < 2) return Status::InvalidArgument("patterns needs two nodes");
  const size_t bytes = options.bytes == 0 ? 1'000'000 : options.bytes;
  const int runs = options.runs == 0 ? kRuns : options.runs;
  Patterns patterns;
  F3_RETURN_IF_ERROR(patterns.Open(options.layout, bytes));
  struct Pattern {
    const char* name;
    Status (Patterns::*ours)(int);
    Status (Patterns::*theirs)(int);
  };
  constexpr Pattern kPatterns[] = {
      {"scatter to ", &Patterns::ScatterXdt, &Patterns::ScatterRedis},
      {"gather of ", &Patterns::GatherXdt, &Patterns::GatherRedis},
      {"broadcast to ", &Patterns::BroadcastXdt, &Patterns::BroadcastRedis},
  };
  Report report{"patterns", {}, {{"bytes", bytes}, {"runs", runs}}};
  for (const Pattern& pattern : kPatterns) {
    for (int count = 1; count <= kMostReceivers; count *= 2) {
      Measurement m{pattern.name + std::to_string(count) + ", " + SizeName(bytes),
                    "us",
                    "Redis, TCP",
                    {},
                    {},
                    true,
                    1};
      m.bytes = bytes * static_cast<size_t>(count);
      options.say(m.what);
      for (int run = 0; run <= runs; ++run) {
        F3_ASSIGN_OR_RETURN(double ours, MicrosOf([&] { return (patterns.*pattern.ours)(count); }));
        F3_ASSIGN_OR_RETURN(double theirs,
                            MicrosOf([&] { return (patterns.*pattern.theirs)(count); }));
        if (run == 0) continue;
        m.f3.push_back(ours);
        m.other.push_back(theirs);
      }
      report.measurements.push_back(std::move(m));
    }
  }
  return report;
}

}  // namespace f3::bench
