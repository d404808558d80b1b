#include "xdt/reference.h"

#include <sodium.h>

#include <cstring>
#include <vector>

namespace f3::xdt {
namespace {

constexpr size_t kNonceBytes = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;
constexpr size_t kTagBytes = crypto_aead_xchacha20poly1305_ietf_ABYTES;
constexpr size_t kHeadBytes = 1 + 4;
constexpr size_t kBodyBytes = 1 + 4 + 8 + 8 + 8 + 8 + 8 + 8 + 4 + 16 + 16;
constexpr size_t kReferenceBytes = kHeadBytes + kNonceBytes + kBodyBytes + kTagBytes;
static_assert((kReferenceBytes * 8 + 5) / 6 == kReferenceChars);
static_assert(kReferenceChars <= kMaxReferenceChars);
constexpr size_t kTicketBytes = 16 + 4 + 16 + 16 + 1 + 8;
constexpr size_t kSealedTicketBytes = kNonceBytes + kTicketBytes + kTagBytes;
constexpr int kVariant = sodium_base64_VARIANT_URLSAFE_NO_PADDING;
// Tickets are made on one host and opened on another: their clocks may differ by this much.
constexpr int64_t kClockSkewMicros = 2'000'000;

const unsigned char* Bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

KeyBytes Derive(const KeyBytes& root, std::string_view purpose) {
  KeyBytes key;
  crypto_generichash(key.data(), key.size(), Bytes(purpose), purpose.size(), root.data(),
                     root.size());
  return key;
}

// Fields of fixed size, little-endian, one after the other.
class Writer {
 public:
  explicit Writer(unsigned char* at) : at_(at) {}
  template <typename T>
  void Number(T value) {
    for (size_t i = 0; i < sizeof(T); ++i) {
      *at_++ = static_cast<unsigned char>(static_cast<uint64_t>(value) >> (8 * i));
    }
  }
  template <size_t N>
  void Array(const std::array<unsigned char, N>& bytes) {
    std::memcpy(at_, bytes.data(), N);
    at_ += N;
  }

 private:
  unsigned char* at_;
};

class Reader {
 public:
  explicit Reader(const unsigned char* at) : at_(at) {}
  template <typename T>
  T Number() {
    uint64_t value = 0;
    for (size_t i = 0; i < sizeof(T); ++i) value |= static_cast<uint64_t>(*at_++) << (8 * i);
    return static_cast<T>(value);
  }
  template <size_t N>
  std::array<unsigned char, N> Array() {
    std::array<unsigned char, N> bytes;
    std::memcpy(bytes.data(), at_, N);
    at_ += N;
    return bytes;
  }

