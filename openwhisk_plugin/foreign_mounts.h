// F3 mounts that only other mount namespaces have, for `f3 doctor`: clones in containers whose
// mount on the host is gone. Thread-safe.
#ifndef F3_OPENWHISK_PLUGIN_FOREIGN_MOUNTS_H_
#define F3_OPENWHISK_PLUGIN_FOREIGN_MOUNTS_H_

#include <sys/types.h>

#include <string>
#include <vector>

namespace f3::openwhisk {

struct ForeignMount {
  pid_t pid = 0;     // of a process that has it
  std::string path;  // as that process sees it
};
// One per mount and mount namespace. They may be alive: an agent can run in such a namespace.
std::vector<ForeignMount> FindForeignMounts();

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_FOREIGN_MOUNTS_H_
