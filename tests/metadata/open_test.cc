// Who keeps which object when a file is opened to be replaced, and when old ones are dropped.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "metadata/open_table.h"
#include "tests/metadata/op_world.h"

namespace f3::meta {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

constexpr SessionId kReader = OpWorld::kSession + 1;

class OpenTest : public testing::Test, public OpWorld {
 protected:
  // An ephemeral file of 100 bytes with its home at kSession's node, closed.
  void SetUp() override {
    Request create = Create(root(), "f");
    create.mutable_create()->set_hint_class(CLASS_EPHEMERAL);
    create.mutable_create()->mutable_flags()->set_write(true);
    create.mutable_create()->mutable_flags()->set_read(false);
    const Reply created = Do(create);
    file_ = created.entry().attr().ino();
    Do(Publish(file_, created.open(), 100));
    Do(Close(file_, created.open(), 0, 1));
    first_ = created.open().incarnation();
  }

  OpenReply OpenAs(SessionId who, bool write) {
    Request request;
    request.mutable_open()->set_ino(file_);
    request.mutable_open()->mutable_flags()->set_read(!write);
    request.mutable_open()->mutable_flags()->set_write(write);
    request.mutable_open()->mutable_flags()->set_truncate(write);
    session = who;
    return Do(request).open();
  }

