#include "storage_nodes/fetcher.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>

#include "common/unique_fd.h"
#include "tests/storage_nodes/fetcher_fixture.h"

namespace f3::storage {
namespace {

TEST_F(FetcherTest, FillsTheWholeFileAndSealsItAsACopy) {
  uint64_t pulled = 0;
  Incarnation incarnation = 1;
  for (uint64_t size : {uint64_t{0}, uint64_t{1}, uint64_t{4097}, kMiB, 11 * kMiB + 5}) {
    SCOPED_TRACE(size);
    const std::string bytes = Text(size, incarnation);
    engine_->Set("a", Holder(bytes));
    FetchPlan plan = PlanOf(size, {"a"});
    plan.key.incarnation = incarnation++;
    auto fetch = Start(plan);
    ASSERT_NE(fetch, nullptr);
    EXPECT_EQ(fetch->complete(), size == 0);
    EXPECT_EQ(fetch->object()->info().role, Role::kFilling);
    const Filled filled = Fill(fetch).get();
    EXPECT_OK(filled.status);
    EXPECT_TRUE(filled.copy);
    EXPECT_TRUE(fetch->complete());
    ExpectCopy(*fetch->object(), bytes);
    pulled += size;
    EXPECT_EQ(fetcher_->counters().pulled_bytes, pulled);
  }
  EXPECT_EQ(fetcher_->counters().failovers, 0u);
  auto problems = store_->Verify(/*repair=*/false);
  ASSERT_OK(problems);
  EXPECT_TRUE(problems->empty());
}

TEST_F(FetcherTest, TheReadersChunkIsAskedForFirstAndAnsweredBeforeTheFillEnds) {
  Begin(64 * kMiB, /*window_chunks=*/1);
  const std::string bytes = Text(8 * kMiB);
  FakePeer holder = Holder(bytes);
  holder.hold = true;
  engine_->Set("a", holder);
  auto fetch = Start(PlanOf(bytes.size(), {"a"}));
  auto filled = Fill(fetch);
  engine_->AwaitAsked(1);
  auto read = Read(fetch, 5 * kMiB + 100, 1000);
  EXPECT_EQ(engine_->asked_offsets(), (std::vector<uint64_t>{0, 5 * kMiB}));
  engine_->Release(5 * kMiB);
  auto text = read.get();
  ASSERT_OK(text);
  EXPECT_TRUE(*text == bytes.substr(5 * kMiB + 100, 1000));
  EXPECT_FALSE(fetch->complete());
  // Who reads one place reads on from there: so does the fill, and begins again at the end.
  engine_->Release(0);
  for (uint64_t mib : {6, 7, 1, 2, 3, 4}) {
    engine_->AwaitAsked(mib >= 6 ? mib - 3 : mib + 4);
    EXPECT_EQ(engine_->asked_offsets().back(), mib * kMiB);
    engine_->Release(mib * kMiB);
  }
  EXPECT_TRUE(filled.get().copy);
  ExpectCopy(*fetch->object(), bytes);
  EXPECT_EQ(engine_->asked().size(), 8u) << "a chunk was asked for twice";
}

TEST_F(FetcherTest, ReadersOfTheSameBytesShareARequest) {
  const std::string bytes = Text(3 * kMiB);
  FakePeer holder = Holder(bytes);
  holder.hold = true;
  engine_->Set("a", holder);
  auto fetch = Start(PlanOf(bytes.size(), {"a"}));
  auto first = Read(fetch, kMiB - 10, 20);
  auto second = Read(fetch, kMiB, 5);
  auto ensured = Ensure(fetch, 0, 2 * kMiB);
  EXPECT_EQ(engine_->asked_offsets(), (std::vector<uint64_t>{0, kMiB}));
  engine_->ReleaseAll();
  EXPECT_EQ(*first.get(), bytes.substr(kMiB - 10, 20));
  EXPECT_EQ(*second.get(), bytes.substr(kMiB, 5));
  EXPECT_OK(ensured.get());
  EXPECT_EQ(StoreTest::Read(*fetch->object()), bytes.substr(0, 2 * kMiB));
}

TEST_F(FetcherTest, ReadsBeyondTheEndAreEmptyAndAcrossItShort) {
  const std::string bytes = Text(kMiB + 10);
  engine_->Set("a", Holder(bytes));
  auto fetch = Start(PlanOf(bytes.size(), {"a"}));
  EXPECT_EQ(*Read(fetch, bytes.size(), 10).get(), "");
  EXPECT_EQ(*Read(fetch, ~0ull, 10).get(), "");
  EXPECT_EQ(*Read(fetch, 0, 0).get(), "");
  EXPECT_OK(Ensure(fetch, bytes.size(), 1).get());
  EXPECT_TRUE(engine_->asked().empty());
  EXPECT_EQ(*Read(fetch, kMiB + 5, 100).get(), bytes.substr(kMiB + 5));
  EXPECT_OK(Ensure(fetch, 5, ~0ull).get());
  EXPECT_TRUE(fetch->complete());
  EXPECT_TRUE(*Read(fetch, 0, 2 * kMiB).get() == bytes);
}

TEST_F(FetcherTest, FailsOverToTheNextHolderInMidRead) {
  Begin(64 * kMiB, /*window_chunks=*/1);
  const std::string bytes = Text(6 * kMiB);
  FakePeer first = Holder(bytes);
  first.error = Status::PeerUnreachable("gone");
  first.good_until = 2 * kMiB;
  engine_->Set("a", first);
  engine_->Set("b", Holder(bytes));
  auto fetch = Start(PlanOf(bytes.size(), {"a", "b"}));
  EXPECT_TRUE(*Read(fetch, kMiB + 1, kMiB).get() == bytes.substr(kMiB + 1, kMiB));
  EXPECT_EQ(fetcher_->counters().failovers, 1u);
  EXPECT_TRUE(Fill(fetch).get().copy);
  ExpectCopy(*fetch->object(), bytes);
  // The others are not asked for from the failed one at all.
  EXPECT_EQ(fetcher_->counters().failovers, 1u);
}

TEST_F(FetcherTest, EveryWayThatAHolderFailsLeadsToTheNext) {
  const std::string bytes = Text(kMiB + 10);
  FakePeer short_copy = Holder(bytes.substr(0, kMiB));
  FakePeer other_token = Holder(bytes);
  other_token.token = "another token";
  engine_->Set("a", Failing(Status::WrongVersion("older")));
  engine_->Set("b", Failing(Status::ObjectMissing("evicted")));
  engine_->Set("c", Failing(Status::Checksum("bad line")));
  engine_->Set("d", short_copy);
  engine_->Set("e", other_token);
  engine_->Set("f", Holder(bytes));
  auto fetch = Start(PlanOf(bytes.size(), {"a", "b", "c", "d", "e", "f"}));
  EXPECT_TRUE(Fill(fetch).get().copy);
  ExpectCopy(*fetch->object(), bytes);
}

TEST_F(FetcherTest, NewHoldersAreAskedForWhenAllFailed) {
  const std::string bytes = Text(5 * kMiB);
  engine_->Set("a", Failing(Status::TokenExpired("too late")));
  engine_->Set("b", Failing(Status::PeerUnreachable("gone")));
  engine_->Set("c", Holder(bytes));
  FetchPlan plan = PlanOf(bytes.size(), {"a", "b"});
  std::atomic<int> refreshed = 0;
  plan.refresh = [&]() -> Result<FetchPlan> {
    ++refreshed;
    return PlanOf(bytes.size(), {"a", "c"});
  };
  auto fetch = Start(plan);
  EXPECT_TRUE(Fill(fetch).get().copy);
  ExpectCopy(*fetch->object(), bytes);
  EXPECT_EQ(refreshed, 1) << "each chunk asked the server";
}

TEST_F(FetcherTest, AFailedRefreshIsTheAnswer) {
  engine_->Set("a", Failing(Status::PeerUnreachable("gone")));
  FetchPlan plan = PlanOf(2 * kMiB, {"a"});
  plan.refresh = []() -> Result<FetchPlan> { return Status::Stale("replaced"); };
  auto fetch = Start(plan);
  EXPECT_CODE(Read(fetch, 0, 10).get(), kStale);
  const Filled filled = Fill(fetch).get();
  EXPECT_CODE(filled.status, kStale);
  EXPECT_FALSE(filled.copy);
  EXPECT_CODE(ReadThrough(plan, 0, 10).get(), kStale);
}

TEST_F(FetcherTest, RefreshedHoldersThatFailAsWellEndIt) {
  engine_->Set("a", Failing(Status::PeerUnreachable("gone")));
  engine_->Set("b", Failing(Status::ObjectMissing("evicted")));
  FetchPlan plan = PlanOf(kMiB, {"a"});
  plan.refresh = []() -> Result<FetchPlan> { return PlanOf(kMiB, {"b"}); };
  auto fetch = Start(plan);
  const Status status = Fill(fetch).get().status;
  EXPECT_CODE(status, kObjectMissing);
  EXPECT_NE(status.message().find("name of b"), std::string::npos) << status.message();
  FetchPlan nobody = PlanOf(kMiB, {});
  nobody.key.incarnation = 99;
  EXPECT_CODE(Read(Start(nobody), 0, 1).get(), kUnavailable);
}

// Zeros in place of bytes that did not come would be wrong bytes.
TEST_F(FetcherTest, AReadThatCannotBeHadIsAnError) {
  const std::string bytes = Text(3 * kMiB);
  FakePeer half = Holder(bytes);
  half.error = Status::PeerUnreachable("gone");
  half.good_until = kMiB;
  half.hold = true;
  engine_->Set("a", half);
  auto fetch = Start(PlanOf(bytes.size(), {"a"}));
  auto one = Read(fetch, kMiB, 10);
  engine_->Release(kMiB);
  EXPECT_CODE(one.get(), kPeerUnreachable);
  for (bool good_first : {true, false}) {
    SCOPED_TRACE(good_first);
    auto ensured_first = Ensure(fetch, good_first ? 0 : kMiB, 1);
    auto two = Read(fetch, 0, 2 * kMiB);
    auto ensured = Ensure(fetch, 0, 2 * kMiB);
    engine_->Release(good_first ? 0 : kMiB);
    ensured_first.get().PermitUnchecked();
    engine_->Release(good_first ? kMiB : 0);
    EXPECT_CODE(two.get(), kPeerUnreachable);
    EXPECT_CODE(ensured.get(), kPeerUnreachable);
    if (good_first) {
      EXPECT_TRUE(*Read(fetch, 0, kMiB).get() == bytes.substr(0, kMiB));
      fetch.reset();
      // Answers that are on their way end with their fetch.
      FetchPlan again = PlanOf(bytes.size(), {"a"});
      again.key.incarnation = 4;
      fetch = Start(again);
    }
  }
}

TEST_F(FetcherTest, AFailedFillEndsEveryWaiterAndALaterReadTriesAgain) {
  Begin(64 * kMiB, /*window_chunks=*/1);
  const std::string bytes = Text(6 * kMiB);
  FakePeer holder = Holder(bytes);
  holder.hold = true;
  engine_->Set("a", holder);
  auto fetch = Start(PlanOf(bytes.size(), {"a"}));
  auto filled = Fill(fetch);
  engine_->AwaitAsked(1);
  // They wait for what only the fill asks for.
  auto all = Ensure(fetch, 0, bytes.size());
  auto read = Read(fetch, kMiB, 4 * kMiB);
  const std::vector<uint64_t> under_way = engine_->asked_offsets();
  EXPECT_LT(under_way.size(), 6u);
  engine_->Set("a", Failing(Status::PeerUnreachable("gone")));
  engine_->ReleaseAll();
  EXPECT_CODE(filled.get().status, kPeerUnreachable);
  EXPECT_CODE(all.get(), kPeerUnreachable);
  EXPECT_CODE(read.get(), kPeerUnreachable);
  EXPECT_EQ(engine_->asked_offsets(), under_way) << "the fill went on";
  EXPECT_FALSE(fetch->complete());

  engine_->Set("a", Holder(bytes));
  EXPECT_TRUE(*Read(fetch, kMiB, 2 * kMiB).get() == bytes.substr(kMiB, 2 * kMiB));
  const Filled again = Fill(fetch).get();
  EXPECT_OK(again.status);
  EXPECT_TRUE(again.copy);
  ExpectCopy(*fetch->object(), bytes);
}

// ---- the durable store ----

TEST_F(FetcherTest, DurableBlocksAndHolesBecomeACopy) {
  const std::string block = Text(kBlockBytes, 1), tail = Text(1000, 2);
  // A hole at the start, a block, a hole, a block stored short of its zeros, a hole at the end.
  const uint64_t size = 5 * kBlockBytes - 7;
  FetchPlan plan = PlanOf(size, {});
  AddBlock(&plan, 1, block);
  AddBlock(&plan, 3, tail);
  std::string bytes(size, '\0');
  bytes.replace(kBlockBytes, block.size(), block);
  bytes.replace(3 * kBlockBytes, tail.size(), tail);
  auto fetch = Start(plan);
  EXPECT_TRUE(*Read(fetch, 2 * kBlockBytes - 50, 100).get() ==
              bytes.substr(2 * kBlockBytes - 50, 100));
  EXPECT_EQ(*Read(fetch, 100, 50).get(), std::string(50, '\0'));
  EXPECT_TRUE(*Read(fetch, 3 * kBlockBytes + 990, 20).get() ==
              bytes.substr(3 * kBlockBytes + 990, 20));
  EXPECT_EQ(*Read(fetch, size - 5, 10).get(), std::string(5, '\0'));
  EXPECT_TRUE(Fill(fetch).get().copy);
  ExpectCopy(*fetch->object(), bytes);
  EXPECT_LE(fetch->object()->info().allocated_bytes, 2 * kBlockBytes + kMiB);
  EXPECT_EQ(fetcher_->counters().durable_read_bytes, 2 * kBlockBytes) << "holes need no reading";
  EXPECT_TRUE(engine_->asked().empty());
}

TEST_F(FetcherTest, HoldersComeBeforeTheDurableStoreWhichComesBeforeTheServer) {
  const std::string bytes = Text(kBlockBytes + 2 * kMiB + 9);
  FetchPlan plan = PlanOf(bytes.size(), {"a"});
  AddBlock(&plan, 0, bytes.substr(0, kBlockBytes));
  AddBlock(&plan, 1, bytes.substr(kBlockBytes));
  plan.refresh = []() -> Result<FetchPlan> {
    ADD_FAILURE() << "the server was asked";
    return Status::Unavailable("no server");
  };
  FakePeer holder = Holder(bytes);
  holder.error = Status::PeerUnreachable("gone");
  holder.good_until = kMiB;
  engine_->Set("a", holder);
  auto fetch = Start(plan);
  EXPECT_TRUE(*Read(fetch, 5, 1000).get() == bytes.substr(5, 1000));
  EXPECT_EQ(fetcher_->counters().durable_read_bytes, 0u);
  EXPECT_TRUE(Fill(fetch).get().copy);
  ExpectCopy(*fetch->object(), bytes);
  EXPECT_EQ(fetcher_->counters().pulled_bytes, kMiB);
  EXPECT_EQ(fetcher_->counters().durable_read_bytes, bytes.size() - kMiB);
}

TEST_F(FetcherTest, ACorruptedDurableBlockIsCorruptionNeverBytes) {
  const std::string bytes = Text(2 * kBlockBytes);
  FetchPlan plan = PlanOf(bytes.size(), {});
  AddBlock(&plan, 0, bytes.substr(0, kBlockBytes));
  AddBlock(&plan, 1, bytes.substr(kBlockBytes));
  int damaged = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir_ / "durable")) {
    if (!entry.is_regular_file() || entry.path().filename() != "1.1") continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(12345);
    file.put('\0');
    damaged += file.good();
  }
  ASSERT_EQ(damaged, 1);
  auto fetch = Start(plan);
  EXPECT_CODE(Read(fetch, kBlockBytes + 10, 10).get(), kCorruption);
  EXPECT_TRUE(*Read(fetch, 10, 1000).get() == bytes.substr(10, 1000));
  const Filled filled = Fill(fetch).get();
  EXPECT_CODE(filled.status, kCorruption);
  EXPECT_FALSE(filled.copy);
  EXPECT_CODE(ReadThrough(plan, kBlockBytes - 10, 20).get(), kCorruption);
}

