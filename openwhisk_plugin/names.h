// The names that come with requests, checked, and which volumes a namespace may use. Values;
// functions are thread-safe.
#ifndef F3_OPENWHISK_PLUGIN_NAMES_H_
#define F3_OPENWHISK_PLUGIN_NAMES_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/status.h"

namespace f3::openwhisk {

// InvalidArgument names the field and what is allowed. Of a namespace: OpenWhisk's own rule (a
// letter, a digit or '_', then also '@', '.', '&', '-' and blanks), at most 255 bytes: it becomes
// the name of a directory. Of an action ("package/name"): the same in each part, at most 512 bytes;
// may be empty.
Status CheckContainer(std::string_view id);
Status CheckNamespace(std::string_view name);
Status CheckAction(std::string_view name);
// Of activations and workflows: [A-Za-z0-9_-]{1,128}, or empty.
Status CheckActivation(std::string_view field, std::string_view id);

// Directories of a volume.
std::string NamespaceSubtree(const std::string& name_space);
std::string WorkflowSubtree(const std::string& name_space, const std::string& workflow);

// Each namespace may use the volume `default` and the one of its own name.
class VolumePolicy {
 public:
  // `allow`: "NAMESPACE=VOLUME" each, NAMESPACE may be "*". BadConfig names the one that is not.
  static Result<VolumePolicy> Parse(const std::vector<std::string>& allow);
  // NotPermitted says what an operator has to add.
  Status Check(const std::string& name_space, const std::string& volume) const;
  // All that it may use.
  std::vector<std::string> VolumesOf(const std::string& name_space) const;

 private:
  std::vector<std::pair<std::string, std::string>> allowed_;
};

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_NAMES_H_
