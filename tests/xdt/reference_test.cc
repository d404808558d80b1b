#include "xdt/reference.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <random>
#include <set>

#include "common/cluster_key.h"
#include "tests/common/status_matchers.h"

namespace f3::xdt {
namespace {

constexpr int64_t kDay = 24 * 3600ll * 1'000'000;
constexpr char kLetters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

KeyBytes Root(const std::string& secret = "a secret of the cluster") {
  auto key = ClusterKey::FromSecret(secret);
  EXPECT_OK(key);
  return key->reference_root();
}

Reference Sample(const ReferenceKeys& keys) {
  Reference r;
  r.owner = 7;
  r.epoch = 11;
  r.object = {1ull << 63 | 5, 0x1234567890abcdef};
  r.version = 3;
  r.length = 1ull << 40;
  r.expires_wall_micros = 1'800'000'000'000'000;
  r.allowance = 4;
  r.name_space = keys.NamespaceTag({"guest", ""});
  r.action = keys.ActionTag({"guest", "sum"});
  return r;
}

class ReferenceTest : public testing::Test {
 protected:
  ReferenceKeys Keys(const std::string& secret = "a secret of the cluster") {
    return ReferenceKeys(Root(secret), {kDay, 2 * kDay, &clock_});
  }
  ManualClock clock_;
};

TEST_F(ReferenceTest, SaysWhatItWasMadeOf) {
  const ReferenceKeys keys = Keys();
  const Reference made = Sample(keys);
  const std::string text = keys.Seal(made);
  EXPECT_EQ(text.size(), kReferenceChars);
  EXPECT_EQ(text.find_first_not_of(kLetters), std::string::npos) << text;
  auto opened = keys.Open(text);
  ASSERT_OK(opened);
  EXPECT_EQ(opened->kind, made.kind);
  EXPECT_EQ(opened->owner, made.owner);
  EXPECT_EQ(opened->epoch, made.epoch);
  EXPECT_EQ(opened->object, made.object);
  EXPECT_EQ(opened->version, made.version);
  EXPECT_EQ(opened->length, made.length);
  EXPECT_EQ(opened->expires_wall_micros, made.expires_wall_micros);
  EXPECT_EQ(opened->allowance, made.allowance);
  EXPECT_EQ(opened->name_space, made.name_space);
  EXPECT_EQ(opened->action, made.action);
  // Two of the same object cannot be told to be that.
  EXPECT_NE(text, keys.Seal(made));
}

TEST_F(ReferenceTest, WhatIsNoReferenceIsMalformed) {
  const ReferenceKeys keys = Keys();
  const std::string good = keys.Seal(Sample(keys));
  for (const std::string& bad :
       {std::string(), std::string("x"), good + "A", good.substr(1), std::string(179, '='),
        std::string(179, '\0'), std::string(1 << 20, 'A'), " " + good.substr(1),
        good.substr(0, 178) + "+"}) {
    EXPECT_CODE(keys.Open(bad), kRefMalformed);
  }
  // Another layout.
  EXPECT_CODE(keys.Open("Ag" + good.substr(2)), kRefMalformed);
}

TEST_F(ReferenceTest, AnotherSecretsReferenceIsNotAuthentic) {
  EXPECT_CODE(Keys("another secret, as long").Open(Keys().Seal(Sample(Keys()))), kRefNotAuthentic);
}

TEST_F(ReferenceTest, KeysChangeWithTimeAndOldOnesAreKnownForAWhile) {
  const ReferenceKeys keys = Keys();
  const std::string old = keys.Seal(Sample(keys));
  clock_.AdvanceMicros(2 * kDay);
  ASSERT_OK(keys.Open(old));
  const std::string young = keys.Seal(Sample(keys));
  EXPECT_NE(old.substr(0, 6), young.substr(0, 6)) << "the key id is the same";
  clock_.AdvanceMicros(kDay + 1);
  EXPECT_CODE(keys.Open(old), kRefNotAuthentic);
  EXPECT_OK(keys.Open(young));
  // Made by a host whose clock is far ahead.
  ManualClock early;
  EXPECT_CODE(ReferenceKeys(Root(), {kDay, 2 * kDay, &early}).Open(young), kRefNotAuthentic);
}

// One random change of a reference's text: letters, lengths, exchanged or foreign pieces.
std::string Mutated(const std::string& good, const std::string& other, std::mt19937_64* random) {
  std::string text = good;
  const auto at = [&] { return (*random)() % text.size(); };
  switch ((*random)() % 6) {
    case 0:
      text[at()] = kLetters[(*random)() % 64];
      break;
    case 1:
      for (int i = 0; i < 3; ++i) text[at()] = kLetters[(*random)() % 64];
      break;
    case 2:
      text[at()] = static_cast<char>((*random)());
      break;
    case 3: {
      const size_t cut = at();
      text = good.substr(0, cut) + other.substr(cut);
      break;
    }
    case 4:
      std::swap(text[at()], text[at()]);
      break;
    default:
      text.erase(at(), 1);
      text.insert(at(), 1, kLetters[(*random)() % 64]);
  }
  return text;
}

int Tries() { return std::getenv("F3_FULL") != nullptr ? 1'000'000 : 20'000; }

TEST_F(ReferenceTest, NoMutationIsAccepted) {
  const int tries = Tries();
  const ReferenceKeys keys = Keys();
  const std::string good = keys.Seal(Sample(keys));
  const std::string other = keys.Seal(Sample(keys));
  std::mt19937_64 random(20261126);
  int tried = 0;
  while (tried < tries) {
    const std::string text = Mutated(good, other, &random);
    if (text == good || text == other) continue;
    ++tried;
    auto opened = keys.Open(text);
    ASSERT_FALSE(opened.ok()) << text;
    ASSERT_TRUE(opened.status().Is(Code::kRefMalformed) ||
                opened.status().Is(Code::kRefNotAuthentic))
        << opened.status().ToString();
  }
}

TEST_F(ReferenceTest, ScopeIsANamespaceAndPerhapsAnAction) {
  const ReferenceKeys keys = Keys();
  Reference r = Sample(keys);
  const auto check = [&](const Scope& who) {
    return CheckScope(r, keys.NamespaceTag(who), keys.ActionTag(who));
  };
  EXPECT_OK(check({"guest", "sum"}));
  EXPECT_CODE(check({"guest", "other"}), kRefOutOfScope);
  EXPECT_CODE(check({"guest", ""}), kRefOutOfScope);
  EXPECT_CODE(check({"other", "sum"}), kRefOutOfScope);
  EXPECT_CODE(check({"guests", "um"}), kRefOutOfScope);
  EXPECT_CODE(check({"", ""}), kRefOutOfScope);
  r.action = {};
  EXPECT_OK(check({"guest", "other"}));
  EXPECT_OK(check({"guest", ""}));
  EXPECT_CODE(check({"other", ""}), kRefOutOfScope);
}

TEST_F(ReferenceTest, ATicketIsBoundToItsReference) {
  const ReferenceKeys keys = Keys();
  const std::string one = keys.Seal(Sample(keys));
  const std::string two = keys.Seal(Sample(keys));
  PullTicket ticket;
  ticket.id[0] = 9;
  ticket.from = 3;
  ticket.name_space = keys.NamespaceTag({"guest", ""});
  ticket.granted = true;
  ticket.expires_wall_micros = clock_.WallNanos() / 1000 + 1'000'000;
  const std::string token = keys.SealTicket(one, ticket);
  EXPECT_LE(token.size(), 1024u);  // kMaxTokenBytes of the wire
  auto opened = keys.OpenTicket(token);
  ASSERT_OK(opened);
  EXPECT_EQ(opened->ticket.id, ticket.id);
  EXPECT_EQ(opened->ticket.from, 3u);
  EXPECT_EQ(opened->ticket.name_space, ticket.name_space);
  EXPECT_TRUE(opened->ticket.granted);
  EXPECT_EQ(opened->reference.object, Sample(keys).object);

  EXPECT_CODE(keys.OpenTicket(two + token.substr(kReferenceChars)), kTokenInvalid);
  EXPECT_CODE(keys.OpenTicket(token.substr(1)), kTokenInvalid);
  for (size_t i = kReferenceChars; i < token.size(); ++i) {
    std::string changed = token;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    EXPECT_CODE(keys.OpenTicket(changed), kTokenInvalid);
  }
  EXPECT_CODE(Keys("another secret, as long").OpenTicket(token), kTokenInvalid);
  clock_.AdvanceMicros(10'000'000);
  EXPECT_CODE(keys.OpenTicket(token), kTokenExpired);
}

// The token of a pull's requests: the same changes to its ticket, and another's pieces in it.
TEST_F(ReferenceTest, NoMutatedTicketIsAccepted) {
  const ReferenceKeys keys = Keys();
  const std::string text = keys.Seal(Sample(keys));
  PullTicket ticket;
  ticket.name_space = keys.NamespaceTag({"guest", ""});
  ticket.expires_wall_micros = clock_.WallNanos() / 1000 + 1'000'000;
  const std::string good = keys.SealTicket(text, ticket);
  const std::string other = keys.SealTicket(text, ticket);
  std::mt19937_64 random(20261127);
  for (int tried = 0; tried < Tries();) {
    const std::string token = random() % 2 == 0
                                  ? Mutated(good, other, &random)
                                  : text + "." +
                                        Mutated(good.substr(kReferenceChars + 1),
                                                other.substr(kReferenceChars + 1), &random);
    if (token == good || token == other) continue;
    ++tried;
    ASSERT_TRUE(HasCode(keys.OpenTicket(token), Code::kTokenInvalid));
  }
}

}  // namespace
}  // namespace f3::xdt
