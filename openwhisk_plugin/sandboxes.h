// Sandboxes: which containers of this node have what of F3, and all that changes it. The work
// behind the local API (agent.proto says what each call promises). Thread-safe; calls that concern
// different containers run at the same time.
//
// Owns the directories below Options::dir (sandbox_dir.h), the roots and the XDT sockets. Stop
// takes F3 out of the containers; what was asked stays in their attached.json, and the next start
// attaches those that still live again, as it does after a kill.
#ifndef F3_OPENWHISK_PLUGIN_SANDBOXES_H_
#define F3_OPENWHISK_PLUGIN_SANDBOXES_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/mutex.h"
#include "common/status.h"
#include "fs_client/node_agent.h"
#include "metadata/client.h"
#include "openwhisk_plugin/agent.pb.h"
#include "openwhisk_plugin/container_process.h"
#include "openwhisk_plugin/hints.h"
#include "openwhisk_plugin/mount_into.h"
#include "openwhisk_plugin/names.h"
#include "openwhisk_plugin/prefetcher.h"
#include "openwhisk_plugin/roots.h"
#include "openwhisk_plugin/sandbox_dir.h"
#include "openwhisk_plugin/sandbox_watch.h"

namespace f3::openwhisk {

class Sandboxes {
 public:
  struct Options {
    std::string dir;
    fs::NodeAgent* agent = nullptr;    // outlives this
    meta::MetaClient* meta = nullptr;  // likewise; without a session
    VolumePolicy policy;
    // What the functions of one sandbox may hold of the XDT pool at one time; 0: all of it.
    uint64_t xdt_limit_bytes = 0;
  };
  static constexpr size_t kMaxSandboxes = 4096;
  // A container that was prepared and did not come is forgotten after this, and after the second
  // when f3-runc was called for it: it came and went before it was seen.
  static constexpr int64_t kPreparedMicros = 600'000'000;
  static constexpr int64_t kCreatedMicros = 30'000'000;

  static Result<std::unique_ptr<Sandboxes>> Start(Options options);
  ~Sandboxes() { Stop(); }
  Sandboxes(const Sandboxes&) = delete;
  Sandboxes& operator=(const Sandboxes&) = delete;

  // Errors: InvalidArgument, NotPermitted (volume), NotFound (container), Exists (attached for
  // somebody else), Again (too many), NotSupported (the container cannot take it), Unavailable and
  // Timeout (metadata server, a container that hangs).
  Result<AttachReply> Attach(const AttachRequest& request);
  Status Update(const UpdateRequest& request);
  Status Detach(const std::string& container);
  Status EndWorkflow(const EndWorkflowRequest& request);
  ListReply List();
  Status Check(const CheckRequest& request);
  void Stop();

 private:
  struct Placed {
    MountHint mount;
    std::string key;  // of its root
  };
  struct Sandbox {
    Sandbox(std::string name, std::string directory)
        : id(std::move(name)), dir(std::move(directory)) {}
    const std::string id;
    const std::string dir;
    Mutex mutex;  // one operation at a time; before any other lock
    bool gone F3_GUARDED_BY(mutex) = false;
    // What is there has to be made again, whatever the note says: after a start or a failure.
    bool stale F3_GUARDED_BY(mutex) = true;
    AttachNote note F3_GUARDED_BY(mutex);
    ActionHints hints F3_GUARDED_BY(mutex);
    std::vector<Placed> placed F3_GUARDED_BY(mutex);
    std::optional<ContainerProcess> process F3_GUARDED_BY(mutex);
    UniqueFd run_dir F3_GUARDED_BY(mutex);
    std::string socket F3_GUARDED_BY(mutex);         // as the broker knows it; empty: none is open
    std::string socket_action F3_GUARDED_BY(mutex);  // whose it is
    int64_t made_micros F3_GUARDED_BY(mutex) = 0;
    int64_t created_micros F3_GUARDED_BY(mutex) = 0;  // f3-runc was seen to be called
    int64_t retry_micros F3_GUARDED_BY(mutex) = 0;    // not before
  };
  using SandboxRef = std::shared_ptr<Sandbox>;

  explicit Sandboxes(Options options);
  Status Open();

  SandboxRef Find(const std::string& container);
  Result<SandboxRef> FindOrMake(const std::string& container);
  std::vector<SandboxRef> All();

  // Each of these works on a sandbox whose mutex is held.
  Status CheckOwner(const Sandbox& sandbox, const AttachRequest& request)
      F3_REQUIRES(sandbox.mutex);
  Status FindProcess(Sandbox* sandbox, pid_t pid) F3_REQUIRES(sandbox->mutex);
  Status Arrange(Sandbox* sandbox, const AttachNote& note, const ActionHints& hints)
      F3_REQUIRES(sandbox->mutex);
  Status Place(Sandbox* sandbox, const std::vector<Placed>& wanted) F3_REQUIRES(sandbox->mutex);
  Status OpenSocket(Sandbox* sandbox, const AttachNote& note) F3_REQUIRES(sandbox->mutex);
  void CloseSocket(Sandbox* sandbox) F3_REQUIRES(sandbox->mutex);
  Status TakeAway(Sandbox* sandbox) F3_REQUIRES(sandbox->mutex);
  void ReleaseRoots(const std::vector<Placed>& placed);
  // Makes it one that nobody attached; removes it unless the container lives.
  void Forget(Sandbox* sandbox) F3_REQUIRES(sandbox->mutex);
  void Prefetch(const Sandbox& sandbox, const Hints& hints) F3_REQUIRES(sandbox.mutex);

  Result<std::vector<Placed>> AcquireRoots(const AttachNote& note, const ActionHints& action,
                                           const Hints& hints);
  Status CheckVolumes(const std::string& name_space, const ActionHints& hints);
  void Ended(const std::string& container);
  void Tick();
  void AttachAgain(Sandbox* sandbox);
  bool DoesNotCome(Sandbox* sandbox) F3_REQUIRES(sandbox->mutex);
  void SweepStrays(const std::set<std::string>& strays);
  void RemoveStray(const std::string& id);

  const Options options_;
  Roots roots_;
  Prefetcher prefetcher_;
  SandboxWatch watch_;
  // Directories whose container was not there at the last tick, and since when.
  std::map<std::string, int64_t> strays_;  // of the watching thread alone
  Mutex mutex_;
  bool stopped_ F3_GUARDED_BY(mutex_) = false;
  std::map<std::string, SandboxRef> sandboxes_ F3_GUARDED_BY(mutex_);
};

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_SANDBOXES_H_
