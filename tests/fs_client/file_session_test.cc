// Sessions that end, agents that restart, objects that go away.
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

Ino Make(SimKernel* mount, const std::string& name, const std::string& bytes,
         meta::FileClass file_class = meta::CLASS_EPHEMERAL) {
  SimFileRef file = Must(mount->Create(name, O_WRONLY, file_class));
  EXPECT_OK(mount->Write(file, 0, bytes));
  EXPECT_OK(mount->Close(file));
  return file->ino;
}

TEST(FileSession, HandlesLiveOnWhenNothingChanged) {
  for (auto file_class : {meta::CLASS_EPHEMERAL, meta::CLASS_DURABLE}) {
    World world(2, /*passthrough=*/false);
    SimFileRef file = Must(world.n(1)->Create("a", O_RDWR, file_class));
    EXPECT_OK(world.n(1)->Write(file, 0, "one"));
    EXPECT_OK(world.n(1)->Flush(file));
    EXPECT_OK(world.n(1)->Write(file, 3, "two"));
    world.node(1)->ExpireSession();
    EXPECT_EQ(*world.n(1)->Read(file, 0, 10), "onetwo");
    EXPECT_OK(world.n(1)->Write(file, 6, "three"));
    EXPECT_OK(world.n(1)->Close(file));
    EXPECT_EQ(All(world.n(2), file->ino), "onetwothree");
    EXPECT_EQ(world.Opens(file->ino, true), 0u);
  }
}

TEST(FileSession, HandlesAreDeadWhenTheFileWasWrittenMeanwhile) {
  World world(2, /*passthrough=*/false);
  SimFileRef file = Must(world.n(1)->Create("a", O_RDWR, meta::CLASS_DURABLE));
  EXPECT_OK(world.n(1)->Write(file, 0, "mine"));
  world.node(1)->files()->OnSessionExpired();
  EXPECT_EQ(world.n(1)->Read(file, 0, 10).status().Errno(), EIO);
  EXPECT_EQ(world.n(1)->Write(file, 0, "x").Errno(), EIO);
  world.node(1)->ExpireSession();
  // It came back in time; now it does not.
  EXPECT_OK(world.n(1)->Write(file, 0, "MINE"));
  world.node(1)->files()->OnSessionExpired();
  world.EndSession(world.node(1)->session());
  SimFileRef other = Must(world.n(2)->Open(file->ino, O_WRONLY | O_TRUNC));
  EXPECT_OK(world.n(2)->Write(other, 0, "theirs"));
  EXPECT_OK(world.n(2)->Close(other));
  world.node(1)->ExpireSession();
  EXPECT_EQ(world.n(1)->Write(file, 0, "x").Errno(), EIO);
  EXPECT_EQ(world.n(1)->Flush(file).Errno(), EIO);
  world.n(1)->Release(file);
  world.node(1)->Settle();
  EXPECT_EQ(All(world.n(1), file->ino), "theirs");
  EXPECT_EQ(world.Opens(file->ino, true), 0u);
}

TEST(FileSession, OpenFilesAreReclaimed) {
  World world(1);
  SimFileRef writer = Must(world.n(1)->Create("a", O_RDWR));
  SimFileRef reader = Must(world.n(1)->Open(writer->ino, O_RDONLY));
  auto open = world.node(1)->files()->OpenFiles();
  ASSERT_EQ(open.size(), 1u);
  EXPECT_EQ(open[0].ino(), writer->ino);
  EXPECT_EQ(open[0].readers(), 1u);
  EXPECT_EQ(open[0].writers(), 1u);
  EXPECT_OK(world.n(1)->Close(writer));
  EXPECT_OK(world.n(1)->Close(reader));
  EXPECT_TRUE(world.node(1)->files()->OpenFiles().empty());
}

TEST(FileSession, ARestartKeepsHomesAndCopies) {
  World world(2);
  const Ino ino = Make(world.n(1), "a", "home");
  All(world.n(2), ino);
  world.node(1)->Restart();
  EXPECT_OK(world.node(1)->files()->Recover());
  world.node(2)->Restart();
  EXPECT_OK(world.node(2)->files()->Recover());
  SimFileRef reader = Must(world.n(2)->Open(ino, O_RDONLY));
  EXPECT_TRUE(reader->passthrough());
  EXPECT_EQ(*world.n(2)->Read(reader, 0, 10), "home");
  EXPECT_OK(world.n(2)->Close(reader));
  EXPECT_EQ(All(world.n(1), ino), "home");
}

