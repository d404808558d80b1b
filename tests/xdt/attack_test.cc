// A hostile peer on the fabric: it speaks to brokers' transfer engines by hand, with tokens that
// are guessed, stolen, altered or another's. It gets an error and no byte, and others are served.
#include <sys/resource.h>

#include <cstring>
#include <future>
#include <random>

#include "common/crc32c.h"
#include "tests/xdt/broker_fixture.h"
#include "tests/xdt/raw_peer.h"
#include "xdt/libxdt/protocol.h"

namespace f3::xdt {
namespace {

constexpr uint64_t kBytes = 2 * kMiB + 1000;

class AttackTest : public BrokerTest {
 protected:
  AttackTest() : keys_(owner_.options.reference_root, {}) {
    // The buffers before and behind it, in number and in memory.
    before_ = sender_.Put(Pattern(kBytes, 1), Times(9));
    text_ = sender_.Put(secret_, Times(9));
    behind_ = sender_.Put(Pattern(kBytes, 3), Times(9));
    auto opened = keys_.Open(text_);
    EXPECT_OK(opened);
    reference_ = *opened;
  }

  int64_t Now() const { return Clock::Real()->WallNanos() / 1000; }

  // What a broker of the cluster would seal for a function of this namespace and action.
  PullTicket TicketOf(const Scope& scope) {
    PullTicket ticket;
    ticket.id[0] = ++pulls_;
    ticket.from = holder_.id;
    ticket.name_space = keys_.NamespaceTag(scope);
    ticket.action = keys_.ActionTag(scope);
    ticket.expires_wall_micros = Now() + 60'000'000;
    return ticket;
  }
  std::string TokenOf(const Scope& scope) { return keys_.SealTicket(text_, TicketOf(scope)); }

  RequestMessage Asked(const std::string& token, Operation operation, uint64_t offset = 0,
                       uint32_t length = kMaxTransferBytes) const {
    RequestMessage request;
    request.epoch = owner_.epoch;
    request.operation = operation;
    request.object = reference_.object;
    request.offset = offset;
    request.length = operation == Operation::kControl ? 0 : length;
    request.token = token;
    return request;
  }
  RequestMessage Read(const std::string& token, uint64_t offset = 0,
                      uint32_t length = kMaxTransferBytes) const {
    return Asked(token, Operation::kRead, offset, length);
  }
  RequestMessage Control(const std::string& token, ControlOp op) const {
    RequestMessage request = Asked(token, Operation::kControl);
    request.control = op;
    return request;
  }

  // The error, and nothing else: not a byte of a buffer, no size, no time, no name.
  void ExpectRefused(const BrokerNode& node, const RequestMessage& request, Code code,
                     const std::string& what) {
    auto reply = stranger_.Ask(node.engine->address(), request);
    ASSERT_TRUE(reply) << what << ": no answer";
    EXPECT_EQ(reply->code, code) << what << ": " << CodeName(reply->code) << " " << reply->text;
    ReplyMessage nothing;
    nothing.id = reply->id;
    nothing.code = reply->code;
    nothing.text = reply->text;
    EXPECT_TRUE(Encode(*reply) == Encode(nothing))
        << what << ": the answer says more than an error";
    EXPECT_EQ(reply->text.find("guest"), std::string::npos) << what;
    EXPECT_EQ(stranger_.window_bytes(), 0u) << what;
    EXPECT_TRUE(std::all_of(stranger_.window().begin(), stranger_.window().end(), [](std::byte b) {
      return b == RawPeer::kUntouched;
    })) << what;
  }
  // Whatever is asked of the value.
  void ExpectValueRefused(const std::string& token, Code code, const std::string& what) {
    ExpectRefused(owner_, Read(token), code, what + ", read");
    for (const ControlOp op :
         {ControlOp::kGrant, ControlOp::kDeleteBuffer, ControlOp::kStatBuffer}) {
      ExpectRefused(owner_, Control(token, op), code, what + ", control");
    }
  }
  // Whatever is asked at all.
  void ExpectAllRefused(const std::string& token, Code code, const std::string& what) {
    ExpectValueRefused(token, code, what);
    ExpectRefused(owner_, Read(token, 0, 100), code, what + ", small read");
    for (const ControlOp op : {ControlOp::kEndPull, ControlOp::kTruncate, ControlOp::kStat}) {
      ExpectRefused(owner_, Control(token, op), code, what + ", control");
    }
  }

