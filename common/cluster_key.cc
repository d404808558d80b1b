#include "common/cluster_key.h"

#include <fcntl.h>
#include <sodium.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "common/unique_fd.h"

namespace f3 {
namespace {

constexpr size_t kMinSecretBytes = 16;
constexpr size_t kMacBytes = 32;
constexpr char kTokenFormat = 1;
// Written on one host and read on another: their clocks may differ by this much.
constexpr int64_t kClockSkewNanos = 2'000'000'000;

std::array<unsigned char, 32> Derive(std::string_view secret, std::string_view purpose) {
  std::array<unsigned char, 32> root;
  crypto_generichash(root.data(), root.size(),
                     reinterpret_cast<const unsigned char*>(secret.data()), secret.size(), nullptr,
                     0);
  std::array<unsigned char, 32> key;
  crypto_generichash(key.data(), key.size(), reinterpret_cast<const unsigned char*>(purpose.data()),
                     purpose.size(), root.data(), root.size());
  return key;
}

template <typename T>
void Append(std::string* out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) {
    out->push_back(static_cast<char>(static_cast<uint64_t>(value) >> (8 * i)));
  }
}

template <typename T>
T Take(std::string_view* in) {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    value |= static_cast<uint64_t>(static_cast<unsigned char>((*in)[i])) << (8 * i);
  }
  in->remove_prefix(sizeof(T));
  return static_cast<T>(value);
}

}  // namespace

Result<ClusterKey> ClusterKey::FromSecret(std::string_view secret) {
  if (sodium_init() < 0) return Status::Internal("libsodium cannot start on this machine");
  if (secret.size() < kMinSecretBytes) {
    return Status::InvalidArgument(
        "the cluster secret is shorter than 16 bytes; make one with "
        "`head -c 32 /dev/urandom | base64`");
  }
  ClusterKey key;
  key.capability_key_ = Derive(secret, "f3 capability 1");
  auto bearer = Derive(secret, "f3 bearer 1");
  char hex[65];
  sodium_bin2hex(hex, sizeof(hex), bearer.data(), bearer.size());
  key.bearer_ = std::string("f3 ") + hex;
  return key;
}

Result<ClusterKey> ClusterKey::FromFile(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  if (!in || !std::getline(in, line)) {
    return Status::BadConfig("cannot read the cluster secret from " + path +
                             "; copy it from the metadata server's host");
  }
  auto key = FromSecret(line);
  if (!key.ok()) return key.status().WithContext(path);
  return key;
}

Status ClusterKey::CreateFile(const std::string& path) {
  if (sodium_init() < 0) return Status::Internal("libsodium cannot start on this machine");
  unsigned char secret[32];
  randombytes_buf(secret, sizeof(secret));
  char hex[66];
  sodium_bin2hex(hex, sizeof(hex), secret, sizeof(secret));
  hex[64] = '\n';
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd.valid()) return Status::FromErrno(errno, "create the cluster secret " + path);
  if (::write(fd.get(), hex, 65) != 65) return Status::FromErrno(errno, "write " + path);
  return Status();
}

std::array<unsigned char, 32> ClusterKey::reference_root() const {
  const auto* key = reinterpret_cast<const char*>(capability_key_.data());
  return Derive({key, capability_key_.size()}, "f3 reference 1");
}

bool ClusterKey::IsBearer(std::string_view text) const {
  return text.size() == bearer_.size() &&
         sodium_memcmp(text.data(), bearer_.data(), text.size()) == 0;
}

std::string ClusterKey::Seal(const Capability& capability) const {
  std::string token;
  token.reserve(kTokenBytes);
  token.push_back(kTokenFormat);
  Append(&token, capability.session);
  Append(&token, capability.node);
  Append(&token, capability.object.ino);
  Append(&token, capability.object.incarnation);
  Append(&token, static_cast<uint8_t>(capability.write));
  Append(&token, capability.expires_wall_nanos);
  unsigned char mac[kMacBytes];
  crypto_generichash(mac, sizeof(mac), reinterpret_cast<const unsigned char*>(token.data()),
                     token.size(), capability_key_.data(), capability_key_.size());
  token.append(reinterpret_cast<const char*>(mac), sizeof(mac));
  return token;
}

Result<Capability> ClusterKey::Open(std::string_view token, int64_t now_wall_nanos) const {
  if (token.size() != kTokenBytes || token[0] != kTokenFormat) {
    return Status::TokenInvalid("the data token is malformed");
  }
  unsigned char mac[kMacBytes];
  crypto_generichash(mac, sizeof(mac), reinterpret_cast<const unsigned char*>(token.data()),
                     token.size() - kMacBytes, capability_key_.data(), capability_key_.size());
  if (sodium_memcmp(mac, token.data() + token.size() - kMacBytes, kMacBytes) != 0) {
    return Status::TokenInvalid("the data token was not made with this cluster's secret");
  }
  std::string_view in = token.substr(1);
  Capability capability;
  capability.session = Take<uint64_t>(&in);
  capability.node = Take<uint32_t>(&in);
  capability.object.ino = Take<uint64_t>(&in);
  capability.object.incarnation = Take<uint64_t>(&in);
  capability.write = Take<uint8_t>(&in) != 0;
  capability.expires_wall_nanos = Take<int64_t>(&in);
  if (capability.expires_wall_nanos + kClockSkewNanos < now_wall_nanos) {
    return Status::TokenExpired("the data token's time is over");
  }
  return capability;
}

}  // namespace f3
