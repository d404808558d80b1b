#include "openwhisk_plugin/names.h"

#include <algorithm>

#include "common/utf8.h"
#include "openwhisk_plugin/entity_name.h"
#include "openwhisk_plugin/sandbox_dir.h"

namespace f3::openwhisk {
namespace {

constexpr size_t kMaxDirectoryBytes = 255;
constexpr size_t kMaxActionBytes = 512;
constexpr size_t kMaxIdBytes = 128;
constexpr size_t kShownBytes = 64;

Status Wrong(std::string_view field, std::string_view value, const std::string& allowed) {
  return Status::InvalidArgument(
      std::string(field) + " is \"" + ValidUtf8(value.substr(0, kShownBytes)) +
      (value.size() > kShownBytes ? "…" : "") + "\"; allowed are " + allowed);
}

}  // namespace

Status CheckContainer(std::string_view id) {
  if (IsContainerId(id)) return Status();
  return Wrong("container", id, "1 to 128 of A-Z a-z 0-9 _ . -, not beginning with a dot");
}

Status CheckNamespace(std::string_view name) {
  if (IsEntityName(name) && name.size() <= kMaxDirectoryBytes) return Status();
  return Wrong(
      "namespace", name,
      "1 to 255 of A-Z a-z 0-9 _ @ . & - and blanks, beginning with a letter, a digit or _");
}

Status CheckAction(std::string_view name) {
  if (name.empty()) return Status();
  const size_t slash = name.find('/');
  const bool good = name.size() <= kMaxActionBytes &&
                    (slash == std::string_view::npos ? IsEntityName(name)
                                                     : IsEntityName(name.substr(0, slash)) &&
                                                           IsEntityName(name.substr(slash + 1)));
  return good ? Status() : Wrong("action", name, "NAME and PACKAGE/NAME, at most 512 bytes");
}

Status CheckActivation(std::string_view field, std::string_view id) {
  const bool good = id.size() <= kMaxIdBytes && std::all_of(id.begin(), id.end(), [](char c) {
                      return IsWordCharacter(c) || c == '-';
                    });
  return good ? Status() : Wrong(field, id, "at most 128 of A-Z a-z 0-9 _ -");
}

std::string NamespaceSubtree(const std::string& name_space) { return "openwhisk/" + name_space; }

std::string WorkflowSubtree(const std::string& name_space, const std::string& workflow) {
  return NamespaceSubtree(name_space) + "/.workflows/" + workflow;
}

Result<VolumePolicy> VolumePolicy::Parse(const std::vector<std::string>& allow) {
  VolumePolicy policy;
  for (const std::string& text : allow) {
    const size_t equals = text.find('=');
    const std::string name_space = text.substr(0, equals);
    const std::string volume = equals == std::string::npos ? "" : text.substr(equals + 1);
    if (volume.empty() || (name_space != "*" && !IsEntityName(name_space))) {
      return Status::BadConfig("openwhisk_allow has \"" + ValidUtf8(text) +
                               "\", which is not NAMESPACE=VOLUME or *=VOLUME");
    }
    policy.allowed_.emplace_back(name_space, volume);
  }
  return policy;
}

Status VolumePolicy::Check(const std::string& name_space, const std::string& volume) const {
  const std::vector<std::string> volumes = VolumesOf(name_space);
  if (std::find(volumes.begin(), volumes.end(), volume) != volumes.end()) return Status();
  return Status::NotPermitted("namespace " + name_space + " may not use the volume \"" +
                              ValidUtf8(volume) + "\"; the agent's setting openwhisk_allow = [\"" +
                              name_space + "=" + ValidUtf8(volume) + "\"] permits it");
}

std::vector<std::string> VolumePolicy::VolumesOf(const std::string& name_space) const {
  std::vector<std::string> volumes = {"default"};
  auto add = [&volumes](const std::string& volume) {
    if (std::find(volumes.begin(), volumes.end(), volume) == volumes.end()) {
      volumes.push_back(volume);
    }
  };
  add(name_space);
  for (const auto& [who, volume] : allowed_) {
    if (who == "*" || who == name_space) add(volume);
  }
  return volumes;
}

}  // namespace f3::openwhisk
