// What tests of the fetcher share: other nodes that answer as they are told, and a world around a
// Fetcher with a real object store and a real durable store.
#ifndef F3_TESTS_STORAGE_NODES_FETCHER_FIXTURE_H_
#define F3_TESTS_STORAGE_NODES_FETCHER_FIXTURE_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/crc32c.h"
#include "common/executor.h"
#include "common/mutex.h"
#include "hwalloc/buffer_arena.h"
#include "storage_nodes/fetcher.h"
#include "tests/storage_nodes/store_fixture.h"

namespace f3::storage {

// One other node, as far as one object is concerned.
struct FakePeer {
  std::string bytes;
  Version version = 0;
  bool writing = false;
  Status error;                     // OK: it answers
  uint64_t good_until = 0;          // with `error`: requests for bytes before this are answered
  bool hold = false;                // requests wait for Release
  std::string token = "the token";  // what it wants to see
};

// Answers on threads of its own, as the real one does.
class FakeEngine : public xdt::TransferEngine {
 public:
  struct Asked {
    std::string address;
    uint64_t offset = 0;
    bool operator==(const Asked&) const = default;
  };

  explicit FakeEngine(hwalloc::BufferArena* buffers)
      : buffers_(buffers), answers_("fake-engine", 2, 100'000) {}

  void Set(const std::string& address, FakePeer peer) {
    MutexLock lock(mutex_);
    peers_[address] = std::move(peer);
  }
  void AwaitAsked(size_t count) {
    MutexLock lock(mutex_);
    while (asked_.size() < count) changed_.Wait(mutex_);
  }
  std::vector<Asked> asked() {
    MutexLock lock(mutex_);
    return asked_;
  }
  std::vector<uint64_t> asked_offsets() {
    std::vector<uint64_t> offsets;
    for (const Asked& one : asked()) offsets.push_back(one.offset);
    return offsets;
  }
  // Answers the held request for the bytes at `offset`, by what its peer is by now.
  void Release(uint64_t offset) {
    std::function<void()> answer;
    {
      MutexLock lock(mutex_);
      auto it = held_.find(offset);
      ASSERT_NE(it, held_.end()) << "nobody waits for the bytes at " << offset;
      answer = std::move(it->second);
      held_.erase(it);
    }
    Submit(std::move(answer));
  }
  // Answers what is held, and holds nothing from now on.
  void ReleaseAll() {
    std::multimap<uint64_t, std::function<void()>> held;
    {
      MutexLock lock(mutex_);
      for (auto& [address, peer] : peers_) peer.hold = false;
      held.swap(held_);
    }
    for (auto& [offset, answer] : held) Submit(std::move(answer));
  }
  // Waits until the callbacks of all answers are over, with all that they owned.
  void AwaitIdle() {
    MutexLock lock(mutex_);
    while (answering_ > 0) changed_.Wait(mutex_);
  }

  std::string address() const override { return "here"; }
  void SetEpoch(Epoch) override {}
  void Read(const xdt::Peer& peer, const xdt::ReadRequest& request, std::span<std::byte> into,
            int64_t, xdt::RequestHandler::ReadDone done) override {
    const std::span<std::byte> region = buffers_->region();
    EXPECT_TRUE(into.data() >= region.data() &&
                into.data() + into.size() <= region.data() + region.size());
    EXPECT_EQ(into.size(), request.length);
    EXPECT_LE(request.length, xdt::kMaxTransferBytes);
    EXPECT_FALSE(request.follow);
    auto answer = [this, address = peer.address, request, into, done = std::move(done)] {
      done(Answer(address, request, into));
    };
    {
      MutexLock lock(mutex_);
      asked_.push_back({peer.address, request.offset});
      changed_.SignalAll();
      if (peers_[peer.address].hold) {
        held_.emplace(request.offset, std::move(answer));
        return;
      }
    }
    Submit(std::move(answer));
  }
  void Write(const xdt::Peer&, const xdt::WriteRequest&, std::span<const std::byte>, int64_t,
             xdt::RequestHandler::WriteDone done) override {
    done(Status::NotSupported("write"));
  }
  void Control(const xdt::Peer&, const xdt::ControlRequest&, int64_t,
               xdt::RequestHandler::ControlDone done) override {
    done(Status::NotSupported("control"));
  }
  Counters counters() const override { return {}; }
  void Shutdown() override { answers_.Shutdown(); }

 private:
  void Submit(std::function<void()> answer) {
    {
      MutexLock lock(mutex_);
      ++answering_;
    }
    EXPECT_TRUE(answers_.TrySubmit([this, answer = std::move(answer)]() mutable {
      answer();
      answer = nullptr;
      MutexLock lock(mutex_);
      --answering_;
      changed_.SignalAll();
    }));
  }
  Result<xdt::ReadResult> Answer(const std::string& address, const xdt::ReadRequest& request,
                                 std::span<std::byte> into) {
    MutexLock lock(mutex_);
    const FakePeer& peer = peers_[address];
    if (!peer.error.ok() && request.offset >= peer.good_until) return peer.error;
    if (request.token != peer.token) return Status::TokenInvalid("another token");
    xdt::ReadResult result;
    result.object_bytes = peer.bytes.size();
    result.version = peer.version;
    result.writing = peer.writing;
    if (request.offset < peer.bytes.size()) {
      result.length = static_cast<uint32_t>(
          std::min<uint64_t>(into.size(), peer.bytes.size() - request.offset));
      std::memcpy(into.data(), peer.bytes.data() + request.offset, result.length);
    }
    return result;
  }

  hwalloc::BufferArena* const buffers_;
  Mutex mutex_;
  CondVar changed_;
  std::map<std::string, FakePeer> peers_ F3_GUARDED_BY(mutex_);
  std::vector<Asked> asked_ F3_GUARDED_BY(mutex_);
  std::multimap<uint64_t, std::function<void()>> held_ F3_GUARDED_BY(mutex_);
  size_t answering_ F3_GUARDED_BY(mutex_) = 0;
  Executor answers_;
};

class FetcherTest : public StoreTest {
 protected:
  static constexpr uint64_t kMiB = 1 << 20;
  static constexpr Version kVersion = 7;
  static constexpr ObjectKey kKey = {0x51, 3};

