// Brokers of a few nodes in one process: real sockets, real engines over loopback, one clock.
#ifndef F3_TESTS_XDT_BROKER_FIXTURE_H_
#define F3_TESTS_XDT_BROKER_FIXTURE_H_

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/cluster_key.h"
#include "common/mutex.h"
#include "tests/common/status_matchers.h"
#include "tests/common/temp_dir.h"
#include "xdt/broker.h"
#include "xdt/libxdt/xdt.hpp"

namespace f3::xdt {

constexpr size_t kMiB = 1u << 20;

using f3xdt::Client;
using f3xdt::Options;

inline Options Times(uint32_t retrievals) {
  Options options;
  options.retrievals = retrievals;
  return options;
}

// The code of what `body` throws; 0 when it throws nothing.
inline int CodeOf(const std::function<void()>& body) {
  try {
    body();
  } catch (const f3xdt::Error& error) {
    return error.code();
  }
  return 0;
}

class Directory : public NodeDirectory {
 public:
  std::optional<Peer> Known(NodeId node) override {
    MutexLock lock(mutex_);
    auto old = old_.find(node);
    if (old != old_.end()) return old->second;
    auto at = peers_.find(node);
    if (at == peers_.end()) return std::nullopt;
    return at->second;
  }
  Result<Peer> Ask(NodeId node) override {
    {
      MutexLock lock(mutex_);
      old_.erase(node);
    }
    if (auto peer = Known(node)) return *peer;
    return Status::NotFound("no such node");
  }
  // What is known until somebody asks.
  void SetOld(NodeId node, const Peer& peer) {
    MutexLock lock(mutex_);
    old_[node] = peer;
  }
  void Set(NodeId node, const Peer& peer) {
    MutexLock lock(mutex_);
    peers_[node] = peer;
  }

 private:
  Mutex mutex_;
  std::map<NodeId, Peer> peers_ F3_GUARDED_BY(mutex_);
  std::map<NodeId, Peer> old_ F3_GUARDED_BY(mutex_);
};

// Between the engine and a broker that may be made anew; can lose requests and answers.
class Gate : public RequestHandler {
 public:
  void Set(Broker* broker) { broker_ = broker; }
  void HandleRead(const ReadRequest& request, std::span<std::byte> into, int64_t deadline,
                  ReadDone done) override {
    ++reads;
    if (serve_below != kEverything && request.offset >= serve_below) {
      return done(refuse ? Status::Io("the medium is broken")
                         : Status::PeerUnreachable("the request is lost"));
    }
    if (Keep(&done)) return;
    auto answered = [this, done = std::move(done)](Result<ReadResult> result) {
      if (result.ok() && lose_reads > 0) {
        --lose_reads;
        return done(Status::PeerUnreachable("the answer is lost"));
      }
      done(std::move(result));
    };
    broker_.load()->HandleRead(request, into, deadline, std::move(answered));
  }
  void HandleWrite(const WriteRequest& request, std::span<const std::byte> bytes,
                   WriteDone done) override {
    broker_.load()->HandleWrite(request, bytes, std::move(done));
  }
  void HandleControl(const ControlRequest& request, ControlDone done) override {
    broker_.load()->HandleControl(request, std::move(done));
  }
  bool AnswersAtOnce(const ObjectKey& object, uint32_t length) const override {
    return broker_.load()->AnswersAtOnce(object, length);
  }
  std::atomic<int> reads{0};
  std::atomic<int> lose_reads{0};
  // From now on reads get no answer; those of Release say that they are late.
  void Hold() {
    MutexLock lock(mutex_);
    holding_ = true;
  }
  void Release() {
    std::vector<ReadDone> held;
    {
      MutexLock lock(mutex_);
      holding_ = false;
      held.swap(held_);
    }
    for (ReadDone& done : held) done(Status::Timeout("the answer comes too late"));
  }
  // Reads from this offset on do not come to the broker: they are lost, or refused for good.
  static constexpr uint64_t kEverything = UINT64_MAX;
  std::atomic<uint64_t> serve_below{kEverything};
  std::atomic<bool> refuse{false};

 private:
  bool Keep(ReadDone* done) {
    MutexLock lock(mutex_);
    if (holding_) held_.push_back(std::move(*done));
    return holding_;
  }

  std::atomic<Broker*> broker_{nullptr};
  Mutex mutex_;
  bool holding_ F3_GUARDED_BY(mutex_) = false;
  std::vector<ReadDone> held_ F3_GUARDED_BY(mutex_);
};

struct BrokerNode {
  BrokerNode(NodeId id, Directory* directory, const std::string& dir,
             std::function<void(Broker::Options*)> change = {})
      : id(id), directory(directory), socket(dir + "/n" + std::to_string(id)) {
    auto arena = hwalloc::BufferArena::Create(32ull << 20);
    EXPECT_OK(arena);
    buffers = std::move(arena).value();
    TransferEngine::Options engine_options;
    engine_options.bind_address = "127.0.0.1";
    engine_options.epoch = epoch;
    engine_options.buffers = buffers.get();
    engine_options.handler = &gate;
    auto created = TransferEngine::Create(engine_options);
    EXPECT_OK(created);
    engine = std::move(created).value();
    options.name = "n" + std::to_string(id);
    options.node = id;
    options.memory_bytes = 64ull << 20;
    options.reference_root = ClusterKey::FromSecret("the secret of the tests")->reference_root();
    options.engine = engine.get();
    options.buffers = buffers.get();
    options.nodes = directory;
    if (change) change(&options);
    Start();
  }
  ~BrokerNode() {
    gate.Release();
    broker->Shutdown();
    engine->Shutdown();
  }
  void Start() {
    options.epoch = epoch;
    engine->SetEpoch(epoch);
    auto made = Broker::Create(options);
    EXPECT_OK(made);
    broker = std::move(made).value();
    gate.Set(broker.get());
    EXPECT_OK(broker->OpenSocket(socket, {"guest", ""}, 0600, 0));
    directory->Set(id, {engine->address(), epoch});
  }
  // As a node agent that was killed and started again.
  void Restart() {
    broker->Shutdown();
    past.push_back(std::move(broker));
    ++epoch;
    Start();
  }
  f3xdt::Client Client() { return f3xdt::Client(socket); }

  const NodeId id;
  Directory* const directory;
  const std::string socket;
  Epoch epoch = 1;
  std::unique_ptr<hwalloc::BufferArena> buffers;
  Gate gate;
  std::unique_ptr<TransferEngine> engine;
  Broker::Options options;
  std::unique_ptr<Broker> broker;
  std::vector<std::unique_ptr<Broker>> past;  // the engine may still call them back
};

// Bytes that depend on `seed`.
inline std::string Pattern(size_t bytes, uint32_t seed = 1) {
  std::string text(bytes, '\0');
  uint32_t state = seed * 2654435761u + 1;
  for (char& c : text) {
    state = state * 1664525u + 1013904223u;
    c = static_cast<char>(state >> 24);
  }
  return text;
}

// True within ten seconds.
inline bool Eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return condition();
}

class BrokerTest : public testing::Test {
 protected:
  TempDir dir_;
  Directory directory_;
};

}  // namespace f3::xdt

#endif  // F3_TESTS_XDT_BROKER_FIXTURE_H_