 private:
  const unsigned char* at_;
};

void WriteBody(const Reference& r, unsigned char* at) {
  Writer out(at);
  out.Number(static_cast<uint8_t>(r.kind));
  out.Number(r.owner);
  out.Number(r.epoch);
  out.Number(r.object.ino);
  out.Number(r.object.incarnation);
  out.Number(r.version);
  out.Number(r.length);
  out.Number(r.expires_wall_micros);
  out.Number(r.allowance);
  out.Array(r.name_space);
  out.Array(r.action);
}

Reference ReadBody(const unsigned char* at) {
  Reader in(at);
  Reference r;
  r.kind = static_cast<ReferenceKind>(in.Number<uint8_t>());
  r.owner = in.Number<NodeId>();
  r.epoch = in.Number<Epoch>();
  r.object.ino = in.Number<Ino>();
  r.object.incarnation = in.Number<Incarnation>();
  r.version = in.Number<Version>();
  r.length = in.Number<uint64_t>();
  r.expires_wall_micros = in.Number<int64_t>();
  r.allowance = in.Number<uint32_t>();
  r.name_space = in.Array<16>();
  r.action = in.Array<16>();
  return r;
}

// False unless `text` is exactly what the bytes are written as: libsodium 1.0.18 takes some bytes
// above 127 for letters.
bool Decode(std::string_view text, unsigned char (&bytes)[kReferenceBytes]) {
  size_t n = 0;
  if (text.size() != kReferenceChars ||
      sodium_base642bin(bytes, sizeof(bytes), text.data(), text.size(), nullptr, &n, nullptr,
                        kVariant) != 0 ||
      n != kReferenceBytes) {
    return false;
  }
  char again[kReferenceChars + 1];
  sodium_bin2base64(again, sizeof(again), bytes, sizeof(bytes), kVariant);
  return std::memcmp(again, text.data(), kReferenceChars) == 0;
}

}  // namespace

ReferenceKeys::ReferenceKeys(const KeyBytes& root, const Options& options)
    : root_(root),
      options_(options),
      tag_key_(Derive(root, "f3 scope tag 1")),
      ticket_key_(Derive(root, "f3 pull ticket 1")) {}

KeyBytes ReferenceKeys::KeyOf(uint32_t id) const {
  return Derive(root_, "f3 reference key " + std::to_string(id));
}

std::string ReferenceKeys::Seal(const Reference& reference) const {
  const int64_t now = options_.clock->WallNanos() / 1000;
  const uint32_t id = static_cast<uint32_t>(now / options_.period_micros);
  unsigned char bytes[kReferenceBytes];
  Writer head(bytes);
  head.Number(kLayout);
  head.Number(id);
  unsigned char* nonce = bytes + kHeadBytes;
  randombytes_buf(nonce, kNonceBytes);
  unsigned char body[kBodyBytes];
  WriteBody(reference, body);
  const KeyBytes key = KeyOf(id);
  crypto_aead_xchacha20poly1305_ietf_encrypt(nonce + kNonceBytes, nullptr, body, sizeof(body),
                                             bytes, kHeadBytes, nullptr, nonce, key.data());
  char text[kReferenceChars + 1];
  sodium_bin2base64(text, sizeof(text), bytes, sizeof(bytes), kVariant);
  return std::string(text, kReferenceChars);
}

Result<Reference> ReferenceKeys::Open(std::string_view text) const {
  const auto malformed = [] { return Status::RefMalformed("this is not a reference"); };
  unsigned char bytes[kReferenceBytes];
  if (!Decode(text, bytes) || bytes[0] != kLayout) return malformed();
  const auto not_authentic = [] {
    return Status::RefNotAuthentic("the reference was not made by this cluster");
  };
  const uint32_t id = Reader(bytes + 1).Number<uint32_t>();
  const int64_t now = options_.clock->WallNanos() / 1000;
  const int64_t newest = (now + kClockSkewMicros) / options_.period_micros;
  if (id > newest) return not_authentic();
  // A key is kept for `keep` after the end of its period.
  const int64_t age = now - (static_cast<int64_t>(id) + 1) * options_.period_micros;
  if (age > options_.keep_micros) return not_authentic();
  const unsigned char* nonce = bytes + kHeadBytes;
  unsigned char body[kBodyBytes];
  const KeyBytes key = KeyOf(id);
  if (crypto_aead_xchacha20poly1305_ietf_decrypt(body, nullptr, nullptr, nonce + kNonceBytes,
                                                 kBodyBytes + kTagBytes, bytes, kHeadBytes, nonce,
                                                 key.data()) != 0) {
    return not_authentic();
  }
  return ReadBody(body);
}

ScopeTag ReferenceKeys::Tag(std::string_view purpose, std::string_view name) const {
  ScopeTag tag{};
  if (name.empty()) return tag;
  crypto_generichash_state state;
  crypto_generichash_init(&state, tag_key_.data(), tag_key_.size(), tag.size());
  crypto_generichash_update(&state, Bytes(purpose), purpose.size());
  crypto_generichash_update(&state, Bytes(name), name.size());
  crypto_generichash_final(&state, tag.data(), tag.size());
  return tag;
}

ScopeTag ReferenceKeys::NamespaceTag(const Scope& scope) const {
  return Tag("namespace ", scope.name_space);
}

ScopeTag ReferenceKeys::ActionTag(const Scope& scope) const {
  // An action belongs to its namespace: two of one name are two actions.
  if (scope.action.empty()) return {};
  const std::string length = std::to_string(scope.name_space.size());
  return Tag("action " + length + " ", scope.name_space + scope.action);
}

std::string ReferenceKeys::SealTicket(std::string_view reference, const PullTicket& ticket) const {
  unsigned char plain[kTicketBytes];
  Writer out(plain);
  out.Array(ticket.id);
  out.Number(ticket.from);
  out.Array(ticket.name_space);
  out.Array(ticket.action);
  out.Number(static_cast<uint8_t>(ticket.granted));
  out.Number(ticket.expires_wall_micros);
  unsigned char sealed[kSealedTicketBytes];
  randombytes_buf(sealed, kNonceBytes);
  crypto_aead_xchacha20poly1305_ietf_encrypt(sealed + kNonceBytes, nullptr, plain, sizeof(plain),
                                             Bytes(reference), reference.size(), nullptr, sealed,
                                             ticket_key_.data());
  std::string token(reference);
  token.push_back('.');
  token.append(reinterpret_cast<const char*>(sealed), sizeof(sealed));
  return token;
}

Result<ReferenceKeys::OpenedTicket> ReferenceKeys::OpenTicket(std::string_view token) const {
  if (token.size() != kReferenceChars + 1 + kSealedTicketBytes || token[kReferenceChars] != '.') {
    return Status::TokenInvalid("the pull's ticket is malformed");
  }
  const std::string_view reference = token.substr(0, kReferenceChars);
  const unsigned char* sealed = Bytes(token) + kReferenceChars + 1;
  unsigned char plain[kTicketBytes];
  if (crypto_aead_xchacha20poly1305_ietf_decrypt(
          plain, nullptr, nullptr, sealed + kNonceBytes, kTicketBytes + kTagBytes, Bytes(reference),
          reference.size(), sealed, ticket_key_.data()) != 0) {
    return Status::TokenInvalid("the pull's ticket was not made by this cluster");
  }
  OpenedTicket opened;
  Reader in(plain);
  opened.ticket.id = in.Array<16>();
  opened.ticket.from = in.Number<NodeId>();
  opened.ticket.name_space = in.Array<16>();
  opened.ticket.action = in.Array<16>();
  opened.ticket.granted = in.Number<uint8_t>() != 0;
  opened.ticket.expires_wall_micros = in.Number<int64_t>();
  const int64_t now = options_.clock->WallNanos() / 1000;
  if (opened.ticket.expires_wall_micros + kClockSkewMicros < now) {
    return Status::TokenExpired("the pull's ticket is too old");
  }
  F3_ASSIGN_OR_RETURN(opened.reference, Open(reference));
  return opened;
}

Status CheckScope(const Reference& reference, const ScopeTag& name_space, const ScopeTag& action) {
  const ScopeTag any{};
  const bool same_namespace =
      sodium_memcmp(reference.name_space.data(), name_space.data(), name_space.size()) == 0;
  const bool any_action = sodium_memcmp(reference.action.data(), any.data(), any.size()) == 0;
  const bool same_action =
      sodium_memcmp(reference.action.data(), action.data(), action.size()) == 0;
  if (same_namespace & (any_action | same_action)) return Status();
  return Status::RefOutOfScope("the reference is not for this function");
}

Status CheckValidity(const Reference& reference, int64_t now_wall_micros) {
  if (reference.expires_wall_micros > now_wall_micros) return Status();
  return Status::RefExpired("the reference has expired");
}

}  // namespace f3::xdt