  struct Filled {
    Status status;
    bool copy = false;
  };

  void SetUp() override {
    StoreTest::SetUp();
    auto durable = DurableStore::OpenDirectory(dir_ / "durable", Env::Real());
    ASSERT_OK(durable);
    durable_ = *std::move(durable);
    Begin();
  }
  void TearDown() override {
    if (engine_ != nullptr) engine_->ReleaseAll();
    End();
    StoreTest::TearDown();
  }
  void Begin(uint64_t arena_bytes = 64 * kMiB, uint32_t window_chunks = 8) {
    End();
    Open();
    auto buffers = hwalloc::BufferArena::Create(arena_bytes);
    ASSERT_OK(buffers);
    buffers_ = *std::move(buffers);
    engine_ = std::make_unique<FakeEngine>(buffers_.get());
    Fetcher::Options options;
    options.objects = store_.get();
    options.durable = durable_.get();
    options.engine = engine_.get();
    options.buffers = buffers_.get();
    options.window_chunks = window_chunks;
    fetcher_ = Fetcher::Create(options);
  }
  void End() {
    // Callbacks that still run own their fetch.
    if (engine_ != nullptr) engine_->Shutdown();
    fetcher_.reset();
    engine_.reset();
    if (buffers_ != nullptr) {
      EXPECT_EQ(buffers_->usage().used_bytes, 0u);
    }
    buffers_.reset();
    store_.reset();
  }

  // Bytes that are nowhere the same, and never zero.
  static std::string Text(uint64_t size, uint64_t seed = 1) {
    std::string text(size, '\0');
    uint64_t x = seed * 0x9E3779B97F4A7C15ull;
    for (uint64_t at = 0; at < size; at += sizeof(x)) {
      x = (x ^ (x >> 27)) * 0x2545F4914F6CDD1Dull + at + 1;
      const uint64_t word = x | 0x0101010101010101ull;
      std::memcpy(text.data() + at, &word, std::min<uint64_t>(sizeof(word), size - at));
    }
    return text;
  }
  static std::span<std::byte> BytesOf(std::string& text) {
    return std::as_writable_bytes(std::span(text));
  }
  static int64_t Later() { return Clock::Real()->MonotonicMicros() + 100'000'000; }

