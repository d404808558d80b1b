// Publishing, sealing, mappings, errors of the durable store, sizes and ranges.
#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <sys/mman.h>

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

TEST(FilePublish, FlushPublishesOnceAndOnlyWhatChanged) {
  for (auto file_class : {meta::CLASS_EPHEMERAL, meta::CLASS_DURABLE}) {
    World world(1);
    SimFileRef file = Must(world.n(1)->Create("a", O_WRONLY, file_class));
    const Version published = world.Attr(file->ino).version() + 1;
    EXPECT_OK(world.n(1)->Write(file, 0, "hello"));
    EXPECT_OK(world.n(1)->Flush(file));
    EXPECT_EQ(world.Attr(file->ino).size(), 5u);
    EXPECT_EQ(world.Attr(file->ino).version(), published);
    EXPECT_OK(world.n(1)->Flush(file));  // of a duplicated descriptor
    EXPECT_OK(world.n(1)->Fsync(file));
    EXPECT_OK(world.n(1)->Close(file));
    EXPECT_EQ(world.node(1)->calls(meta::Request::kPublish), 1u);
    EXPECT_EQ(world.Attr(file->ino).version(), published);
    EXPECT_EQ(world.Opens(file->ino, true), 0u);
    auto object = world.node(1)->objects()->Find({file->ino, world.Attr(file->ino).incarnation()});
    ASSERT_TRUE(object.ok());
    EXPECT_FALSE((*object)->info().writing);
    EXPECT_EQ((*object)->info().version, published);
  }
}

TEST(FilePublish, FsyncMakesAnEphemeralFileVisible) {
  World world(2);
  SimFileRef file = Must(world.n(1)->Create("a", O_WRONLY));
  EXPECT_OK(world.n(1)->Write(file, 0, "hello"));
  EXPECT_EQ(All(world.n(2), file->ino), "");
  EXPECT_OK(world.n(1)->Fsync(file));
  EXPECT_EQ(All(world.n(2), file->ino), "hello");
  EXPECT_OK(world.n(1)->Write(file, 5, " world"));
  EXPECT_OK(world.n(1)->Close(file));
  EXPECT_EQ(All(world.n(2), file->ino), "hello world");
}

