#include "openwhisk_plugin/hints.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/nearest.h"

namespace f3::openwhisk {
namespace {

// Keeps the order of the text: globs are tried in it.
using Json = nlohmann::ordered_json;

constexpr size_t kMaxTextBytes = 1u << 20;  // OpenWhisk's own limit for annotations
constexpr size_t kMaxKeys = 4096;
constexpr size_t kMaxStringBytes = 4096;
constexpr size_t kMaxMounts = 16;
constexpr size_t kMaxGlobs = 64;
constexpr size_t kMaxNameBytes = 255;
constexpr uint64_t kMaxTtlSeconds = 31'536'000;
constexpr size_t kShownBytes = 64;
// Where the XDT socket is, and what runtimes and kernel put into every container.
constexpr const char* kReserved[] = {"/proc", "/sys", "/dev", "/run/f3"};

bool HasControl(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

// Never the content of arrays and objects: they may be nested deeper than the stack is.
std::string Shown(const Json& value) {
  if (value.is_structured()) return value.is_array() ? "an array" : "an object";
  std::string text = value.dump(-1, ' ', true);
  if (text.size() > kShownBytes) text = text.substr(0, kShownBytes) + "…";
  return text;
}

Status Wrong(const std::string& field, const Json& value, const std::string& allowed) {
  return Status::InvalidArgument(field + " is " + Shown(value) + "; allowed are " + allowed);
}

Status CheckFields(const std::string& where, const Json& object,
                   const std::vector<std::string>& known) {
  for (const auto& item : object.items()) {
    if (std::find(known.begin(), known.end(), item.key()) != known.end()) continue;
    const std::string near = Nearest(item.key(), known);
    std::string all;
    for (const auto& name : known) all += (all.empty() ? "" : ", ") + name;
    return Status::InvalidArgument(
        where + " has no field " + Shown(Json(item.key())) +
        (near.empty() ? "; it has " + all : "; did you mean \"" + near + "\"?"));
  }
  return Status();
}

Result<std::string> ReadText(const std::string& field, const Json& value) {
  if (!value.is_string()) return Wrong(field, value, "strings");
  auto text = value.get<std::string>();
  if (text.empty()) return Status::InvalidArgument(field + " is empty");
  if (text.size() > kMaxStringBytes) {
    return Status::InvalidArgument(field + " has " + std::to_string(text.size()) +
                                   " bytes; allowed are 4096");
  }
  if (HasControl(text)) return Wrong(field, value, "strings without control characters");
  return text;
}

// The index of one of `choices`.
Result<size_t> ReadChoice(const std::string& field, const Json& value,
                          const std::vector<std::string>& choices) {
  for (size_t i = 0; i < choices.size(); ++i) {
    if (value.is_string() && value.get_ref<const std::string&>() == choices[i]) return i;
  }
  std::string all;
  for (const auto& choice : choices) all += (all.empty() ? "" : ", ") + choice;
  return Wrong(field, value, all);
}

std::vector<std::string> Components(std::string_view path) {
  std::vector<std::string> parts;
  size_t at = 0;
  while (at <= path.size()) {
    const size_t slash = std::min(path.find('/', at), path.size());
    parts.emplace_back(path.substr(at, slash - at));
    at = slash + 1;
  }
  return parts;
}

bool HasDots(std::string_view path) {
  const auto parts = Components(path);
  return std::any_of(parts.begin(), parts.end(),
                     [](const std::string& part) { return part == ".." || part == "."; });
}

// Both absolute and without a '/' at the end.
bool IsAtOrBelow(const std::string& path, const std::string& dir) {
  return path == dir || path.starts_with(dir + "/");
}

Result<std::string> ReadMountPath(const std::string& field, const Json& value) {
  F3_ASSIGN_OR_RETURN(std::string text, ReadText(field, value));
  if (text[0] != '/' || HasDots(text)) {
    return Wrong(field, value, "absolute paths without \".\" and \"..\"");
  }
  std::string path;
  for (const auto& part : Components(text)) {
    if (part.size() > kMaxNameBytes) return Wrong(field, value, "names of at most 255 bytes");
    if (!part.empty()) path += "/" + part;
  }
  if (path.empty()) return Wrong(field, value, "directories below \"/\"");
  for (const std::string reserved : kReserved) {
    if (IsAtOrBelow(path, reserved) || IsAtOrBelow(reserved, path)) {
      return Wrong(field, value, "directories that neither are in " + reserved + " nor contain it");
    }
  }
  return path;
}

Result<std::string> ReadVolume(const std::string& field, const Json& value) {
  F3_ASSIGN_OR_RETURN(std::string name, ReadText(field, value));
  if (name.size() > kMaxNameBytes || HasDots(name) ||
      name.find_first_of("/,\\") != std::string::npos) {
    return Wrong(field, value, "names of at most 255 bytes without / , \\");
  }
  return name;
}

// Of files in a mount: what is in another directory cannot be named.
Result<std::string> ReadGlob(const std::string& field, const Json& value, bool absolute_allowed) {
  F3_ASSIGN_OR_RETURN(std::string glob, ReadText(field, value));
  if (HasDots(glob)) return Wrong(field, value, "globs without \".\" and \"..\"");
  if (glob[0] == '/' && !absolute_allowed) {
    return Wrong(field, value, "globs relative to the mount");
  }
  return glob;
}

Result<std::vector<std::string>> ReadGlobs(const std::string& field, const Json& value,
                                           bool absolute_allowed) {
  if (!value.is_array()) return Wrong(field, value, "arrays of globs");
  if (value.size() > kMaxGlobs) {
    return Status::InvalidArgument(field + " has " + std::to_string(value.size()) +
                                   " globs; allowed are 64");
  }
  std::vector<std::string> globs;
  for (size_t i = 0; i < value.size(); ++i) {
    F3_ASSIGN_OR_RETURN(std::string glob, ReadGlob(field + "[" + std::to_string(i) + "]", value[i],
                                                   absolute_allowed));
    globs.push_back(std::move(glob));
  }
  return globs;
}

Result<meta::FileClass> ReadClass(const std::string& field, const Json& value) {
  F3_ASSIGN_OR_RETURN(size_t i, ReadChoice(field, value, {"ephemeral", "durable"}));
  return i == 0 ? meta::CLASS_EPHEMERAL : meta::CLASS_DURABLE;
}

Status ReadRules(const std::string& field, const Json& object, Hints* hints) {
  for (const auto& item : object.items()) {
    F3_ASSIGN_OR_RETURN(std::string glob,
                        ReadGlob(field + "'s glob", Json(item.key()), /*absolute_allowed=*/false));
    F3_ASSIGN_OR_RETURN(meta::FileClass file_class,
                        ReadClass(field + "[" + Shown(Json(item.key())) + "]", item.value()));
    hints->classes.emplace_back(std::move(glob), file_class);
  }
  if (hints->classes.size() > kMaxGlobs) {
    return Status::InvalidArgument(field + " has " + std::to_string(hints->classes.size()) +
                                   " globs; allowed are 64");
  }
  return Status();
}

Status ReadClasses(const std::string& field, const Json& value, Hints* hints) {
  hints->classes.clear();
  if (value.is_string()) {
    F3_ASSIGN_OR_RETURN(meta::FileClass file_class, ReadClass(field, value));
    hints->classes.emplace_back("*", file_class);
    return Status();
  }
  if (value.is_object()) return ReadRules(field, value, hints);
  // A list keeps its order where platforms do not keep that of an object's fields.
  constexpr const char* kAllowed =
      "ephemeral, durable, an object of globs and these, or a list of such objects";
  if (!value.is_array()) return Wrong(field, value, kAllowed);
  for (const Json& rule : value) {
    if (!rule.is_object()) return Wrong(field, rule, kAllowed);
    F3_RETURN_IF_ERROR(ReadRules(field, rule, hints));
  }
  return Status();
}

Status ReadTtl(const std::string& field, const Json& value, Hints* hints) {
  const bool whole = value.is_number_unsigned();
  if (!whole || value.get<uint64_t>() < 1 || value.get<uint64_t>() > kMaxTtlSeconds) {
    return Wrong(field, value, "whole seconds from 1 to 31536000");
  }
  hints->ttl_s = value.get<uint64_t>();
  return Status();
}

// Sets the fields that `object` has; the others stay.
Status ReadHints(const std::string& where, const Json& object, Hints* hints) {
  if (!object.is_object()) return Wrong(where, object, "objects");
  F3_RETURN_IF_ERROR(CheckFields(
      where, object, {"class", "follow", "ttl", "locality", "transfer", "inputs", "outputs"}));
  for (const auto& item : object.items()) {
    const std::string field = where + "." + item.key();
    const Json& value = item.value();
    if (item.key() == "class") {
      F3_RETURN_IF_ERROR(ReadClasses(field, value, hints));
    } else if (item.key() == "follow") {
      if (!value.is_boolean()) return Wrong(field, value, "true, false");
      hints->follow = value.get<bool>();
    } else if (item.key() == "ttl") {
      F3_RETURN_IF_ERROR(ReadTtl(field, value, hints));
    } else if (item.key() == "locality") {
      F3_ASSIGN_OR_RETURN(size_t i, ReadChoice(field, value, {"prefer", "require", "off"}));
      hints->locality = static_cast<Locality>(i);
    } else if (item.key() == "transfer") {
      F3_ASSIGN_OR_RETURN(size_t i, ReadChoice(field, value, {"direct", "prefetch"}));
      hints->transfer = static_cast<Transfer>(i);
    } else if (item.key() == "inputs") {
      F3_ASSIGN_OR_RETURN(hints->inputs, ReadGlobs(field, value, /*absolute_allowed=*/true));
    } else {
      F3_ASSIGN_OR_RETURN(hints->outputs, ReadGlobs(field, value, /*absolute_allowed=*/false));
    }
  }
  return Status();
}

Result<MountHint> ReadMount(const std::string& where, const Json& object) {
  if (!object.is_object()) return Wrong(where, object, "objects");
  F3_RETURN_IF_ERROR(CheckFields(where, object, {"volume", "path", "mode", "lifetime"}));
  MountHint mount;
  for (const auto& item : object.items()) {
    const std::string field = where + "." + item.key();
    if (item.key() == "volume") {
      F3_ASSIGN_OR_RETURN(mount.volume, ReadVolume(field, item.value()));
    } else if (item.key() == "path") {
      F3_ASSIGN_OR_RETURN(mount.path, ReadMountPath(field, item.value()));
    } else if (item.key() == "mode") {
      F3_ASSIGN_OR_RETURN(size_t i, ReadChoice(field, item.value(), {"ro", "rw"}));
      mount.read_only = i == 0;
    } else {
      F3_ASSIGN_OR_RETURN(size_t i, ReadChoice(field, item.value(), {"namespace", "workflow"}));
      mount.lifetime = static_cast<Lifetime>(i);
    }
  }
  return mount;
}

Status ReadMounts(const Json& array, std::vector<MountHint>* mounts) {
  const std::string where = "f3-mounts";
  if (!array.is_array()) return Wrong(where, array, "arrays of mounts");
  if (array.size() > kMaxMounts) {
    return Status::InvalidArgument(where + " has " + std::to_string(array.size()) +
                                   " mounts; allowed are 16");
  }
  for (size_t i = 0; i < array.size(); ++i) {
    const std::string element = where + "[" + std::to_string(i) + "]";
    F3_ASSIGN_OR_RETURN(MountHint mount, ReadMount(element, array[i]));
    for (const auto& other : *mounts) {
      if (IsAtOrBelow(mount.path, other.path) || IsAtOrBelow(other.path, mount.path)) {
        return Status::InvalidArgument(element + ".path is \"" + mount.path +
                                       "\", which is in another mount or has one in it (\"" +
                                       other.path + "\")");
      }
    }
    mounts->push_back(std::move(mount));
  }
  return Status();
}

Result<Json> ParseObject(const std::string& what, std::string_view text) {
  if (text.size() > kMaxTextBytes) {
    return Status::InvalidArgument(what + " have " + std::to_string(text.size()) +
                                   " bytes; allowed are 1048576");
  }
  // Objects that keep their order are searched from their beginning.
  size_t keys = 0;
  auto count = [&keys](int, Json::parse_event_t event, const Json&) {
    return event != Json::parse_event_t::key || ++keys <= kMaxKeys;
  };
  Json value = Json::parse(text, count, /*allow_exceptions=*/false);
  if (keys > kMaxKeys) {
    return Status::InvalidArgument(what + " have " + std::to_string(keys) +
                                   " fields; allowed are 4096");
  }
  if (value.is_discarded()) return Status::InvalidArgument(what + " are not JSON");
  if (!value.is_object()) return Wrong(what, value, "objects");
  return value;
}

}  // namespace

Result<ActionHints> ParseAnnotations(std::string_view json) {
  ActionHints action;
  if (json.empty()) return action;
  F3_ASSIGN_OR_RETURN(Json object, ParseObject("the annotations", json));
  for (const auto& item : object.items()) {
    if (item.key() == "f3-mounts") {
      F3_RETURN_IF_ERROR(ReadMounts(item.value(), &action.mounts));
    } else if (item.key() == "f3-hints") {
      F3_RETURN_IF_ERROR(ReadHints("f3-hints", item.value(), &action.hints));
    } else if (item.key().starts_with("f3-")) {
      const std::string near = Nearest(item.key(), {"f3-mounts", "f3-hints"});
      return Status::InvalidArgument(
          "there is no annotation " + Shown(Json(item.key())) +
          (near.empty() ? "; F3 has f3-mounts and f3-hints" : "; did you mean \"" + near + "\"?"));
    }
  }
  return action;
}

Result<Hints> ApplyCallHints(Hints base, std::string_view json) {
  if (json.empty()) return base;
  F3_ASSIGN_OR_RETURN(Json object, ParseObject("the hints in __f3", json));
  F3_RETURN_IF_ERROR(ReadHints("__f3", object, &base));
  return base;
}

}  // namespace f3::openwhisk
