// What a sandbox has on the host, below the gateway's `state_dir`:
//
//   runc/        runc's own state (--root)
//   ID/          bundle: config.json, runc.log, pid
//   ID/upper, ID/work, ID/rootfs      the overlay over the image, mounted at rootfs
//
// and its control groups. Thread-safe for different ids.
#ifndef F3_OPENWHISK_PLUGIN_GATEWAY_SANDBOX_FILES_H_
#define F3_OPENWHISK_PLUGIN_GATEWAY_SANDBOX_FILES_H_

#include <string>
#include <vector>

#include "common/status.h"
#include "openwhisk_plugin/gateway/container.h"

namespace f3::openwhisk {

struct SandboxFiles {
  std::string runtime;
  std::string state_dir;
  std::string id;

  std::string Dir() const { return state_dir + "/" + id; }
  std::string Root() const { return Dir() + "/rootfs"; }
  std::string PidFile() const { return Dir() + "/pid"; }
  std::string LogFile() const { return Dir() + "/runc.log"; }
  // The runtime's command line up to a subcommand of it.
  std::vector<std::string> Runtime(const std::vector<std::string>& command) const;
};

// Makes ID/, which is then the caller's to remove. InvalidArgument: an id or path that cannot be
// used. Exists: a sandbox of this id is there. NotFound: no root file system.
Status ClaimSandbox(const SandboxFiles& files, const ContainerOptions& options);

// Mounts the overlay and writes the configuration. InvalidArgument as OciConfig. What was made
// stays after a failure, for RemoveSandbox.
Status MakeSandbox(const SandboxFiles& files, const ContainerOptions& options);

// Ends the container and takes all of it away, whatever there is. Io: what stayed, and why.
Status RemoveSandbox(const SandboxFiles& files);

// The ids of sandboxes below the directory.
std::vector<std::string> ListSandboxes(const std::string& state_dir);

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_GATEWAY_SANDBOX_FILES_H_
