#include "xdt/wire.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "tests/common/status_matchers.h"

namespace f3::xdt {
namespace {

std::span<const std::byte> Bytes(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

RequestMessage SomeRequest() {
  RequestMessage m;
  m.id = 7;
  m.tag = 0x1122334455667788;
  m.epoch = 3;
  m.patience_micros = 5'000'000;
  m.operation = Operation::kWrite;
  m.control = ControlOp::kSeekHole;
  m.append = true;
  m.bytes_inline = true;
  m.object = {42, 9};
  m.version = 5;
  m.offset = UINT64_MAX;
  m.length = 3;
  m.crc = 0xdeadbeef;
  m.a = 1;
  m.b = 2;
  m.c = 3;
  m.reply_to = "10.0.0.1:99";
  m.token = std::string("\0tok", 4);
  m.bytes = "abc";
  return m;
}

TEST(WireTest, ARequestComesBackAsItWas) {
  const RequestMessage m = SomeRequest();
  auto decoded = Decode(Bytes(Encode(m)));
  ASSERT_OK(decoded);
  const auto& got = std::get<RequestMessage>(*decoded);
  EXPECT_EQ(got.tag, m.tag);
  EXPECT_EQ(got.operation, m.operation);
  EXPECT_EQ(got.control, m.control);
  EXPECT_TRUE(got.append);
  EXPECT_FALSE(got.follow);
  EXPECT_EQ(got.object, m.object);
  EXPECT_EQ(got.offset, m.offset);
  EXPECT_EQ(got.crc, m.crc);
  EXPECT_EQ(got.c, m.c);
  EXPECT_EQ(got.reply_to, m.reply_to);
  EXPECT_EQ(got.token, m.token);
  EXPECT_EQ(got.bytes, m.bytes);
  EXPECT_EQ(Encode(got), Encode(m));
}

TEST(WireTest, AnAnswerKeepsItsErrorAndCutsALongText) {
  ReplyMessage m;
  m.id = 1;
  m.code = Code::kWrongEpoch;
  m.text = std::string(kMaxTextBytes + 100, 'x');
  auto decoded = Decode(Bytes(Encode(m)));
  ASSERT_OK(decoded);
  EXPECT_EQ(std::get<ReplyMessage>(*decoded).code, Code::kWrongEpoch);
  EXPECT_EQ(std::get<ReplyMessage>(*decoded).text.size(), kMaxTextBytes);
}

TEST(WireTest, WhatIsTooLongIsNotEncoded) {
  RequestMessage m = SomeRequest();
  m.token = std::string(kMaxTokenBytes + 1, 't');
  EXPECT_EQ(Encode(m), "");
  EXPECT_EQ(Encode(ReadyMessage{1, std::string(kMaxAddressBytes + 1, 'a')}), "");
}

TEST(WireTest, EveryPrefixAndEveryExtensionIsRefused) {
  const std::string whole = Encode(SomeRequest());
  for (size_t n = 0; n < whole.size(); ++n) {
    EXPECT_CODE(Decode(Bytes(whole.substr(0, n))), kBadMessage) << n;
  }
  EXPECT_CODE(Decode(Bytes(whole + "x")), kBadMessage);
}

TEST(WireTest, LengthsThatContradictTheBytesAreRefused) {
  RequestMessage m = SomeRequest();
  m.length = 4;
  EXPECT_CODE(Decode(Bytes(Encode(m))), kBadMessage);
  m = SomeRequest();
  m.bytes_inline = false;
  EXPECT_CODE(Decode(Bytes(Encode(m))), kBadMessage);
  ReplyMessage reply;
  reply.length = kMaxTransferBytes + 1;
  EXPECT_CODE(Decode(Bytes(Encode(reply))), kBadMessage);
}

RC_GTEST_PROP(WireProperty, FlippedBytesNeverCrashAndDecodeToWhatEncodesTheSame,
              (uint16_t at, uint8_t value)) {
  std::string text = Encode(SomeRequest());
  text[at % text.size()] = static_cast<char>(value);
  auto decoded = Decode(Bytes(text));
  if (decoded.ok()) RC_ASSERT(Encode(*decoded) == text);
}

}  // namespace
}  // namespace f3::xdt
