// The client and the server over gRPC: calls, sessions, invalidations, restarts, expiry.
#include "metadata/client.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <future>
#include <map>
#include <set>

#include "common/mutex.h"
#include "metadata/server.h"
#include "tests/common/status_matchers.h"
#include "tests/common/temp_dir.h"

namespace f3::meta {
namespace {

constexpr char kSecret[] = "0123456789abcdef0123456789abcdef";

ClusterKey Key(const char* secret = kSecret) { return ClusterKey::FromSecret(secret).value(); }

// Notes what it hears; acknowledges unless told to hold back.
class Listener : public SessionListener {
 public:
  void OnInvalidate(const Invalidate& invalidate, std::function<void()> done) override {
    MutexLock lock(mutex_);
    for (const auto& item : invalidate.items()) invalidated_.insert(item.ino());
    if (hold_) {
      held_.push_back(std::move(done));
    } else {
      done();
    }
    changed_.SignalAll();
  }
  void OnDrop(const ObjectName&) override {}
  void OnLockAvailable(Ino ino) override {
    MutexLock lock(mutex_);
    unlocked_.insert(ino);
    changed_.SignalAll();
  }
  void OnFence(SessionId, std::function<void()> done) override { done(); }
  void OnWriterElsewhere(const ObjectName&) override {}
  void OnLeasesLost() override { Count(&leases_lost_); }
  void OnExpired() override { Count(&expired_); }
  void OnRegistered(const RegisterReply&) override { Count(&registered_); }
  std::vector<CloseOp> OpenFiles() override { return {}; }
  NodeUsage Usage() override { return {}; }

  void Hold() {
    MutexLock lock(mutex_);
    hold_ = true;
  }
  void LetGo() {
    std::vector<std::function<void()>> held;
    {
      MutexLock lock(mutex_);
      hold_ = false;
      held.swap(held_);
    }
    for (auto& done : held) done();
  }
  bool AwaitInvalidated(Ino ino) {
    return Await([&]() F3_NO_THREAD_SAFETY_ANALYSIS { return invalidated_.contains(ino); });
  }
  bool AwaitUnlocked(Ino ino) {
    return Await([&]() F3_NO_THREAD_SAFETY_ANALYSIS { return unlocked_.contains(ino); });
  }
  bool AwaitLeasesLost() {
    return Await([&]() F3_NO_THREAD_SAFETY_ANALYSIS { return leases_lost_ > 0; });
  }
  bool AwaitRegistered(int times) {
    return Await([&]() F3_NO_THREAD_SAFETY_ANALYSIS { return registered_ >= times; });
  }
  int expired() {
    MutexLock lock(mutex_);
    return expired_;
  }

 private:
  void Count(int* what) {
    MutexLock lock(mutex_);
    ++*what;
    changed_.SignalAll();
  }
  template <typename Condition>
  bool Await(Condition condition) {
    MutexLock lock(mutex_);
    for (int i = 0; i < 200 && !condition(); ++i) changed_.WaitFor(mutex_, 100'000);
    return condition();
  }

  Mutex mutex_;
  CondVar changed_;
  bool hold_ F3_GUARDED_BY(mutex_) = false;
  std::vector<std::function<void()>> held_ F3_GUARDED_BY(mutex_);
  std::set<Ino> invalidated_ F3_GUARDED_BY(mutex_);
  std::set<Ino> unlocked_ F3_GUARDED_BY(mutex_);
  int leases_lost_ = 0, expired_ = 0, registered_ = 0;
};

class ClientTest : public ::testing::Test {
 protected:
  void StartServer() {
    MetadataServer::Options options;
    options.session_timeout_micros = session_timeout_micros_;
    options.token_lifetime_micros = 2 * session_timeout_micros_;
    options.listen = address_;
    auto store = OpenLevelDbKvStore(dir_.path() + "/db");
    ASSERT_OK(store);
    auto server = MetadataServer::Start(options, Key(), std::move(store).value());
    ASSERT_OK(server);
    server_ = std::move(server).value();
    address_ = server_->address();
  }
  void TearDown() override {
    for (auto& client : clients_) client->Shutdown();
    server_.reset();
  }

  MetaClient* NewNode(const std::string& name, Listener* listener) {
    MetaClient::Options options;
    options.server = address_;
    options.node.set_name(name);
    options.node.set_tier_uuid("uuid-" + name);
    auto client = MetaClient::Connect(options, Key(), listener);
    EXPECT_OK(client);
    if (!client.ok()) return nullptr;
    clients_.push_back(std::move(client).value());
    return clients_.back().get();
  }

  static Request Create(Ino parent, const std::string& name) {
    Request request;
    request.mutable_create()->set_parent(parent);
    request.mutable_create()->set_name(name);
    request.mutable_create()->set_mode(S_IFREG | 0644);
    request.mutable_create()->mutable_flags()->set_write(true);
    return request;
  }
  static Request Lookup(Ino parent, const std::string& name) {
    Request request;
    request.mutable_lookup()->set_parent(parent);
    request.mutable_lookup()->set_name(name);
    return request;
  }
  static Reply Run(MetaClient* client, Request request, Code expected = Code::kOk) {
    Reply reply;
    Status status = client->Call(std::move(request), &reply);
    EXPECT_TRUE(HasCode(status, expected));
    return reply;
  }
  Ino NewVolume(MetaClient* client) {
    Request request;
    request.mutable_create_volume()->set_name("v");
    request.mutable_create_volume()->set_mode(0755);
    Run(client, request);
    Request resolve;
    resolve.mutable_resolve()->set_volume("v");
    return Run(client, resolve).entry().attr().ino();
  }

