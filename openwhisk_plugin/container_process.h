// The first process of a container, by which its namespaces are entered and its end is noticed.
// Functions are thread-safe; a ContainerProcess is a value that owns its descriptors.
#ifndef F3_OPENWHISK_PLUGIN_CONTAINER_PROCESS_H_
#define F3_OPENWHISK_PLUGIN_CONTAINER_PROCESS_H_

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "common/status.h"
#include "common/unique_fd.h"

namespace f3::openwhisk {

// A descriptor that is readable once the process has ended. Invalid when there is none.
UniqueFd OpenPidFd(pid_t pid);

struct ContainerProcess {
  pid_t pid = 0;
  uint64_t started = 0;  // clock ticks after the host's start
  UniqueFd pidfd;        // readable once it has ended
  UniqueFd root;         // its root directory (O_PATH)
};

// NotFound when there is no such process. NotSupported when it is in no container: it shares the
// mount namespace or the root directory of this process, and what is mounted for it would be
// mounted for the host.
Result<ContainerProcess> OpenContainer(pid_t pid);

// The first process of each of these containers that runs, is paused, or is created: found by the
// container's id in the control group's path, as runc, docker, containerd and podman name it.
std::map<std::string, pid_t> FindContainers(const std::set<std::string>& ids);

// Whether the process of that start is there; a zombie is not.
bool IsAlive(pid_t pid, uint64_t started);
// Whether it has not ended. Does not wait.
bool IsAlive(const ContainerProcess& process);

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_CONTAINER_PROCESS_H_