TEST_F(FetcherTest, ALargeSparseFileIsFilledForNextToNothing) {
  options_.disk_capacity_bytes = 3ull << 40;
  Begin();
  const uint64_t size = 1ull << 40;
  FetchPlan plan = PlanOf(size, {});
  AddBlock(&plan, 1000, "somewhere in it");
  auto fetch = Start(plan);
  ASSERT_NE(fetch, nullptr);
  const Filled filled = Fill(fetch).get();
  EXPECT_OK(filled.status);
  EXPECT_TRUE(filled.copy);
  EXPECT_EQ(fetch->object()->info().size, size);
  EXPECT_LE(fetch->object()->info().allocated_bytes, kBlockBytes + kMiB);
  EXPECT_EQ(fetch->object()->Checksums().size(), size / kChecksumBytes);
  EXPECT_EQ(*Read(fetch, 1000 * kBlockBytes, 20).get(),
            std::string("somewhere in it\0\0\0\0\0", 20));
}

TEST_F(FetcherTest, ZerosFromAHolderStaySparse) {
  std::string bytes(8 * kMiB, '\0');
  bytes.replace(5 * kMiB + 3, 4, "text");
  engine_->Set("a", Holder(bytes));
  auto fetch = Start(PlanOf(bytes.size(), {"a"}));
  EXPECT_EQ(*Read(fetch, 7 * kMiB, 10).get(), std::string(10, '\0'));
  EXPECT_TRUE(Fill(fetch).get().copy);
  ExpectCopy(*fetch->object(), bytes);
  EXPECT_LE(fetch->object()->info().allocated_bytes, kMiB + 65536);
}

