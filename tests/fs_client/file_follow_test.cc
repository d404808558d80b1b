// Reading while writing, on one node and between nodes.
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

constexpr int32_t kWriter = 500, kReader = 600, kSibling = 501;

// A read that may wait.
struct PendingRead {
  PendingRead(Node* node, const SimFileRef& file, uint64_t offset, size_t length = 100)
      : bytes(length, '\0') {
    node->files()->Read(file->handle, offset, std::as_writable_bytes(std::span(bytes)),
                        waiter.callback());
  }
  Result<std::string> Get() {
    auto n = waiter.Get();
    if (!n.ok()) return n.status();
    return bytes.substr(0, *n);
  }
  std::string bytes;
  Waiter<Result<size_t>> waiter;
};

class FileFollow : public ::testing::TestWithParam<int> {
 protected:
  FileFollow() : world_(2) {
    world_.probe()->Set(kWriter, 1, kWriter);
    world_.probe()->Set(kSibling, kWriter, kWriter);
    world_.probe()->Set(kReader, 1, kReader);
    writer_ = Must(world_.n(1)->Create("a", O_WRONLY, meta::CLASS_EPHEMERAL, /*follow=*/true,
                                       meta::TIER_UNSET, kWriter));
  }
  int reader_node() const { return GetParam(); }
  Node* node() { return world_.node(reader_node()); }
  SimFileRef Reader(int32_t pid = kReader) {
    return Must(world_.n(reader_node())->Open(writer_->ino, O_RDONLY, pid));
  }
  void CloseWriter(int32_t pid = kWriter) {
    EXPECT_OK(world_.n(1)->Flush(writer_, pid));
    world_.n(1)->Release(writer_);
  }
  World world_;
  SimFileRef writer_;
};
INSTANTIATE_TEST_SUITE_P(ReaderOnNode, FileFollow, ::testing::Values(1, 2));

TEST_P(FileFollow, BytesArriveAsTheyAreWritten) {
  EXPECT_TRUE(writer_->direct);
  SimFileRef reader = Reader();
  EXPECT_TRUE(reader->direct);
  PendingRead first(node(), reader, 0);
  EXPECT_FALSE(first.waiter.ready());
  EXPECT_OK(world_.n(1)->Write(writer_, 0, "hello"));
  EXPECT_EQ(*first.Get(), "hello");
  PendingRead second(node(), reader, 5);
  EXPECT_FALSE(second.waiter.ready());
  EXPECT_OK(world_.n(1)->Write(writer_, 5, " world"));
  EXPECT_EQ(*second.Get(), " world");
  PendingRead end(node(), reader, 11);
  EXPECT_FALSE(end.waiter.ready());
  CloseWriter();
  EXPECT_EQ(*end.Get(), "");
  EXPECT_OK(world_.n(reader_node())->Close(reader));
}

TEST_P(FileFollow, AVanishedWriterIsAnErrorForFollowers) {
  SimFileRef reader = Reader();
  EXPECT_OK(world_.n(1)->Write(writer_, 0, "half"));
  EXPECT_EQ(*PendingRead(node(), reader, 0).Get(), "half");
  PendingRead waiting(node(), reader, 4);
  world_.probe()->Set(kWriter, 1, kWriter, /*dying=*/true);
  CloseWriter();
  EXPECT_TRUE(waiting.Get().status().Is(Code::kWriterVanished));
  EXPECT_TRUE(PendingRead(node(), reader, 4).Get().status().Is(Code::kWriterVanished));
  EXPECT_OK(world_.n(reader_node())->Close(reader));
  world_.node(1)->Settle();
  // Who opens it now sees what is there.
  SimFileRef later = Reader();
  EXPECT_EQ(*world_.n(reader_node())->Read(later, 0, 100), "half");
  EXPECT_OK(world_.n(reader_node())->Close(later));
}

TEST_P(FileFollow, ADyingProcessWhoseParentGoesOnWritingIsNotTheEnd) {
  SimFileRef reader = Reader();
  EXPECT_OK(world_.n(1)->Write(writer_, 0, "child"));
  world_.probe()->Set(kSibling, kWriter, kWriter, /*dying=*/true);
  EXPECT_OK(world_.n(1)->Flush(writer_, kSibling));
  EXPECT_OK(world_.n(1)->Write(writer_, 5, "parent"));
  CloseWriter();
  EXPECT_EQ(*PendingRead(node(), reader, 0).Get(), "childparent");
  EXPECT_EQ(*PendingRead(node(), reader, 11).Get(), "");
  EXPECT_OK(world_.n(reader_node())->Close(reader));
}

TEST_P(FileFollow, AWriteBehindTheWatermarkIsAnErrorForFollowers) {
  SimFileRef reader = Reader();
  EXPECT_OK(world_.n(1)->Write(writer_, 0, "0123456789"));
  EXPECT_EQ(*PendingRead(node(), reader, 0).Get(), "0123456789");
  EXPECT_OK(world_.n(1)->Write(writer_, 3, "x"));
  EXPECT_TRUE(PendingRead(node(), reader, 10).Get().status().Is(Code::kWriterVanished));
  EXPECT_OK(world_.n(reader_node())->Close(reader));
  CloseWriter();
}

