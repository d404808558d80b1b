// FuseSession: one mount: turns the kernel's requests into operations of the metadata client and
// of FileManager, and their answers into replies.
//
// Thread-safe. No request waits for another process on one of the mount's own threads. The metadata
// client and the file manager outlive the mount.
#ifndef F3_FS_CLIENT_FUSE_SESSION_H_
#define F3_FS_CLIENT_FUSE_SESSION_H_

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "common/clock.h"
#include "common/status.h"
#include "fs_client/file_manager.h"
#include "fs_client/kernel_cache.h"
#include "fs_client/node_agent.h"
#include "metadata/client.h"
#include "xdt/local_reader.h"

namespace f3::fs {

class FuseSession : public KernelCache {
 public:
  struct Options {
    MountOptions mount;
    uint32_t number = 1;  // see KernelCache
    std::string source;   // HOST:PORT/VOLUME[/SUBTREE], as /proc/mounts shows it
    meta::MetaClient* meta = nullptr;
    FileManager* files = nullptr;
    // Opens the references whose names are looked up below `.f3/ref`.
    std::shared_ptr<xdt::LocalReader> references;
    Clock* clock = Clock::Real();
    // The mount ended from outside (umount). Called once, on a thread of its own; must not call
    // Unmount.
    std::function<void()> on_ended;
  };

  // Mounts, and returns once the kernel's requests are served. Errors name the mount point, the
  // volume or the missing privilege, and the next step.
  static Result<std::unique_ptr<FuseSession>> Mount(const Options& options);

  virtual const std::string& dir() const = 0;
  // Unmounts (lazily when something is open), answers what is pending, joins the threads.
  // Idempotent; the destructor calls it.
  virtual void Unmount() = 0;

  // Events of the session with the metadata server, see meta::SessionListener.
  virtual void OnInvalidate(const meta::Invalidate& invalidate, std::function<void()> done) = 0;
  virtual void OnLockAvailable(Ino ino) = 0;
  // Returns when the kernel serves no cached name and no cached attribute any more.
  virtual void DropCaches() = 0;
  // How many requests of each kind came from the kernel since the mount, by name ("lookup", …).
  virtual std::map<std::string, uint64_t> Requests() const = 0;
};

}  // namespace f3::fs

#endif  // F3_FS_CLIENT_FUSE_SESSION_H_