// ---- content that changes at its home ----

TEST_F(FetcherTest, WhatChangedWhileItWasPulledIsReadButNoCopy) {
  const std::string bytes = Text(4 * kMiB), changed = Text(4 * kMiB, 2);
  FakePeer newer = Holder(changed), writing = Holder(changed), between = Holder(changed);
  newer.version = kVersion + 1;
  writing.writing = true;
  between.version = 0;  // the owner's answer when the version changed under the read
  ObjectKey key = kKey;
  for (const FakePeer& home : {newer, writing, between}) {
    SCOPED_TRACE(home.version);
    ++key.incarnation;
    engine_->Set("home", Holder(bytes));
    FetchPlan plan = PlanOf(bytes.size(), {"home"});
    plan.key = key;
    auto fetch = Start(plan);
    EXPECT_TRUE(*Read(fetch, 0, 100).get() == bytes.substr(0, 100));
    engine_->Set("home", home);
    EXPECT_TRUE(*Read(fetch, 3 * kMiB, 100).get() == changed.substr(3 * kMiB, 100));
    engine_->Set("home", Holder(bytes));
    const Filled filled = Fill(fetch).get();
    EXPECT_OK(filled.status);
    EXPECT_FALSE(filled.copy);
    EXPECT_TRUE(fetch->complete());
    EXPECT_EQ(fetch->object()->info().role, Role::kFilling);
    EXPECT_EQ(fetcher_->counters().failovers, 0u);
    fetch.reset();
    // The engine's last callback may still be about to let go of the fetch.
    engine_->AwaitIdle();
    EXPECT_CODE(store_->Find(key), kObjectMissing);
  }
}

