// Mounts in a container that runs or is paused, put there and taken away from outside: a child of
// this process enters the container's mount namespace, so nothing of the container has to run, and
// no program of its image is used. Thread-safe.
//
// A path is resolved inside the container's root directory (openat2 with RESOLVE_IN_ROOT and
// RESOLVE_NO_MAGICLINKS): links of the container lead nowhere else. The last component must not be
// one. What is mounted over is never a file system of the kernel (proc, sysfs, control groups) nor
// the container's root.
#ifndef F3_OPENWHISK_PLUGIN_MOUNT_INTO_H_
#define F3_OPENWHISK_PLUGIN_MOUNT_INTO_H_

#include <string>
#include <vector>

#include "common/status.h"
#include "common/unique_fd.h"
#include "openwhisk_plugin/container_process.h"

namespace f3::openwhisk {

// A mount that is attached nowhere yet; it is gone when its descriptor is closed before that.
// Of the FUSE mount at `dir`.
Result<UniqueFd> CloneMount(const std::string& dir);
// Of a directory of the host, for looking only: read-only, without set-user-id, devices, programs.
Result<UniqueFd> CloneReadOnly(const std::string& dir);

struct Placement {
  std::string path;  // in the container: absolute, no ".."
  UniqueFd tree;     // from above; none: what is ours there is taken away
  // Of a FUSE mount, to see that it is there already; else empty.
  std::string identity;
};
// What tells the FUSE mount at `dir` from others; empty when there is none.
std::string MountIdentity(const std::string& dir);

// Carries the placements out in order. What is ours at a path (an F3 mount, or the sandbox's `run`
// directory) is replaced: at once where the kernel can mount beneath (6.5), so that nothing else
// ever shows through. Missing directories are made, as root, mode 0755. Placing what is there
// already, and taking away what is not, changes nothing.
//
// NotFound: the container has ended. NotSupported: it cannot take the mount; the message names the
// path and why. Timeout: it did not happen within 5 s (the container has hung file systems on the
// way to the path). After a failure some of the placements may have been carried out.
Status MountInto(const ContainerProcess& process, const std::string& container,
                 std::vector<Placement> placements);

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_MOUNT_INTO_H_
