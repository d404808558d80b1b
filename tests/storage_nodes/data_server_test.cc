#include "storage_nodes/data_server.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/mutex.h"
#include "tests/storage_nodes/store_fixture.h"

namespace f3::storage {
namespace {

using xdt::ControlOp;

constexpr ObjectKey kKey = {0x51, 3};
constexpr NodeId kNode = 4;
constexpr SessionId kSession = 77;
constexpr Version kVersion = 5;
constexpr int64_t kSecond = 1'000'000'000;

// A file layer that answers when the test says so.
class FakeListener : public HomeListener {
 public:
  void AwaitBytes(const ObjectKey& key, uint64_t offset, int64_t deadline_micros,
                  std::function<void(Result<Progress>)> done) override {
    EXPECT_EQ(key, kKey);
    MutexLock lock(mutex_);
    awaited_offset = offset;
    awaited_deadline = deadline_micros;
    await_ = std::move(done);
    changed_.SignalAll();
  }
  void RemoteWrite(std::shared_ptr<Object> object, const xdt::WriteRequest& request,
                   std::span<const std::byte> bytes, xdt::RequestHandler::WriteDone done) override {
    EXPECT_EQ(object->key(), request.object);
    MutexLock lock(mutex_);
    written = std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    write_ = std::move(done);
    changed_.SignalAll();
  }
  void RemoteControl(std::shared_ptr<Object> object, const xdt::ControlRequest& request,
                     xdt::RequestHandler::ControlDone done) override {
    EXPECT_EQ(object->key(), request.object);
    done(xdt::ControlResult{static_cast<uint64_t>(request.op), object->info().size, 17, 4096});
  }

  bool waits() {
    MutexLock lock(mutex_);
    return await_ != nullptr;
  }
  // Each answers the request of its kind that waits.
  void AnswerAwait(const Result<Progress>& progress) {
    std::function<void(Result<Progress>)> done;
    {
      MutexLock lock(mutex_);
      while (await_ == nullptr) changed_.Wait(mutex_);
      done = std::exchange(await_, nullptr);
    }
    done(progress);
  }
  void AnswerWrite(const Result<xdt::WriteResult>& result) {
    xdt::RequestHandler::WriteDone done;
    {
      MutexLock lock(mutex_);
      while (write_ == nullptr) changed_.Wait(mutex_);
      done = std::exchange(write_, nullptr);
    }
    done(result);
  }

  // Of the last call.
  uint64_t awaited_offset = 0;
  int64_t awaited_deadline = 0;
  std::string written;

 private:
  Mutex mutex_;
  CondVar changed_;
  std::function<void(Result<Progress>)> await_ F3_GUARDED_BY(mutex_);
  xdt::RequestHandler::WriteDone write_ F3_GUARDED_BY(mutex_);
};

struct Answer {
  Result<xdt::ReadResult> result;
  std::string bytes;
};

class DataServerTest : public StoreTest {
 protected:
  void SetUp() override {
    StoreTest::SetUp();
    Open();
    auto key = ClusterKey::FromSecret("a secret of the cluster's own");
    ASSERT_OK(key);
    key_ = std::make_unique<ClusterKey>(*key);
    DataServer::Options options;
    options.objects = store_.get();
    options.key = key_.get();
    options.clock = &clock_;
    server_ = DataServer::Create(options);
    server_->SetNode(kNode);
    server_->SetListener(&listener_);
    capability_.session = kSession;
    capability_.node = kNode;
    capability_.object = kKey;
    capability_.expires_wall_nanos = clock_.WallNanos() + 60 * kSecond;
  }
  void TearDown() override {
    server_.reset();
    StoreTest::TearDown();
  }

