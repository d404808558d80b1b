// References: the tokens that let their holder pull one object from its owner.
//
// A reference is text, URL-safe and always kReferenceChars long, whatever it says, so that its
// length tells nothing. Its bytes, before base64url without padding:
//
//   1   layout version (kLayout)
//   4   key id
//   24  nonce, random
//   89  sealed: kind 1, owner 4, epoch 8, object 8 + 8 (number, generation), version 8, length 8,
//       expiry 8 (wall clock, microseconds), allowance 4, scope 16 + 16 (see ScopeTag); all
//       little-endian
//   16  authentication tag
//
// Sealed with XChaCha20-Poly1305 (libsodium); layout version and key id are authenticated too.
// Scope is two keyed hashes: a reference holds no name, and names may be of any length.
//
// Keys are derived from the cluster's secret and a key id, which is the number of the period of
// time that the reference was made in: keys change by themselves on every node at once, and a
// reference made with an older key is accepted for `keep` after its period. The published XDT
// prototype has none of this (plain "counter|ip:port").
//
// ReferenceKeys is immutable and thread-safe. Opening takes the same time wherever two references
// differ (libsodium's comparison).
#ifndef F3_XDT_REFERENCE_H_
#define F3_XDT_REFERENCE_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/clock.h"
#include "common/ids.h"
#include "common/status.h"

namespace f3::xdt {

using KeyBytes = std::array<unsigned char, 32>;
// A keyed hash of a namespace or an action; all zeros: any.
using ScopeTag = std::array<unsigned char, 16>;
// Names one pull, so that trying it again is not another one.
using PullId = std::array<unsigned char, 16>;

// Who asks, or who may: the names that the socket stands for, never what a caller says of itself.
struct Scope {
  std::string name_space;
  std::string action;  // empty: any action of the namespace
};

enum class ReferenceKind : uint8_t { kBuffer = 1, kFileVersion = 2 };

struct Reference {
  ReferenceKind kind = ReferenceKind::kBuffer;
  NodeId owner = 0;
  Epoch epoch = 0;      // of the owner's broker
  ObjectKey object;     // number and generation
  Version version = 0;  // of a file; 0 for a buffer
  uint64_t length = 0;  // of the object, in bytes
  int64_t expires_wall_micros = 0;
  uint32_t allowance = 0;  // retrievals; 0: any number until it expires
  ScopeTag name_space{};
  ScopeTag action{};
};

// What the requester's broker tells the owner's with each request of a pull: sealed, bound to the
// reference, short-lived.
struct PullTicket {
  PullId id{};
  NodeId from = 0;  // the requester's node
  ScopeTag name_space{};
  ScopeTag action{};
  bool granted = false;  // the owner has counted this pull; asked of a node that has a copy
  int64_t expires_wall_micros = 0;
};

inline constexpr uint8_t kLayout = 1;
inline constexpr size_t kReferenceChars = 179;
// The longest reference of any layout.
inline constexpr size_t kMaxReferenceChars = 256;

class ReferenceKeys {
 public:
  struct Options {
    int64_t period_micros = 24 * 3600ll * 1'000'000;    // a key is used for making references
    int64_t keep_micros = 7 * 24 * 3600ll * 1'000'000;  // and after that for opening them
    Clock* clock = Clock::Real();
  };
  ReferenceKeys(const KeyBytes& root, const Options& options);

  // The longest lifetime of a reference: its key is known that long.
  int64_t max_lifetime_micros() const { return options_.keep_micros; }

  std::string Seal(const Reference& reference) const;
  // RefMalformed: not a text that Seal makes, or of an unknown layout. RefNotAuthentic: made with
  // another secret, changed, or with a key that is too old. Says nothing on expiry, epoch or scope.
  Result<Reference> Open(std::string_view text) const;

  // The tags of a scope, for a reference or a ticket.
  ScopeTag NamespaceTag(const Scope& scope) const;
  ScopeTag ActionTag(const Scope& scope) const;

  // The token of a pull's requests: the reference, a dot, and the sealed ticket (raw bytes).
  std::string SealTicket(std::string_view reference, const PullTicket& ticket) const;
  struct OpenedTicket {
    Reference reference;
    PullTicket ticket;
  };
  // TokenInvalid for a ticket that no broker of this cluster made for this reference; TokenExpired;
  // and what Open says of the reference.
  Result<OpenedTicket> OpenTicket(std::string_view token) const;

 private:
  KeyBytes KeyOf(uint32_t id) const;
  ScopeTag Tag(std::string_view purpose, std::string_view name) const;

  const KeyBytes root_;
  const Options options_;
  KeyBytes tag_key_{};
  KeyBytes ticket_key_{};
};

// OK when a holder with these tags may use the reference; RefOutOfScope otherwise. Constant time.
Status CheckScope(const Reference& reference, const ScopeTag& name_space, const ScopeTag& action);
// RefExpired from the reference's end of validity on.
Status CheckValidity(const Reference& reference, int64_t now_wall_micros);

}  // namespace f3::xdt

#endif  // F3_XDT_REFERENCE_H_