TEST(FileSession, ARestartPublishesEphemeralFilesAsFound) {
  World world(2);
  SimFileRef file = Must(world.n(1)->Create("a", O_WRONLY));
  EXPECT_OK(world.n(1)->Write(file, 0, "published"));
  EXPECT_OK(world.n(1)->Fsync(file));
  EXPECT_OK(world.n(1)->Write(file, 9, " and more"));
  world.node(1)->Restart();
  EXPECT_OK(world.node(1)->files()->Recover());
  EXPECT_EQ(All(world.n(2), file->ino), "published and more");
}

TEST(FileSession, ARestartDropsStagingThatWasNotPublished) {
  World world(2);
  SimFileRef file = Must(world.n(1)->Create("a", O_RDWR, meta::CLASS_DURABLE));
  EXPECT_OK(world.n(1)->Write(file, 0, "published"));
  EXPECT_OK(world.n(1)->Fsync(file));
  EXPECT_OK(world.n(1)->Write(file, 0, "PUBLISHED"));
  world.node(1)->Restart();
  EXPECT_OK(world.node(1)->files()->Recover());
  EXPECT_EQ(world.node(1)->objects()->List().size(), 0u);
  EXPECT_EQ(All(world.n(1), file->ino), "published");
  EXPECT_EQ(All(world.n(2), file->ino), "published");
}

TEST(FileSession, UnwantedObjectsAreRemovedAtStart) {
  World world(2);
  const Ino ino = Make(world.n(1), "a", "content");
  All(world.n(2), ino);
  world.node(2)->files()->Shutdown();
  SimFileRef writer = Must(world.n(1)->Open(ino, O_WRONLY | O_TRUNC));
  EXPECT_OK(world.n(1)->Write(writer, 0, "newer"));
  EXPECT_OK(world.n(1)->Close(writer));
  world.node(2)->Restart();
  EXPECT_OK(world.node(2)->files()->Recover());
  EXPECT_EQ(world.node(2)->objects()->List().size(), 0u);
  EXPECT_EQ(All(world.n(2), ino), "newer");
}

TEST(FileSession, DroppedObjectsGoUnlessTheyAreNewer) {
  World world(1);
  const Ino ino = Make(world.n(1), "a", "content");
  const meta::Attr attr = world.Attr(ino);
  const ObjectKey key{ino, attr.incarnation()};
  world.node(1)->files()->OnDrop(key, attr.version() - 1);
  world.node(1)->Settle();
  EXPECT_TRUE(world.node(1)->objects()->Find(key).ok());
  SimFileRef reader = Must(world.n(1)->Open(ino, O_RDONLY));
  world.node(1)->files()->OnDrop(key, attr.version());
  world.node(1)->Settle();
  EXPECT_FALSE(world.node(1)->objects()->Find(key).ok());
  EXPECT_EQ(*world.n(1)->Read(reader, 0, 10), "content");
  EXPECT_OK(world.n(1)->Close(reader));
}

TEST(FileSession, AnObjectBeingWrittenIsNotDropped) {
  World world(1);
  SimFileRef file = Must(world.n(1)->Create("a", O_RDWR));
  const ObjectKey key{file->ino, world.Attr(file->ino).incarnation()};
  world.node(1)->files()->OnDrop(key, UINT64_MAX);
  world.node(1)->Settle();
  EXPECT_TRUE(world.node(1)->objects()->Find(key).ok());
  EXPECT_OK(world.n(1)->Close(file));
}

TEST(FileSession, EvictedCopiesAreReported) {
  World world(2);
  const Ino ino = Make(world.n(1), "a", "content");
  All(world.n(2), ino);
  world.node(2)->Settle();
  EXPECT_EQ(world.Location(ino).holders_size(), 2);
  // More room than there can be: everything that may go goes.
  const uint64_t all = world.node(2)->objects()->usage().disk_capacity;
  world.node(2)->objects()->MakeRoom(storage::TierKind::kDisk, all).PermitUnchecked();
  world.node(2)->Settle();
  EXPECT_EQ(world.Location(ino).holders_size(), 1);
  EXPECT_EQ(All(world.n(2), ino), "content");
}

TEST(FileSession, PrefetchBringsAVerifiedCopy) {
  World world(2);
  const Ino ino = Make(world.n(1), "a", "content");
  Waiter<Status> waiter;
  world.node(2)->files()->Prefetch(ino, waiter.callback());
  EXPECT_OK(waiter.Get());
  world.node(2)->Settle();
  EXPECT_EQ(world.Location(ino).holders_size(), 2);
  SimFileRef reader = Must(world.n(2)->Open(ino, O_RDONLY));
  EXPECT_TRUE(reader->passthrough());
  EXPECT_OK(world.n(2)->Close(reader));
  EXPECT_EQ(world.Opens(ino, false), 0u);
}

}  // namespace
}  // namespace f3::fs::test
