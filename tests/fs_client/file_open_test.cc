// What an open is served from and how the kernel is told to treat it.
#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <sys/mman.h>

#include <filesystem>

#include "common/unique_fd.h"
#include "tests/fs_client/file_world.h"

namespace f3::fs::test {
namespace {

SimFileRef Must(Result<SimFileRef> file) {
  EXPECT_TRUE(file.ok()) << file.status().ToString();
  return file.ok() ? *file : std::make_shared<SimFile>();
}
#define EXPECT_OK(expr)                    \
  do {                                     \
    ::f3::Status s_ = (expr);              \
    EXPECT_TRUE(s_.ok()) << s_.ToString(); \
  } while (0)

std::string All(SimKernel* mount, Ino ino) {
  SimFileRef file = Must(mount->Open(ino, O_RDONLY));
  auto bytes = mount->Read(file, 0, 1u << 20);
  EXPECT_TRUE(bytes.ok()) << bytes.status().ToString();
  EXPECT_OK(mount->Close(file));
  return bytes.ok() ? *bytes : "";
}

Ino Make(SimKernel* mount, const std::string& name, const std::string& bytes,
         meta::FileClass file_class = meta::CLASS_EPHEMERAL) {
  SimFileRef file = Must(mount->Create(name, O_WRONLY, file_class));
  EXPECT_OK(mount->Write(file, 0, bytes));
  EXPECT_OK(mount->Close(file));
  return file->ino;
}

TEST(FileOpen, EphemeralFileAtHomeIsPassthrough) {
  World world(1);
  SimFileRef file = Must(world.n(1)->Create("a", O_RDWR));
  EXPECT_TRUE(file->passthrough());
  EXPECT_FALSE(file->direct);
  EXPECT_OK(world.n(1)->Write(file, 0, "hello"));
  // A second handle shares the backing id while the first lives.
  SimFileRef reader = Must(world.n(1)->Open(file->ino, O_RDONLY));
  EXPECT_EQ(reader->backing_id, file->backing_id);
  EXPECT_EQ(*world.n(1)->Read(reader, 0, 10), "hello");
  EXPECT_EQ(world.n(1)->open_backings(), 1u);
  EXPECT_OK(world.n(1)->Close(file));
  EXPECT_EQ(world.n(1)->open_backings(), 1u);
  EXPECT_OK(world.n(1)->Close(reader));
  EXPECT_EQ(world.n(1)->open_backings(), 0u);
  EXPECT_EQ(All(world.n(1), file->ino), "hello");
  EXPECT_EQ(world.Opens(file->ino, true), 0u);
  EXPECT_EQ(world.Opens(file->ino, false), 0u);
}

// ext4 would write it to the disk at its close.
TEST(FileOpen, AFileThatAnOpenMakesIsNotTruncated) {
  World world(1);
  UniqueFd changes(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  const std::string objects = world.dir() + "/node1/disk/objects";
  for (const auto& entry : std::filesystem::directory_iterator(objects)) {
    ASSERT_GE(::inotify_add_watch(changes.get(), entry.path().c_str(), IN_MODIFY), 0);
  }
  char events[4096];
  SimFileRef file = Must(world.n(1)->Create("a", O_WRONLY | O_TRUNC));
  EXPECT_EQ(::read(changes.get(), events, sizeof(events)), -1);
  EXPECT_OK(world.n(1)->Write(file, 0, "hello"));
  EXPECT_OK(world.n(1)->Close(file));
  EXPECT_GT(::read(changes.get(), events, sizeof(events)), 0);  // this sees what is changed
  EXPECT_EQ(All(world.n(1), file->ino), "hello");
  file = Must(world.n(1)->Open(file->ino, O_WRONLY | O_TRUNC));
  EXPECT_GT(::read(changes.get(), events, sizeof(events)), 0);
  EXPECT_OK(world.n(1)->Close(file));
  EXPECT_EQ(All(world.n(1), file->ino), "");
}

TEST(FileOpen, WithoutPassthroughEverythingGoesThroughTheDaemon) {
  World world(1, /*passthrough=*/false);
  SimFileRef file = Must(world.n(1)->Create("a", O_RDWR));
  EXPECT_FALSE(file->passthrough());
  EXPECT_OK(world.n(1)->Write(file, 0, "hello"));
  EXPECT_EQ(*world.n(1)->Read(file, 1, 3), "ell");
  EXPECT_OK(world.n(1)->Close(file));
  EXPECT_EQ(All(world.n(1), file->ino), "hello");
}

TEST(FileOpen, FallsBackWhenTheKernelRefusesABackingFile) {
  World world(1);
  world.n(1)->refuse_backing = true;
  SimFileRef file = Must(world.n(1)->Create("a", O_RDWR));
  EXPECT_FALSE(file->passthrough());
  EXPECT_OK(world.n(1)->Write(file, 0, "x"));
  EXPECT_OK(world.n(1)->Close(file));
  EXPECT_EQ(All(world.n(1), file->ino), "x");
}

TEST(FileOpen, DurableModes) {
  World world(1);
  SimKernel* n1 = world.n(1);
  // New and write-only: passthrough until it is published.
  SimFileRef fresh = Must(n1->Create("w", O_WRONLY, meta::CLASS_DURABLE));
  EXPECT_TRUE(fresh->passthrough());
  EXPECT_OK(n1->Write(fresh, 0, "1"));
  // Beside a live passthrough handle only passthrough is allowed; bytes go through the daemon.
  SimFileRef beside = Must(n1->Open(fresh->ino, O_RDWR));
  EXPECT_EQ(beside->backing_id, fresh->backing_id);
  EXPECT_TRUE(beside->direct);
  EXPECT_OK(n1->Write(beside, 1, "2"));
  EXPECT_OK(n1->Close(beside));
  EXPECT_OK(n1->Close(fresh));
  EXPECT_EQ(All(n1, fresh->ino), "12");
  // Read and write: the daemon has to see what is dirty.
  SimFileRef rw = Must(n1->Create("rw", O_RDWR, meta::CLASS_DURABLE));
  EXPECT_FALSE(rw->passthrough());
  EXPECT_FALSE(rw->direct);
  EXPECT_OK(n1->Write(rw, 0, "abc"));
  EXPECT_OK(n1->Close(rw));
  // Written again: not new.
  SimFileRef again = Must(n1->Open(rw->ino, O_WRONLY));
  EXPECT_FALSE(again->passthrough());
  EXPECT_OK(n1->Close(again));
  SimFileRef truncated = Must(n1->Open(rw->ino, O_WRONLY | O_TRUNC));
  EXPECT_TRUE(truncated->passthrough());
  EXPECT_OK(n1->Close(truncated));
  EXPECT_EQ(world.Attr(rw->ino).size(), 0u);
  // The kernel must not keep pages of appends.
  SimFileRef append = Must(n1->Open(rw->ino, O_WRONLY | O_APPEND));
  EXPECT_TRUE(append->direct);
  EXPECT_OK(n1->Close(append));
  // What is published is here, whole: read at full speed.
  SimFileRef reader = Must(n1->Open(fresh->ino, O_RDONLY));
  EXPECT_TRUE(reader->passthrough());
  EXPECT_OK(n1->Close(reader));
}

TEST(FileOpen, FirstReadElsewhereIsFetchedAndBecomesACopy) {
  for (auto file_class : {meta::CLASS_EPHEMERAL, meta::CLASS_DURABLE}) {
    World world(2);
    const Ino ino = Make(world.n(1), "a", "content", file_class);
    SimFileRef first = Must(world.n(2)->Open(ino, O_RDONLY));
    EXPECT_FALSE(first->passthrough());
    EXPECT_EQ(*world.n(2)->Read(first, 0, 100), "content");
    world.node(2)->Settle();
    EXPECT_EQ(world.node(2)->calls(meta::Request::kAddCopy), 1u);
    // Beside the cached handle the next is cached too.
    SimFileRef second = Must(world.n(2)->Open(ino, O_RDONLY));
    EXPECT_FALSE(second->passthrough());
    EXPECT_OK(world.n(2)->Close(first));
    EXPECT_OK(world.n(2)->Close(second));
    SimFileRef third = Must(world.n(2)->Open(ino, O_RDONLY));
    EXPECT_TRUE(third->passthrough());
    EXPECT_EQ(*world.n(2)->Read(third, 0, 100), "content");
    EXPECT_OK(world.n(2)->Close(third));
  }
}

TEST(FileOpen, ANewerVersionBehindALivePassthroughHandleIsANewKernelInode) {
  World world(2);
  const Ino ino = Make(world.n(1), "a", "version one");
  All(world.n(2), ino);
  SimFileRef old = Must(world.n(2)->Open(ino, O_RDONLY));
  ASSERT_TRUE(old->passthrough());
  SimFileRef writer = Must(world.n(1)->Open(ino, O_WRONLY | O_TRUNC));
  EXPECT_OK(world.n(1)->Write(writer, 0, "version two!"));
  EXPECT_OK(world.n(1)->Close(writer));
  SimFileRef fresh = Must(world.n(2)->Open(ino, O_RDONLY));
  EXPECT_NE(fresh->node_id, old->node_id);
  EXPECT_EQ(*world.n(2)->Read(fresh, 0, 100), "version two!");
  EXPECT_EQ(*world.n(2)->Read(old, 0, 100), "version one");
  EXPECT_OK(world.n(2)->Close(old));
  EXPECT_OK(world.n(2)->Close(fresh));
  EXPECT_EQ(world.Opens(ino, false), 0u);
  EXPECT_EQ(world.n(2)->open_backings(), 0u);
}

TEST(FileOpen, TheHomeMovesWithACopy) {
  World world(2);
  const Ino ino = Make(world.n(1), "a", "content");
  const Incarnation before = world.Attr(ino).incarnation();
  All(world.n(2), ino);
  SimFileRef writer = Must(world.n(2)->Open(ino, O_RDWR));
  EXPECT_TRUE(writer->passthrough());
  EXPECT_EQ(world.Attr(ino).home(), 2u);
  EXPECT_NE(world.Attr(ino).incarnation(), before);
  EXPECT_EQ(*world.n(2)->Read(writer, 0, 100), "content");
  EXPECT_OK(world.n(2)->Write(writer, 0, "C"));
  EXPECT_OK(world.n(2)->Close(writer));
  // The old home's object is garbage, and was dropped.
  EXPECT_FALSE(world.node(1)->objects()->Find({ino, before}).ok());
  EXPECT_EQ(All(world.n(1), ino), "Content");
}

TEST(FileOpen, TheHomeMovesWhileTheCopyIsOpenHere) {
  World world(2);
  const Ino ino = Make(world.n(1), "a", "content");
  All(world.n(2), ino);
  SimFileRef reader = Must(world.n(2)->Open(ino, O_RDONLY));
  SimFileRef writer = Must(world.n(2)->Open(ino, O_RDWR));
  EXPECT_OK(world.n(2)->Write(writer, 0, "C"));
  EXPECT_OK(world.n(2)->Close(writer));
  EXPECT_OK(world.n(2)->Close(reader));
  EXPECT_EQ(All(world.n(1), ino), "Content");
}

TEST(FileOpen, TruncationElsewhereMovesTheHome) {
  World world(2);
  const Ino ino = Make(world.n(1), "a", "long content");
  SimFileRef writer = Must(world.n(2)->Open(ino, O_WRONLY | O_TRUNC));
  EXPECT_TRUE(writer->passthrough());
  EXPECT_EQ(world.Attr(ino).home(), 2u);
  EXPECT_EQ(world.Attr(ino).size(), 0u);
  EXPECT_OK(world.n(2)->Write(writer, 0, "new"));
  EXPECT_OK(world.n(2)->Close(writer));
  EXPECT_EQ(All(world.n(1), ino), "new");
}

TEST(FileOpen, TruncationInPlaceIsSeenByOpenHandles) {
  World world(1);
  for (auto file_class : {meta::CLASS_EPHEMERAL, meta::CLASS_DURABLE}) {
    const std::string name = file_class == meta::CLASS_DURABLE ? "d" : "e";
    SimFileRef writer = Must(world.n(1)->Create(name, O_RDWR, file_class));
    EXPECT_OK(world.n(1)->Write(writer, 0, "0123456789"));
    SimFileRef truncating = Must(world.n(1)->Open(writer->ino, O_WRONLY | O_TRUNC));
    EXPECT_EQ(*world.n(1)->Read(writer, 0, 100), "");
    EXPECT_OK(world.n(1)->Write(truncating, 0, "ab"));
    EXPECT_EQ(*world.n(1)->Read(writer, 0, 100), "ab");
    EXPECT_OK(world.n(1)->Close(writer));
    EXPECT_OK(world.n(1)->Close(truncating));
    EXPECT_EQ(All(world.n(1), writer->ino), "ab");
  }
}

TEST(FileOpen, OneNodeIsPosixForHandlesThatTheDaemonServes) {
  World world(2, /*passthrough=*/false);
  const Ino ino = Make(world.n(1), "a", "from node one", meta::CLASS_DURABLE);
  SimFileRef reader = Must(world.n(2)->Open(ino, O_RDONLY));
  EXPECT_EQ(*world.n(2)->Read(reader, 0, 4), "from");
  SimFileRef writer = Must(world.n(2)->Open(ino, O_RDWR));
  EXPECT_OK(world.n(2)->Write(writer, 0, "FROM"));
  EXPECT_EQ(*world.n(2)->Read(reader, 0, 4), "FROM");
  EXPECT_OK(world.n(2)->Close(writer));
  EXPECT_OK(world.n(2)->Close(reader));
  EXPECT_EQ(All(world.n(1), ino), "FROM node one");
}

TEST(FileOpen, TwoMountsOfOneNodeAgree) {
  World world(1, /*passthrough=*/false);
  SimKernel* other = world.node(1)->AddMount(false);
  SimFileRef writer = Must(world.n(1)->Create("a", O_RDWR, meta::CLASS_DURABLE));
  EXPECT_OK(world.n(1)->Write(writer, 0, "aaaa"));
  SimFileRef reader = Must(other->Open(writer->ino, O_RDONLY));
  EXPECT_EQ(*other->Read(reader, 0, 4), "aaaa");
  EXPECT_OK(world.n(1)->Write(writer, 1, "bb"));
  EXPECT_EQ(*other->Read(reader, 0, 4), "abba");
  EXPECT_OK(world.n(1)->Close(writer));
  EXPECT_OK(other->Close(reader));
}

TEST(FileOpen, PagesAreKeptAcrossOpensOfOneVersion) {
  World world(2, /*passthrough=*/false);
  const Ino ino = Make(world.n(1), "a", "content");
  SimFileRef first = Must(world.n(2)->Open(ino, O_RDONLY));
  EXPECT_EQ(*world.n(2)->Read(first, 0, 7), "content");
  EXPECT_OK(world.n(2)->Close(first));
  const uint64_t before = world.node(2)->files()->counters().local_read_bytes;
  EXPECT_EQ(All(world.n(2), ino), "content");
  EXPECT_EQ(world.node(2)->files()->counters().local_read_bytes, before);
  SimFileRef writer = Must(world.n(1)->Open(ino, O_RDWR));
  EXPECT_OK(world.n(1)->Write(writer, 0, "C"));
  EXPECT_OK(world.n(1)->Close(writer));
  EXPECT_EQ(All(world.n(2), ino), "Content");
}

TEST(FileOpen, UnreachableAndLostContentIsAnError) {
  World world(3);
  const Ino ino = Make(world.n(1), "a", "content");
  world.SetUp(1, false);
  EXPECT_TRUE(world.n(2)->Open(ino, O_RDONLY).status().Is(Code::kUnavailable));
  EXPECT_EQ(world.Opens(ino, false), 0u);
  world.SetUp(1, true);
  EXPECT_EQ(All(world.n(2), ino), "content");
  // The copy serves while the home is down.
  world.SetUp(1, false);
  EXPECT_EQ(All(world.n(3), ino), "content");
}

TEST(FileOpen, EmptyFilesNeedNoBytes) {
  World world(2);
  SimFileRef file = Must(world.n(1)->Create("a", O_WRONLY));
  EXPECT_OK(world.n(1)->Close(file));
  EXPECT_EQ(world.node(1)->calls(meta::Request::kPublish), 0u);
  EXPECT_EQ(All(world.n(2), file->ino), "");
}

TEST(FileOpen, PartialUpdateOfALargeDurableFile) {
  World world(2);
  std::string big(3 * kBlockBytes, 'x');
  const Ino ino = Make(world.n(1), "big", big, meta::CLASS_DURABLE);
  const uint64_t written = world.node(1)->files()->counters().durable_written_bytes;
  EXPECT_EQ(written, big.size());
  SimFileRef writer = Must(world.n(2)->Open(ino, O_RDWR));
  EXPECT_OK(world.n(2)->Write(writer, kBlockBytes + 5, "Y"));
  EXPECT_EQ(*world.n(2)->Read(writer, kBlockBytes + 4, 3), "xYx");
  EXPECT_OK(world.n(2)->Close(writer));
  // One block was read and one written; the partial staging object is no copy.
  EXPECT_EQ(world.node(2)->files()->counters().durable_written_bytes, kBlockBytes);
  EXPECT_EQ(world.Location(ino).holders_size(), 0);
  SimFileRef reader = Must(world.n(1)->Open(ino, O_RDONLY));
  EXPECT_EQ(*world.n(1)->Read(reader, kBlockBytes + 4, 3), "xYx");
  EXPECT_EQ(*world.n(1)->Read(reader, 3 * kBlockBytes - 2, 10), "xx");
  EXPECT_OK(world.n(1)->Close(reader));
}

TEST(FileOpen, WhatCannotBeACopyYetIsNoOtherVersion) {
  World world(2);
  SimFileRef writer = Must(world.n(1)->Create("a", O_WRONLY));
  EXPECT_OK(world.n(1)->Write(writer, 0, "content"));
  EXPECT_OK(world.n(1)->Flush(writer));  // published, but not sealed
  SimFileRef first = Must(world.n(2)->Open(writer->ino, O_RDONLY));
  EXPECT_EQ(*world.n(2)->Read(first, 0, 100), "content");
  world.node(2)->Settle();
  SimFileRef second = Must(world.n(2)->Open(writer->ino, O_RDONLY));
  EXPECT_EQ(second->node_id, first->node_id) << "the kernel was told ESTALE";
  EXPECT_EQ(*world.n(2)->Read(second, 0, 100), "content");
  EXPECT_OK(world.n(2)->Close(first));
  EXPECT_OK(world.n(2)->Close(second));
  EXPECT_OK(world.n(1)->Close(writer));
}

TEST(FileOpen, ReadersOfADurableFileBeingWrittenSeeWhatIsPublished) {
  World world(2);
  const Ino ino = Make(world.n(1), "a", "published", meta::CLASS_DURABLE);
  SimFileRef writer = Must(world.n(1)->Open(ino, O_RDWR));
  EXPECT_OK(world.n(1)->Write(writer, 0, "PUBL"));
  SimFileRef reader = Must(world.n(2)->Open(ino, O_RDONLY));
  EXPECT_EQ(*world.n(2)->Read(reader, 0, 100), "published");
  EXPECT_OK(world.n(2)->Close(reader));
  EXPECT_OK(world.n(1)->Fsync(writer));
  EXPECT_EQ(All(world.n(2), ino), "PUBLished");
  EXPECT_OK(world.n(1)->Close(writer));
}

}  // namespace
}  // namespace f3::fs::test