  Ino file_ = 0;
  Incarnation first_ = 0;
};

TEST_F(OpenTest, TheHomeTruncatesInPlaceWhenNobodyReadsElsewhere) {
  EXPECT_EQ(OpenAs(kSession, true).incarnation(), first_);
  EXPECT_THAT(effects.drops, IsEmpty());
}

TEST_F(OpenTest, AReaderElsewhereKeepsTheObjectThatIsReplacedAtItsHome) {
  OpenAs(kReader, false);
  const OpenReply open = OpenAs(kSession, true);
  EXPECT_EQ(open.role(), ROLE_HOME);
  EXPECT_NE(open.incarnation(), first_);
  ASSERT_THAT(effects.drops, SizeIs(1));
  EXPECT_EQ(effects.drops[0].object, (ObjectKey{file_, first_}));
  EXPECT_TRUE(effects.drops[0].after_readers);
}

TEST_F(OpenTest, HandlesAtTheHomeSeeTheTruncation) {
  OpenAs(kReader, false);
  OpenAs(kSession, false);
  EXPECT_EQ(OpenAs(kSession, true).incarnation(), first_);
}

TEST_F(OpenTest, AWriterElsewhereSeesTheTruncation) {
  Request append;
  append.mutable_open()->set_ino(file_);
  append.mutable_open()->mutable_flags()->set_write(true);
  session = kReader;
  ASSERT_EQ(Do(append).open().role(), ROLE_REMOTE);
  // Its handle is served by the home, which stays.
  OpenAs(kSession, false);
  EXPECT_EQ(OpenAs(kSession, true).incarnation(), first_);
}

TEST_F(OpenTest, WhoReplacesAFileReadElsewhereBecomesItsHome) {
  OpenAs(kSession, false);
  const OpenReply open = OpenAs(kReader, true);
  EXPECT_EQ(open.role(), ROLE_HOME);
  EXPECT_NE(open.incarnation(), first_);
  ASSERT_THAT(effects.drops, SizeIs(1));
  EXPECT_TRUE(effects.drops[0].after_readers);
}

TEST_F(OpenTest, AFileThatARenameReplacesCanStillBeOpenedByWhoHadLookedItUp) {
  session = kSession;
  Do(MkFile(root(), "new"));
  leased_elsewhere = {file_};
  Do(Rename(root(), "new", root(), "f"));
  const OpenReply open = OpenAs(kReader, false);
  EXPECT_EQ(open.incarnation(), first_);
  // It may be opened again while the first close is on its way.
  now_ns -= 2'000'000'000;
  Do(Close(file_, open, 1, 0));
  const OpenReply again = OpenAs(kReader, false);
  now_ns += 2'000'000'000;
  EXPECT_THAT(Expire(), testing::ElementsAre(file_));
  // From then on its last close is its end.
  Do(Close(file_, again, 1, 0));
  EXPECT_EQ(effects.drops.size(), 1u);
  Attr attr;
  EXPECT_EQ(Stat(file_, &attr), Code::kStale);
}

TEST_F(OpenTest, WhoLooksIntoItsDirectoryMayHaveLookedAReplacedFileUp) {
  session = kSession;
  Do(MkFile(root(), "new"));
  leased_elsewhere = {root()};
  Do(Rename(root(), "new", root(), "f"));
  EXPECT_EQ(OpenAs(kReader, false).incarnation(), first_);
}

TEST_F(OpenTest, AReplacedFileThatNobodyHadLookedUpGoesAtOnce) {
  session = kSession;
  Do(MkFile(root(), "new"));
  Do(Rename(root(), "new", root(), "f"));
  Attr attr;
  EXPECT_EQ(Stat(file_, &attr), Code::kStale);
}

TEST_F(OpenTest, AReplacedFileGoesWhenNobodyComesForIt) {
  session = kSession;
  Do(MkFile(root(), "new"));
  leased_elsewhere = {file_};
  Do(Rename(root(), "new", root(), "f"));
  Attr attr;
  EXPECT_EQ(Stat(file_, &attr), Code::kOk);
  EXPECT_EQ(attr.nlink(), 0u);
  now_ns += 2'000'000'000;
  EXPECT_THAT(Expire(), testing::ElementsAre(file_));
  EXPECT_EQ(Stat(file_, &attr), Code::kStale);
}

// ---- OpenTable ----

Drop OldObject(Incarnation incarnation) { return {3, {42, incarnation}, UINT64_MAX, true}; }

TEST(OpenTableTest, ADropIsDueAtOnceWhenOnlyItsCallerHasTheFileOpen) {
  OpenTable table;
  EXPECT_THAT(table.Apply(1, {42, 1, 1, 0}), IsEmpty());
  EXPECT_THAT(table.Hold(OldObject(1), 1), SizeIs(1));
}

TEST(OpenTableTest, ADropWaitsForTheLastReaderOfThen) {
  OpenTable table;
  EXPECT_THAT(table.Apply(2, {42, 1, 2, 0}), IsEmpty());
  EXPECT_THAT(table.Apply(3, {42, 1, 1, 0}), IsEmpty());
  EXPECT_THAT(table.Hold(OldObject(1), 1), IsEmpty());
  EXPECT_THAT(table.Apply(4, {42, 2, 1, 0}), IsEmpty());  // has the new one
  EXPECT_THAT(table.Apply(2, {42, 1, -1, 0}), IsEmpty());
  EXPECT_THAT(table.Apply(3, {42, 1, -1, 0}), IsEmpty());
  const auto due = table.Apply(2, {42, 1, -1, 0});
  ASSERT_THAT(due, SizeIs(1));
  EXPECT_EQ(due[0].object.incarnation, 1u);
  EXPECT_THAT(table.Apply(4, {42, 2, -1, 0}), IsEmpty());
}

TEST(OpenTableTest, AReaderThatNeverLetsGoKeepsOnlyTheNewestOnes) {
  OpenTable table;
  EXPECT_THAT(table.Apply(2, {42, 1, 1, 0}), IsEmpty());
  for (Incarnation i = 1; i <= 4; ++i) EXPECT_THAT(table.Hold(OldObject(i), 1), IsEmpty());
  const auto due = table.Hold(OldObject(5), 1);
  ASSERT_THAT(due, SizeIs(1));
  EXPECT_EQ(due[0].object.incarnation, 1u);
  EXPECT_THAT(table.Apply(2, {42, 1, -1, 0}), SizeIs(4));
}

}  // namespace
}  // namespace f3::meta
