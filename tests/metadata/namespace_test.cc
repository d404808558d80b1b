// The POSIX operations on names: create, lookup, link, unlink, rename, symlinks, readdir.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "tests/metadata/op_world.h"

namespace f3::meta {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class NamespaceTest : public ::testing::Test, protected OpWorld {
 protected:
  // Every history must leave a store that checks out.
  void TearDown() override { EXPECT_THAT(Problems(), IsEmpty()); }

  Ino Made(const Request& request) { return Do(request).entry().attr().ino(); }
  // 0 when there is no such name.
  Ino Find(Ino parent, const std::string& name) {
    Reply reply;
    Status status = Call(Lookup(parent, name), &reply);
    EXPECT_TRUE(status.ok() || status.Is(Code::kNotFound)) << status.ToString();
    return reply.entry().attr().ino();
  }
  std::vector<std::string> Names(Ino directory) {
    std::vector<std::string> names;
    const Reply reply = Do(ReadDir(directory));
    for (const DirEntry& entry : reply.entries()) names.push_back(entry.name());
    return names;
  }
  uint32_t Links(Ino ino) { return Get(ino).nlink(); }
  bool IsGone(Ino ino) {
    Attr attr;
    return Stat(ino, &attr) == Code::kStale;
  }
};

TEST_F(NamespaceTest, CreateMakesAnEmptyFileOfTheCaller) {
  const Attr before = Get(root());
  const Reply reply = Do(Create(root(), "f", 0666));
  const Attr& attr = reply.entry().attr();
  EXPECT_TRUE(reply.open().created());
  EXPECT_EQ(attr.mode(), S_IFREG | 0644u);  // the umask is 022
  EXPECT_EQ(attr.nlink(), 1u);
  EXPECT_EQ(attr.uid(), 1000u);
  EXPECT_EQ(attr.gid(), 100u);
  EXPECT_EQ(attr.size(), 0u);
  EXPECT_EQ(attr.atime_ns(), now_ns);
  EXPECT_EQ(attr.mtime_ns(), now_ns);
  EXPECT_EQ(attr.ctime_ns(), now_ns);
  const int64_t created_ns = now_ns;
  const Attr after = Get(root());
  EXPECT_EQ(after.mtime_ns(), created_ns);
  EXPECT_EQ(after.ctime_ns(), created_ns);
  EXPECT_EQ(after.atime_ns(), before.atime_ns());
  EXPECT_EQ(after.nlink(), before.nlink());
  EXPECT_EQ(Find(root(), "f"), attr.ino());
}

TEST_F(NamespaceTest, CreateOfAnExistingNameOpensItUnlessExclusive) {
  const Ino ino = Made(Create(root(), "f"));
  caller.set_uid(1);
  const Reply again = Do(Create(root(), "f", 0600));
  EXPECT_EQ(again.entry().attr().ino(), ino);
  EXPECT_EQ(again.entry().attr().uid(), 1000u);
  EXPECT_EQ(again.entry().attr().mode(), S_IFREG | 0644u);
  EXPECT_FALSE(again.open().created());
  EXPECT_EQ(Try(Create(root(), "f", 0600, true)), Code::kExists);
  Made(MkDir(root(), "d"));
  EXPECT_EQ(Try(Create(root(), "d")), Code::kIsDirectory);
  EXPECT_EQ(Try(Create(root(), "d", 0644, true)), Code::kExists);
  // The kernel follows a link that it finds; O_EXCL does not follow.
  const Ino link = Made(Symlink(root(), "l", "f"));
  EXPECT_EQ(Made(Create(root(), "l")), link);
  EXPECT_EQ(Try(Create(root(), "l", 0644, true)), Code::kExists);
}

TEST_F(NamespaceTest, LookupFindsNamesAndDots) {
  const Ino d = Made(MkDir(root(), "d"));
  const Ino e = Made(MkDir(d, "e"));
  EXPECT_EQ(Find(d, "."), d);
  EXPECT_EQ(Find(e, ".."), d);
  EXPECT_EQ(Find(root(), ".."), root());
  EXPECT_EQ(Find(d, "E"), 0u);
  EXPECT_EQ(Find(d, "e "), 0u);
  EXPECT_EQ(Find(d, ""), 0u);
  const Ino f = Made(MkFile(d, "f"));
  EXPECT_EQ(Try(Lookup(f, "x")), Code::kNotDirectory);
  EXPECT_EQ(Try(Lookup(12345, "x")), Code::kStale);
}

TEST_F(NamespaceTest, NamesHaveAtMost255Bytes) {
  const std::string longest(255, 'n');
  const std::string too_long(256, 'n');
  const Ino f = Made(MkFile(root(), "f"));
  EXPECT_EQ(Try(Create(root(), too_long)), Code::kNameTooLong);
  EXPECT_EQ(Try(MkDir(root(), too_long)), Code::kNameTooLong);
  EXPECT_EQ(Try(Link(f, root(), too_long)), Code::kNameTooLong);
  EXPECT_EQ(Try(Rename(root(), "f", root(), too_long)), Code::kNameTooLong);
  EXPECT_EQ(Try(Lookup(root(), too_long)), Code::kNameTooLong);
  EXPECT_EQ(Try(Rename(root(), "f", root(), longest)), Code::kOk);
  EXPECT_EQ(Find(root(), longest), f);
}

TEST_F(NamespaceTest, SomeNamesCannotBeGiven) {
  const Ino f = Made(MkFile(root(), "f"));
  for (const std::string& name : {std::string(), std::string("."), std::string(".."),
                                  std::string("a/b"), std::string("a\0b", 3)}) {
    EXPECT_EQ(Try(Create(root(), name)), Code::kInvalidArgument) << name;
    EXPECT_EQ(Try(MkDir(root(), name)), Code::kInvalidArgument) << name;
    EXPECT_EQ(Try(Link(f, root(), name)), Code::kInvalidArgument) << name;
    EXPECT_EQ(Try(Rename(root(), "f", root(), name)), Code::kInvalidArgument) << name;
    EXPECT_EQ(Try(Rename(root(), name, root(), "g")), Code::kInvalidArgument) << name;
  }
  const std::string odd = "\xff\x01 \n*";
  EXPECT_EQ(Made(MkFile(root(), odd)), Find(root(), odd));
}

TEST_F(NamespaceTest, MkdirCountsInItsParent) {
  const uint32_t before = Links(root());
  const Reply reply = Do(MkDir(root(), "d", 0777));
  EXPECT_EQ(reply.entry().attr().mode(), S_IFDIR | 0755u);
  EXPECT_EQ(reply.entry().attr().nlink(), 2u);
  EXPECT_EQ(Links(root()), before + 1);
  EXPECT_EQ(Try(MkDir(root(), "d")), Code::kExists);
  Made(MkFile(root(), "f"));
  EXPECT_EQ(Try(MkDir(root(), "f")), Code::kExists);
  EXPECT_EQ(Links(root()), before + 1);
}

TEST_F(NamespaceTest, RmdirTakesOnlyEmptyDirectories) {
  const uint32_t before = Links(root());
  const Ino d = Made(MkDir(root(), "d"));
  Made(MkFile(d, "f"));
  EXPECT_EQ(Try(RmDir(root(), "d")), Code::kNotEmpty);
  EXPECT_EQ(Try(RmDir(d, "f")), Code::kNotDirectory);
  EXPECT_EQ(Try(Unlink(root(), "d")), Code::kIsDirectory);
  EXPECT_EQ(Try(RmDir(root(), "absent")), Code::kNotFound);
  EXPECT_EQ(Try(RmDir(d, ".")), Code::kInvalidArgument);
  EXPECT_EQ(Try(Unlink(d, "..")), Code::kIsDirectory);
  Do(Unlink(d, "f"));
  Do(RmDir(root(), "d"));
  EXPECT_EQ(Find(root(), "d"), 0u);
  EXPECT_TRUE(IsGone(d));
  EXPECT_EQ(Links(root()), before);
}

TEST_F(NamespaceTest, NothingIsMadeInARemovedDirectory) {
  const Ino d = Made(MkDir(root(), "d"));
  const Ino f = Made(MkFile(root(), "f"));
  Do(RmDir(root(), "d"));
  EXPECT_EQ(Try(Create(d, "x")), Code::kStale);
  EXPECT_EQ(Try(MkDir(d, "x")), Code::kStale);
  EXPECT_EQ(Try(Link(f, d, "x")), Code::kStale);
  EXPECT_EQ(Try(Rename(root(), "f", d, "x")), Code::kStale);
  EXPECT_EQ(Try(ReadDir(d)), Code::kStale);
}

TEST_F(NamespaceTest, UnlinkTakesTheFileWithItsLastName) {
  const Ino f = Made(MkFile(root(), "f"));
  Do(SetXattr(f, "user.x", "1"));
  Do(Link(f, root(), "g"));
  Do(Unlink(root(), "f"));
  EXPECT_EQ(Links(f), 1u);
  EXPECT_EQ(Do(GetXattr(f, "user.x")).data(), "1");
  Do(Unlink(root(), "g"));
  EXPECT_TRUE(IsGone(f));
  EXPECT_FALSE(HasRows(RowKey(Row::kXattr, f)));
  EXPECT_EQ(Try(Unlink(root(), "g")), Code::kNotFound);
}

TEST_F(NamespaceTest, AnUnlinkedFileLivesUntilItsLastClose) {
  const Reply mine = Do(Create(root(), "f"));
  const Ino f = mine.entry().attr().ino();
  session = kSession + 1;
  const Reply other = Do(Create(root(), "f"));
  Do(Unlink(root(), "f"));
  EXPECT_EQ(Find(root(), "f"), 0u);
  EXPECT_EQ(Links(f), 0u);
  EXPECT_NE(Made(MkFile(root(), "f")), f);
  Do(Close(f, other.open(), 1, 0));
  EXPECT_EQ(Links(f), 0u);
  session = kSession;
  Do(Close(f, mine.open(), 1, 0));
  EXPECT_TRUE(IsGone(f));
  EXPECT_FALSE(HasRows(RowKey(Row::kOrphan, f)));
  EXPECT_NE(Find(root(), "f"), 0u);
}

TEST_F(NamespaceTest, ATemporaryFileHasANameOnceItIsLinked) {
  Request tmpfile = Create(root(), "");
  tmpfile.mutable_create()->set_tmpfile(true);
  const Reply kept = Do(tmpfile);
  const Reply dropped = Do(tmpfile);
  EXPECT_THAT(Names(root()), IsEmpty());
  EXPECT_EQ(kept.entry().attr().nlink(), 0u);
  Do(Link(kept.entry().attr().ino(), root(), "kept"));
  Do(Close(kept.entry().attr().ino(), kept.open(), 1, 0));
  Do(Close(dropped.entry().attr().ino(), dropped.open(), 1, 0));
  EXPECT_EQ(Links(kept.entry().attr().ino()), 1u);
  EXPECT_TRUE(IsGone(dropped.entry().attr().ino()));
}

TEST_F(NamespaceTest, LinkGivesAFileASecondName) {
  const Ino d = Made(MkDir(root(), "d"));
  const Ino f = Made(MkFile(root(), "f"));
  const Reply reply = Do(Link(f, d, "g"));
  const int64_t linked_ns = now_ns;
  EXPECT_EQ(reply.entry().attr().ino(), f);
  EXPECT_EQ(reply.entry().attr().nlink(), 2u);
  EXPECT_EQ(reply.entry().attr().ctime_ns(), linked_ns);
  EXPECT_LT(reply.entry().attr().mtime_ns(), linked_ns);
  EXPECT_EQ(Get(d).mtime_ns(), linked_ns);
  EXPECT_EQ(Find(d, "g"), f);
  EXPECT_EQ(Try(Link(f, d, "g")), Code::kExists);
  EXPECT_EQ(Try(Link(d, root(), "e")), Code::kNotPermitted);
  EXPECT_EQ(Try(Link(f, f, "e")), Code::kNotDirectory);
  EXPECT_EQ(Try(Link(12345, d, "e")), Code::kStale);
  const Ino l = Made(Symlink(root(), "l", "anywhere"));
  Do(Link(l, d, "l2"));
  EXPECT_EQ(Links(l), 2u);
}

TEST_F(NamespaceTest, AnEphemeralFileIsNotLinkedWhereFilesAreDurable) {
  const Ino scratch = Made(MkDir(root(), "scratch"));
  Do(SetXattr(scratch, "user.f3.class", "ephemeral"));
  const Ino f = Made(MkFile(scratch, "f"));
  EXPECT_EQ(Try(Link(f, root(), "f")), Code::kCrossDevice);
  EXPECT_EQ(Try(Rename(scratch, "f", root(), "f")), Code::kNeedsConversion);
  Do(Link(f, scratch, "g"));
  Do(Rename(scratch, "g", scratch, "h"));
  Request hinted = Rename(scratch, "h", root(), "h");
  hinted.mutable_rename()->set_hint_class(CLASS_EPHEMERAL);
  Do(hinted);
  // Exchanging is moving both ways.
  Made(MkFile(root(), "durable"));
  EXPECT_EQ(Try(Exchange(root(), "durable", scratch, "f")), Code::kNeedsConversion);
  EXPECT_EQ(Try(Exchange(scratch, "f", root(), "durable")), Code::kNeedsConversion);
  // A directory converts nothing.
  Do(Rename(root(), "scratch", root(), "moved"));
}

TEST_F(NamespaceTest, SymlinksKeepTheirTarget) {
  const std::string target = "../some/where";
  const Reply reply = Do(Symlink(root(), "l", target));
  EXPECT_EQ(reply.entry().attr().mode(), S_IFLNK | 0777u);  // no umask
  EXPECT_EQ(reply.entry().attr().size(), target.size());
  Request readlink;
  readlink.mutable_readlink()->set_ino(reply.entry().attr().ino());
  EXPECT_EQ(Do(readlink).data(), target);
  readlink.mutable_readlink()->set_ino(root());
  EXPECT_EQ(Try(readlink), Code::kInvalidArgument);
  EXPECT_EQ(Try(Symlink(root(), "m", std::string(4096, 't'))), Code::kNameTooLong);
  Made(Symlink(root(), "m", std::string(4095, 't')));
  EXPECT_EQ(Try(Symlink(root(), "l", "x")), Code::kExists);
}

TEST_F(NamespaceTest, SpecialFilesKeepTheirTypeAndDevice) {
  for (uint32_t type : {S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK}) {
    Request request = MakeNode(root(), "node" + std::to_string(type), type | 0600);
    request.mutable_make_node()->set_rdev(0x0107);
    const Attr attr = Do(request).entry().attr();
    EXPECT_EQ(attr.mode(), type | 0600);
    EXPECT_EQ(attr.rdev(), type == S_IFCHR || type == S_IFBLK ? 0x0107u : 0u);
  }
  EXPECT_EQ(Try(MakeNode(root(), "bad", 0600)), Code::kInvalidArgument);
}

// ---- rename ----

TEST_F(NamespaceTest, RenameMovesAName) {
  const Ino d = Made(MkDir(root(), "d"));
  const Ino f = Made(MkFile(root(), "f"));
  const Attr before = Get(f);
  const Reply reply = Do(Rename(root(), "f", d, "g"));
  const int64_t moved_ns = now_ns;
  EXPECT_EQ(reply.entry().attr().ino(), f);
  EXPECT_EQ(Find(root(), "f"), 0u);
  EXPECT_EQ(Find(d, "g"), f);
  EXPECT_EQ(Get(f).nlink(), 1u);
  EXPECT_EQ(Get(f).mtime_ns(), before.mtime_ns());
  EXPECT_EQ(Get(f).ctime_ns(), moved_ns);
  EXPECT_EQ(Get(root()).mtime_ns(), moved_ns);
  EXPECT_EQ(Get(d).mtime_ns(), moved_ns);
  EXPECT_EQ(Try(Rename(root(), "f", d, "h")), Code::kNotFound);
  EXPECT_EQ(Try(Rename(f, "x", d, "h")), Code::kNotDirectory);
  EXPECT_EQ(Try(Rename(d, "g", f, "x")), Code::kNotDirectory);
}

TEST_F(NamespaceTest, RenameReplacesAFile) {
  const Ino from = Made(MkFile(root(), "from"));
  const Ino to = Made(MkFile(root(), "to"));
  Do(Link(to, root(), "other"));
  Do(Rename(root(), "from", root(), "to"));
  EXPECT_EQ(Find(root(), "to"), from);
  EXPECT_THAT(Names(root()), ElementsAre("other", "to"));
  EXPECT_EQ(Links(to), 1u);
  Do(Rename(root(), "to", root(), "other"));
  EXPECT_TRUE(IsGone(to));
}

TEST_F(NamespaceTest, AReplacedFileThatIsOpenLivesOn) {
  const Reply opened = Do(Create(root(), "to"));
  const Ino to = opened.entry().attr().ino();
  Made(MkFile(root(), "from"));
  Do(Rename(root(), "from", root(), "to"));
  EXPECT_EQ(Links(to), 0u);
  Do(Close(to, opened.open(), 1, 0));
  EXPECT_TRUE(IsGone(to));
}

TEST_F(NamespaceTest, RenameReplacesAnEmptyDirectory) {
  const uint32_t before = Links(root());
  const Ino from = Made(MkDir(root(), "from"));
  const Ino kept = Made(MkFile(from, "kept"));
  const Ino to = Made(MkDir(root(), "to"));
  Do(Rename(root(), "from", root(), "to"));
  EXPECT_TRUE(IsGone(to));
  EXPECT_EQ(Find(Find(root(), "to"), "kept"), kept);
  EXPECT_EQ(Links(root()), before + 1);
  // Also across directories.
  const Ino d = Made(MkDir(root(), "d"));
  Made(MkDir(d, "to"));
  Do(Rename(root(), "to", d, "to"));
  EXPECT_EQ(Find(d, "to"), from);
  EXPECT_EQ(Find(from, ".."), d);
  EXPECT_EQ(Links(root()), before + 1);
  EXPECT_EQ(Links(d), 3u);
}

TEST_F(NamespaceTest, RenameDoesNotReplaceWhatPosixForbids) {
  const Ino d = Made(MkDir(root(), "d"));
  Made(MkDir(root(), "empty"));
  Made(MkFile(d, "f"));
  Made(MkFile(root(), "g"));
  EXPECT_EQ(Try(Rename(root(), "empty", root(), "d")), Code::kNotEmpty);
  EXPECT_EQ(Try(Rename(root(), "g", root(), "empty")), Code::kIsDirectory);
  EXPECT_EQ(Try(Rename(root(), "empty", root(), "g")), Code::kNotDirectory);
  EXPECT_EQ(Try(Rename(d, "f", root(), "d")), Code::kIsDirectory);
  const Ino e = Made(MkDir(d, "e"));
  EXPECT_EQ(Try(Rename(d, "e", root(), "d")), Code::kNotEmpty);  // over its own parent
  EXPECT_EQ(Find(d, "e"), e);
  EXPECT_THAT(Names(root()), ElementsAre("d", "empty", "g"));
}

TEST_F(NamespaceTest, ADirectoryIsNotMovedIntoItself) {
  const Ino a = Made(MkDir(root(), "a"));
  const Ino b = Made(MkDir(a, "b"));
  const Ino c = Made(MkDir(b, "c"));
  EXPECT_EQ(Try(Rename(root(), "a", a, "x")), Code::kInvalidArgument);
  EXPECT_EQ(Try(Rename(root(), "a", c, "x")), Code::kInvalidArgument);
  EXPECT_EQ(Try(Rename(root(), "a", b, "c")), Code::kInvalidArgument);
  EXPECT_EQ(Try(Exchange(root(), "a", b, "c")), Code::kInvalidArgument);
  EXPECT_EQ(Try(Exchange(b, "c", root(), "a")), Code::kInvalidArgument);
  EXPECT_EQ(Find(root(), "a"), a);
  Do(Rename(b, "c", root(), "c"));  // out of it is fine
  EXPECT_EQ(Find(c, ".."), root());
  Do(Rename(root(), "a", c, "a"));
  EXPECT_EQ(Find(a, ".."), c);
  EXPECT_EQ(Links(c), 3u);
}

TEST_F(NamespaceTest, RenameOfOneFileToItselfDoesNothing) {
  const Ino f = Made(MkFile(root(), "f"));
  const Ino d = Made(MkDir(root(), "d"));
  Do(Link(f, d, "g"));
  const Attr before = Get(root());
  Do(Rename(root(), "f", root(), "f"));
  Do(Rename(root(), "f", d, "g"));
  Do(Rename(root(), "d", root(), "d"));
  EXPECT_EQ(Find(root(), "f"), f);
  EXPECT_EQ(Find(d, "g"), f);
  EXPECT_EQ(Links(f), 2u);
  EXPECT_EQ(Get(root()).mtime_ns(), before.mtime_ns());
}

TEST_F(NamespaceTest, NoReplaceRefusesATakenName) {
  const Ino f = Made(MkFile(root(), "f"));
  const Ino g = Made(MkFile(root(), "g"));
  EXPECT_EQ(Try(NoReplace(root(), "f", root(), "g")), Code::kExists);
  EXPECT_EQ(Try(NoReplace(root(), "f", root(), "f")), Code::kExists);
  EXPECT_EQ(Find(root(), "g"), g);
  Do(NoReplace(root(), "f", root(), "h"));
  EXPECT_EQ(Find(root(), "h"), f);
}

TEST_F(NamespaceTest, ExchangeSwapsAnyTwoNames) {
  const uint32_t before = Links(root());
  const Ino d = Made(MkDir(root(), "d"));
  const Ino full = Made(MkDir(root(), "full"));
  const Ino inside = Made(MkFile(full, "inside"));
  const Ino f = Made(MkFile(d, "f"));
  Do(Exchange(root(), "full", d, "f"));
  EXPECT_EQ(Find(root(), "full"), f);
  EXPECT_EQ(Find(d, "f"), full);
  EXPECT_EQ(Find(full, ".."), d);
  EXPECT_EQ(Find(full, "inside"), inside);
  EXPECT_EQ(Links(root()), before + 1);
  EXPECT_EQ(Links(d), 3u);
  // In one directory, and two directories.
  const Ino e = Made(MkDir(root(), "e"));
  Do(Exchange(root(), "e", root(), "full"));
  EXPECT_EQ(Find(root(), "full"), e);
  EXPECT_EQ(Find(root(), "e"), f);
  Do(Exchange(d, "f", root(), "full"));
  EXPECT_EQ(Find(root(), "full"), full);
  EXPECT_EQ(Find(d, "f"), e);
  EXPECT_EQ(Find(e, ".."), d);
  EXPECT_EQ(Links(root()), before + 2);
  EXPECT_EQ(Links(d), 3u);
  EXPECT_EQ(Try(Exchange(root(), "e", root(), "absent")), Code::kNotFound);
  EXPECT_EQ(Try(Exchange(root(), "absent", root(), "e")), Code::kNotFound);
}

// ---- readdir and resolve ----

TEST_F(NamespaceTest, ReadDirGoesOnAfterTheLastName) {
  std::vector<std::string> names;
  const Ino d = Made(MkDir(root(), "d"));
  for (int i = 0; i < 10; ++i) {
    names.push_back("n" + std::to_string(i));
    Made(i % 2 == 0 ? MkFile(d, names.back()) : MkDir(d, names.back()));
  }
  std::vector<std::string> read;
  bool last = false;
  while (!last) {
    const Reply page = Do(ReadDir(d, 3, read.empty() ? "" : read.back()));
    ASSERT_LE(page.entries_size(), 3);
    EXPECT_EQ(page.number(), root());
    for (const DirEntry& entry : page.entries()) {
      EXPECT_EQ(entry.ino(), Find(d, entry.name()));
      EXPECT_EQ(entry.mode(), Get(entry.ino()).mode() & S_IFMT);
      read.push_back(entry.name());
    }
    last = page.last();
    // What is removed behind or ahead of the place does not disturb it.
    if (read.size() == 3) {
      Do(Unlink(d, "n2"));
      Do(RmDir(d, "n5"));
      names.erase(names.begin() + 5);
    }
  }
  EXPECT_EQ(read, names);
}

TEST_F(NamespaceTest, ReadDirGivesAttributesWhenAsked) {
  const Ino f = Made(MkFile(root(), "f", 0600));
  Request request = ReadDir(root());
  EXPECT_FALSE(Do(request).entries(0).has_entry());
  request.mutable_readdir()->set_with_attrs(true);
  const Attr attr = Do(request).entries(0).entry().attr();
  EXPECT_EQ(attr.ino(), f);
  EXPECT_EQ(attr.mode(), S_IFREG | 0600u);
  EXPECT_EQ(Try(ReadDir(f)), Code::kNotDirectory);
}

TEST_F(NamespaceTest, APathIsResolvedInItsVolume) {
  const Ino d = Made(MkDir(root(), "d"));
  const Ino f = Made(MkFile(d, "f"));
  auto resolve = [](const std::string& volume, const std::string& path) {
    Request request;
    request.mutable_resolve()->set_volume(volume);
    request.mutable_resolve()->set_path(path);
    return request;
  };
  EXPECT_EQ(Made(resolve("volume", "")), root());
  EXPECT_EQ(Made(resolve("volume", "/d//./f")), f);
  EXPECT_EQ(Made(resolve("volume", "d/")), d);
  EXPECT_EQ(Try(resolve("volume", "d/g")), Code::kNotFound);
  EXPECT_EQ(Try(resolve("volume", "d/f/x")), Code::kNotDirectory);
  EXPECT_EQ(Try(resolve("volume", "d/../d")), Code::kInvalidArgument);
  EXPECT_EQ(Try(resolve("other", "d")), Code::kNotFound);
}

TEST_F(NamespaceTest, VolumesShareNothing) {
  Made(MkFile(root(), "f"));
  Request request;
  request.mutable_create_volume()->set_name("other");
  const Ino other = Made(request);
  EXPECT_NE(other, root());
  EXPECT_THAT(Names(other), IsEmpty());
  EXPECT_EQ(Find(other, ".."), other);
  EXPECT_EQ(Try(request), Code::kExists);
  Request list;
  list.mutable_list_volumes();
  EXPECT_THAT(Do(list).names(), ElementsAre("other", "volume"));
}

// Whoever caches what changes is told before it does.
TEST_F(NamespaceTest, ChangesSayWhatTheyInvalidate) {
  auto told = [this](Ino ino, const std::string& name) {
    for (const Invalidate::Item& item : effects.invalidate) {
      if (item.ino() == ino && item.name() == name && (!name.empty() || item.attr())) return true;
    }
    return false;
  };
  const Ino d = Made(MkDir(root(), "d"));
  EXPECT_TRUE(told(root(), "d"));
  EXPECT_TRUE(told(root(), ""));
  const Ino f = Made(MkFile(root(), "f"));
  const Ino g = Made(MkFile(d, "g"));
  Do(Link(f, d, "f2"));
  EXPECT_TRUE(told(d, "f2"));
  EXPECT_TRUE(told(d, ""));
  EXPECT_TRUE(told(f, ""));
  Do(Rename(root(), "f", d, "g"));
  EXPECT_TRUE(told(root(), "f"));
  EXPECT_TRUE(told(d, "g"));
  EXPECT_TRUE(told(root(), ""));
  EXPECT_TRUE(told(d, ""));
  EXPECT_TRUE(told(f, ""));
  EXPECT_TRUE(told(g, ""));
  Do(Unlink(d, "g"));
  EXPECT_TRUE(told(d, "g"));
  EXPECT_TRUE(told(d, ""));
  EXPECT_TRUE(told(f, ""));
}

}  // namespace
}  // namespace f3::meta
