// Values got within a broker's process.
#include "xdt/local_reader.h"

#include <future>

#include "tests/xdt/broker_fixture.h"

namespace f3::xdt {
namespace {

class LocalReaderTest : public BrokerTest {
 protected:
  LocalReaderTest() : one_(1, &directory_, dir_.path()), two_(2, &directory_, dir_.path()) {}

  static Result<ContentRef> Get(LocalReader* reader, const std::string& reference,
                                int64_t timeout_micros = 10'000'000) {
    auto promise = std::make_shared<std::promise<Result<ContentRef>>>();
    auto got = promise->get_future();
    reader->Get(reference, timeout_micros,
                [promise](Result<ContentRef> content) { promise->set_value(std::move(content)); });
    return got.get();
  }
  static std::string Text(const Content& content) {
    std::string text(content.bytes(), '\0');
    EXPECT_OK(content.Read(0, std::as_writable_bytes(std::span(text))));
    return text;
  }

  BrokerNode one_, two_;
};

TEST_F(LocalReaderTest, AValueIsGotOnBothNodes) {
  Client client = one_.Client();
  auto here = one_.broker->OpenReader({"guest", "any"}, 0);
  auto there = two_.broker->OpenReader({"guest", ""}, 0);
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{20'000}, 3 * kMiB + 5}) {
    const std::string value = Pattern(bytes);
    const std::string reference = client.Put(value, Times(2));
    for (LocalReader* reader : {here.get(), there.get()}) {
      auto length = reader->Check(reference);
      ASSERT_OK(length);
      EXPECT_EQ(*length, bytes);
      auto content = Get(reader, reference);
      ASSERT_OK(content);
      EXPECT_TRUE(Text(**content) == value) << bytes;
    }
    EXPECT_EQ(Get(here.get(), reference).status().code(), Code::kRefExhausted);
  }
  EXPECT_TRUE(Eventually([&] { return one_.broker->used_bytes() == 0; }));
}

TEST_F(LocalReaderTest, ACheckTakesNoRetrievalAndKnowsWhatTheTextSays) {
  Client client = one_.Client();
  auto reader = one_.broker->OpenReader({"guest", "sum"}, 0);
  auto stranger = one_.broker->OpenReader({"other", "sum"}, 0);
  const std::string reference = client.Put("value");
  for (int i = 0; i < 10; ++i) EXPECT_OK(reader->Check(reference));
  EXPECT_EQ(client.Stat(reference).retrievals_left, 1u);
  EXPECT_EQ(reader->Check("no reference").status().code(), Code::kRefMalformed);
  std::string changed = reference;
  changed[60] = changed[60] == 'A' ? 'B' : 'A';
  EXPECT_EQ(reader->Check(changed).status().code(), Code::kRefNotAuthentic);
  EXPECT_EQ(stranger->Check(reference).status().code(), Code::kRefOutOfScope);
  Options narrow;
  narrow.action = "mean";
  EXPECT_EQ(reader->Check(client.Put("v", narrow)).status().code(), Code::kRefOutOfScope);
  Options brief;
  brief.lifetime_ms = 1;
  const std::string expiring = client.Put("v", brief);
  EXPECT_TRUE(Eventually([&] { return reader->Check(expiring).status().Is(Code::kRefExpired); }));
}

TEST_F(LocalReaderTest, TheOwnerDecidesAGet) {
  Client client = one_.Client();
  auto reader = two_.broker->OpenReader({"guest", "sum"}, 0);
  auto stranger = two_.broker->OpenReader({"other", ""}, 0);
  const std::string reference = client.Put("value");
  EXPECT_EQ(Get(stranger.get(), reference).status().code(), Code::kRefOutOfScope);
  client.Delete(reference);
  EXPECT_EQ(Get(reader.get(), reference).status().code(), Code::kRefExhausted);
  const std::string old = client.Put("value");
  one_.Restart();
  EXPECT_EQ(Get(reader.get(), old).status().code(), Code::kRefEarlierEpoch);
}

TEST_F(LocalReaderTest, WhatIsHeldIsBoundedAndGivenBack) {
  Client client = one_.Client();
  auto reader = one_.broker->OpenReader({"guest", ""}, 0);
  const std::string reference = client.Put(Pattern(20 * kMiB), Times(XDT_UNLIMITED));
  auto first = Get(reader.get(), reference);
  ASSERT_OK(first);
  // Half of the pool's 64 MiB, counted by what is read, whether or not it is one buffer.
  EXPECT_EQ(Get(reader.get(), reference).status().code(), Code::kAgain);
  first = Status::Again("given up");
  auto second = Get(reader.get(), reference);
  ASSERT_OK(second);
  // Whoever holds a value holds its bytes, whatever becomes of the reference.
  client.Delete(reference);
  EXPECT_TRUE(Text(**second) == Pattern(20 * kMiB));
  second = Status::Again("given up");
  EXPECT_TRUE(Eventually([&] { return one_.broker->used_bytes() == 0; }));
}

TEST_F(LocalReaderTest, AnOwnerThatDoesNotAnswerIsAnErrorInTime) {
  Client client = one_.Client();
  auto reader = two_.broker->OpenReader({"guest", ""}, 0);
  // The owner may have served all of it before it is given up, and counted that.
  const std::string reference = client.Put(Pattern(3 * kMiB), Times(2));
  one_.gate.lose_reads = 1000;
  const int64_t start = Clock::Real()->MonotonicMicros();
  EXPECT_FALSE(Get(reader.get(), reference, 300'000).ok());
  EXPECT_LT(Clock::Real()->MonotonicMicros() - start, 60'000'000);
  one_.gate.lose_reads = 0;
  auto content = Get(reader.get(), reference);
  ASSERT_OK(content);
  EXPECT_TRUE(Text(**content) == Pattern(3 * kMiB));
}

}  // namespace
}  // namespace f3::xdt