TEST(FilePublish, AttributesFollowTheWriter) {
  World world(1);
  SimFileRef file = Must(world.n(1)->Create("a", O_WRONLY));
  EXPECT_OK(world.n(1)->Write(file, 0, std::string(10'000, 'x')));
  auto attr = world.n(1)->Stat(file->ino);
  EXPECT_EQ(attr->size(), 10'000u);
  EXPECT_GT(attr->allocated_bytes(), 0u);
  const int64_t past = 1'000'000'000'000'000'000;
  world.node(1)->files()->SetTimes(file->ino, nullptr, &past);
  EXPECT_EQ(world.n(1)->Stat(file->ino)->mtime_ns(), past);
  EXPECT_OK(world.n(1)->Close(file));
  EXPECT_EQ(world.Attr(file->ino).mtime_ns(), past);
}

TEST(FilePublish, SettingTimesOfAPublishedFileIsNoChange) {
  World world(1);
  SimFileRef file = Must(world.n(1)->Create("a", O_WRONLY));
  EXPECT_OK(world.n(1)->Write(file, 0, "x"));
  EXPECT_OK(world.n(1)->Flush(file));
  const int64_t past = 1'000'000'000'000'000'000;
  world.node(1)->files()->SetTimes(file->ino, &past, &past);
  EXPECT_OK(world.n(1)->Close(file));
  EXPECT_EQ(world.node(1)->calls(meta::Request::kPublish), 1u);
}

TEST(FilePublish, AFullDurableStoreIsReportedAndTheBytesAreKept) {
  World world(2);
  SimFileRef file = Must(world.n(1)->Create("a", O_RDWR, meta::CLASS_DURABLE));
  EXPECT_OK(world.n(1)->Write(file, 0, "old"));
  EXPECT_OK(world.n(1)->Fsync(file));
  const Version published = world.Attr(file->ino).version();
  EXPECT_OK(world.n(1)->Write(file, 0, "new"));
  world.FillDurable(true);
  EXPECT_TRUE(world.n(1)->Fsync(file).Is(Code::kNoSpace));
  EXPECT_TRUE(world.n(1)->Close(file).Is(Code::kNoSpace));
  EXPECT_EQ(world.Attr(file->ino).version(), published);
  EXPECT_EQ(All(world.n(2), file->ino), "old");
  EXPECT_EQ(All(world.n(1), file->ino), "new");  // one node is POSIX
  // Once there is room it is published without anybody's doing, and the home is free.
  world.FillDurable(false);
  world.Advance(60'000'000);
  EXPECT_EQ(world.Attr(file->ino).version(), published + 1);
  EXPECT_EQ(world.Opens(file->ino, true), 0u);
  EXPECT_EQ(All(world.n(2), file->ino), "new");
}

TEST(FilePublish, ARetriedCloseAfterNoSpaceSucceeds) {
  World world(1);
  SimFileRef file = Must(world.n(1)->Create("a", O_RDWR, meta::CLASS_DURABLE));
  EXPECT_OK(world.n(1)->Write(file, 0, "bytes"));
  world.FillDurable(true);
  EXPECT_TRUE(world.n(1)->Flush(file).Is(Code::kNoSpace));
  world.FillDurable(false);
  EXPECT_OK(world.n(1)->Close(file));
  EXPECT_EQ(world.Attr(file->ino).size(), 5u);
}

TEST(FilePublish, OnlyDirtyBlocksAreWritten) {
  World world(1);
  SimFileRef file = Must(world.n(1)->Create("a", O_RDWR, meta::CLASS_DURABLE));
  for (uint64_t at = 0; at < 3 * kBlockBytes; at += 1u << 20) {
    EXPECT_OK(world.n(1)->Write(file, at, std::string(1u << 20, 'a')));
  }
  EXPECT_OK(world.n(1)->Fsync(file));
  auto written = [&] { return world.node(1)->files()->counters().durable_written_bytes; };
  const uint64_t all = written();
  EXPECT_EQ(all, 3 * kBlockBytes);
  EXPECT_OK(world.n(1)->Write(file, 2 * kBlockBytes + 7, "b"));
  EXPECT_OK(world.n(1)->Fsync(file));
  EXPECT_EQ(written(), all + kBlockBytes);
  EXPECT_OK(world.n(1)->Close(file));
  EXPECT_EQ(written(), all + kBlockBytes);
}

// Unlinked objects stay readable through a mapping; what matters is what is written through it.
TEST(FilePublish, AMappingThatOutlivesItsDescriptorIsPublishedInTheEnd) {
  World world(2);
  SimFileRef file = Must(world.n(1)->Create("a", O_RDWR));
  EXPECT_OK(world.n(1)->Write(file, 0, std::string(4096, 'a')));
  char* map = static_cast<char*>(
      ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file->backing.get(), 0));
  ASSERT_NE(map, MAP_FAILED);
  map[0] = 'b';
  EXPECT_OK(world.n(1)->Close(file));
  // Not sealed, and the home is not given away.
  EXPECT_EQ(world.Opens(file->ino, true), 1u);
  map[1] = 'c';
  world.Advance(60'000'000);
  EXPECT_EQ(world.Opens(file->ino, true), 1u);
  map[2] = 'd';
  ::munmap(map, 4096);
  world.Advance(60'000'000);
  EXPECT_EQ(world.Opens(file->ino, true), 0u);
  EXPECT_EQ(All(world.n(2), file->ino).substr(0, 4), "bcda");
}

// The kernel lets a backing file go when the closing thread returns, which may be after its
// release.
TEST(FilePublish, ABackingFileLetGoLateMakesNoOtherVersion) {
  World world(1);
  world.Advance(60'000'000);  // no peer has written just now
  SimFileRef file = Must(world.n(1)->Create("a", O_WRONLY));
  EXPECT_OK(world.n(1)->Write(file, 0, "bytes"));
  UniqueFd late(::fcntl(file->backing.get(), F_DUPFD_CLOEXEC, 0));
  ASSERT_TRUE(late.valid());
  EXPECT_OK(world.n(1)->Close(file));
  EXPECT_EQ(world.Opens(file->ino, true), 1u);
  const auto version = world.Attr(file->ino).version();
  late.Reset();
  world.Advance(2'000);
  EXPECT_EQ(world.Opens(file->ino, true), 0u);
  EXPECT_EQ(world.Attr(file->ino).version(), version);
}

TEST(FilePublish, AReopenWhileAMappingKeepsTheObjectUnsealed) {
  World world(1);
  SimFileRef file = Must(world.n(1)->Create("a", O_RDWR));
  EXPECT_OK(world.n(1)->Write(file, 0, std::string(4096, 'a')));
  void* map = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file->backing.get(), 0);
  EXPECT_OK(world.n(1)->Close(file));
  SimFileRef again = Must(world.n(1)->Open(file->ino, O_RDWR));
  EXPECT_OK(world.n(1)->Write(again, 4096, "more"));
  ::munmap(map, 4096);
  EXPECT_OK(world.n(1)->Close(again));
  world.Advance(60'000'000);
  EXPECT_EQ(world.Opens(file->ino, true), 0u);
  EXPECT_EQ(world.Attr(file->ino).size(), 4100u);
}

TEST(FilePublish, TruncateByHandleAndByName) {
  for (auto file_class : {meta::CLASS_EPHEMERAL, meta::CLASS_DURABLE}) {
    World world(2);
    SimFileRef file = Must(world.n(1)->Create("a", O_RDWR, file_class));
    EXPECT_OK(world.n(1)->Write(file, 0, "0123456789"));
    EXPECT_OK(world.n(1)->Truncate(file, 4));
    EXPECT_EQ(world.n(1)->Stat(file->ino)->size(), 4u);
    EXPECT_OK(world.n(1)->Truncate(file, 8));
    EXPECT_OK(world.n(1)->Close(file));
    EXPECT_EQ(All(world.n(2), file->ino), std::string("0123\0\0\0\0", 8));
    EXPECT_OK(world.n(1)->TruncateByName(file->ino, 2));
    EXPECT_EQ(world.Attr(file->ino).size(), 2u);
    EXPECT_OK(world.n(2)->TruncateByName(file->ino, 1));
    EXPECT_EQ(world.Attr(file->ino).size(), 1u);
    EXPECT_EQ(All(world.n(1), file->ino), "0");
    EXPECT_OK(world.n(2)->TruncateByName(file->ino, 0));
    EXPECT_EQ(All(world.n(1), file->ino), "");
    EXPECT_EQ(world.Opens(file->ino, true), 0u);
  }
}

TEST(FilePublish, TruncationAndRegrowthOfAPartlyStagedFile) {
  World world(2);
  SimFileRef file = Must(world.n(1)->Create("a", O_WRONLY, meta::CLASS_DURABLE));
  EXPECT_OK(world.n(1)->Write(file, 0, std::string(2 * kBlockBytes, 'x')));
  EXPECT_OK(world.n(1)->Close(file));
  SimFileRef writer = Must(world.n(2)->Open(file->ino, O_RDWR));
  EXPECT_OK(world.n(2)->Truncate(writer, kBlockBytes / 2));
  EXPECT_OK(world.n(2)->Truncate(writer, 2 * kBlockBytes));
  EXPECT_EQ(*world.n(2)->Read(writer, kBlockBytes / 2 - 1, 2), std::string("x\0", 2));
  EXPECT_OK(world.n(2)->Write(writer, kBlockBytes + 1, "y"));
  EXPECT_OK(world.n(2)->Close(writer));
  SimFileRef reader = Must(world.n(1)->Open(file->ino, O_RDONLY));
  EXPECT_EQ(*world.n(1)->Read(reader, kBlockBytes / 2 - 1, 2), std::string("x\0", 2));
  EXPECT_EQ(*world.n(1)->Read(reader, kBlockBytes, 3), std::string("\0y\0", 3));
  EXPECT_OK(world.n(1)->Close(reader));
}

TEST(FilePublish, AllocatePunchAndSeek) {
  World world(1);
  FileManager* files = world.node(1)->files();
  SimFileRef file = Must(world.n(1)->Create("a", O_RDWR, meta::CLASS_DURABLE));
  EXPECT_OK(world.n(1)->Write(file, 0, std::string(1u << 20, 'x')));
  auto allocate = [&](int mode, uint64_t offset, uint64_t length) {
    Waiter<Status> waiter;
    files->Allocate(file->handle, mode, offset, length, waiter.callback());
    return waiter.Get();
  };
  auto seek = [&](uint64_t offset, int whence) {
    Waiter<Result<uint64_t>> waiter;
    files->Seek(file->handle, offset, whence, waiter.callback());
    return waiter.Get();
  };
  EXPECT_OK(allocate(0, 0, 2u << 20));
  EXPECT_EQ(world.n(1)->Stat(file->ino)->size(), 2u << 20);
  EXPECT_OK(allocate(FALLOC_FL_KEEP_SIZE, 0, 4u << 20));
  EXPECT_EQ(world.n(1)->Stat(file->ino)->size(), 2u << 20);
  EXPECT_OK(allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 256u << 10, 256u << 10));
  EXPECT_TRUE(allocate(FALLOC_FL_COLLAPSE_RANGE, 0, 4096).Is(Code::kNotSupported));
  EXPECT_EQ(*seek(0, SEEK_HOLE), 256u << 10);
  EXPECT_EQ(*seek(300u << 10, SEEK_DATA), 512u << 10);
  EXPECT_TRUE(seek(10u << 20, SEEK_DATA).status().Is(Code::kNotFound));
  EXPECT_OK(world.n(1)->Close(file));
  SimFileRef reader = Must(world.n(1)->Open(file->ino, O_RDONLY));
  EXPECT_EQ(*world.n(1)->Read(reader, (256u << 10) - 1, 2), std::string("x\0", 2));
  EXPECT_OK(world.n(1)->Close(reader));
}

TEST(FilePublish, CopyRangeWithinTheNode) {
  World world(2);
  SimFileRef in = Must(world.n(1)->Create("in", O_RDWR));
  EXPECT_OK(world.n(1)->Write(in, 0, std::string(100'000, 'i')));
  SimFileRef out = Must(world.n(1)->Create("out", O_RDWR, meta::CLASS_DURABLE));
  Waiter<Result<size_t>> waiter;
  world.node(1)->files()->CopyRange(in->handle, 10, out->handle, 20, 50'000, waiter.callback());
  EXPECT_EQ(*waiter.Get(), 50'000u);
  EXPECT_OK(world.n(1)->Close(in));
  EXPECT_OK(world.n(1)->Close(out));
  EXPECT_EQ(All(world.n(2), out->ino), std::string(20, '\0') + std::string(50'000, 'i'));
  // From what is elsewhere, by reading and writing.
  SimFileRef remote = Must(world.n(2)->Open(in->ino, O_RDONLY));
  SimFileRef local = Must(world.n(2)->Create("local", O_RDWR));
  Waiter<Result<size_t>> second;
  world.node(2)->files()->CopyRange(remote->handle, 0, local->handle, 0, 1u << 20,
                                    second.callback());
  EXPECT_EQ(*second.Get(), 100'000u);
  EXPECT_OK(world.n(2)->Close(remote));
  EXPECT_OK(world.n(2)->Close(local));
  EXPECT_EQ(All(world.n(1), local->ino), std::string(100'000, 'i'));
}

TEST(FilePublish, AnUnlinkedFileLivesUntilItsLastClose) {
  World world(1);
  SimFileRef file = Must(world.n(1)->Create("a", O_RDWR));
  EXPECT_OK(world.n(1)->Write(file, 0, "bytes"));
  meta::Request unlink;
  unlink.mutable_unlink()->set_parent(world.root());
  unlink.mutable_unlink()->set_name("a");
  meta::Reply reply;
  EXPECT_OK(world.node(1)->meta()->Call(unlink, &reply));
  EXPECT_EQ(*world.n(1)->Read(file, 0, 10), "bytes");
  EXPECT_OK(world.n(1)->Write(file, 5, "!"));
  EXPECT_OK(world.n(1)->Close(file));
  meta::Request look;
  look.mutable_getattr()->set_ino(file->ino);
  EXPECT_TRUE(world.node(1)->meta()->Call(look, &reply).Is(Code::kStale));
}

TEST(FilePublish, ConvertBothWays) {
  World world(2);
  auto convert = [&](int node, Ino ino, meta::FileClass to) {
    Waiter<Status> waiter;
    world.node(node)->files()->Convert(ino, to, waiter.callback());
    Status status = waiter.Get();
    world.node(node)->Settle();
    return status;
  };
  SimFileRef file = Must(world.n(1)->Create("a", O_WRONLY));
  EXPECT_OK(world.n(1)->Write(file, 0, "content"));
  EXPECT_OK(world.n(1)->Close(file));
  EXPECT_OK(convert(1, file->ino, meta::CLASS_DURABLE));
  EXPECT_EQ(world.Attr(file->ino).file_class(), meta::CLASS_DURABLE);
  EXPECT_EQ(world.Location(file->ino).blocks_size(), 1);
  world.SetUp(1, false);
  EXPECT_EQ(All(world.n(2), file->ino), "content");  // from the durable store
  world.SetUp(1, true);
  EXPECT_OK(convert(2, file->ino, meta::CLASS_EPHEMERAL));
  EXPECT_EQ(world.Attr(file->ino).file_class(), meta::CLASS_EPHEMERAL);
  EXPECT_EQ(world.Location(file->ino).blocks_size(), 0);
  EXPECT_EQ(world.Attr(file->ino).home(), 2u);
  EXPECT_EQ(All(world.n(1), file->ino), "content");
  EXPECT_EQ(All(world.n(2), file->ino), "content");
  EXPECT_EQ(world.Opens(file->ino, true), 0u);
}

TEST(FilePublish, ConvertWhileItIsOpenForWritingHere) {
  World world(2);
  SimFileRef file = Must(world.n(1)->Create("a", O_RDWR));
  EXPECT_OK(world.n(1)->Write(file, 0, "content"));
  Waiter<Status> waiter;
  world.node(1)->files()->Convert(file->ino, meta::CLASS_DURABLE, waiter.callback());
  EXPECT_OK(waiter.Get());
  EXPECT_OK(world.n(1)->Write(file, 0, "C"));  // through the backing file, past the daemon
  EXPECT_OK(world.n(1)->Close(file));
  world.SetUp(1, false);
  EXPECT_EQ(All(world.n(2), file->ino), "Content");
}

TEST(FilePublish, ConvertOfAFileThatIsWrittenElsewhereIsBusy) {
  World world(2);
  SimFileRef file = Must(world.n(1)->Create("a", O_RDWR));
  EXPECT_OK(world.n(1)->Write(file, 0, "content"));
  EXPECT_OK(world.n(1)->Flush(file));
  Waiter<Status> waiter;
  world.node(2)->files()->Convert(file->ino, meta::CLASS_DURABLE, waiter.callback());
  // Busy is tried again for a while: the writer's kernel may only be late to let go.
  while (!waiter.ready()) world.Advance(10'000);
  EXPECT_TRUE(waiter.Get().Is(Code::kBusy));
  EXPECT_OK(world.n(1)->Close(file));
}

TEST(FilePublish, ConvertWaitsForACloseElsewhereThatIsLate) {
  World world(2);
  SimFileRef file = Must(world.n(1)->Create("a", O_RDWR));
  EXPECT_OK(world.n(1)->Write(file, 0, "content"));
  EXPECT_OK(world.n(1)->Flush(file));
  Waiter<Status> waiter;
  world.node(2)->files()->Convert(file->ino, meta::CLASS_DURABLE, waiter.callback());
  EXPECT_OK(world.n(1)->Close(file));
  while (!waiter.ready()) world.Advance(10'000);
  EXPECT_OK(waiter.Get());
  EXPECT_EQ(All(world.n(2), file->ino), "content");
}

TEST(FilePublish, ASharedShutdownPublishes) {
  World world(2);
  SimFileRef file = Must(world.n(1)->Create("a", O_RDWR, meta::CLASS_DURABLE));
  EXPECT_OK(world.n(1)->Write(file, 0, "bytes"));
  world.node(1)->files()->Shutdown();
  EXPECT_EQ(All(world.n(2), file->ino), "bytes");
}

}  // namespace
}  // namespace f3::fs::test