TEST_F(FetcherTest, AHomeThatWasCutShortIsAnErrorPastItsEnd) {
  const std::string bytes = Text(kMiB + 10);
  FakePeer home = Holder(bytes);
  home.version = kVersion + 1;
  engine_->Set("home", home);
  auto fetch = Start(PlanOf(4 * kMiB, {"home"}));
  EXPECT_TRUE(*Read(fetch, kMiB - 100, 100).get() == bytes.substr(kMiB - 100, 100));
  EXPECT_CODE(Read(fetch, 3 * kMiB, 100).get(), kStale);
  EXPECT_CODE(Fill(fetch).get().status, kStale);
}

TEST_F(FetcherTest, ADurableFileTakesNoBytesOfAnotherVersion) {
  const std::string bytes = Text(kMiB);
  FakePeer newer = Holder(Text(kMiB, 2)), writing = Holder(Text(kMiB, 2));
  newer.version = kVersion + 1;
  writing.writing = true;
  FetchPlan plan = PlanOf(bytes.size(), {"a", "b"});
  AddBlock(&plan, 0, bytes);
  engine_->Set("a", newer);
  engine_->Set("b", writing);
  auto fetch = Start(plan);
  EXPECT_TRUE(*Read(fetch, 0, kMiB).get() == bytes);
  EXPECT_EQ(fetcher_->counters().failovers, 2u);
}