  // Nobody's retrieval was used, and all three values come to who may have them.
  void ExpectUnharmed() {
    Client receiver = holder_.Client();
    EXPECT_EQ(receiver.Stat(text_).retrievals_left, 9u);
    EXPECT_TRUE(receiver.Get(before_).text() == Pattern(kBytes, 1));
    EXPECT_TRUE(receiver.Get(text_).text() == secret_);
    EXPECT_TRUE(sender_.Get(behind_).text() == Pattern(kBytes, 3));
  }

  const std::string secret_ = Pattern(kBytes, 2);
  BrokerNode owner_{1, &directory_, dir_.path()};
  BrokerNode holder_{2, &directory_, dir_.path()};
  const ReferenceKeys keys_;
  Client sender_ = owner_.Client();
  std::string before_, text_, behind_;  // references
  Reference reference_;                 // what text_ says
  unsigned char pulls_ = 0;
  RawPeer stranger_;
};

TEST_F(AttackTest, NothingIsServedWithoutATicket) {
  const auto secret = ClusterKey::FromSecret("the secret of the tests");
  Capability capability;
  capability.node = owner_.id;
  capability.object = reference_.object;
  capability.write = true;
  capability.expires_wall_nanos = Clock::Real()->WallNanos() + 60'000'000'000;
  const std::string sealed = TokenOf({"guest", ""}).substr(kReferenceChars + 1);
  std::mt19937 random(11);
  std::string noise(sealed.size(), '\0');
  for (char& c : noise) c = static_cast<char>(random());
  const std::vector<std::pair<std::string, std::string>> tokens = {
      {"", "no token"},
      {"x", "a letter"},
      {std::string(kMaxTokenBytes, 'A'), "the longest token"},
      {text_, "a stolen reference alone"},
      {text_ + ".", "a stolen reference and a dot"},
      {text_ + "." + std::string(sealed.size(), '\0'), "a stolen reference and zeros"},
      {text_ + "." + noise, "a stolen reference and a guessed ticket"},
      {sealed, "a ticket alone"},
      {secret->Seal(capability), "a capability of files"}};
  for (const auto& [token, what] : tokens) ExpectAllRefused(token, Code::kTokenInvalid, what);
  // Nor by guessing objects: the numbers are small, the generations are not.
  for (uint64_t number = 0; number < 20; ++number) {
    RequestMessage request = Read(text_);
    request.object = {kBufferBit | number, 0};
    ExpectRefused(owner_, request, Code::kTokenInvalid, "a guessed object");
  }
  ExpectUnharmed();
}

TEST_F(AttackTest, NothingIsWritten) {
  for (const std::string& token : {std::string(), TokenOf({"guest", ""})}) {
    RequestMessage request = Asked(token, Operation::kWrite, 0, 100);
    request.bytes_inline = true;
    request.bytes = std::string(100, 'w');
    request.crc = Crc32c(std::as_bytes(std::span(request.bytes.data(), request.bytes.size())));
    ExpectRefused(owner_, request, Code::kNotPermitted, "a write");
    request.append = true;
    ExpectRefused(owner_, request, Code::kNotPermitted, "an append");
  }
  ExpectUnharmed();
}

TEST_F(AttackTest, ATicketOpensNothingButItsReference) {
  const PullTicket good = TicketOf({"guest", ""});
  const std::string token = keys_.SealTicket(text_, good);
  const std::string ticket = token.substr(kReferenceChars);
  ExpectAllRefused(before_ + ticket, Code::kTokenInvalid, "replayed for another reference");
  const std::string other_cluster =
      ReferenceKeys(ClusterKey::FromSecret("the secret of a stranger")->reference_root(), {})
          .SealTicket(text_, good);
  ExpectAllRefused(other_cluster, Code::kTokenInvalid, "another cluster's ticket");
  for (size_t i = 0; i < token.size(); i += 7) {
    std::string altered = token;
    altered[i] = static_cast<char>(altered[i] ^ 4);
    ExpectRefused(owner_, Read(altered), Code::kTokenInvalid, "altered at " + std::to_string(i));
  }
  RequestMessage request = Read(token);
  request.object = keys_.Open(before_)->object;
  ExpectRefused(owner_, request, Code::kTokenInvalid, "the neighbour's object");
  PullTicket old = good;
  old.expires_wall_micros = Now() - 10'000'000;
  ExpectAllRefused(keys_.SealTicket(text_, old), Code::kTokenExpired, "an expired ticket");
  request = Read(token);
  request.epoch = owner_.epoch + 1;
  ExpectRefused(owner_, request, Code::kWrongEpoch, "another epoch");
  ExpectUnharmed();
}

// The keys are the brokers'; what is tried is what a broker asks for a function that found, or was
// given, a reference that is not for it.
TEST_F(AttackTest, ATicketOfAnotherNamespaceOrActionIsOutOfScope) {
  for (const Scope& scope : {Scope{"other", ""}, Scope{"other", "guest"}, Scope{"gues", "t"},
                             Scope{"guest2", ""}, Scope{"", ""}}) {
    PullTicket ticket = TicketOf(scope);
    const auto what = scope.name_space + "/" + scope.action;
    for (const bool granted : {false, true}) {
      ticket.granted = granted;
      const std::string token = keys_.SealTicket(text_, ticket);
      ExpectValueRefused(token, Code::kRefOutOfScope, what);
    }
  }
  Options options = Times(2);
  options.action = "sum";
  const std::string for_sum = sender_.Put(secret_, options);
  RequestMessage request = Read(keys_.SealTicket(for_sum, TicketOf({"guest", "product"})));
  request.object = keys_.Open(for_sum)->object;
  ExpectRefused(owner_, request, Code::kRefOutOfScope, "another action");
  ExpectUnharmed();
}

// A node that only keeps a copy refuses what the owner would refuse.
TEST_F(AttackTest, ACopyIsAsWellGuardedAsTheOriginal) {
  Options brief = Times(3);
  brief.lifetime_ms = 3000;
  const std::string expiring = sender_.Put(secret_, brief);
  Client receiver = holder_.Client();
  EXPECT_TRUE(receiver.Get(text_).text() == secret_);
  EXPECT_TRUE(receiver.Get(expiring).text() == secret_);
  const auto of = [&](PullTicket ticket, bool granted) {
    ticket.granted = granted;
    return keys_.SealTicket(text_, ticket);
  };
  const std::string good = of(TicketOf({"guest", ""}), true);
  auto reply = stranger_.Ask(holder_.engine->address(), Read(good));
  ASSERT_TRUE(reply);
  ASSERT_EQ(reply->code, Code::kOk) << "there is no copy, so this test tests nothing";

  ExpectRefused(holder_, Read(of(TicketOf({"other", ""}), true)), Code::kRefOutOfScope,
                "another namespace's ticket");
  ExpectRefused(holder_, Read(of(TicketOf({"other", ""}), false)), Code::kRefOutOfScope,
                "another namespace's ticket without a grant");
  ExpectRefused(holder_, Read(text_), Code::kTokenInvalid, "no ticket");
  ExpectRefused(holder_, Read(good, 2 * kMiB), Code::kInvalidArgument, "more than the rest");
  ExpectRefused(holder_, Read(good, 3 * kMiB), Code::kInvalidArgument, "past the end");
  ExpectRefused(holder_, Read(good, 4096, 4096), Code::kInvalidArgument, "no piece");
  ExpectRefused(holder_, Read(good, 0 - kMiB), Code::kInvalidArgument, "an offset that overflows");
  // Its ticket would be good for longer than the reference.
  RequestMessage late = Read("");
  PullTicket ticket = TicketOf({"guest", ""});
  ticket.granted = true;
  late.token = keys_.SealTicket(expiring, ticket);
  late.object = keys_.Open(expiring)->object;
  ASSERT_TRUE(Eventually([&] { return keys_.Open(expiring)->expires_wall_micros < Now(); }));
  ExpectRefused(holder_, late, Code::kRefExpired, "an expired reference");
  EXPECT_TRUE(receiver.Get(text_).text() == secret_);
}

TEST_F(AttackTest, AStolenTicketReadsNothingBesideItsBuffer) {
  const std::string token = TokenOf({"guest", ""});
  const std::vector<std::pair<uint64_t, uint32_t>> ranges = {{0, 0},
                                                             {0, kMiB - 1},
                                                             {1, kMiB},
                                                             {1, kMiB - 1},
                                                             {4096, 4096},
                                                             {kMiB, 1000},
                                                             {2 * kMiB, kMiB},
                                                             {2 * kMiB, 1001},
                                                             {2 * kMiB, 999},
                                                             {2 * kMiB, 0},
                                                             {2 * kMiB + 1000, 0},
                                                             {2 * kMiB + 1000, 1},
                                                             {3 * kMiB, 0},
                                                             {3 * kMiB, kMiB},
                                                             {1ull << 40, kMiB},
                                                             {1ull << 63, kMiB},
                                                             {0 - kMiB, kMiB},
                                                             {0 - kMiB, 0},
                                                             {UINT64_MAX, 1},
                                                             {UINT64_MAX - kMiB + 2, kMiB}};
  for (const auto& [offset, length] : ranges) {
    const auto what = std::to_string(offset) + "+" + std::to_string(length);
    ExpectRefused(owner_, Read(token, offset, length), Code::kInvalidArgument, what);
  }
  // More than any piece is no message.
  RequestMessage request = Read(token, 0, kMaxTransferBytes + 1);
  EXPECT_TRUE(stranger_.Send(owner_.engine->address(), Encode(request)));
  // What it may read is what the value is, and not a byte beside it.
  auto reply = stranger_.Ask(owner_.engine->address(), Read(token, 2 * kMiB, 1000));
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->code, Code::kOk) << reply->text;
  EXPECT_TRUE(reply->bytes == secret_.substr(2 * kMiB));
  EXPECT_EQ(stranger_.window_bytes(), 0u);
  reply = stranger_.Ask(owner_.engine->address(), Read(token, kMiB));
  ASSERT_TRUE(reply);
  EXPECT_EQ(stranger_.window_bytes(), kMiB);
  EXPECT_EQ(std::memcmp(stranger_.window().data(), secret_.data() + kMiB, kMiB), 0);
  ExpectUnharmed();
}

// Values that end where a piece ends: the range behind the last piece is no piece of none, and
// counts as no retrieval.
TEST_F(AttackTest, TheEndOfAValueIsNoPieceOfIt) {
  for (const size_t pieces : {size_t{1}, size_t{3}, size_t{24}}) {
    text_ = sender_.Put(Pattern(pieces * kMiB), Times(1));
    reference_ = *keys_.Open(text_);
    const std::string token = TokenOf({"guest", ""});
    for (size_t behind = pieces; behind < pieces + 200; behind += 33) {
      ExpectRefused(owner_, Read(token, behind * kMiB, 0), Code::kInvalidArgument,
                    std::to_string(behind));
    }
    EXPECT_EQ(sender_.Stat(text_).retrievals_left, 1u);
    EXPECT_TRUE(sender_.Get(text_).text() == Pattern(pieces * kMiB));
  }
}

TEST_F(AttackTest, AReplayedTicketGetsNoMoreThanItsPull) {
  text_ = sender_.Put(secret_, Times(1));
  reference_ = *keys_.Open(text_);
  const std::string first = TokenOf({"guest", ""});
  const std::string second = TokenOf({"guest", ""});
  auto reply = stranger_.Ask(owner_.engine->address(), Read(first));
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->code, Code::kOk);
  // The only retrieval is the first pull's.
  ExpectRefused(owner_, Read(second), Code::kBusy, "another pull meanwhile");
  ExpectRefused(owner_, Control(second, ControlOp::kGrant), Code::kBusy, "another pull meanwhile");
  // Ending a pull that is not there ends no other.
  reply = stranger_.Ask(owner_.engine->address(), Control(second, ControlOp::kEndPull));
  ASSERT_TRUE(reply);
  ExpectRefused(owner_, Read(second), Code::kBusy, "another pull meanwhile");
  for (const auto& [offset, length] :
       {std::pair<uint64_t, uint32_t>{kMiB, kMiB}, std::pair<uint64_t, uint32_t>{2 * kMiB, 1000}}) {
    reply = stranger_.Ask(owner_.engine->address(), Read(first, offset, length));
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->code, Code::kOk) << reply->text;
  }
  ExpectRefused(owner_, Read(second), Code::kRefExhausted, "another pull after it");
  RequestMessage done = Control(first, ControlOp::kEndPull);
  done.c = 1;
  reply = stranger_.Ask(owner_.engine->address(), done);
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->code, Code::kOk);
  ExpectValueRefused(first, Code::kRefExhausted, "the first pull again");
  EXPECT_EQ(CodeOf([&] { holder_.Client().Get(text_); }), XDT_REF_EXHAUSTED);

  text_ = sender_.Put(secret_, Times(5));
  reference_ = *keys_.Open(text_);
  sender_.Delete(text_);
  ExpectValueRefused(TokenOf({"guest", ""}), Code::kRefExhausted, "after a delete");
  Options brief = Times(5);
  brief.lifetime_ms = 1;
  text_ = sender_.Put(secret_, brief);
  reference_ = *keys_.Open(text_);
  ASSERT_TRUE(Eventually([&] { return reference_.expires_wall_micros < Now(); }));
  ExpectValueRefused(TokenOf({"guest", ""}), Code::kRefExpired, "after its end");
}