TEST_P(FileFollow, AWaitCanBeInterrupted) {
  SimFileRef reader = Reader();
  PendingRead waiting(node(), reader, 0);
  node()->files()->Interrupt(reader->handle);
  EXPECT_TRUE(waiting.Get().status().Is(Code::kInterrupted));
  EXPECT_OK(world_.n(1)->Write(writer_, 0, "x"));
  EXPECT_EQ(*PendingRead(node(), reader, 0).Get(), "x");
  CloseWriter();
  EXPECT_OK(world_.n(reader_node())->Close(reader));
}

TEST_P(FileFollow, AWriterThatPausesIsWaitedFor) {
  SimFileRef reader = Reader();
  PendingRead waiting(node(), reader, 0);
  for (int i = 0; i < 10; ++i) world_.Advance(9'000'000);
  EXPECT_FALSE(waiting.waiter.ready());
  EXPECT_OK(world_.n(1)->Write(writer_, 0, "late"));
  EXPECT_EQ(*waiting.Get(), "late");
  CloseWriter();
  EXPECT_OK(world_.n(reader_node())->Close(reader));
}

TEST_P(FileFollow, OnceClosedItIsAnOrdinaryFile) {
  EXPECT_OK(world_.n(1)->Write(writer_, 0, "done"));
  EXPECT_OK(world_.n(1)->Close(writer_, kWriter));
  SimFileRef reader = Reader();
  EXPECT_FALSE(reader->direct);
  EXPECT_EQ(*world_.n(reader_node())->Read(reader, 0, 100), "done");
  EXPECT_OK(world_.n(reader_node())->Close(reader));
}

TEST(FileFollowRemote, ADeadNodeIsAnError) {
  World world(2);
  SimFileRef writer = Must(world.n(1)->Create("a", O_WRONLY, meta::CLASS_EPHEMERAL, true));
  SimFileRef reader = Must(world.n(2)->Open(writer->ino, O_RDONLY));
  EXPECT_OK(world.n(1)->Write(writer, 0, "half"));
  EXPECT_EQ(*PendingRead(world.node(2), reader, 0).Get(), "half");
  world.SetUp(1, false);
  EXPECT_EQ(PendingRead(world.node(2), reader, 4).Get().status().Errno(), EIO);
  EXPECT_OK(world.n(2)->Close(reader));
  EXPECT_OK(world.n(1)->Close(writer));
}

TEST(FileFollowLocal, NobodyWaitsForItself) {
  World world(1);
  world.probe()->Set(kWriter, 1, kWriter);
  world.probe()->Set(kSibling, kWriter, kWriter);
  world.probe()->Set(kReader, kSibling, kReader);  // a new session, but a descendant
  SimFileRef writer = Must(
      world.n(1)->Create("a", O_WRONLY, meta::CLASS_EPHEMERAL, true, meta::TIER_UNSET, kWriter));
  EXPECT_OK(world.n(1)->Write(writer, 0, "x"));
  for (int32_t pid : {kWriter, kSibling, kReader}) {
    SimFileRef reader = Must(world.n(1)->Open(writer->ino, O_RDONLY, pid));
    EXPECT_EQ(*world.n(1)->Read(reader, 0, 100), "x");
    EXPECT_EQ(*world.n(1)->Read(reader, 1, 100), "");
    EXPECT_OK(world.n(1)->Close(reader));
  }
  EXPECT_OK(world.n(1)->Close(writer));
}

TEST(FileFollowLocal, WithoutFollowTheEndIsTheEnd) {
  World world(2);
  SimFileRef writer = Must(world.n(1)->Create("a", O_WRONLY));
  EXPECT_OK(world.n(1)->Write(writer, 0, "x"));
  SimFileRef reader = Must(world.n(1)->Open(writer->ino, O_RDONLY));
  EXPECT_EQ(*world.n(1)->Read(reader, 0, 100), "x");
  EXPECT_EQ(*world.n(1)->Read(reader, 1, 100), "");
  EXPECT_OK(world.n(1)->Close(reader));
  SimFileRef elsewhere = Must(world.n(2)->Open(writer->ino, O_RDONLY));
  EXPECT_EQ(*world.n(2)->Read(elsewhere, 0, 100), "");
  EXPECT_OK(world.n(2)->Close(elsewhere));
  EXPECT_OK(world.n(1)->Close(writer));
}

TEST(FileFollowLocal, ShutdownEndsWaits) {
  World world(1);
  world.probe()->Set(kWriter, 1, kWriter);
  world.probe()->Set(kReader, 1, kReader);
  SimFileRef writer = Must(
      world.n(1)->Create("a", O_WRONLY, meta::CLASS_EPHEMERAL, true, meta::TIER_UNSET, kWriter));
  SimFileRef reader = Must(world.n(1)->Open(writer->ino, O_RDONLY, kReader));
  PendingRead waiting(world.node(1), reader, 0);
  world.node(1)->files()->Shutdown();
  EXPECT_TRUE(waiting.Get().status().Is(Code::kInterrupted));
}

}  // namespace
}  // namespace f3::fs::test
