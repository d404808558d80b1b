#include "xdt/transfer_engine.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <future>
#include <map>
#include <set>
#include <thread>

#include "common/mutex.h"
#include "tests/common/status_matchers.h"

namespace f3::xdt {
namespace {

constexpr ObjectKey kObject = {5, 1};
constexpr uint32_t kMiB = 1u << 20;

std::byte PatternAt(uint64_t offset) { return static_cast<std::byte>(offset * 131 >> 3); }

// Who called.
class Threads {
 public:
  void Add() {
    MutexLock lock(mutex_);
    ids_.insert(std::this_thread::get_id());
  }
  std::set<std::thread::id> ids() const {
    MutexLock lock(mutex_);
    return ids_;
  }

 private:
  mutable Mutex mutex_;
  std::set<std::thread::id> ids_ F3_GUARDED_BY(mutex_);
};

// One object of patterned bytes; requests can be held until Release.
class Owner : public RequestHandler {
 public:
  void HandleRead(const ReadRequest& request, std::span<std::byte> into, int64_t,
                  ReadDone done) override {
    ++reads;
    if (AnswersAtOnce(request.object, request.length)) threads.Add();
    if (request.object != kObject) return done(Status::ObjectMissing("no such object"));
    const uint64_t end = std::min<uint64_t>(size, request.offset + into.size());
    const uint32_t n = end > request.offset ? static_cast<uint32_t>(end - request.offset) : 0;
    for (uint32_t i = 0; i < n; ++i) into[i] = PatternAt(request.offset + i);
    auto answer = [this, done = std::move(done), n, token = request.token] {
      done(ReadResult{n, size, 3, false});
    };
    MutexLock lock(mutex_);
    if (holding_) {
      held_.push_back(std::move(answer));
    } else {
      answer();
    }
  }
  void HandleWrite(const WriteRequest& request, std::span<const std::byte> bytes,
                   WriteDone done) override {
    for (size_t i = 0; i < bytes.size(); ++i) {
      if (bytes[i] != PatternAt(request.offset + i)) return done(Status::Io("not the pattern"));
    }
    written += bytes.size();
    done(WriteResult{request.append ? 1000 : request.offset, written});
  }
  bool AnswersAtOnce(const ObjectKey&, uint32_t length) const override {
    return at_once && length <= 1000;
  }
  void HandleControl(const ControlRequest& request, ControlDone done) override {
    if (AnswersAtOnce(request.object, 0)) threads.Add();
    if (request.op == ControlOp::kSeekData) return done(Status::NotFound("past the end"));
    done(ControlResult{request.a + request.b + request.c, size, 17, 4096});
  }
  void Hold() {
    MutexLock lock(mutex_);
    holding_ = true;
  }
  void Release() {
    std::vector<std::function<void()>> held;
    {
      MutexLock lock(mutex_);
      holding_ = false;
      held.swap(held_);
    }
    for (auto& answer : held) answer();
  }

  std::atomic<bool> at_once{false};
  Threads threads;  // that answered at once
  std::atomic<uint64_t> size{20ull << 20};
  std::atomic<uint64_t> reads{0};
  std::atomic<uint64_t> written{0};

 private:
  Mutex mutex_;
  bool holding_ F3_GUARDED_BY(mutex_) = false;
  std::vector<std::function<void()>> held_ F3_GUARDED_BY(mutex_);
};

struct Node {
  std::unique_ptr<hwalloc::BufferArena> buffers;
  Owner owner;
  std::unique_ptr<TransferEngine> engine;

