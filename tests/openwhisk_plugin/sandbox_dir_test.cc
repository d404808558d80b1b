#include "openwhisk_plugin/sandbox_dir.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/small_file.h"
#include "openwhisk_plugin/container_process.h"
#include "openwhisk_plugin/runc_config.h"
#include "tests/common/status_matchers.h"
#include "tests/common/temp_dir.h"

namespace f3::openwhisk {
namespace {

TEST(AttachNoteTest, IsReadAsItWasWritten) {
  TempDir dir;
  AttachNote note;
  EXPECT_CODE(ReadNote(dir.path()), kNotFound);
  note.container = "c1";
  note.name_space = "näm\"e";
  note.action = "p/a";
  note.activation = "1";
  note.workflow = "2";
  note.annotations = R"({"f3-mounts":[{}]})";
  note.call_hints = "{}";
  note.pid = 4711;
  note.started = 1ull << 60;
  note.paths = {"/mnt/f3", "/run/f3"};
  ASSERT_OK(WriteNote(dir.path(), note));
  auto read = ReadNote(dir.path());
  ASSERT_OK(read);
  EXPECT_EQ(*read, note);
}

TEST(AttachNoteTest, OfOthersAreDamaged) {
  TempDir dir;
  for (const char* text : {"", "[]", "{}", R"({"container":"../x"})", R"({"container":3})"}) {
    ASSERT_OK(WriteFile(dir / kAttachedFile, text));
    EXPECT_CODE(ReadNote(dir.path()), kCorruption) << text;
  }
  ASSERT_OK(WriteFile(dir / kAttachedFile, R"({"container":"c","pid":"x","paths":[1,"/a"]})"));
  auto note = ReadNote(dir.path());
  ASSERT_OK(note);
  EXPECT_EQ(note->pid, 0);
  EXPECT_EQ(note->paths, std::vector<std::string>{"/a"});
}

TEST(SandboxDirTest, IsMadeListedAndRemoved) {
  TempDir dir;
  EXPECT_TRUE(ListSandboxDirs(dir / "nowhere").empty());
  ASSERT_OK(MakeSandboxDir(dir / "c1"));
  ASSERT_OK(MakeSandboxDir(dir / "c1"));
  ASSERT_EQ(::mkdir((dir / "roots").c_str(), 0700), 0);
  EXPECT_EQ(ListSandboxDirs(dir.path()), std::vector<std::string>{"c1"});
  struct stat info;
  ASSERT_EQ(::stat((dir / "c1").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0700u);
  ASSERT_EQ(::stat((dir / "c1/run").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0755u);
  ASSERT_OK(RemoveSandboxDir(dir / "c1"));
  EXPECT_TRUE(ListSandboxDirs(dir.path()).empty());
}

TEST(BindsFileTest, IsWhatTheWrapperReads) {
  TempDir dir;
  ASSERT_OK(WriteBinds(dir.path(), {{"/s/roots/k", "/mnt/f3"}, {"/s/roots/l", "/a \"b\""}}));
  auto text = ReadFile(dir / kBindsFile);
  ASSERT_OK(text);
  std::vector<RuncBind> binds;
  ASSERT_TRUE(ParseBinds(*text, &binds));
  ASSERT_EQ(binds.size(), 2u);
  EXPECT_EQ(binds[1].source, "/s/roots/l");
  EXPECT_EQ(binds[1].destination, "/a \"b\"");
}

TEST(ContainerProcessTest, ThisProcessIsNone) {
  EXPECT_CODE(OpenContainer(::getpid()), kNotSupported);
  EXPECT_CODE(OpenContainer(0), kNotFound);
  EXPECT_CODE(OpenContainer(-1), kNotFound);
  EXPECT_CODE(OpenContainer(1 << 30), kNotFound);
  EXPECT_TRUE(FindContainers({}).empty());
  EXPECT_TRUE(FindContainers({"no-such-container-0123"}).empty());
  EXPECT_FALSE(IsAlive(::getpid(), 1));
}

}  // namespace
}  // namespace f3::openwhisk