// ---- too little room ----

TEST_F(FetcherTest, EverythingCompletesWithFewBuffers) {
  Begin(/*arena_bytes=*/4 * kMiB);
  const std::string bytes = Text(20 * kMiB);
  engine_->Set("a", Holder(bytes));
  FetchPlan blocks = PlanOf(bytes.size(), {});
  blocks.key.incarnation = 9;
  for (uint64_t i = 0; i < 5; ++i) AddBlock(&blocks, i, bytes.substr(i * kBlockBytes, kBlockBytes));
  auto all = buffers_->Allocate(4 * kMiB, 0);
  ASSERT_OK(all);
  auto fetch = Start(PlanOf(bytes.size(), {"a"}));
  auto durable = Start(blocks);
  auto filled = Fill(fetch), durable_filled = Fill(durable);
  std::vector<std::future<Result<std::string>>> reads;
  for (uint64_t i = 0; i < 20; ++i) {
    reads.push_back(Read(i % 2 == 0 ? fetch : durable, i * kMiB + 7, 1000));
  }
  EXPECT_TRUE(engine_->asked().empty()) << "asked without a buffer for the answer";
  *all = {};
  for (uint64_t i = 0; i < 20; ++i) {
    auto text = reads[i].get();
    ASSERT_OK(text);
    EXPECT_TRUE(*text == bytes.substr(i * kMiB + 7, 1000));
  }
  EXPECT_TRUE(filled.get().copy);
  EXPECT_TRUE(durable_filled.get().copy);
  ExpectCopy(*fetch->object(), bytes);
  ExpectCopy(*durable->object(), bytes);
}

