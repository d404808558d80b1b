// JSON as it comes from strangers: bounded in depth, never throwing. Pure functions.
#ifndef F3_OPENWHISK_PLUGIN_GATEWAY_JSON_TEXT_H_
#define F3_OPENWHISK_PLUGIN_GATEWAY_JSON_TEXT_H_

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "common/status.h"

namespace f3::openwhisk {

// Deeper text is refused: the library writes and copies values recursively.
inline constexpr int kMaxJsonDepth = 64;

// InvalidArgument "WHAT is not JSON: …" or "WHAT is nested deeper than 64 levels".
Result<nlohmann::json> ParseJson(std::string_view text, const std::string& what);
// Without spaces; bytes that are no UTF-8 are replaced.
std::string DumpJson(const nlohmann::json& value);

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_GATEWAY_JSON_TEXT_H_
