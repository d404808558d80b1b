// Names of OpenWhisk's entities, and what their texts refer to. Pure; values.
#ifndef F3_OPENWHISK_PLUGIN_GATEWAY_NAMES_H_
#define F3_OPENWHISK_PLUGIN_GATEWAY_NAMES_H_

#include <string>
#include <string_view>

#include "common/status.h"

namespace f3::openwhisk {

// An action, or with an empty `package` one outside of any.
struct ActionName {
  std::string name_space;
  std::string package;
  std::string name;

  // "ns" or "ns/package": what the field "namespace" of an entity says.
  std::string path() const;
  // "/ns/package/name".
  std::string ToString() const;
  // "package/name" or "name".
  std::string local() const;
  bool operator==(const ActionName&) const = default;
};

// OK for an entity's name (entity_name.h). InvalidArgument says what is allowed; `what` is
// "action", "package" or "namespace".
Status CheckName(const std::string& what, std::string_view name);
// What a sequence's component or a client's text names: "/ns/name", "/ns/package/name",
// "ns/package/name", "name" or "package/name"; "_" as the namespace means `own`.
Result<ActionName> ParseActionName(std::string_view text, const std::string& own);
// 32 hexadecimal digits, random.
std::string NewActivationId();
// OK for such an id.
Status CheckActivationId(std::string_view id);

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_GATEWAY_NAMES_H_
