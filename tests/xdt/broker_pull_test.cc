// Brokers of several nodes: pulls, counts, copies, failures.
#include <fcntl.h>
#include <sys/mman.h>

#include <cstring>

#include "tests/xdt/broker_fixture.h"

namespace f3::xdt {
namespace {

class PullTest : public BrokerTest {
 protected:
  BrokerNode one_{1, &directory_, dir_.path()};
  BrokerNode two_{2, &directory_, dir_.path()};

  uint64_t UsedHere() const { return one_.broker->used_bytes() + two_.broker->used_bytes(); }
};

TEST_F(PullTest, WhatWasPutThereIsGotHere) {
  Client sender = one_.Client();
  Client receiver = two_.Client();
  for (const size_t bytes :
       {size_t{0}, size_t{1}, size_t{4096}, size_t{20'000}, kMiB, kMiB + 1, 10 * kMiB + 3}) {
    const std::string value = Pattern(bytes);
    const std::string reference = sender.Put(value);
    EXPECT_TRUE(receiver.Get(reference).text() == value) << bytes;
    EXPECT_EQ(CodeOf([&] { receiver.Get(reference); }), XDT_REF_EXHAUSTED) << bytes;
  }
  EXPECT_TRUE(Eventually([&] { return UsedHere() == 0; })) << UsedHere();
}

TEST_F(PullTest, TheOwnerDecidesEachRefusal) {
  ASSERT_OK(two_.broker->OpenSocket(dir_ / "other", {"other", ""}, 0600, 0));
  Client sender = one_.Client();
  Client receiver = two_.Client();
  Client other(dir_ / "other");
  const std::string reference = sender.Put(Pattern(2 * kMiB), Times(3));
  EXPECT_EQ(CodeOf([&] { other.Get(reference); }), XDT_REF_OUT_OF_SCOPE);
  EXPECT_EQ(CodeOf([&] { other.Delete(reference); }), XDT_REF_OUT_OF_SCOPE);
  EXPECT_EQ(receiver.Stat(reference).retrievals_left, 3u);
  EXPECT_EQ(receiver.Stat(reference).bytes, 2 * kMiB);
  receiver.Delete(reference);
  EXPECT_EQ(CodeOf([&] { receiver.Get(reference); }), XDT_REF_EXHAUSTED);
  Options brief;
  brief.lifetime_ms = 1;
  const std::string short_lived = sender.Put("v", brief);
  EXPECT_TRUE(
      Eventually([&] { return CodeOf([&] { receiver.Get(short_lived); }) == XDT_REF_EXPIRED; }));
  const std::string old = sender.Put("v");
  one_.Restart();
  EXPECT_EQ(CodeOf([&] { receiver.Get(old); }), XDT_REF_EARLIER_EPOCH);
}

// The answer to a read is lost after the owner has served it: asking again is no second retrieval.
TEST_F(PullTest, ARetryOfTheSamePullCountsOnce) {
  Client sender = one_.Client();
  Client receiver = two_.Client();
  for (const size_t bytes : {size_t{100}, 4 * kMiB}) {
    const std::string reference = sender.Put(Pattern(bytes));
    one_.gate.lose_reads = 3;
    EXPECT_TRUE(receiver.Get(reference).text() == Pattern(bytes));
    EXPECT_EQ(one_.gate.lose_reads, 0);
    EXPECT_EQ(CodeOf([&] { receiver.Get(reference); }), XDT_REF_EXHAUSTED);
  }
  EXPECT_TRUE(Eventually([&] { return UsedHere() == 0; }));
}

TEST_F(PullTest, NoMoreThanTheAllowanceEverGetIt) {
  Client sender = one_.Client();
  Client receiver = two_.Client();
  for (const size_t bytes : {size_t{1000}, 3 * kMiB}) {
    const std::string reference = sender.Put(Pattern(bytes), Times(5));
    std::atomic<int> got{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 12; ++i) {
      threads.emplace_back([&, i] {
        Client& client = i % 3 == 0 ? sender : receiver;
        std::string value;
        const int code = CodeOf([&] { value = client.Get(reference).text(); });
        if (code == 0 && value == Pattern(bytes)) {
          ++got;
        } else {
          EXPECT_EQ(code, XDT_REF_EXHAUSTED);
        }
      });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(got, 5);
  }
  EXPECT_TRUE(Eventually([&] {
    two_.broker->CloseSocket(two_.socket).PermitUnchecked();
    return one_.broker->used_bytes() == 0;
  }));
}

TEST_F(PullTest, AStreamIsReadFromItsFirstBytes) {
  Client sender = one_.Client();
  Client receiver = two_.Client();
  const std::string value = Pattern(20 * kMiB);
  f3xdt::View view = receiver.GetStream(sender.Put(value));
  EXPECT_EQ(view.size(), value.size());
  EXPECT_GT(view.available(), 0u);
  size_t read = 0;
  while (read < value.size()) {
    view.Wait(read + 1, 10'000);
    const auto here = view.bytes();
    ASSERT_EQ(std::memcmp(here.data() + read, value.data() + read, here.size() - read), 0);
    read = here.size();
  }
  // What arrives cannot be altered by the one who reads it.
  for (int fd = 3; fd < 300; ++fd) {
    const int seals = ::fcntl(fd, F_GET_SEALS);
    if (seals > 0 && (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0) {
      EXPECT_EQ(::mmap(nullptr, 4096, PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
    }
  }
}

TEST_F(PullTest, AStreamThatIsGivenUpGivesTheRetrievalBack) {
  Client sender = one_.Client();
  Client receiver = two_.Client();
  const std::string value = Pattern(30 * kMiB);
  const std::string reference = sender.Put(value);
  { f3xdt::View view = receiver.GetStream(reference); }
  // It was served whole before it was given up, or it can be got still; nothing in between.
  const int code = CodeOf([&] { EXPECT_TRUE(receiver.Get(reference).text() == value); });
  EXPECT_TRUE(code == 0 || code == XDT_REF_EXHAUSTED) << code;
  EXPECT_TRUE(Eventually([&] { return UsedHere() == 0; })) << UsedHere();
}

TEST_F(PullTest, AnOwnerThatVanishesGivesAnErrorNeverAPart) {
  Client sender = one_.Client();
  Client receiver = two_.Client();
  const std::string reference = sender.Put(Pattern(20 * kMiB));
  f3xdt::View view = receiver.GetStream(reference);
  one_.Restart();
  const int code = CodeOf([&] { view.Wait(view.size(), 10'000); });
  if (code == 0) {
    EXPECT_TRUE(view.text() == Pattern(20 * kMiB));
  } else {
    EXPECT_EQ(code, XDT_REF_EARLIER_EPOCH);
    EXPECT_LT(view.available(), view.size());
    // And for ever.
    EXPECT_EQ(CodeOf([&] { view.Wait(view.size(), 0); }), XDT_REF_EARLIER_EPOCH);
  }
}

TEST_F(PullTest, AnUnreachableOwnerIsAnErrorWithinTheDeadline) {
  Client sender = one_.Client();
  Client receiver = two_.Client();
  const std::string small = sender.Put("v");
  const std::string large = sender.Put(Pattern(3 * kMiB));
  const std::string many = sender.Put(Pattern(3 * kMiB), Times(7));
  one_.engine->Shutdown();
  for (const std::string& reference : {small, large, many}) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_NE(CodeOf([&] { receiver.Get(reference, 1000); }), 0);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(4));
  }
  EXPECT_TRUE(Eventually([&] { return two_.broker->used_bytes() == 0; }));
}

TEST_F(PullTest, ACopyServesLaterGetsOfItsNodeAndEachCounts) {
  Client sender = one_.Client();
  Client receiver = two_.Client();
  const std::string value = Pattern(4 * kMiB);
  const std::string reference = sender.Put(value, Times(3));
  EXPECT_TRUE(receiver.Get(reference).text() == value);
  const int reads = one_.gate.reads;
  EXPECT_TRUE(receiver.Get(reference).text() == value);
  EXPECT_EQ(one_.gate.reads, reads);
  EXPECT_EQ(sender.Stat(reference).retrievals_left, 1u);
  EXPECT_TRUE(receiver.Get(reference).text() == value);
  EXPECT_EQ(CodeOf([&] { receiver.Get(reference); }), XDT_REF_EXHAUSTED);
  // Copies are there for as long as the room is: it is taken from them.
  Options wait;
  wait.timeout_ms = 5000;
  f3xdt::Buffer all = receiver.Alloc(64 * kMiB, 5000);
  EXPECT_EQ(all.bytes().size(), 64 * kMiB);
}

// A getter that waits for what another getter of its node pulls.
class JoinTest : public PullTest {
 protected:
  // Starts a get of `reference` that cannot end before its timeout, and returns when it is pulling.
  // `code` outlives what is returned.
  std::jthread StartLeader(const std::string& reference, int timeout_ms, int* code) {
    std::jthread leader([this, reference, timeout_ms, code] {
      Client client = two_.Client();
      *code = CodeOf([&] { client.Get(reference, timeout_ms); });
    });
    EXPECT_TRUE(Eventually([&] { return one_.gate.reads > 0; }));
    return leader;
  }
  void Restore() { one_.gate.serve_below = Gate::kEverything; }
  uint64_t Left(const std::string& reference) {
    return one_.Client().Stat(reference).retrievals_left;
  }
};

TEST_F(JoinTest, AGetterOutlivesThePullThatItJoined) {
  const std::string value = Pattern(6 * kMiB);
  const std::string reference = one_.Client().Put(value, Times(3));
  one_.gate.serve_below = 0;
  int leader_code = 0;
  std::jthread leader = StartLeader(reference, 3000, &leader_code);
  std::string got;
  std::jthread joiner(
      [&] { EXPECT_EQ(CodeOf([&] { got = two_.Client().Get(reference, 30'000).text(); }), 0); });
  // Both are granted.
  EXPECT_TRUE(Eventually([&] { return Left(reference) == 1; }));
  leader.join();
  EXPECT_NE(leader_code, 0);
  // The leader's is given back with its pull; the joiner pulls for itself.
  EXPECT_TRUE(Eventually([&] { return Left(reference) == 2; })) << Left(reference);
  Restore();
  joiner.join();
  EXPECT_TRUE(got == value);
  EXPECT_EQ(Left(reference), 2u);
}

TEST_F(JoinTest, AJoinThatBringsNoBytesGivesItsRetrievalBack) {
  const std::string value = Pattern(6 * kMiB);
  const std::string reference = one_.Client().Put(value, Times(3));
  one_.gate.serve_below = 0;
  int leader_code = 0;
  std::jthread leader = StartLeader(reference, 30'000, &leader_code);
  EXPECT_EQ(CodeOf([&] { two_.Client().Get(reference, 300); }), XDT_TIMEOUT);
  EXPECT_TRUE(Eventually([&] { return Left(reference) == 2; })) << Left(reference);
  Restore();
  leader.join();
  EXPECT_EQ(leader_code, 0);
  EXPECT_EQ(Left(reference), 2u);
}

TEST_F(JoinTest, AStreamThatBreaksGivesItsRetrievalBack) {
  const std::string value = Pattern(20 * kMiB);
  const std::string reference = one_.Client().Put(value, Times(3));
  one_.gate.serve_below = 2 * kMiB;
  int leader_code = 0;
  std::jthread leader = StartLeader(reference, 30'000, &leader_code);
  Client receiver = two_.Client();
  {
    f3xdt::View view = receiver.GetStream(reference, 10'000);
    one_.gate.refuse = true;
    leader.join();
    EXPECT_NE(leader_code, 0);
    EXPECT_NE(CodeOf([&] { view.Wait(view.size(), 10'000); }), 0);
    EXPECT_LT(view.available(), view.size());
  }
  EXPECT_TRUE(Eventually([&] { return Left(reference) == 3; })) << Left(reference);
  Restore();
  EXPECT_TRUE(receiver.Get(reference).text() == value);
  EXPECT_EQ(Left(reference), 2u);
}

TEST_F(PullTest, ABroadcastSpreadsThroughThoseWhoHaveIt) {
  constexpr int kNodes = 4;
  std::vector<std::unique_ptr<BrokerNode>> nodes;
  for (NodeId id = 10; id < 10 + kNodes; ++id) {
    nodes.push_back(std::make_unique<BrokerNode>(id, &directory_, dir_.path()));
  }
  Client sender = one_.Client();
  const std::string value = Pattern(6 * kMiB);
  const std::string reference = sender.Put(value, Times(kNodes));
  for (auto& node : nodes) {
    EXPECT_TRUE(node->Client().Get(reference).text() == value);
  }
  EXPECT_EQ(CodeOf([&] { two_.Client().Get(reference); }), XDT_REF_EXHAUSTED);
  int relayed = 0;
  for (auto& node : nodes) relayed += node->gate.reads;
  EXPECT_GT(relayed, 0) << "everything came from the owner";
  EXPECT_LT(one_.gate.reads, 6 * kNodes);
}

// A node that was named as a holder has dropped its copy: the owner serves instead.
TEST_F(PullTest, AHolderWithoutItsCopyIsPassedOver) {
  BrokerNode three(3, &directory_, dir_.path());
  Client sender = one_.Client();
  const std::string value = Pattern(4 * kMiB);
  const std::string reference = sender.Put(value, Times(4));
  EXPECT_TRUE(two_.Client().Get(reference).text() == value);
  two_.Restart();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(three.Client().Get(reference).text() == value);
  EXPECT_EQ(CodeOf([&] { three.Client().Get(reference); }), XDT_REF_EXHAUSTED);
}

// A node that was named as a holder was frozen: the owner serves instead, in time.
TEST_F(PullTest, AHolderThatIsSilentIsPassedOver) {
  BrokerNode three(3, &directory_, dir_.path());
  const std::string value = Pattern(4 * kMiB);
  const std::string reference = one_.Client().Put(value, Times(5));
  EXPECT_TRUE(two_.Client().Get(reference).text() == value);
  const int before = two_.gate.reads;
  two_.gate.Hold();
  for (int i = 0; i < 2; ++i) {  // one of them is sent to the holder
    std::string got;
    EXPECT_EQ(CodeOf([&] { got = three.Client().Get(reference, 4500).text(); }), 0) << i;
    EXPECT_TRUE(got == value) << i;
    three.Restart();  // forgets its copy
  }
  EXPECT_GT(two_.gate.reads, before) << "the silent one was never asked";
}

// Its old address takes two seconds to find out about; the reference says that it is old.
TEST_F(PullTest, AnOwnerThatRestartedIsNotLookedForWhereItWas) {
  const Peer old = {"127.0.0.1:1", one_.epoch};
  one_.Restart();
  Client sender = one_.Client();
  Client receiver = two_.Client();
  for (const size_t bytes : {size_t{100}, 3 * kMiB}) {
    for (const uint32_t times : {1, 2}) {
      const std::string value = Pattern(bytes);
      const std::string reference = sender.Put(value, Times(times));
      directory_.SetOld(one_.id, old);
      EXPECT_EQ(CodeOf([&] { EXPECT_TRUE(receiver.Get(reference, 1500).text() == value); }), 0);
      directory_.SetOld(one_.id, old);
      EXPECT_EQ(CodeOf([&] { receiver.Delete(sender.Put(value), 1500); }), 0);
    }
  }
}

// Brokers that leave their values behind when they shut down.
class DrainTest : public BrokerTest {
 protected:
  std::unique_ptr<BrokerNode> Node(NodeId id) {
    return std::make_unique<BrokerNode>(
        id, &directory_, dir_.path(),
        [this](Broker::Options* options) { options->drain_dir = dir_ / "drained"; });
  }
};

TEST_F(DrainTest, OldReferencesResolveAfterTheOwnerHasRestarted) {
  auto one = Node(1);
  auto two = Node(2);
  std::vector<std::string> references;
  for (const size_t bytes : {size_t{0}, size_t{10}, 3 * kMiB}) {
    references.push_back(one->Client().Put(Pattern(bytes), Times(3)));
    EXPECT_TRUE(two->Client().Get(references.back()).text() == Pattern(bytes));
  }
  const std::string once = one->Client().Put("once");
  EXPECT_EQ(one->Client().Get(once).text(), "once");
  one->Restart();
  size_t i = 0;
  for (const size_t bytes : {size_t{0}, size_t{10}, 3 * kMiB}) {
    const std::string& reference = references[i++];
    EXPECT_TRUE(two->Client().Get(reference).text() == Pattern(bytes)) << bytes;
    EXPECT_EQ(one->Client().Stat(reference).retrievals_left, 1u) << bytes;
    EXPECT_TRUE(one->Client().Get(reference).text() == Pattern(bytes)) << bytes;
    EXPECT_EQ(CodeOf([&] { two->Client().Get(reference); }), XDT_REF_EXHAUSTED) << bytes;
    EXPECT_EQ(CodeOf([&] { one->Client().Get(reference); }), XDT_REF_EXHAUSTED) << bytes;
  }
  EXPECT_EQ(CodeOf([&] { one->Client().Get(once); }), XDT_REF_EARLIER_EPOCH);
}

TEST_F(DrainTest, OldReferencesResolveWhileTheOwnerIsAway) {
  auto one = Node(1);
  auto two = Node(2);
  auto three = Node(3);
  const std::string small = one->Client().Put("v", Times(3));
  const std::string large = one->Client().Put(Pattern(3 * kMiB), Times(4));
  one->broker->Shutdown();
  one->engine->Shutdown();
  EXPECT_EQ(two->Client().Get(small, 5000).text(), "v");
  EXPECT_EQ(three->Client().Get(small, 5000).text(), "v");
  EXPECT_TRUE(three->Client().Get(large, 5000).text() == Pattern(3 * kMiB));
  EXPECT_TRUE(two->Client().Get(large, 5000).text() == Pattern(3 * kMiB));
  EXPECT_EQ(two->Client().Get(small, 5000).text(), "v");
  EXPECT_EQ(CodeOf([&] { two->Client().Get(small, 5000); }), XDT_REF_EXHAUSTED);
  EXPECT_EQ(CodeOf([&] { three->Client().Get(small, 5000); }), XDT_REF_EXHAUSTED);
  // The new owner shuts down in its turn.
  three->Restart();
  EXPECT_TRUE(two->Client().Get(large, 5000).text() == Pattern(3 * kMiB));
}

TEST_F(DrainTest, ADrainedValueIsScopedAndExpires) {
  auto one = Node(1);
  auto two = Node(2);
  ASSERT_OK(two->broker->OpenSocket(dir_ / "other", {"other", ""}, 0600, 0));
  const std::string reference = one->Client().Put("v");
  Options brief;
  brief.lifetime_ms = 100;
  const std::string short_lived = one->Client().Put("v", brief);
  one->Restart();
  EXPECT_EQ(CodeOf([&] { Client(dir_ / "other").Get(reference); }), XDT_REF_OUT_OF_SCOPE);
  EXPECT_TRUE(Eventually([&] {
    const int code = CodeOf([&] { two->Client().Stat(short_lived); });
    return code == XDT_REF_EXPIRED;
  }));
  EXPECT_EQ(two->Client().Get(reference).text(), "v");
}

}  // namespace
}  // namespace f3::xdt