TEST_F(FetcherTest, WithoutRoomForACopyTheFileIsReadThrough) {
  options_.disk_capacity_bytes = 2 * kMiB;
  Begin();
  const std::string bytes = Text(kBlockBytes + 3 * kMiB);
  engine_->Set("a", Holder(bytes));
  FetchPlan plan = PlanOf(bytes.size(), {"a"});
  EXPECT_CODE(fetcher_->Start(plan, TierKind::kDisk), kTierFull);
  EXPECT_CODE(store_->Find(kKey), kObjectMissing);
  const auto expect_reads = [&] {
    for (uint64_t at : {uint64_t{0}, kMiB - 3, kBlockBytes - 1000, bytes.size() - 10}) {
      auto text = ReadThrough(plan, at, kMiB).get();
      ASSERT_OK(text);
      EXPECT_TRUE(*text == bytes.substr(at, kMiB)) << at;
    }
    EXPECT_EQ(*ReadThrough(plan, bytes.size(), 10).get(), "");
    EXPECT_EQ(*ReadThrough(plan, ~0ull, 10).get(), "");
    EXPECT_EQ(*ReadThrough(plan, 5, 0).get(), "");
    EXPECT_CODE(ReadThrough(plan, 0, kMiB + 1).get(), kInvalidArgument);
  };
  expect_reads();
  AddBlock(&plan, 0, bytes.substr(0, kBlockBytes));
  AddBlock(&plan, 1, bytes.substr(kBlockBytes));
  engine_->Set("a", Failing(Status::PeerUnreachable("gone")));
  expect_reads();
  plan.blocks.erase(plan.blocks.begin());
  auto hole = ReadThrough(plan, kBlockBytes - 10, 20).get();
  ASSERT_OK(hole);
  EXPECT_EQ(*hole, std::string(10, '\0') + bytes.substr(kBlockBytes, 10));
  EXPECT_TRUE(store_->List().empty());
}

