// ClusterKey: what is derived from the cluster's secret. Immutable after construction and
// thread-safe. The secret itself never leaves the file it was read from.
//
// Three uses: the bearer that every gRPC call carries; capabilities: short-lived tokens made by the
// metadata server and checked at the owner of the data (BLAKE2b keyed hashes, libsodium); and the
// root of the keys that seal references (xdt/reference.h).
#ifndef F3_COMMON_CLUSTER_KEY_H_
#define F3_COMMON_CLUSTER_KEY_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/ids.h"
#include "common/status.h"

namespace f3 {

// The right to read or write one object at one node until a point in time.
struct Capability {
  SessionId session = 0;
  NodeId node = 0;  // the node that may accept it
  ObjectKey object;
  bool write = false;
  int64_t expires_wall_nanos = 0;
};

class ClusterKey {
 public:
  // `secret`: at least 16 bytes. InvalidArgument when shorter.
  static Result<ClusterKey> FromSecret(std::string_view secret);
  // Reads the file's first line. Says what to do when it is missing or short.
  static Result<ClusterKey> FromFile(const std::string& path);
  // Writes a fresh random secret (hexadecimal, mode 0600). Exists when there is a file.
  static Status CreateFile(const std::string& path);

  // Text for the "authorization" metadata of a gRPC call.
  const std::string& bearer() const { return bearer_; }
  // Compares in constant time.
  bool IsBearer(std::string_view text) const;

  // A token of kTokenBytes bytes.
  std::string Seal(const Capability& capability) const;
  // TokenInvalid when it was not made with this key, TokenExpired when its time is over at
  // `now_wall_nanos`. The caller compares node, object and right with what is asked.
  Result<Capability> Open(std::string_view token, int64_t now_wall_nanos) const;

  // The root of the keys that references are sealed with.
  std::array<unsigned char, 32> reference_root() const;

  static constexpr size_t kTokenBytes = 1 + 8 + 4 + 8 + 8 + 1 + 8 + 32;

 private:
  ClusterKey() = default;
  std::array<unsigned char, 32> capability_key_{};
  std::string bearer_;
};

}  // namespace f3

#endif  // F3_COMMON_CLUSTER_KEY_H_
