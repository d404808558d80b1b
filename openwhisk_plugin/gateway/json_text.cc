#include "openwhisk_plugin/gateway/json_text.h"

#include <algorithm>

namespace f3::openwhisk {
namespace {

using nlohmann::json;

// Brackets that are open at once, outside of strings. An upper bound also for text that is no JSON.
int Depth(std::string_view text) {
  int depth = 0;
  int deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return deepest;
}

}  // namespace

Result<json> ParseJson(std::string_view text, const std::string& what) {
  if (Depth(text) > kMaxJsonDepth) {
    return Status::InvalidArgument(what + " is nested deeper than " +
                                   std::to_string(kMaxJsonDepth) + " levels");
  }
  json value = json::parse(text, nullptr, false);
  if (value.is_discarded()) return Status::InvalidArgument(what + " is not well-formed JSON");
  return value;
}

std::string DumpJson(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace f3::openwhisk