  Capability ToWrite() const {
    Capability capability = capability_;
    capability.write = true;
    return capability;
  }
  template <typename Request>
  Request By(const Capability& capability) const {
    Request request;
    request.token = key_->Seal(capability);
    request.object = kKey;
    return request;
  }
  xdt::ReadRequest ReadRequest(Version version = 0, uint64_t offset = 0) const {
    auto request = By<xdt::ReadRequest>(capability_);
    request.version = version;
    request.offset = offset;
    return request;
  }
  std::future<Answer> StartRead(const xdt::ReadRequest& request, size_t length = 100) {
    auto into = std::make_shared<std::string>(length, '?');
    auto promise = std::make_shared<std::promise<Answer>>();
    server_->HandleRead(request, std::as_writable_bytes(std::span(*into)), 12345,
                        [into, promise](Result<xdt::ReadResult> result) {
                          std::string bytes = result.ok() ? into->substr(0, result->length) : "";
                          promise->set_value({std::move(result), std::move(bytes)});
                        });
    return promise->get_future();
  }
  Result<xdt::ReadResult> ReadBy(const Capability& capability) {
    return StartRead(By<xdt::ReadRequest>(capability)).get().result;
  }
  std::future<Result<xdt::WriteResult>> StartWrite(const Capability& capability) {
    auto promise = std::make_shared<std::promise<Result<xdt::WriteResult>>>();
    server_->HandleWrite(
        By<xdt::WriteRequest>(capability), std::as_bytes(std::span("text", 4)),
        [promise](Result<xdt::WriteResult> r) { promise->set_value(std::move(r)); });
    return promise->get_future();
  }
  Result<xdt::ControlResult> Control(const Capability& capability, ControlOp op) {
    auto request = By<xdt::ControlRequest>(capability);
    request.op = op;
    std::promise<Result<xdt::ControlResult>> promise;
    server_->HandleControl(request,
                           [&](Result<xdt::ControlResult> r) { promise.set_value(std::move(r)); });
    return promise.get_future().get();
  }

