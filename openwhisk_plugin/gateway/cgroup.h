// The control groups of a container, as the kernel shows them: version 1, version 2 or both. They
// are named /ID in each hierarchy (bundle.h). Thread-safe; owns nothing.
#ifndef F3_OPENWHISK_PLUGIN_GATEWAY_CGROUP_H_
#define F3_OPENWHISK_PLUGIN_GATEWAY_CGROUP_H_

#include <cstdint>
#include <string>

namespace f3::openwhisk {

// How often the kernel has killed a process of the container because its memory was used up; 0 when
// there is no such group.
uint64_t OutOfMemoryKills(const std::string& id);

// Whether the kernel counts swap apart, so that "no swap" can be asked for.
bool CanLimitSwap();

// Kills all processes of the container, also when it is paused. They may still be ending.
void KillGroups(const std::string& id);

// Removes groups that have no processes: of a container that runc does not know of.
void RemoveGroups(const std::string& id);

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_GATEWAY_CGROUP_H_