  static FakePeer Holder(std::string bytes) {
    FakePeer peer;
    peer.bytes = std::move(bytes);
    peer.version = kVersion;
    return peer;
  }
  static FakePeer Failing(Status error) {
    FakePeer peer;
    peer.error = std::move(error);
    return peer;
  }
  static Source SourceOf(const std::string& node) {
    return {"name of " + node, {node, 1}, "the token"};
  }
  static FetchPlan PlanOf(uint64_t size, const std::vector<std::string>& holders) {
    FetchPlan plan;
    plan.key = kKey;
    plan.version = kVersion;
    plan.size = size;
    for (const std::string& node : holders) plan.holders.push_back(SourceOf(node));
    return plan;
  }
  // Puts `bytes` as a durable block and lists it in the plan. Blocks come in order.
  void AddBlock(FetchPlan* plan, uint64_t index, const std::string& bytes) {
    const auto span = std::as_bytes(std::span(bytes));
    ASSERT_OK(durable_->Put({kKey.ino, index, 1}, span));
    plan->durable = true;
    plan->blocks.push_back({index, 1, Crc32c(span), static_cast<uint32_t>(bytes.size())});
  }

  std::shared_ptr<Fetch> Start(FetchPlan plan, TierKind tier = TierKind::kDisk) {
    auto fetch = fetcher_->Start(std::move(plan), tier);
    EXPECT_OK(fetch);
    return fetch.ok() ? *fetch : nullptr;
  }
  static std::future<Filled> Fill(const std::shared_ptr<Fetch>& fetch) {
    auto promise = std::make_shared<std::promise<Filled>>();
    fetch->FillAsync([promise](Status status, bool copy) { promise->set_value({status, copy}); });
    return promise->get_future();
  }
  static std::future<Status> Ensure(const std::shared_ptr<Fetch>& fetch, uint64_t offset,
                                    uint64_t length) {
    auto promise = std::make_shared<std::promise<Status>>();
    fetch->EnsureAsync(offset, length, Later(),
                       [promise](const Status& status) { promise->set_value(status); });
    return promise->get_future();
  }
  static std::future<Result<std::string>> Read(const std::shared_ptr<Fetch>& fetch, uint64_t offset,
                                               size_t length) {
    auto [into, done, future] = Reading(length);
    fetch->ReadAsync(offset, BytesOf(*into), Later(), done);
    return std::move(future);
  }
  std::future<Result<std::string>> ReadThrough(const FetchPlan& plan, uint64_t offset,
                                               size_t length) {
    auto [into, done, future] = Reading(length);
    fetcher_->ReadThrough(plan, offset, BytesOf(*into), Later(), done);
    return std::move(future);
  }

  // A sealed verified copy of the planned version with these bytes.
  static void ExpectCopy(const Object& object, const std::string& bytes) {
    const ObjectInfo info = object.info();
    EXPECT_EQ(info.role, Role::kCopy);
    EXPECT_EQ(info.version, kVersion);
    EXPECT_FALSE(info.writing);
    EXPECT_EQ(info.size, bytes.size());
    EXPECT_TRUE(StoreTest::Read(object) == bytes);
    std::vector<uint32_t> checksums;
    for (uint64_t at = 0; at < bytes.size(); at += kChecksumBytes) {
      const size_t n = std::min<uint64_t>(kChecksumBytes, bytes.size() - at);
      checksums.push_back(Crc32c(std::as_bytes(std::span(bytes.data() + at, n))));
    }
    EXPECT_EQ(object.Checksums(), checksums);
  }

  std::unique_ptr<DurableStore> durable_;
  std::unique_ptr<hwalloc::BufferArena> buffers_;
  std::unique_ptr<FakeEngine> engine_;
  std::unique_ptr<Fetcher> fetcher_;

 private:
  struct ReadCall {
    std::shared_ptr<std::string> into;
    Fetch::ReadDone done;
    std::future<Result<std::string>> future;
  };
  // The bytes begin as what no answer contains, so that bytes nobody wrote are noticed.
  static ReadCall Reading(size_t length) {
    auto into = std::make_shared<std::string>(length, '?');
    auto promise = std::make_shared<std::promise<Result<std::string>>>();
    auto future = promise->get_future();
    auto done = [into, promise](const Result<size_t>& n) {
      if (n.ok()) {
        promise->set_value(into->substr(0, *n));
      } else {
        promise->set_value(n.status());
      }
    };
    return {into, done, std::move(future)};
  }
};

}  // namespace f3::storage

#endif  // F3_TESTS_STORAGE_NODES_FETCHER_FIXTURE_H_