  ManualClock clock_;
  std::unique_ptr<ClusterKey> key_;
  FakeListener listener_;
  std::unique_ptr<DataServer> server_;
  Capability capability_;
};

TEST_F(DataServerTest, AGoodCapabilityReads) {
  MakeSealed(kKey, Role::kHome, "the content", TierKind::kDisk, kVersion);
  Answer read = StartRead(ReadRequest(kVersion)).get();
  ASSERT_OK(read.result);
  EXPECT_EQ(read.bytes, "the content");
  EXPECT_EQ(read.result->object_bytes, 11u);
  EXPECT_EQ(read.result->version, kVersion);
  EXPECT_FALSE(read.result->writing);
  EXPECT_EQ(StartRead(ReadRequest(kVersion, 4), 3).get().bytes, "con");
  read = StartRead(ReadRequest(kVersion, 11)).get();
  ASSERT_OK(read.result);
  EXPECT_EQ(read.bytes, "");
  EXPECT_OK(StartRead(ReadRequest(kVersion, 1ull << 40)).get().result);
  EXPECT_OK(ReadBy(ToWrite()));  // who may write may read
}

TEST_F(DataServerTest, OtherCapabilitiesAreRefused) {
  MakeSealed(kKey, Role::kHome, "the content");
  auto other_key = ClusterKey::FromSecret("a secret of another cluster");
  ASSERT_OK(other_key);
  xdt::ReadRequest request = ReadRequest();
  request.token = other_key->Seal(capability_);
  EXPECT_CODE(StartRead(request).get().result, kTokenInvalid);
  request.token = "";
  EXPECT_CODE(StartRead(request).get().result, kTokenInvalid);
  request.token = key_->Seal(capability_);
  request.token.back() ^= 1;
  EXPECT_CODE(StartRead(request).get().result, kTokenInvalid);

  Capability other = capability_;
  other.object = {kKey.ino, kKey.incarnation + 1};
  EXPECT_CODE(ReadBy(other), kTokenInvalid);
  other.object = {kKey.ino + 1, kKey.incarnation};
  EXPECT_CODE(ReadBy(other), kTokenInvalid);
  other = capability_;
  other.node = kNode + 1;
  EXPECT_CODE(ReadBy(other), kTokenInvalid);
  server_->SetNode(kNode + 1);
  EXPECT_OK(ReadBy(other));
  EXPECT_CODE(ReadBy(capability_), kTokenInvalid);
  server_->SetNode(kNode);

  EXPECT_CODE(StartWrite(capability_).get(), kTokenInvalid);
  EXPECT_CODE(Control(capability_, ControlOp::kTruncate), kTokenInvalid);
  EXPECT_CODE(Control(capability_, ControlOp::kAllocate), kTokenInvalid);
  EXPECT_OK(Control(capability_, ControlOp::kStat));

  // Clocks of two hosts differ a little.
  clock_.AdvanceMicros(61'000'000);
  EXPECT_OK(ReadBy(capability_));
  clock_.AdvanceMicros(10'000'000);
  EXPECT_CODE(ReadBy(capability_), kTokenExpired);
  EXPECT_CODE(StartWrite(ToWrite()).get(), kTokenExpired);
  EXPECT_CODE(Control(capability_, ControlOp::kStat), kTokenExpired);
}

TEST_F(DataServerTest, WhatIsNotHereIsMissing) {
  EXPECT_CODE(ReadBy(capability_), kObjectMissing);
  EXPECT_CODE(StartWrite(ToWrite()).get(), kObjectMissing);
  EXPECT_CODE(Control(capability_, ControlOp::kStat), kObjectMissing);
  // Half a copy is none.
  auto filling = Make(kKey, Role::kFilling, "the con");
  EXPECT_CODE(ReadBy(capability_), kObjectMissing);
}

TEST_F(DataServerTest, ACopyServesItsVersionAndAHomeWhatItHas) {
  MakeSealed(kKey, Role::kCopy, "the content", TierKind::kDisk, kVersion);
  EXPECT_CODE(StartRead(ReadRequest(kVersion - 1)).get().result, kWrongVersion);
  EXPECT_CODE(StartRead(ReadRequest(kVersion + 1)).get().result, kWrongVersion);
  EXPECT_EQ(StartRead(ReadRequest(kVersion)).get().bytes, "the content");
  EXPECT_EQ(StartRead(ReadRequest(0)).get().bytes, "the content");
  for (Role role : {Role::kHome, Role::kStaging}) {
    ASSERT_OK(store_->Remove(kKey));
    auto home = Make(kKey, role, "the content");
    Answer read = StartRead(ReadRequest(kVersion - 1)).get();
    ASSERT_OK(read.result);
    EXPECT_EQ(read.bytes, "the content");
    EXPECT_EQ(read.result->version, 0u);
    EXPECT_TRUE(read.result->writing);
    ASSERT_OK(home->Seal(kVersion, role));
    read = StartRead(ReadRequest(kVersion - 1)).get();
    ASSERT_OK(read.result);
    EXPECT_EQ(read.result->version, kVersion);
    EXPECT_FALSE(read.result->writing);
    ASSERT_OK(home->BeginWriting(role));
    EXPECT_TRUE(StartRead(ReadRequest(kVersion)).get().result->writing);
  }
}

TEST_F(DataServerTest, FollowWaitsForBytesAndGivesThoseThatMayBeRead) {
  auto home = Make(kKey, Role::kHome, "the content that is being written");
  xdt::ReadRequest request = ReadRequest(0, 4);
  request.follow = true;
  auto reading = StartRead(request);
  EXPECT_EQ(listener_.awaited_offset, 4u);
  EXPECT_EQ(listener_.awaited_deadline, 12345);
  listener_.AnswerAwait(HomeListener::Progress{11, true});
  Answer read = reading.get();
  ASSERT_OK(read.result);
  EXPECT_EQ(read.bytes, "content");
  EXPECT_EQ(read.result->object_bytes, 11u);
  EXPECT_TRUE(read.result->writing);

  // At the end of what a writer leaves.
  request.offset = 11;
  reading = StartRead(request);
  listener_.AnswerAwait(HomeListener::Progress{11, false});
  read = reading.get();
  ASSERT_OK(read.result);
  EXPECT_EQ(read.bytes, "");
  EXPECT_FALSE(read.result->writing);

  request.offset = 1000;  // behind the watermark
  reading = StartRead(request);
  listener_.AnswerAwait(HomeListener::Progress{11, false});
  read = reading.get();
  ASSERT_OK(read.result);
  EXPECT_EQ(read.bytes, "");

  reading = StartRead(request);
  listener_.AnswerAwait(Status::WriterVanished("killed"));
  EXPECT_CODE(reading.get().result, kWriterVanished);

  // Without `follow` the listener is not asked.
  EXPECT_EQ(StartRead(ReadRequest(0, 26)).get().bytes, "written");
  EXPECT_FALSE(listener_.waits());
}

TEST_F(DataServerTest, WritesAndControlsAreTheListeners) {
  auto home = Make(kKey, Role::kHome, "the content");
  auto writing = StartWrite(ToWrite());
  listener_.AnswerWrite(xdt::WriteResult{8, 12});
  auto written = writing.get();
  ASSERT_OK(written);
  EXPECT_EQ(written->offset, 8u);
  EXPECT_EQ(written->object_bytes, 12u);
  EXPECT_EQ(listener_.written, "text");
  writing = StartWrite(ToWrite());
  listener_.AnswerWrite(Status::Stale("replaced"));
  EXPECT_CODE(writing.get(), kStale);
  for (ControlOp op : {ControlOp::kStat, ControlOp::kTruncate, ControlOp::kAllocate,
                       ControlOp::kSync, ControlOp::kSeekData, ControlOp::kSeekHole}) {
    auto result = Control(ToWrite(), op);
    ASSERT_OK(result);
    EXPECT_EQ(result->value, static_cast<uint64_t>(op));
    EXPECT_EQ(result->object_bytes, 11u);
  }
}

TEST_F(DataServerTest, WithoutAListenerNothingIsChanged) {
  MakeSealed(kKey, Role::kHome, "the content", TierKind::kDisk, kVersion);
  server_->SetListener(nullptr);
  EXPECT_CODE(StartWrite(ToWrite()).get(), kUnavailable);
  EXPECT_CODE(Control(ToWrite(), ControlOp::kTruncate), kUnavailable);
  EXPECT_CODE(Control(capability_, ControlOp::kStat), kUnavailable);
  EXPECT_EQ(StartRead(ReadRequest(kVersion)).get().bytes, "the content");
  xdt::ReadRequest request = ReadRequest(kVersion);
  request.follow = true;
  EXPECT_EQ(StartRead(request).get().bytes, "the content");
  // A refused write is not one that a fence waits for.
  server_->Fence(kSession);
}

TEST_F(DataServerTest, AFencedSessionIsRefused) {
  MakeSealed(kKey, Role::kHome, "the content");
  server_->Fence(kSession);
  EXPECT_CODE(ReadBy(capability_), kTokenExpired);
  EXPECT_CODE(StartWrite(ToWrite()).get(), kTokenExpired);
  EXPECT_CODE(Control(capability_, ControlOp::kStat), kTokenExpired);
  Capability other = capability_;
  other.session = kSession + 1;
  EXPECT_OK(ReadBy(other));
}

TEST_F(DataServerTest, AFenceWaitsForTheWritesOfItsSession) {
  auto home = Make(kKey, Role::kHome, "the content");
  auto writing = StartWrite(ToWrite());
  server_->Fence(kSession + 1);  // whose writes these are not
  std::promise<bool> fenced;
  std::thread fence([&] {
    server_->Fence(kSession);
    fenced.set_value(writing.wait_for(std::chrono::seconds(0)) == std::future_status::ready);
  });
  // From the moment that it is in force it waits.
  while (ReadBy(capability_).ok()) std::this_thread::yield();
  auto over = fenced.get_future();
  EXPECT_NE(over.wait_for(std::chrono::seconds(0)), std::future_status::ready);
  EXPECT_CODE(StartWrite(ToWrite()).get(), kTokenExpired);
  listener_.AnswerWrite(xdt::WriteResult{0, 11});
  EXPECT_TRUE(over.get()) << "the fence did not wait for the write";
  fence.join();
  EXPECT_OK(writing.get());
}

TEST_F(DataServerTest, AFenceDoesNotWaitForReads) {
  auto home = Make(kKey, Role::kHome, "the content");
  xdt::ReadRequest request = ReadRequest();
  request.follow = true;
  auto reading = StartRead(request);
  server_->Fence(kSession);
  listener_.AnswerAwait(HomeListener::Progress{3, false});
  EXPECT_EQ(reading.get().bytes, "the");
}

TEST_F(DataServerTest, TheListenerMayGoWhenItsRequestsAreOver) {
  auto home = Make(kKey, Role::kHome, "the content");
  xdt::ReadRequest follow = ReadRequest();
  follow.follow = true;
  auto reading = StartRead(follow);
  auto writing = StartWrite(ToWrite());
  std::promise<std::pair<bool, bool>> gone;
  std::thread leave([&] {
    server_->SetListener(nullptr);
    const auto ready = [](const auto& future) {
      return future.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
    };
    gone.set_value({ready(reading), ready(writing)});
  });
  while (Control(capability_, ControlOp::kStat).ok()) std::this_thread::yield();
  listener_.AnswerWrite(xdt::WriteResult{0, 11});

  // A peer that is served without the listener keeps nobody waiting.
  std::promise<void> entered, go_on;
  std::string into(3, '?');
  std::thread plain([&] {
    server_->HandleRead(ReadRequest(), std::as_writable_bytes(std::span(into)), 0,
                        [&](const Result<xdt::ReadResult>& result) {
                          EXPECT_OK(result);
                          entered.set_value();
                          go_on.get_future().wait();
                        });
  });
  entered.get_future().wait();
  listener_.AnswerAwait(HomeListener::Progress{3, true});
  EXPECT_EQ(gone.get_future().get(), std::make_pair(true, true)) << "it did not wait";
  leave.join();
  go_on.set_value();
  plain.join();
  EXPECT_EQ(into, "the");
  EXPECT_EQ(reading.get().bytes, "the");
  EXPECT_OK(writing.get());
}

}  // namespace
}  // namespace f3::storage