  int64_t session_timeout_micros_ = 15'000'000;
  TempDir dir_;
  std::string address_ = "127.0.0.1:0";
  std::unique_ptr<MetadataServer> server_;
  std::vector<std::unique_ptr<MetaClient>> clients_;
};

TEST_F(ClientTest, AnotherSecretIsRefusedWithAHint) {
  StartServer();
  MetaClient::Options options;
  options.server = address_;
  auto client = MetaClient::Connect(options, Key("another secret of many bytes"), nullptr);
  EXPECT_CODE(client, kUnauthenticated);
  EXPECT_NE(client.status().message().find("secret"), std::string::npos);
}

TEST_F(ClientTest, AServerThatIsNotThereIsNamed) {
  MetaClient::Options options;
  options.server = "127.0.0.1:1";
  options.call_timeout_micros = 200'000;
  auto client = MetaClient::Connect(options, Key(), nullptr);
  EXPECT_CODE(client, kUnavailable);
  EXPECT_NE(client.status().message().find("127.0.0.1:1"), std::string::npos);
}

// gRPC ends with a process's last client: never on a thread of its own.
TEST_F(ClientTest, OneThatEndsWithItsAnswerIsTheLast) {
  MetaClient::Options options;
  options.server = "127.0.0.1:1";
  options.call_timeout_micros = 1;
  for (int i = 0; i < 200; ++i) {
    EXPECT_FALSE(MetaClient::Connect(options, Key(), nullptr).ok());
  }
}

TEST_F(ClientTest, AChangeWaitsUntilTheOtherNodeHasDroppedWhatItCached) {
  StartServer();
  Listener a_hears, b_hears;
  MetaClient* a = NewNode("a", &a_hears);
  MetaClient* b = NewNode("b", &b_hears);
  ASSERT_TRUE(a != nullptr && b != nullptr);
  Ino root = NewVolume(a);
  EXPECT_TRUE(Run(b, Lookup(root, "x"), Code::kNotFound).directory_cacheable());
  b_hears.Hold();
  std::promise<Status> created;
  a->CallAsync(Create(root, "x"), [&](Status status, Reply) { created.set_value(status); });
  ASSERT_TRUE(b_hears.AwaitInvalidated(root));
  auto answer = created.get_future();
  EXPECT_EQ(answer.wait_for(std::chrono::milliseconds(100)), std::future_status::timeout);
  b_hears.LetGo();
  EXPECT_OK(answer.get());
  EXPECT_NE(Run(b, Lookup(root, "x")).entry().attr().ino(), 0u);
}

TEST_F(ClientTest, TheSessionOutlivesARestartOfTheServer) {
  StartServer();
  Listener hears;
  MetaClient* client = NewNode("a", &hears);
  ASSERT_NE(client, nullptr);
  Ino root = NewVolume(client);
  SessionId session = client->session();
  Run(client, Create(root, "before"));
  server_->Stop();
  server_.reset();
  std::promise<Status> late;
  client->CallAsync(Create(root, "meanwhile"),
                    [&](Status status, Reply) { late.set_value(status); });
  StartServer();
  EXPECT_OK(late.get_future().get());
  EXPECT_TRUE(hears.AwaitLeasesLost());
  Run(client, Lookup(root, "before"));
  Run(client, Lookup(root, "meanwhile"));
  EXPECT_EQ(client->session(), session);
  EXPECT_EQ(hears.expired(), 0);
}

TEST_F(ClientTest, WhatACrashOfTheHostTookIsReplayed) {
  StartServer();
  Listener hears;
  MetaClient* client = NewNode("a", &hears);
  ASSERT_NE(client, nullptr);
  Ino root = NewVolume(client);
  Request sync;
  sync.mutable_sync();
  Run(client, sync);
  const std::string saved = dir_.path() + "/saved";
  std::filesystem::copy(dir_.path() + "/db", saved, std::filesystem::copy_options::recursive);
  // An inode whose commit the host's crash takes back.
  Ino lost = Run(client, Create(root, "lost")).entry().attr().ino();
  server_->Stop();
  server_.reset();
  std::filesystem::remove_all(dir_.path() + "/db");
  std::filesystem::rename(saved, dir_.path() + "/db");
  StartServer();
  EXPECT_EQ(Run(client, Lookup(root, "lost")).entry().attr().ino(), lost);
}

TEST_F(ClientTest, ASessionThatIsOverIsMadeAgain) {
  StartServer();
  Listener hears;
  MetaClient* client = NewNode("a", &hears);
  ASSERT_NE(client, nullptr);
  Ino root = NewVolume(client);
  server_->Stop();
  server_.reset();
  std::filesystem::remove_all(dir_.path() + "/db");  // a server that knows nothing of it
  StartServer();
  EXPECT_TRUE(hears.AwaitRegistered(2));
  EXPECT_EQ(hears.expired(), 1);
  Run(client, Lookup(root, "x"), Code::kStale);
}

TEST_F(ClientTest, ShutdownAnswersWhatIsWaiting) {
  StartServer();
  Listener hears;
  MetaClient* client = NewNode("a", &hears);
  ASSERT_NE(client, nullptr);
  server_->Stop();
  server_.reset();
  std::promise<Status> answer;
  client->CallAsync(Lookup(1, "x"), [&](Status status, Reply) { answer.set_value(status); });
  client->Shutdown();
  EXPECT_CODE(answer.get_future().get(), kUnavailable);
}

}  // namespace
}  // namespace f3::meta