TEST_F(AttackTest, OperationsOfFilesAreNoneOfBuffers) {
  const std::string token = TokenOf({"guest", ""});
  for (const ControlOp op : {ControlOp::kStat, ControlOp::kTruncate, ControlOp::kAllocate,
                             ControlOp::kSync, ControlOp::kSeekData, ControlOp::kSeekHole}) {
    ExpectRefused(owner_, Control(token, op), Code::kNotSupported, "an operation of files");
  }
  ExpectUnharmed();
}

TEST_F(AttackTest, GarbageAndMutatedRequestsHarmNobody) {
  const std::string address = owner_.engine->address();
  const std::string good = Encode(Read(text_ + "." + std::string(109, 'x')));
  std::mt19937_64 random(20261127);
  for (int i = 0; i < 400; ++i) {
    std::string message = good;
    if (i % 4 == 0) message.resize(random() % kMaxMessageBytes, 'g');
    for (uint64_t changes = 1 + random() % 8; changes > 0 && !message.empty(); --changes) {
      message[random() % message.size()] = static_cast<char>(random());
    }
    if (message.empty()) continue;
    ASSERT_TRUE(stranger_.Send(address, message)) << i;
  }
  // Answers and go-aheads to nobody's request.
  for (uint64_t id = 0; id < 50; ++id) {
    ASSERT_TRUE(stranger_.Send(address, Encode(ReadyMessage{id, stranger_.address()})));
    ReplyMessage reply;
    reply.id = id;
    ASSERT_TRUE(stranger_.Send(address, Encode(reply)));
    ASSERT_TRUE(stranger_.SendBytes(address, id, 8192));
  }
  ExpectUnharmed();
}

