// The control groups of a container, as the kernel shows them: version 1, version 2 or both. They
// are named f3-sandboxes/ID in each hierarchy, apart from all names that others use. The empty
// group f3-sandboxes stays. Thread-safe; owns nothing.
#ifndef F3_OPENWHISK_PLUGIN_GATEWAY_CGROUP_H_
#define F3_OPENWHISK_PLUGIN_GATEWAY_CGROUP_H_

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace f3::openwhisk {

// The container's group for the OCI configuration.
std::string GroupPath(const std::string& id);

// Whether the process is in the container's groups.
bool IsInGroup(pid_t pid, const std::string& id);

// How often the kernel has killed a process of the container because its memory was used up; 0 when
// there is no such group.
uint64_t OutOfMemoryKills(const std::string& id);

// Whether the kernel counts swap apart, so that "no swap" can be asked for.
bool CanLimitSwap();

// Kills all processes of the container, also when it is paused, and waits 200 ms at most until they
// have ended.
void KillGroups(const std::string& id);

// Removes groups that have no processes: of a container that runc does not know of.
void RemoveGroups(const std::string& id);

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_GATEWAY_CGROUP_H_
