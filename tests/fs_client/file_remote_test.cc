// Files written on several nodes: coherence, locks, appends, and what a missing node does.
#include <gtest/gtest.h>

#include "tests/fs_client/file_world.h"

namespace f3::fs::test {
namespace {

#define EXPECT_OK(expr)                    \
  do {                                     \
    ::f3::Status s_ = (expr);              \
    EXPECT_TRUE(s_.ok()) << s_.ToString(); \
  } while (0)

SimFileRef Must(Result<SimFileRef> file) {
  EXPECT_TRUE(file.ok()) << file.status().ToString();
  return file.ok() ? *file : std::make_shared<SimFile>();
}

std::string All(SimKernel* mount, Ino ino) {
  SimFileRef file = Must(mount->Open(ino, O_RDONLY));
  auto bytes = mount->Read(file, 0, 1u << 20);
  EXPECT_TRUE(bytes.ok()) << bytes.status().ToString();
  EXPECT_OK(mount->Close(file));
  return bytes.ok() ? *bytes : "";
}

Status Lock(Node* node, Ino ino) {
  Waiter<Status> waiter;
  node->files()->AfterLock(ino, waiter.callback());
  return waiter.Get();
}

class FileRemote : public ::testing::TestWithParam<meta::FileClass> {};
INSTANTIATE_TEST_SUITE_P(Classes, FileRemote,
                         ::testing::Values(meta::CLASS_EPHEMERAL, meta::CLASS_DURABLE));

TEST_P(FileRemote, WritersOnTwoNodesSeeOneFile) {
  World world(2);
  SimFileRef one = Must(world.n(1)->Create("a", O_RDWR, GetParam()));
  EXPECT_OK(world.n(1)->Write(one, 0, "aaaa"));
  SimFileRef two = Must(world.n(2)->Open(one->ino, O_RDWR));
  EXPECT_TRUE(two->direct);
  EXPECT_FALSE(two->passthrough());
  EXPECT_EQ(*world.n(2)->Read(two, 0, 10), "aaaa");
  EXPECT_OK(world.n(2)->Write(two, 2, "bb"));
  EXPECT_EQ(*world.n(1)->Read(one, 0, 10), "aabb");
  EXPECT_OK(world.n(1)->Write(one, 4, "cc"));
  EXPECT_EQ(*world.n(2)->Read(two, 0, 10), "aabbcc");
  EXPECT_EQ(world.n(2)->Stat(one->ino)->size(), 6u);
  EXPECT_OK(world.n(2)->Close(two));
  EXPECT_EQ(world.Attr(one->ino).size(), 6u);
  EXPECT_OK(world.n(1)->Close(one));
  EXPECT_EQ(All(world.n(2), one->ino), "aabbcc");
  EXPECT_EQ(world.Opens(one->ino, true), 0u);
}

TEST_P(FileRemote, LargeTransfersArriveWhole) {
  World world(2);
  SimFileRef one = Must(world.n(1)->Create("a", O_RDWR, GetParam()));
  SimFileRef two = Must(world.n(2)->Open(one->ino, O_RDWR));
  std::string big;
  for (int i = 0; i < 300'000; ++i) big += std::to_string(i);
  EXPECT_OK(world.n(2)->Write(two, 5, big));
  EXPECT_EQ(*world.n(2)->Read(two, 5, big.size() + 100), big);
  EXPECT_EQ(*world.n(1)->Read(one, 5, big.size()), big);
  EXPECT_OK(world.n(2)->Close(two));
  EXPECT_OK(world.n(1)->Close(one));
}

TEST_P(FileRemote, AppendsDoNotOverwriteEachOther) {
  World world(2);
  SimFileRef one = Must(world.n(1)->Create("log", O_WRONLY | O_APPEND, GetParam()));
  SimFileRef two = Must(world.n(2)->Open(one->ino, O_WRONLY | O_APPEND));
  for (int i = 0; i < 5; ++i) {
    EXPECT_OK(world.n(1)->Write(one, 0, "one,"));
    EXPECT_OK(world.n(2)->Write(two, 0, "two,"));
  }
  EXPECT_OK(world.n(1)->Close(one));
  EXPECT_OK(world.n(2)->Close(two));
  EXPECT_EQ(All(world.n(1), one->ino), "one,two,one,two,one,two,one,two,one,two,");
}

TEST_P(FileRemote, TheHomeStaysWhenItsOwnHandlesAreClosed) {
  World world(2);
  SimFileRef one = Must(world.n(1)->Create("a", O_RDWR, GetParam()));
  EXPECT_OK(world.n(1)->Write(one, 0, "aaaa"));
  SimFileRef two = Must(world.n(2)->Open(one->ino, O_RDWR));
  EXPECT_OK(world.n(1)->Close(one));
  EXPECT_EQ(world.Attr(one->ino).home(), 1u);
  const Version version = world.Attr(one->ino).version();
  EXPECT_OK(world.n(2)->Write(two, 0, "bb"));
  EXPECT_OK(world.n(2)->Fsync(two));
  EXPECT_EQ(world.Attr(one->ino).version(), version + 1);
  EXPECT_OK(world.n(2)->Write(two, 2, "cc"));
  // A reader at the home sees what was written there.
  EXPECT_EQ(All(world.n(1), one->ino), "bbcc");
  EXPECT_OK(world.n(2)->Close(two));
  EXPECT_EQ(world.Attr(one->ino).version(), version + 2);
  world.Advance(10'000'000);
  auto object = world.node(1)->objects()->Find({one->ino, world.Attr(one->ino).incarnation()});
  ASSERT_TRUE(object.ok());
  EXPECT_FALSE((*object)->info().writing);
  EXPECT_EQ(All(world.n(2), one->ino), "bbcc");
}

TEST_P(FileRemote, APeerThatDiesLeavesNothingUnpublishedBehind) {
  World world(3);
  SimFileRef one = Must(world.n(1)->Create("a", O_RDWR, GetParam()));
  EXPECT_OK(world.n(1)->Write(one, 0, "aaaa"));
  SimFileRef two = Must(world.n(2)->Open(one->ino, O_RDWR));
  EXPECT_OK(world.n(1)->Close(one));
  EXPECT_OK(world.n(2)->Write(two, 0, "bb"));
  world.node(2)->ExpireSession();
  world.Advance(10'000'000);
  // Published or dropped, but the same for everybody.
  EXPECT_EQ(All(world.n(1), one->ino), All(world.n(3), one->ino));
}

TEST_P(FileRemote, RemoteTruncateAllocateAndSeek) {
  World world(2);
  SimFileRef one = Must(world.n(1)->Create("a", O_RDWR, GetParam()));
  EXPECT_OK(world.n(1)->Write(one, 0, std::string(100'000, 'x')));
  SimFileRef two = Must(world.n(2)->Open(one->ino, O_RDWR));
  EXPECT_OK(world.n(2)->Truncate(two, 10));
  EXPECT_EQ(world.n(1)->Stat(one->ino)->size(), 10u);
  EXPECT_EQ(*world.n(1)->Read(one, 0, 100), std::string(10, 'x'));
  Waiter<Status> allocated;
  world.node(2)->files()->Allocate(two->handle, 0, 0, 1000, allocated.callback());
  EXPECT_OK(allocated.Get());
  EXPECT_EQ(world.n(2)->Stat(one->ino)->size(), 1000u);
  Waiter<Result<uint64_t>> data;
  world.node(2)->files()->Seek(two->handle, 0, SEEK_DATA, data.callback());
  EXPECT_EQ(*data.Get(), 0u);
  Waiter<Result<uint64_t>> past;
  world.node(2)->files()->Seek(two->handle, 5000, SEEK_DATA, past.callback());
  EXPECT_TRUE(past.Get().status().Is(Code::kNotFound));
  EXPECT_OK(world.n(2)->Close(two));
  EXPECT_OK(world.n(1)->Close(one));
  EXPECT_EQ(world.Attr(one->ino).size(), 1000u);
}

TEST_P(FileRemote, FreshCapabilitiesAreAskedFor) {
  World world(2);
  SimFileRef one = Must(world.n(1)->Create("a", O_RDWR, GetParam()));
  SimFileRef two = Must(world.n(2)->Open(one->ino, O_RDWR));
  EXPECT_OK(world.n(2)->Write(two, 0, "a"));
  world.ExpireTokens();
  EXPECT_OK(world.n(2)->Write(two, 1, "b"));
  world.ExpireTokens();
  EXPECT_EQ(*world.n(2)->Read(two, 0, 10), "ab");
  EXPECT_OK(world.n(2)->Close(two));
  EXPECT_OK(world.n(1)->Close(one));
}

TEST_P(FileRemote, AnUnreachableHomeIsAnIoError) {
  World world(2);
  SimFileRef one = Must(world.n(1)->Create("a", O_RDWR, GetParam()));
  EXPECT_OK(world.n(1)->Write(one, 0, "a"));
  SimFileRef two = Must(world.n(2)->Open(one->ino, O_RDWR));
  world.SetUp(1, false);
  EXPECT_EQ(world.n(2)->Write(two, 0, "b").Errno(), EIO);
  EXPECT_EQ(world.n(2)->Read(two, 0, 1).status().Errno(), EIO);
  EXPECT_EQ(world.n(2)->Close(two).Errno(), EIO);
  world.SetUp(1, true);
  EXPECT_OK(world.n(1)->Close(one));
}

TEST_P(FileRemote, ReadersBesideARemoteWriterOfTheirNodeSeeItsWrites) {
  World world(2);
  SimFileRef one = Must(world.n(1)->Create("a", O_RDWR, GetParam()));
  EXPECT_OK(world.n(1)->Write(one, 0, "aaaa"));
  EXPECT_OK(world.n(1)->Fsync(one));
  SimFileRef before = Must(world.n(2)->Open(one->ino, O_RDONLY));
  EXPECT_EQ(*world.n(2)->Read(before, 0, 4), "aaaa");
  SimFileRef two = Must(world.n(2)->Open(one->ino, O_RDWR));
  SimFileRef after = Must(world.n(2)->Open(one->ino, O_RDONLY));
  EXPECT_OK(world.n(2)->Write(two, 0, "b"));
  EXPECT_EQ(*world.n(2)->Read(after, 0, 4), "baaa");
  EXPECT_OK(world.n(2)->Write(two, 1, "b"));
  EXPECT_EQ(*world.n(2)->Read(after, 0, 4), "bbaa");
  for (auto& file : {before, after, two}) EXPECT_OK(world.n(2)->Close(file));
  EXPECT_OK(world.n(1)->Close(one));
}

// What SQLite does in rollback mode, with writers on both nodes taking turns under a lock.
TEST(FileRemoteLocks, TwoNodesTakeTurns) {
  for (bool passthrough : {true, false}) {
    World world(2, passthrough);
    SimFileRef files[2];
    files[0] = Must(world.n(1)->Create("db", O_RDWR, meta::CLASS_DURABLE));
    EXPECT_OK(world.n(1)->Write(files[0], 0, std::string(8192, '0')));
    EXPECT_OK(world.n(1)->Fsync(files[0]));
    files[1] = Must(world.n(2)->Open(files[0]->ino, O_RDWR));
    const Ino ino = files[0]->ino;
    int counter = 0;
    for (int turn = 0; turn < 12; ++turn) {
      const int node = turn % 2;
      SimKernel* mount = world.n(node + 1);
      EXPECT_OK(Lock(world.node(node + 1), ino));
      std::string text = *mount->Read(files[node], 4096, 4);
      if (turn > 0) {
        EXPECT_EQ(text, std::to_string(1000 + counter));
      }
      ++counter;
      EXPECT_OK(mount->Write(files[node], 4096, std::to_string(1000 + counter)));
      EXPECT_OK(mount->Fsync(files[node]));
      if (turn == 5) {
        // The home closes and opens again while the other still has it open.
        EXPECT_OK(world.n(1)->Close(files[0]));
        files[0] = Must(world.n(1)->Open(ino, O_RDWR));
      }
    }
    EXPECT_OK(world.n(1)->Close(files[0]));
    EXPECT_OK(world.n(2)->Close(files[1]));
    EXPECT_EQ(All(world.n(1), ino).substr(4096, 4), "1012");
    world.Advance(10'000'000);
    EXPECT_EQ(All(world.n(2), ino).substr(4096, 4), "1012");
  }
}

TEST(FileRemoteLocks, ALockShowsReadersTheNewestVersion) {
  World world(2, /*passthrough=*/false);
  SimFileRef one = Must(world.n(1)->Create("a", O_RDWR, meta::CLASS_DURABLE));
  EXPECT_OK(world.n(1)->Write(one, 0, "old"));
  EXPECT_OK(world.n(1)->Close(one));
  SimFileRef reader = Must(world.n(2)->Open(one->ino, O_RDONLY));
  EXPECT_EQ(*world.n(2)->Read(reader, 0, 3), "old");
  one = Must(world.n(1)->Open(one->ino, O_RDWR));
  EXPECT_OK(world.n(1)->Write(one, 0, "new"));
  EXPECT_OK(Lock(world.node(2), one->ino));
  EXPECT_EQ(*world.n(2)->Read(reader, 0, 3), "new");  // from the home, unpublished
  EXPECT_OK(world.n(1)->Close(one));
  EXPECT_OK(Lock(world.node(2), one->ino));
  EXPECT_EQ(*world.n(2)->Read(reader, 0, 3), "new");
  EXPECT_OK(world.n(2)->Close(reader));
}

TEST(FileRemoteLocks, ALockWithNothingNewKeepsThePages) {
  World world(2, /*passthrough=*/false);
  SimFileRef one = Must(world.n(1)->Create("a", O_RDWR));
  EXPECT_OK(world.n(1)->Write(one, 0, "old"));
  EXPECT_OK(world.n(1)->Close(one));
  SimFileRef reader = Must(world.n(2)->Open(one->ino, O_RDONLY));
  EXPECT_EQ(*world.n(2)->Read(reader, 0, 3), "old");
  const uint64_t before = world.n(2)->invalidations();
  EXPECT_OK(Lock(world.node(2), one->ino));
  EXPECT_EQ(world.n(2)->invalidations(), before);
  EXPECT_OK(world.n(2)->Close(reader));
}

TEST(FileRemoteCoherence, AnOpenReaderGoesOnWithTheNextVersionOfTheSameObject) {
  World world(2, /*passthrough=*/false);
  SimFileRef log = Must(world.n(1)->Create("log", O_WRONLY | O_APPEND));
  EXPECT_OK(world.n(1)->Write(log, 0, "one"));
  EXPECT_OK(world.n(1)->Flush(log));
  SimFileRef tail = Must(world.n(2)->Open(log->ino, O_RDONLY));
  EXPECT_EQ(*world.n(2)->Read(tail, 0, 100), "one");
  EXPECT_OK(world.n(1)->Write(log, 0, "two"));
  EXPECT_OK(world.n(1)->Flush(log));
  world.Advance(100'000);
  EXPECT_EQ(world.n(2)->Stat(log->ino)->size(), 6u);
  EXPECT_EQ(*world.n(2)->Read(tail, 0, 100), "onetwo");
  EXPECT_OK(world.n(1)->Close(log));
  EXPECT_OK(world.n(2)->Close(tail));
}

// The kernel has filled its last page with zeros, which a longer length would show.
TEST(FileRemoteCoherence, ALengthGrowsOnlyWhenThePagesBeforeItAreGone) {
  World world(2, /*passthrough=*/false);
  SimFileRef log = Must(world.n(1)->Create("log", O_WRONLY | O_APPEND, meta::CLASS_DURABLE));
  EXPECT_OK(world.n(1)->Write(log, 0, "one"));
  EXPECT_OK(world.n(1)->Flush(log));
  SimFileRef tail = Must(world.n(2)->Open(log->ino, O_RDONLY));
  EXPECT_EQ(*world.n(2)->Read(tail, 0, 100), "one");
  const auto older = [&] {
    return world.node(2)->files()->OlderSize(world.Attr(log->ino), tail->node_id);
  };
  std::vector<std::optional<uint64_t>> meanwhile;
  world.n(2)->before_invalidation = [&] { meanwhile.push_back(older()); };
  EXPECT_OK(world.n(1)->Write(log, 0, "two"));
  EXPECT_OK(world.n(1)->Flush(log));
  EXPECT_EQ(older(), 3u);
  meanwhile.clear();
  world.Advance(100'000);
  ASSERT_FALSE(meanwhile.empty());
  EXPECT_EQ(meanwhile.back(), 3u);
  EXPECT_EQ(older(), std::nullopt);
  EXPECT_EQ(*world.n(2)->Read(tail, 0, 100), "onetwo");
  world.n(2)->before_invalidation = nullptr;
  EXPECT_OK(world.n(1)->Close(log));
  EXPECT_OK(world.n(2)->Close(tail));
}

TEST(FileRemoteCoherence, AtTheHomeALengthGrowsOnlyWhenThePagesBeforeItAreGone) {
  World world(2, /*passthrough=*/false);
  SimFileRef log = Must(world.n(1)->Create("log", O_WRONLY));
  EXPECT_OK(world.n(1)->Write(log, 0, "one"));
  EXPECT_OK(world.n(1)->Close(log));
  SimFileRef tail = Must(world.n(1)->Open(log->ino, O_RDONLY));
  EXPECT_EQ(*world.n(1)->Read(tail, 0, 100), "one");
  const auto older = [&] {
    return world.node(1)->files()->OlderSize(world.Attr(log->ino), tail->node_id);
  };
  log = Must(world.n(2)->Open(log->ino, O_WRONLY | O_APPEND));
  std::vector<std::optional<uint64_t>> meanwhile;
  world.n(1)->before_invalidation = [&] { meanwhile.push_back(older()); };
  EXPECT_OK(world.n(2)->Write(log, 0, "two"));
  ASSERT_FALSE(meanwhile.empty());
  EXPECT_EQ(meanwhile.front(), 3u);
  EXPECT_EQ(older(), std::nullopt);
  EXPECT_EQ(world.n(1)->Stat(log->ino)->size(), 6u);
  EXPECT_EQ(*world.n(1)->Read(tail, 0, 100), "onetwo");
  world.n(1)->before_invalidation = nullptr;
  EXPECT_OK(world.n(2)->Close(log));
  EXPECT_OK(world.n(1)->Close(tail));
}

}  // namespace
}  // namespace f3::fs::test
