// The form of OpenWhisk's names: namespaces, packages, actions. For the agent and the gateway.
// Pure.
#ifndef F3_OPENWHISK_PLUGIN_ENTITY_NAME_H_
#define F3_OPENWHISK_PLUGIN_ENTITY_NAME_H_

#include <algorithm>
#include <string_view>

namespace f3::openwhisk {

inline constexpr size_t kMaxNameBytes = 256;

inline bool IsWordCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// OpenWhisk's rule: a letter, a digit or '_', then also "@ .&-", no blank at the end, at most 256
// bytes.
inline bool IsEntityName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes && IsWordCharacter(name.front()) &&
         name.back() != ' ' && std::all_of(name.begin(), name.end(), [](char c) {
           return IsWordCharacter(c) || c == '@' || c == ' ' || c == '.' || c == '&' || c == '-';
         });
}

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_ENTITY_NAME_H_
