// Attributes at the operations of the metadata server: modes and their inheritance, owners, times,
// sizes, extended attributes and ACLs. Who may change what is decided by the client's kernel.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "metadata/acl.h"
#include "tests/metadata/op_world.h"

namespace f3::meta {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

// Tags of ACL entries.
constexpr uint16_t kUserObj = 0x01, kUser = 0x02, kGroupObj = 0x04, kMask = 0x10, kOther = 0x20;
constexpr uint32_t kNobody = ~0u;  // the id of entries that have none

class AttributesTest : public ::testing::Test, protected OpWorld {
 protected:
  void TearDown() override { EXPECT_THAT(Problems(), IsEmpty()); }

  Ino Made(const Request& request) { return Do(request).entry().attr().ino(); }
  static Request SetAttr(Ino ino, const std::function<void(SetAttrOp*)>& fill) {
    Request request;
    request.mutable_setattr()->set_ino(ino);
    fill(request.mutable_setattr());
    return request;
  }
  static Request Chmod(Ino ino, uint32_t mode) {
    return SetAttr(ino, [mode](SetAttrOp* op) { op->set_mode(mode); });
  }
  static Request SetSize(Ino ino, uint64_t size) {
    return SetAttr(ino, [size](SetAttrOp* op) { op->set_size(size); });
  }
  uint32_t Mode(Ino ino) { return Get(ino).mode() & 07777; }
  std::vector<std::string> Xattrs(Ino ino) {
    Request request;
    request.mutable_listxattr()->set_ino(ino);
    const Reply reply = Do(request);
    return {reply.names().begin(), reply.names().end()};
  }
  // A list with a named user: more than a mode can say.
  static Acl Extended(uint16_t user, uint16_t named, uint16_t group, uint16_t mask,
                      uint16_t other) {
    return {{kUserObj, user, kNobody},
            {kUser, named, 1234},
            {kGroupObj, group, kNobody},
            {kMask, mask, kNobody},
            {kOther, other, kNobody}};
  }
  Acl GetAcl(Ino ino, std::string_view name) {
    auto acl = ParseAcl(Do(GetXattr(ino, std::string(name))).data());
    EXPECT_OK(acl);
    return acl.ok() ? *acl : Acl();
  }
  Code SetAcl(Ino ino, std::string_view name, const Acl& acl) {
    return Try(SetXattr(ino, std::string(name), FormatAcl(acl)));
  }
};

// ---- modes ----

TEST_F(AttributesTest, TheUmaskIsTakenFromNewModes) {
  caller.set_umask(027);
  EXPECT_EQ(Mode(Made(Create(root(), "a", 0777))), 0750u);
  EXPECT_EQ(Mode(Made(MkDir(root(), "b", 0777))), 0750u);
  EXPECT_EQ(Mode(Made(MakeNode(root(), "c", S_IFIFO | 0666))), 0640u);
  // The bits above the permissions are none of the umask's business.
  caller.set_umask(07777);
  EXPECT_EQ(Mode(Made(Create(root(), "d", 07777))), 07000u);
}

TEST_F(AttributesTest, ChmodSetsAllTwelveBits) {
  const Ino f = Made(MkFile(root(), "f"));
  const Attr before = Get(f);
  EXPECT_EQ(Do(Chmod(f, 07531)).attr().mode(), S_IFREG | 07531u);
  EXPECT_EQ(Get(f).ctime_ns(), before.ctime_ns() + 2'000'000'000);
  EXPECT_EQ(Get(f).mtime_ns(), before.mtime_ns());
  Do(Chmod(f, S_IFDIR | 0600));  // the type stays
  EXPECT_EQ(Get(f).mode(), S_IFREG | 0600u);
  EXPECT_EQ(Try(Chmod(12345, 0600)), Code::kStale);
}

TEST_F(AttributesTest, TheStickyBitIsKeptAndNotInherited) {
  const Ino d = Made(MkDir(root(), "tmp", 01777));
  EXPECT_EQ(Mode(d), 01755u);
  Do(Chmod(d, 01777));
  EXPECT_EQ(Mode(d), 01777u);
  EXPECT_EQ(Mode(Made(MkDir(d, "sub", 0755))), 0755u);
}

TEST_F(AttributesTest, ASetgidDirectoryGivesItsGroup) {
  const Ino d = Made(MkDir(root(), "d"));
  Do(SetAttr(d, [](SetAttrOp* op) { op->set_gid(555); }));
  Do(Chmod(d, 02775));
  const Attr f = Do(Create(d, "f", 0664)).entry().attr();
  EXPECT_EQ(f.gid(), 555u);
  EXPECT_EQ(f.uid(), 1000u);
  EXPECT_EQ(f.mode() & 07777, 0644u);
  const Attr sub = Do(MkDir(d, "sub", 0755)).entry().attr();
  EXPECT_EQ(sub.gid(), 555u);
  EXPECT_EQ(sub.mode() & 07777, 02755u);
  EXPECT_EQ(Do(Create(sub.ino(), "g")).entry().attr().gid(), 555u);
  EXPECT_EQ(Do(Symlink(d, "l", "x")).entry().attr().gid(), 555u);
  // Moving in changes nothing.
  const Ino old = Made(MkFile(root(), "old"));
  Do(Rename(root(), "old", d, "old"));
  EXPECT_EQ(Get(old).gid(), 100u);
}

TEST_F(AttributesTest, ChownClearsSetuidAndSetgid) {
  auto chown = [](Ino ino) { return SetAttr(ino, [](SetAttrOp* op) { op->set_uid(1); }); };
  const Ino f = Made(MkFile(root(), "f"));
  Do(Chmod(f, 06755));
  Do(chown(f));
  EXPECT_EQ(Get(f).uid(), 1u);
  EXPECT_EQ(Get(f).gid(), 100u);
  EXPECT_EQ(Mode(f), 0755u);
  // setgid without execution by the group does not mean "run as group".
  Do(Chmod(f, 06745));
  Do(chown(f));
  EXPECT_EQ(Mode(f), 02745u);
  const Ino d = Made(MkDir(root(), "d"));
  Do(Chmod(d, 02755));
  Do(chown(d));
  EXPECT_EQ(Mode(d), 02755u);
  // Both at once: the new mode counts.
  Do(SetAttr(f, [](SetAttrOp* op) {
    op->set_gid(2);
    op->set_mode(04755);
  }));
  EXPECT_EQ(Mode(f), 04755u);
}

TEST_F(AttributesTest, ChownTakesCapabilities) {
  const Ino f = Made(MkFile(root(), "f"));
  Do(SetXattr(f, "security.capability", "some"));
  Do(SetXattr(f, "security.other", "some"));
  Do(SetAttr(f, [](SetAttrOp* op) { op->set_uid(1); }));
  EXPECT_THAT(Xattrs(f), ElementsAre("security.other"));
}

Request CreateEphemeral(Ino parent, const std::string& name, bool truncate = false) {
  Request request = OpWorld::Create(parent, name);
  request.mutable_create()->set_hint_class(CLASS_EPHEMERAL);
  request.mutable_create()->mutable_flags()->set_write(true);
  request.mutable_create()->mutable_flags()->set_truncate(truncate);
  return request;
}

TEST_F(AttributesTest, AWriteClearsSetuidAndSetgidAsLinuxDoes) {
  const Reply created = Do(CreateEphemeral(root(), "f"));
  const Ino f = created.entry().attr().ino();
  Do(SetXattr(f, "security.capability", "some"));
  Do(Chmod(f, 06755));
  Do(Publish(f, created.open(), 10));
  EXPECT_EQ(Mode(f), 06755u);
  Do(Publish(f, created.open(), 20, true));
  EXPECT_EQ(Mode(f), 0755u);
  EXPECT_THAT(Xattrs(f), IsEmpty());
  Do(Chmod(f, 06745));
  Do(Publish(f, created.open(), 30, true));
  EXPECT_EQ(Mode(f), 02745u);
  Do(SetAttr(f, [](SetAttrOp* op) { op->set_kill_suid(true); }));
  EXPECT_EQ(Mode(f), 02745u);
}

// ---- times and sizes ----

TEST_F(AttributesTest, TimesAreKeptToTheNanosecond) {
  const Ino f = Made(MkFile(root(), "f"));
  Do(SetAttr(f, [](SetAttrOp* op) {
    op->set_atime_ns(1'234'567'891);
    op->set_mtime_ns(-5);  // before 1970
  }));
  Attr attr = Get(f);
  EXPECT_EQ(attr.atime_ns(), 1'234'567'891);
  EXPECT_EQ(attr.mtime_ns(), -5);
  EXPECT_EQ(attr.ctime_ns(), now_ns - 1'000'000'000);
  Do(SetAttr(f, [](SetAttrOp* op) { op->set_mtime_now(true); }));
  const int64_t set_ns = now_ns;
  attr = Get(f);
  EXPECT_EQ(attr.atime_ns(), 1'234'567'891);
  EXPECT_EQ(attr.mtime_ns(), set_ns);
  Do(SetAttr(f, [](SetAttrOp* op) {
    op->set_atime_now(true);
    op->set_mtime_ns(0);
  }));
  const int64_t then_ns = now_ns;
  attr = Get(f);
  EXPECT_EQ(attr.atime_ns(), then_ns);
  EXPECT_EQ(attr.mtime_ns(), 0);
}

TEST_F(AttributesTest, TruncationBeyondTheEndGrowsAFile) {
  const Ino f = Made(MkFile(root(), "f"));
  const Attr before = Get(f);
  Do(SetSize(f, 0));
  EXPECT_EQ(Get(f).version(), before.version());
  EXPECT_EQ(Get(f).mtime_ns(), before.mtime_ns());
  const Attr grown = Do(SetSize(f, 1ull << 40)).attr();
  EXPECT_EQ(grown.size(), 1ull << 40);
  EXPECT_EQ(grown.version(), before.version() + 1);
  EXPECT_EQ(grown.mtime_ns(), now_ns);
  EXPECT_EQ(grown.ctime_ns(), now_ns);
  // The bytes are with a client: it shortens the file and publishes.
  EXPECT_EQ(Try(SetSize(f, 1)), Code::kInvalidArgument);
  EXPECT_EQ(Get(f).size(), 1ull << 40);
  EXPECT_EQ(Try(SetSize(root(), 0)), Code::kIsDirectory);
  EXPECT_EQ(Try(SetSize(Made(MakeNode(root(), "p", S_IFIFO)), 0)), Code::kInvalidArgument);
}

TEST_F(AttributesTest, ATruncatingOpenEmptiesAnEphemeralFile) {
  const Reply created = Do(CreateEphemeral(root(), "f"));
  const Ino f = created.entry().attr().ino();
  Do(Publish(f, created.open(), 100));
  Do(Close(f, created.open(), 0, 1));
  const Attr before = Get(f);
  EXPECT_EQ(before.size(), 100u);
  EXPECT_EQ(Try(SetSize(f, 10)), Code::kInvalidArgument);  // done at its home
  const Reply opened = Do(CreateEphemeral(root(), "f", true));
  EXPECT_EQ(opened.entry().attr().ino(), f);
  EXPECT_EQ(opened.entry().attr().size(), 0u);
  EXPECT_EQ(opened.entry().attr().mtime_ns(), now_ns);
  EXPECT_GT(opened.entry().attr().version(), before.version());
  EXPECT_FALSE(opened.open().created());
  Request read_only = Create(root(), "f");
  read_only.mutable_create()->mutable_flags()->set_truncate(true);
  EXPECT_EQ(Try(read_only), Code::kInvalidArgument);
}

// ---- extended attributes ----

TEST_F(AttributesTest, XattrsKeepAnyBytes) {
  const std::string value("\0\xff\n", 3);
  for (Ino ino : {Made(MkFile(root(), "f")), Made(MkDir(root(), "d"))}) {
    const Attr before = Get(ino);
    EXPECT_THAT(Xattrs(ino), IsEmpty());
    EXPECT_EQ(Try(GetXattr(ino, "user.x")), Code::kNoAttribute);
    Do(SetXattr(ino, "user.x", value));
    EXPECT_EQ(Get(ino).ctime_ns(), now_ns - 1'000'000'000);
    EXPECT_EQ(Get(ino).mtime_ns(), before.mtime_ns());
    EXPECT_EQ(Do(GetXattr(ino, "user.x")).data(), value);
    Do(SetXattr(ino, "user.x", ""));
    EXPECT_EQ(Do(GetXattr(ino, "user.x")).data(), "");
    Do(SetXattr(ino, "trusted.t", "1"));
    Do(SetXattr(ino, "security.s", "2"));
    EXPECT_THAT(Xattrs(ino), UnorderedElementsAre("security.s", "user.x"));
    const Caller user = std::exchange(caller, Caller());
    EXPECT_THAT(Xattrs(ino), UnorderedElementsAre("security.s", "trusted.t", "user.x")) << "root";
    caller = user;
    Do(RemoveXattr(ino, "user.x"));
    EXPECT_EQ(Try(GetXattr(ino, "user.x")), Code::kNoAttribute);
    EXPECT_EQ(Try(RemoveXattr(ino, "user.x")), Code::kNoAttribute);
  }
  EXPECT_EQ(Try(SetXattr(12345, "user.x", "1")), Code::kStale);
}

TEST_F(AttributesTest, XattrsAreCreatedOrReplacedOnRequest) {
  const Ino d = Made(MkDir(root(), "d"));
  for (const std::string& name : {std::string("user.x"), std::string("user.f3.tier")}) {
    Request create = SetXattr(d, name, "disk");
    create.mutable_setxattr()->set_create(true);
    Request replace = SetXattr(d, name, "memory");
    replace.mutable_setxattr()->set_replace(true);
    EXPECT_EQ(Try(replace), Code::kNoAttribute) << name;
    EXPECT_EQ(Try(create), Code::kOk) << name;
    EXPECT_EQ(Try(create), Code::kExists) << name;
    EXPECT_EQ(Do(GetXattr(d, name)).data(), "disk");
    EXPECT_EQ(Try(replace), Code::kOk) << name;
    EXPECT_EQ(Do(GetXattr(d, name)).data(), "memory");
  }
}

TEST_F(AttributesTest, XattrsHaveLimitsAndKnownSpaces) {
  const Ino f = Made(MkFile(root(), "f"));
  const std::string longest = "user." + std::string(250, 'n');
  EXPECT_EQ(Try(SetXattr(f, longest, std::string(65536, 'v'))), Code::kOk);
  EXPECT_EQ(Do(GetXattr(f, longest)).data().size(), 65536u);
  EXPECT_EQ(Try(SetXattr(f, longest + "n", "v")), Code::kRange);
  EXPECT_EQ(Try(SetXattr(f, "user.x", std::string(65537, 'v'))), Code::kRange);
  EXPECT_EQ(Try(SetXattr(f, "user.", "v")), Code::kNotSupported);
  EXPECT_EQ(Try(SetXattr(f, "system.other", "v")), Code::kNotSupported);
  EXPECT_EQ(Try(SetXattr(f, "other.x", "v")), Code::kNotSupported);
  EXPECT_EQ(Try(GetXattr(f, "other.x")), Code::kNotSupported);
  EXPECT_THAT(Xattrs(f), ElementsAre(longest));
}

TEST_F(AttributesTest, SettingsOfADirectoryAreInheritedByWhatIsMadeInIt) {
  const Ino d = Made(MkDir(root(), "d"));
  Do(SetXattr(d, "user.f3.class", "ephemeral"));
  Do(SetXattr(d, "user.f3.tier", "memory"));
  Do(SetXattr(d, "user.f3.follow", "1"));
  Do(SetXattr(d, "user.f3.ttl", "60"));
  const Ino sub = Made(MkDir(d, "sub"));
  EXPECT_THAT(Xattrs(sub), UnorderedElementsAre("user.f3.class", "user.f3.tier", "user.f3.follow",
                                                "user.f3.ttl"));
  // They win over hints.
  Request request = Create(sub, "f");
  request.mutable_create()->set_hint_class(CLASS_DURABLE);
  request.mutable_create()->set_hint_tier(TIER_DISK);
  request.mutable_create()->set_hint_follow(false);
  request.mutable_create()->set_hint_ttl_s(5);
  const Attr f = Do(request).entry().attr();
  EXPECT_EQ(f.file_class(), CLASS_EPHEMERAL);
  EXPECT_EQ(f.tier(), TIER_MEMORY);
  EXPECT_TRUE(f.follow());
  EXPECT_EQ(f.ttl_s(), 60u);
  EXPECT_THAT(Xattrs(f.ino()), IsEmpty());  // `cp -a` must not try to set them
  EXPECT_EQ(Do(GetXattr(f.ino(), "user.f3.class")).data(), "ephemeral");
  for (const char* name : {"class", "tier", "follow", "ttl"}) {
    Do(RemoveXattr(sub, std::string("user.f3.") + name));
  }
  EXPECT_THAT(Xattrs(sub), IsEmpty());
  EXPECT_EQ(Try(RemoveXattr(sub, "user.f3.class")), Code::kNoAttribute);
  request.mutable_create()->set_name("g");
  const Attr g = Do(request).entry().attr();
  EXPECT_EQ(g.file_class(), CLASS_DURABLE);
  EXPECT_EQ(g.tier(), TIER_DISK);
  EXPECT_FALSE(g.follow());
  EXPECT_EQ(g.ttl_s(), 5u);
}

TEST_F(AttributesTest, SettingsTakeOnlyWhatTheyMean) {
  const Ino d = Made(MkDir(root(), "d"));
  const Ino f = Made(MkFile(d, "f"));
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"class", "fast"}, {"class", ""}, {"tier", "tape"}, {"follow", "yes"},       {"ttl", "-1"},
      {"ttl", "5s"},     {"ttl", ""},   {"ttl", " 5"},    {"ttl", "100000000000"}, {"odd", "1"}};
  for (const auto& [field, value] : bad) {
    EXPECT_EQ(Try(SetXattr(d, "user.f3." + field, value)), Code::kInvalidArgument)
        << field << "=" << value;
  }
  for (const char* field : {"state", "home", "copies", "version"}) {
    const std::string name = std::string("user.f3.") + field;
    EXPECT_EQ(Try(SetXattr(f, name, "1")), Code::kNotPermitted) << name;
    EXPECT_EQ(Try(RemoveXattr(f, name)), Code::kNotPermitted) << name;
    EXPECT_EQ(Try(GetXattr(f, name)), Code::kOk) << name;
    EXPECT_EQ(Try(GetXattr(d, name)), Code::kNoAttribute) << name;
  }
  EXPECT_EQ(Try(SetXattr(f, "user.f3.class", "ephemeral")), Code::kNeedsConversion);
  EXPECT_EQ(Try(SetXattr(f, "user.f3.class", "durable")), Code::kOk);
  EXPECT_EQ(Try(RemoveXattr(f, "user.f3.class")), Code::kNotPermitted);
  const Ino p = Made(MakeNode(d, "p", S_IFIFO | 0600));
  EXPECT_EQ(Try(SetXattr(p, "user.f3.class", "durable")), Code::kNotPermitted);
}

// ---- access control lists ----

TEST_F(AttributesTest, TheModeAndTheAccessListFollowEachOther) {
  const Ino f = Made(MkFile(root(), "f", 0600));
  ASSERT_EQ(SetAcl(f, kAclAccess, Extended(7, 6, 4, 5, 1)), Code::kOk);
  EXPECT_EQ(Mode(f), 0751u);  // the group bits show the mask
  Do(Chmod(f, 0640));
  const Acl acl = GetAcl(f, kAclAccess);
  ASSERT_EQ(acl.size(), 5u);
  EXPECT_EQ(acl[0].permission, 6);
  EXPECT_EQ(acl[1].permission, 6);
  EXPECT_EQ(acl[2].permission, 4);
  EXPECT_EQ(acl[3].permission, 4);
  EXPECT_EQ(acl[4].permission, 0);
  // A list that a mode can say is not kept.
  ASSERT_EQ(SetAcl(f, kAclAccess,
                   {{kUserObj, 7, kNobody}, {kGroupObj, 5, kNobody}, {kOther, 0, kNobody}}),
            Code::kOk);
  EXPECT_EQ(Mode(f), 0750u);
  EXPECT_EQ(Try(GetXattr(f, std::string(kAclAccess))), Code::kNoAttribute);
  EXPECT_THAT(Xattrs(f), IsEmpty());
}

TEST_F(AttributesTest, ADefaultListIsInheritedInsteadOfTheUmask) {
  const Ino d = Made(MkDir(root(), "d"));
  ASSERT_EQ(SetAcl(d, kAclDefault, Extended(7, 7, 7, 7, 5)), Code::kOk);
  EXPECT_EQ(Mode(d), 0755u);
  caller.set_umask(077);
  const Ino f = Made(Create(d, "f", 0666));
  EXPECT_EQ(Mode(f), 0664u);
  const Acl acl = GetAcl(f, kAclAccess);
  ASSERT_EQ(acl.size(), 5u);
  EXPECT_EQ(acl[1].permission, 7);  // limited by the mask
  EXPECT_EQ(acl[3].permission, 6);
  EXPECT_EQ(Try(GetXattr(f, std::string(kAclDefault))), Code::kNoAttribute);
  const Ino sub = Made(MkDir(d, "sub", 0700));
  EXPECT_EQ(Mode(sub), 0700u);
  EXPECT_EQ(GetAcl(sub, kAclDefault).size(), 5u);
  EXPECT_EQ(Mode(Made(Create(sub, "g", 0640))), 0640u);
  // Without the list the umask counts again.
  Do(RemoveXattr(d, std::string(kAclDefault)));
  EXPECT_EQ(Mode(Made(Create(d, "h", 0666))), 0600u);
  ASSERT_EQ(SetAcl(sub, kAclDefault, {}), Code::kOk);
  EXPECT_EQ(Mode(Made(Create(sub, "h", 0666))), 0600u);
}

TEST_F(AttributesTest, ListsThatMakeNoSenseAreRefused) {
  const Ino f = Made(MkFile(root(), "f"));
  EXPECT_EQ(SetAcl(f, kAclDefault, Extended(7, 7, 7, 7, 5)), Code::kAccessDenied);
  Acl no_mask = Extended(7, 6, 5, 4, 3);
  no_mask.erase(no_mask.begin() + 3);
  EXPECT_EQ(SetAcl(f, kAclAccess, no_mask), Code::kInvalidArgument);
  EXPECT_EQ(SetAcl(f, kAclAccess, {{kUserObj, 7, kNobody}}), Code::kInvalidArgument);
  EXPECT_EQ(SetAcl(f, kAclAccess, Extended(8, 6, 5, 4, 3)), Code::kInvalidArgument);
  Acl twice = Extended(7, 6, 5, 4, 3);
  twice.push_back(twice.back());
  EXPECT_EQ(SetAcl(f, kAclAccess, twice), Code::kInvalidArgument);
  EXPECT_EQ(Try(SetXattr(f, std::string(kAclAccess), "")), Code::kInvalidArgument);
  EXPECT_EQ(Try(SetXattr(f, std::string(kAclAccess), "12345")), Code::kInvalidArgument);
  const Ino l = Made(Symlink(root(), "l", "f"));
  EXPECT_EQ(SetAcl(l, kAclAccess, Extended(7, 6, 5, 4, 3)), Code::kNotSupported);
  EXPECT_EQ(Mode(f), 0644u);
}

}  // namespace
}  // namespace f3::meta
