#include "openwhisk_plugin/gateway/auth.h"

#include <fcntl.h>
#include <sodium.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <sstream>
#include <utility>
#include <vector>

#include "common/unique_fd.h"
#include "openwhisk_plugin/gateway/names.h"

namespace f3::openwhisk {
namespace {

constexpr size_t kMaxHeaderBytes = 1024;
constexpr size_t kKeyChars = 64;

Result<Identity> ParseLine(const std::string& line, const std::string& origin) {
  std::istringstream in(line);
  std::string credentials;
  Identity identity;
  std::string rest;
  in >> credentials >> identity.name_space >> rest;
  size_t colon = credentials.find(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == credentials.size() ||
      !rest.empty() || !CheckName("namespace", identity.name_space).ok()) {
    return Status::BadConfig(origin + " is not of the form UUID:KEY NAMESPACE");
  }
  identity.uuid = credentials.substr(0, colon);
  identity.key = credentials.substr(colon + 1);
  return identity;
}

Result<std::map<std::string, Identity>> ReadKeys(const std::string& path) {
  std::ifstream in(path);
  if (!in) return Status::BadConfig("cannot read the keys file " + path);
  std::map<std::string, Identity> keys;
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    if (line.empty() || line[0] == '#') continue;
    F3_ASSIGN_OR_RETURN(Identity identity, ParseLine(line, path + ":" + std::to_string(number)));
    std::string uuid = identity.uuid;
    keys[uuid] = std::move(identity);
  }
  return keys;
}

// Same time whatever they hold; only their lengths show.
bool SameSecret(const std::string& a, const std::string& b) {
  return a.size() == b.size() && sodium_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string RandomUuid() {
  std::array<unsigned char, 16> bytes;
  randombytes_buf(bytes.data(), bytes.size());
  bytes[6] = static_cast<unsigned char>((bytes[6] & 0x0f) | 0x40);
  bytes[8] = static_cast<unsigned char>((bytes[8] & 0x3f) | 0x80);
  std::array<char, 33> hex;
  sodium_bin2hex(hex.data(), hex.size(), bytes.data(), bytes.size());
  std::string text = hex.data();
  for (size_t at : {20, 16, 12, 8}) text.insert(at, "-");
  return text;
}

std::string RandomKey() {
  constexpr std::string_view kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  std::string key;
  for (size_t i = 0; i < kKeyChars; ++i) {
    key += kLetters[randombytes_uniform(static_cast<uint32_t>(kLetters.size()))];
  }
  return key;
}

}  // namespace

Result<std::unique_ptr<AuthKeys>> AuthKeys::Open(const std::string& path) {
  if (sodium_init() < 0) return Status::Internal("libsodium does not start");
  std::unique_ptr<AuthKeys> keys(new AuthKeys(path));
  MutexLock lock(keys->mutex_);
  F3_RETURN_IF_ERROR(keys->Reload());
  return keys;
}

Status AuthKeys::Reload() {
  struct stat st {};
  if (::stat(path_.c_str(), &st) != 0) {
    return Status::BadConfig("there is no keys file " + path_ +
                             "; `f3 gateway --auth FILE --add-namespace NAME` makes one");
  }
  Stamp stamp{st.st_mtim.tv_sec * 1'000'000'000 + st.st_mtim.tv_nsec, st.st_size, st.st_ino};
  if (stamp == stamp_) return Status();
  if ((st.st_mode & 077) != 0) {
    return Status::BadConfig("others may read the keys in " + path_ + "; chmod 600 it");
  }
  F3_ASSIGN_OR_RETURN(by_uuid_, ReadKeys(path_));
  stamp_ = stamp;
  return Status();
}

Result<Identity> AuthKeys::Check(std::string_view authorization) {
  constexpr std::string_view kBasic = "Basic ";
  const Status refused = Status::Unauthenticated("the authentication is missing or wrong");
  if (authorization.size() > kMaxHeaderBytes || authorization.rfind(kBasic, 0) != 0) return refused;
  authorization.remove_prefix(kBasic.size());
  std::string text(authorization.size(), '\0');
  size_t length = 0;
  if (sodium_base642bin(reinterpret_cast<unsigned char*>(text.data()), text.size(),
                        authorization.data(), authorization.size(), nullptr, &length, nullptr,
                        sodium_base64_VARIANT_ORIGINAL) != 0) {
    return refused;
  }
  text.resize(length);
  size_t colon = text.find(':');
  if (colon == std::string::npos) return refused;
  MutexLock lock(mutex_);
  Status status = Reload();
  if (!status.ok()) spdlog::warn("the keys stay as they were: {}", status.message());
  auto it = by_uuid_.find(text.substr(0, colon));
  // An unknown uuid costs a comparison too.
  const std::string nobody(kKeyChars, '\0');
  bool known = it != by_uuid_.end();
  bool same = SameSecret(known ? it->second.key : nobody, text.substr(colon + 1));
  if (!known || !same) return refused;
  return it->second;
}

Result<std::string> AddNamespace(const std::string& path, const std::string& name_space) {
  if (sodium_init() < 0) return Status::Internal("libsodium does not start");
  F3_RETURN_IF_ERROR(CheckName("namespace", name_space));
  if (name_space.find(' ') != std::string::npos) {
    return Status::InvalidArgument("the keys file has no place for a namespace with a space");
  }
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!fd.valid()) return Status::FromErrno(errno, "open " + path);
  F3_ASSIGN_OR_RETURN(auto keys, ReadKeys(path));
  for (const auto& [uuid, identity] : keys) {
    if (identity.name_space == name_space) {
      return Status::Exists("the namespace " + name_space + " has a key in " + path);
    }
  }
  std::string credentials = RandomUuid() + ":" + RandomKey();
  std::string line = credentials + " " + name_space + "\n";
  // One write, so that the file never has half a line of a caller that was killed.
  ssize_t written = ::write(fd.get(), line.data(), line.size());
  if (written != static_cast<ssize_t>(line.size())) {
    return Status::FromErrno(written < 0 ? errno : ENOSPC, "write " + path);
  }
  if (::fsync(fd.get()) != 0) return Status::FromErrno(errno, "sync " + path);
  return credentials;
}

}  // namespace f3::openwhisk