// Requests whose answers nobody takes: at a port where nobody listens, at an address that leads
// nowhere, at no address, with an hour of patience. They are soon forgotten.
TEST_F(AttackTest, AnswersThatNobodyTakesHarmNobody) {
  const std::string address = owner_.engine->address();
  for (int i = 0; i < 150; ++i) {
    RequestMessage request = Read("");
    request.id = static_cast<uint64_t>(i);
    request.patience_micros = 3600ll * 1'000'000;
    request.reply_to = i % 3 == 0   ? "127.0.0.1:" + std::to_string(1 + i)
                       : i % 3 == 1 ? "10.255.255." + std::to_string(1 + i) + ":9"
                                    : "nowhere" + std::to_string(i);
    ASSERT_TRUE(stranger_.Send(address, Encode(request)));
  }
  ExpectUnharmed();
  // Trying for ever would take a processor.
  const auto spent = [] {
    rusage used{};
    ::getrusage(RUSAGE_SELF, &used);
    return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1'000'000 + used.ru_utime.tv_usec +
           used.ru_stime.tv_usec;
  };
  EXPECT_TRUE(Eventually([&] {
    const int64_t before = spent();
    std::promise<void> never;
    never.get_future().wait_for(std::chrono::milliseconds(500));
    return spent() - before < 100'000;
  }));
}