  explicit Node(Epoch epoch, std::function<void(TransferEngine::Options*)> change = {}) {
    auto arena = hwalloc::BufferArena::Create(64ull << 20);
    EXPECT_OK(arena);
    buffers = std::move(arena).value();
    TransferEngine::Options options;
    options.bind_address = "127.0.0.1";
    options.epoch = epoch;
    options.buffers = buffers.get();
    options.handler = &owner;
    if (change) change(&options);
    auto created = TransferEngine::Create(options);
    EXPECT_OK(created);
    engine = std::move(created).value();
  }
  ~Node() {
    owner.Release();
    if (engine != nullptr) engine->Shutdown();
  }
  Peer peer(Epoch epoch) const { return {engine->address(), epoch}; }
  hwalloc::Buffer Get(size_t bytes) {
    auto buffer = buffers->Allocate(bytes, 5'000'000);
    EXPECT_OK(buffer);
    return std::move(buffer).value();
  }
};

int64_t In(int64_t micros) { return Clock::Real()->MonotonicMicros() + micros; }

ReadRequest At(uint64_t offset, uint32_t length) {
  ReadRequest request;
  request.token = "token";
  request.object = kObject;
  request.offset = offset;
  request.length = length;
  return request;
}

std::future<Result<ReadResult>> StartRead(Node* from, const Peer& peer, const ReadRequest& request,
                                          std::span<std::byte> into,
                                          int64_t deadline = In(10'000'000)) {
  auto promise = std::make_shared<std::promise<Result<ReadResult>>>();
  auto future = promise->get_future();
  from->engine->Read(peer, request, into, deadline,
                     [promise](Result<ReadResult> read) { promise->set_value(std::move(read)); });
  return future;
}

Result<ControlResult> Control(Node* from, const Peer& peer, const ControlRequest& request) {
  std::promise<Result<ControlResult>> promise;
  from->engine->Control(peer, request, In(10'000'000), [&](Result<ControlResult> result) {
    promise.set_value(std::move(result));
  });
  return promise.get_future().get();
}

Result<WriteResult> Write(Node* from, const Peer& peer, uint64_t offset, uint32_t length) {
  hwalloc::Buffer buffer = from->Get(std::max(length, 1u));
  for (uint32_t i = 0; i < length; ++i) buffer.span()[i] = PatternAt(offset + i);
  WriteRequest request;
  request.object = kObject;
  request.offset = offset;
  std::promise<Result<WriteResult>> promise;
  from->engine->Write(peer, request, buffer.span().first(length), In(10'000'000),
                      [&](Result<WriteResult> result) { promise.set_value(std::move(result)); });
  return promise.get_future().get();
}

bool IsPattern(std::span<const std::byte> bytes, uint64_t offset) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] != PatternAt(offset + i)) return false;
  }
  return true;
}

