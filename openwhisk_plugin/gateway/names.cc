#include "openwhisk_plugin/gateway/names.h"

#include <sodium.h>

#include <array>
#include <vector>

#include "openwhisk_plugin/entity_name.h"

namespace f3::openwhisk {
namespace {

std::vector<std::string> Split(std::string_view text) {
  std::vector<std::string> parts;
  size_t begin = 0;
  while (true) {
    size_t end = text.find('/', begin);
    parts.emplace_back(text.substr(begin, end - begin));
    if (end == std::string_view::npos) return parts;
    begin = end + 1;
  }
}

}  // namespace

std::string ActionName::path() const {
  return package.empty() ? name_space : name_space + "/" + package;
}

std::string ActionName::ToString() const { return "/" + path() + "/" + name; }

std::string ActionName::local() const { return package.empty() ? name : package + "/" + name; }

Status CheckName(const std::string& what, std::string_view name) {
  if (IsEntityName(name)) return Status();
  return Status::InvalidArgument("\"" + std::string(name.substr(0, 64)) +
                                 "\" is not the name of a " + what +
                                 ": it begins with a letter, a digit or _, goes on with those and "
                                 "\"@ .&-\", ends with no space and has at most 256 bytes");
}

Result<ActionName> ParseActionName(std::string_view text, const std::string& own) {
  std::vector<std::string> parts = Split(text);
  ActionName name{own, "", ""};
  bool rooted = parts.size() > 1 && parts[0].empty();
  if (rooted) parts.erase(parts.begin());
  if ((rooted && parts.size() >= 2 && parts.size() <= 3) || (!rooted && parts.size() == 3)) {
    if (parts[0] != "_") name.name_space = parts[0];
    parts.erase(parts.begin());
  } else if (rooted || parts.size() > 2) {
    return Status::InvalidArgument("\"" + std::string(text.substr(0, 128)) +
                                   "\" does not name an action; write /NAMESPACE/[PACKAGE/]NAME");
  }
  name.name = parts.back();
  if (parts.size() == 2) {
    name.package = parts[0];
    F3_RETURN_IF_ERROR(CheckName("package", name.package));
  }
  F3_RETURN_IF_ERROR(CheckName("namespace", name.name_space));
  F3_RETURN_IF_ERROR(CheckName("action", name.name));
  return name;
}

std::string NewActivationId() {
  std::array<unsigned char, 16> bytes;
  randombytes_buf(bytes.data(), bytes.size());
  std::array<char, 33> text;
  sodium_bin2hex(text.data(), text.size(), bytes.data(), bytes.size());
  return text.data();
}

Status CheckActivationId(std::string_view id) {
  bool good = id.size() == 32;
  for (char c : id) good = good && ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'));
  if (good) return Status();
  return Status::InvalidArgument("an activation id has 32 hexadecimal digits");
}

}  // namespace f3::openwhisk