// Whoever reaches a requester's port can send answers there. Without its ids and tags they are
// nobody's.
TEST_F(AttackTest, AForgedAnswerIsNoAnswer) {
  RawPeer honest;  // an owner whose answers can be held back
  constexpr uint32_t kLength = 65'536;
  auto into = holder_.buffers->Allocate(kLength, 0);
  ASSERT_OK(into);
  ReadRequest request;
  request.object = {kBufferBit | 1, 1};
  request.length = kLength;
  std::atomic<bool> answered{false};
  Result<ReadResult> result = Status::Internal("not yet");
  holder_.engine->Read({honest.address(), 1}, request, into->span(),
                       Clock::Real()->MonotonicMicros() + 20'000'000, [&](Result<ReadResult> read) {
                         result = std::move(read);
                         answered = true;
                       });
  auto message = honest.Receive();
  ASSERT_TRUE(message);
  const RequestMessage asked = std::get<RequestMessage>(*message);

  std::fill(stranger_.window().begin(), stranger_.window().end(), std::byte{'f'});
  ReplyMessage forged;
  forged.length = 16;
  forged.bytes_inline = true;
  forged.bytes = std::string(16, 'f');
  forged.crc = Crc32c(stranger_.window().first(16));
  for (uint64_t guess = 0; guess < 200; ++guess) {
    forged.id = guess;
    ASSERT_TRUE(stranger_.Send(asked.reply_to, Encode(forged)));
    // The fabric keeps what nobody receives; it must not keep much of it.
    if (guess % 10 == 0) ASSERT_TRUE(stranger_.SendBytes(asked.reply_to, guess, 1024));
  }
  EXPECT_FALSE(answered);

  const std::string value = Pattern(kLength);
  std::memcpy(honest.window().data(), value.data(), kLength);
  ASSERT_TRUE(honest.SendBytes(asked.reply_to, asked.tag, kLength));
  ReplyMessage reply;
  reply.id = asked.id;
  reply.length = kLength;
  reply.crc = Crc32c(honest.window().first(kLength));
  ASSERT_TRUE(honest.Send(asked.reply_to, Encode(reply)));
  ASSERT_TRUE(Eventually([&] { return answered.load(); }));
  ASSERT_OK(result);
  EXPECT_EQ(result->length, kLength);
  EXPECT_EQ(std::memcmp(into->data(), value.data(), kLength), 0);
}

}  // namespace
}  // namespace f3::xdt