TEST(TransferEngineTest, ReadsRangesOfEverySize) {
  Node a(1), b(2);
  for (uint32_t length : {1u, 4095u, 4096u, 4097u, 65536u, 300'000u, kMiB}) {
    hwalloc::Buffer into = a.Get(length);
    auto read = StartRead(&a, b.peer(2), At(length * 3, length), into.span()).get();
    ASSERT_OK(read);
    EXPECT_EQ(read->length, length);
    EXPECT_EQ(read->object_bytes, b.owner.size);
    EXPECT_EQ(read->version, 3u);
    EXPECT_TRUE(IsPattern(into.span(), length * 3)) << length;
  }
  EXPECT_EQ(a.engine->counters().bytes_received, b.engine->counters().bytes_served);
}

TEST(TransferEngineTest, ReadsAreShortOnlyAtTheEnd) {
  Node a(1), b(2);
  b.owner.size = kMiB + 10'000;
  hwalloc::Buffer into = a.Get(kMiB);
  auto read = StartRead(&a, b.peer(2), At(kMiB, kMiB), into.span()).get();
  ASSERT_OK(read);
  EXPECT_EQ(read->length, 10'000u);
  EXPECT_TRUE(IsPattern(into.span().first(10'000), kMiB));
  read = StartRead(&a, b.peer(2), At(2 * kMiB, kMiB), into.span()).get();
  ASSERT_OK(read);
  EXPECT_EQ(read->length, 0u);
}

TEST(TransferEngineTest, WritesAndControlsAnswer) {
  Node a(1), b(2);
  for (uint32_t length : {0u, 1u, 4096u, 4097u, kMiB}) {
    auto written = Write(&a, b.peer(2), 77, length);
    ASSERT_OK(written) << length;
    EXPECT_EQ(written->offset, 77u);
  }
  EXPECT_EQ(b.owner.written, 1u + 4096u + 4097u + kMiB);
  ControlRequest request;
  request.object = kObject;
  request.a = 1;
  request.b = 2;
  request.c = 4;
  auto result = Control(&a, b.peer(2), request);
  ASSERT_OK(result);
  EXPECT_EQ(result->value, 7u);
  EXPECT_EQ(result->mtime_ns, 17);
  EXPECT_EQ(result->allocated_bytes, 4096u);
  request.op = ControlOp::kSeekData;
  EXPECT_CODE(Control(&a, b.peer(2), request), kNotFound);
}

// What is quick is handled, and called back, on the one thread that drives the fabric.
TEST(TransferEngineTest, WhatIsQuickWakesNoOtherThread) {
  Node a(1), b(2);
  b.owner.at_once = true;
  hwalloc::Buffer into = a.Get(100'000);
  Threads called_back;
  for (int i = 0; i < 20; ++i) {
    for (const uint32_t length : {1000u, 100'000u}) {
      ReadRequest read = At(i, length);
      read.done_at_once = true;
      std::promise<Result<ReadResult>> promise;
      a.engine->Read(b.peer(2), read, into.span(), In(10'000'000), [&](Result<ReadResult> result) {
        called_back.Add();
        promise.set_value(std::move(result));
      });
      auto result = promise.get_future().get();
      ASSERT_OK(result);
      EXPECT_EQ(result->length, length);
      EXPECT_TRUE(IsPattern(into.span().first(length), i));
    }
    ControlRequest control;
    control.object = kObject;
    control.a = 5;
    control.done_at_once = true;
    std::promise<Result<ControlResult>> promise;
    a.engine->Control(b.peer(2), control, In(10'000'000), [&](Result<ControlResult> result) {
      called_back.Add();
      promise.set_value(std::move(result));
    });
    auto result = promise.get_future().get();
    ASSERT_OK(result);
    EXPECT_EQ(result->value, 5u);
  }
  EXPECT_EQ(b.owner.threads.ids().size(), 1u);
  EXPECT_EQ(called_back.ids().size(), 1u);
}

TEST(TransferEngineTest, ManyReadsAreUnderWayAtOnce) {
  Node a(1), b(2);
  std::vector<hwalloc::Buffer> buffers;
  std::vector<std::future<Result<ReadResult>>> reads;
  for (uint64_t i = 0; i < 16; ++i) {
    buffers.push_back(a.Get(kMiB));
    reads.push_back(StartRead(&a, b.peer(2), At(i * kMiB, kMiB), buffers.back().span()));
  }
  for (uint64_t i = 0; i < 16; ++i) {
    auto read = reads[i].get();
    ASSERT_OK(read);
    EXPECT_TRUE(IsPattern(buffers[i].span(), i * kMiB));
  }
}

TEST(TransferEngineTest, TheOwnersErrorIsTheAnswer) {
  Node a(1), b(2);
  hwalloc::Buffer into = a.Get(kMiB);
  ReadRequest request = At(0, kMiB);
  request.object = {6, 1};
  EXPECT_CODE(StartRead(&a, b.peer(2), request, into.span()).get(), kObjectMissing);
  EXPECT_EQ(a.engine->counters().requests_failed, 1u);
}

TEST(TransferEngineTest, AnotherEpochIsRefused) {
  Node a(1), b(2);
  hwalloc::Buffer into = a.Get(8192);
  EXPECT_CODE(StartRead(&a, b.peer(1), At(0, 8192), into.span()).get(), kWrongEpoch);
  EXPECT_EQ(b.owner.reads, 0u);
  b.engine->SetEpoch(1);
  EXPECT_OK(StartRead(&a, b.peer(1), At(0, 8192), into.span()).get());
}

TEST(TransferEngineTest, APeerThatIsNotThereIsUnreachable) {
  Node a(1);
  std::string gone;
  {
    Node b(2);
    gone = b.engine->address();
  }
  hwalloc::Buffer into = a.Get(8192);
  auto read = StartRead(&a, {gone, 2}, At(0, 8192), into.span()).get();
  EXPECT_CODE(read, kPeerUnreachable);
  EXPECT_CODE(StartRead(&a, {"nonsense", 2}, At(0, 8192), into.span()).get(), kInvalidArgument);
}

TEST(TransferEngineTest, ASilentOwnerCostsTheDeadlineAndTheBufferIsSafeAfterwards) {
  Node a(1), b(2);
  b.owner.Hold();
  hwalloc::Buffer into = a.Get(kMiB);
  auto read = StartRead(&a, b.peer(2), At(0, kMiB), into.span(), In(200'000)).get();
  EXPECT_CODE(read, kTimeout);
  std::memset(into.data(), 0x55, kMiB);
  b.owner.Release();
  // Other requests on the same link work, and the late answer touches nothing.
  hwalloc::Buffer other = a.Get(kMiB);
  EXPECT_OK(StartRead(&a, b.peer(2), At(kMiB, kMiB), other.span()).get());
  EXPECT_TRUE(IsPattern(other.span(), kMiB));
  EXPECT_TRUE(std::all_of(into.span().begin(), into.span().end(),
                          [](std::byte b) { return b == std::byte{0x55}; }));
}

TEST(TransferEngineTest, APeerThatStopsInMidReadIsNoticed) {
  Node a(1);
  auto b = std::make_unique<Node>(2);
  b->owner.Hold();
  hwalloc::Buffer into = a.Get(kMiB);
  auto read = StartRead(&a, b->peer(2), At(0, kMiB), into.span(), In(3'000'000));
  while (b->owner.reads == 0) std::this_thread::yield();
  std::thread stop([&] { b->engine->Shutdown(); });
  b->owner.Release();
  stop.join();
  b.reset();
  Result<ReadResult> result = read.get();
  if (!result.ok()) {
    EXPECT_TRUE(result.status().Is(Code::kPeerUnreachable) || result.status().Is(Code::kTimeout))
        << result.status().ToString();
  }
}

TEST(TransferEngineTest, ARestartedPeerIsReachedAtItsNewAddress) {
  Node a(1);
  auto b = std::make_unique<Node>(2);
  hwalloc::Buffer into = a.Get(kMiB);
  ASSERT_OK(StartRead(&a, b->peer(2), At(0, kMiB), into.span()).get());
  b = std::make_unique<Node>(3);
  ASSERT_OK(StartRead(&a, b->peer(3), At(0, kMiB), into.span()).get());
}

TEST(TransferEngineTest, DelayIsAddedBeforeARequestIsSent) {
  Node a(1, [](TransferEngine::Options* o) { o->injected_delay_micros = 50'000; });
  Node b(2);
  hwalloc::Buffer into = a.Get(8192);
  const int64_t start = In(0);
  ASSERT_OK(StartRead(&a, b.peer(2), At(0, 8192), into.span()).get());
  EXPECT_GE(In(0) - start, 50'000);
}

TEST(TransferEngineTest, ShutdownAnswersWhatIsUnderWay) {
  Node a(1), b(2);
  b.owner.Hold();
  hwalloc::Buffer into = a.Get(kMiB);
  auto read = StartRead(&a, b.peer(2), At(0, kMiB), into.span());
  while (b.owner.reads == 0) std::this_thread::yield();
  a.engine->Shutdown();
  EXPECT_CODE(read.get(), kUnavailable);
  EXPECT_CODE(StartRead(&a, b.peer(2), At(0, kMiB), into.span()).get(), kUnavailable);
}

TEST(TransferEngineTest, BuffersOutsideTheArenaAreRefused) {
  Node a(1), b(2);
  std::vector<std::byte> outside(8192);
  EXPECT_CODE(StartRead(&a, b.peer(2), At(0, 8192), outside).get(), kInvalidArgument);
}

TEST(TransferEngineTest, AnUnknownProviderIsNamed) {
  auto arena = hwalloc::BufferArena::Create(4u << 20);
  ASSERT_OK(arena);
  TransferEngine::Options options;
  options.provider = "carrier-pigeon";
  options.bind_address = "127.0.0.1";
  options.buffers = arena->get();
  auto engine = TransferEngine::Create(options);
  EXPECT_CODE(engine, kNoDevice);
  EXPECT_NE(engine.status().message().find("carrier-pigeon"), std::string::npos);
}

// Whatever a stranger sends to the port, others are served.
TEST(TransferEngineTest, GarbageOnThePortHarmsNobody) {
  Node a(1), b(2);
  const std::string address = b.engine->address();
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  for (int i = 0; i < 5; ++i) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
    const std::string garbage(1000 + i, static_cast<char>(i * 51));
    EXPECT_GT(::send(fd, garbage.data(), garbage.size(), MSG_NOSIGNAL), 0);
    ::close(fd);
  }
  hwalloc::Buffer into = a.Get(kMiB);
  EXPECT_OK(StartRead(&a, b.peer(2), At(0, kMiB), into.span()).get());
}

TEST(TransferEngineTest, IdleEnginesUseNoProcessor) {
  Node a(1), b(2);
  hwalloc::Buffer into = a.Get(kMiB);
  ASSERT_OK(StartRead(&a, b.peer(2), At(0, kMiB), into.span()).get());
  rusage before = {}, after = {};
  ::getrusage(RUSAGE_SELF, &before);
  std::promise<void> never;
  never.get_future().wait_for(std::chrono::seconds(1));
  ::getrusage(RUSAGE_SELF, &after);
  const auto micros = [](const rusage& u) {
    return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1'000'000 + u.ru_utime.tv_usec +
           u.ru_stime.tv_usec;
  };
  EXPECT_LT(micros(after) - micros(before), 200'000);  // spinning costs 1 to 2 million
}

}  // namespace
}  // namespace f3::xdt
