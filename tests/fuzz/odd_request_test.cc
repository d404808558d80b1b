// Requests that no client of ours sends, or with numbers that none has: they are refused, and the
// namespace stays sound.
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "tests/fuzz/fuzz_server.h"

namespace f3::meta::fuzz {
namespace {

class OddRequestTest : public testing::Test {
 protected:
  ~OddRequestTest() override { server_.CheckNamespace(); }
  // Inode 1 is the root, 2 the directory d, 3 the file durable beside it and 4 d/ephemeral; both
  // files are open for writing by session 1.
  Reply Run(const std::string& text) {
    Request request;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request)) << text;
    return server_.Run(std::move(request));
  }
  Code CodeOf(const std::string& text) { return static_cast<Code>(Run(text).code()); }

  FuzzServer server_;
};

TEST_F(OddRequestTest, EverySampleIsAnswered) {
  for (const std::string& sample : SampleRequests()) {
    Request request;
    ASSERT_TRUE(request.ParseFromString(sample));
    server_.Run(std::move(request));
    server_.CheckNamespace();
  }
}

TEST_F(OddRequestTest, ANameThatIsNotUtf8CanBeMissed) {
  const Reply reply = Run("session: 1 lookup { parent: 1 name: 'z\\374rich' }");
  EXPECT_EQ(static_cast<Code>(reply.code()), Code::kNotFound);
  EXPECT_EQ(reply.message(), "z?rich");
  EXPECT_EQ(CodeOf("session: 1 make_node { parent: 1 name: 'z\\374rich' mode: 0x41ed }"),
            Code::kOk);
  EXPECT_EQ(CodeOf("session: 1 make_node { parent: 1 name: 'z\\374rich' mode: 0x41ed }"),
            Code::kExists);
  EXPECT_EQ(CodeOf("session: 1 unlink { parent: 1 name: 'z\\374rich' }"), Code::kIsDirectory);
}

TEST_F(OddRequestTest, NobodyGivesBackWhatOthersHaveOpen) {
  Run("session: 1 unlink { parent: 1 name: 'durable' }");
  EXPECT_EQ(CodeOf("session: 2 close { ino: 3 readers: 5 writers: 2147483648 }"), Code::kOk);
  EXPECT_EQ(CodeOf("session: 1 getattr { ino: 3 }"), Code::kOk);
  EXPECT_EQ(CodeOf("session: 1 close { ino: 3 writers: 4294967295 readers: 1 }"), Code::kOk);
  EXPECT_EQ(CodeOf("session: 1 getattr { ino: 3 }"), Code::kStale);
}

TEST_F(OddRequestTest, AReplayedNumberIsNotAnotherFiles) {
  const std::string create = "create { parent: 1 name: 'new' flags { write: true } }";
  EXPECT_EQ(CodeOf("session: 1 replay_ino: 2 " + create), Code::kInvalidArgument);
  EXPECT_EQ(CodeOf("session: 1 replay_ino: 18446744073709551615 " + create),
            Code::kInvalidArgument);
  const Reply made = Run("session: 1 replay_ino: 1099511637776 " + create);
  EXPECT_EQ(made.entry().attr().ino(), 1099511637776u);
}

TEST_F(OddRequestTest, ATimeToLiveHasABound) {
  const Reply made =
      Run("session: 1 create { parent: 1 name: 'new' flags { write: true } "
          "hint_ttl_s: 18446744073709551615 }");
  EXPECT_EQ(made.entry().attr().ttl_s(), 1'000'000'000u);
  Run("session: 1 close { ino: 5 writers: 1 }");
  server_.PassTime();
  EXPECT_EQ(CodeOf("session: 1 lookup { parent: 1 name: 'new' }"), Code::kOk);
}

TEST_F(OddRequestTest, HintsOfUnknownKindsCountAsNone) {
  const Reply made = Run(
      "session: 1 make_node { parent: 1 name: 'new' mode: 0x81a4 hint_class: 77 hint_tier: 9 }");
  EXPECT_EQ(made.entry().attr().file_class(), CLASS_DURABLE);
  EXPECT_EQ(made.entry().attr().tier(), TIER_UNSET);
}

TEST_F(OddRequestTest, ASizeIsAFileOffset) {
  EXPECT_EQ(CodeOf("session: 1 setattr { ino: 3 size: 9223372036854775808 }"), Code::kFileTooBig);
  EXPECT_EQ(CodeOf("session: 1 publish { ino: 3 incarnation: 1 size: 18446744073709551615 }"),
            Code::kFileTooBig);
}

TEST_F(OddRequestTest, OnlyTheHomeOfAFilePublishes) {
  EXPECT_EQ(CodeOf("publish { ino: 2 size: 5 }"), Code::kStale);
  EXPECT_EQ(CodeOf("session: 1 publish { ino: 3 incarnation: 1 file_class: 77 }"),
            Code::kInvalidArgument);
  EXPECT_EQ(CodeOf("session: 1 begin_publish { ino: 2 }"), Code::kInvalidArgument);
}

TEST_F(OddRequestTest, OnlyFilesHaveCopies) {
  EXPECT_EQ(CodeOf("session: 2 add_copy { ino: 2 incarnation: 1 version: 1 }"),
            Code::kInvalidArgument);
  const Reply reply = Run("session: 2 inventory { items { ino: 2 version: 1 } }");
  EXPECT_EQ(static_cast<Code>(reply.code()), Code::kOk);
  EXPECT_EQ(reply.unwanted_size(), 1);
}

TEST_F(OddRequestTest, ALockIsOfAKnownKind) {
  EXPECT_EQ(
      CodeOf("session: 1 set_lock { ino: 3 kind: 256 range { type: LOCK_TYPE_READ end: 9 } }"),
      Code::kInvalidArgument);
}

}  // namespace
}  // namespace f3::meta::fuzz