TEST_F(FetcherTest, UnusedCopiesMakeRoomForANewOne) {
  UseMemoryTier(8 * kMiB);
  if (IsSkipped()) return;
  Begin();
  MakeSealed({1, 1}, Role::kCopy, Text(5 * kMiB), TierKind::kMemory);
  const std::string bytes = Text(6 * kMiB);
  engine_->Set("a", Holder(bytes));
  auto fetch = Start(PlanOf(bytes.size(), {"a"}), TierKind::kMemory);
  ASSERT_NE(fetch, nullptr);
  EXPECT_TRUE(Fill(fetch).get().copy);
  ExpectCopy(*fetch->object(), bytes);
  EXPECT_CODE(store_->Find({1, 1}), kObjectMissing);
}

TEST_F(FetcherTest, ATierThatFillsUpMeanwhileIsReadAround) {
  UseMemoryTier();
  if (IsSkipped()) return;
  Begin();
  const std::string bytes = Text(4 * kMiB);
  engine_->Set("a", Holder(bytes));
  auto fetch = Start(PlanOf(bytes.size(), {"a"}), TierKind::kMemory);
  ASSERT_NE(fetch, nullptr);
  ASSERT_TRUE(*Read(fetch, 0, 10).get() == bytes.substr(0, 10));
  const std::string other = dir_ / "memory/other";
  {
    UniqueFd fd(::open(other.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    while (::write(fd.get(), bytes.data(), 65536) > 0) {
    }
    ASSERT_EQ(errno, ENOSPC);
  }
  auto text = Read(fetch, 2 * kMiB, 1000).get();
  ASSERT_OK(text);
  EXPECT_TRUE(*text == bytes.substr(2 * kMiB, 1000));
  text = Read(fetch, 100, 3 * kMiB).get();
  ASSERT_OK(text);
  EXPECT_TRUE(*text == bytes.substr(100, 3 * kMiB));
  EXPECT_CODE(Ensure(fetch, 2 * kMiB, 10).get(), kTierFull);
  EXPECT_CODE(Fill(fetch).get().status, kTierFull);
  // Room again: it goes on.
  ASSERT_EQ(::unlink(other.c_str()), 0);
  EXPECT_TRUE(Fill(fetch).get().copy);
  ExpectCopy(*fetch->object(), bytes);
}

// ---- the life of a fetch ----

TEST_F(FetcherTest, AFetchThatIsNotCompleteTakesItsObjectWithIt) {
  const std::string bytes = Text(4 * kMiB);
  FakePeer holder = Holder(bytes);
  holder.hold = true;
  engine_->Set("a", holder);
  auto fetch = Start(PlanOf(bytes.size(), {"a"}));
  EXPECT_CODE(fetcher_->Start(PlanOf(bytes.size(), {"a"}), TierKind::kDisk), kExists);
  auto read = Read(fetch, 0, 10);
  engine_->AwaitAsked(1);
  fetch.reset();
  EXPECT_OK(store_->Find(kKey));  // the read that is under way needs it
  engine_->Release(0);
  EXPECT_EQ(*read.get(), bytes.substr(0, 10));
  engine_->AwaitIdle();
  EXPECT_CODE(store_->Find(kKey), kObjectMissing);
}

TEST_F(FetcherTest, ACompleteCopyOutlivesItsFetch) {
  const std::string bytes = Text(2 * kMiB + 1);
  engine_->Set("a", Holder(bytes));
  auto fetch = Start(PlanOf(bytes.size(), {"a"}));
  EXPECT_TRUE(Fill(fetch).get().copy);
  fetch.reset();
  engine_->AwaitIdle();
  auto object = store_->Find(kKey);
  ASSERT_OK(object);
  ExpectCopy(**object, bytes);
}

TEST_F(FetcherTest, OnlyItsOwnObjectGoesWithAFetch) {
  auto fetch = Start(PlanOf(kMiB, {"a"}));
  ASSERT_OK(store_->Remove(kKey));
  auto other = Start(PlanOf(kMiB, {"a"}));
  fetch.reset();
  auto found = store_->Find(kKey);
  ASSERT_OK(found);
  EXPECT_EQ(*found, other->object());
}

}  // namespace
}  // namespace f3::storage
