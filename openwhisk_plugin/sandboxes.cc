#include "openwhisk_plugin/sandboxes.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <utility>

#include "common/clock.h"
#include "openwhisk_plugin/data_locator.h"
#include "openwhisk_plugin/subtree.h"

namespace f3::openwhisk {
namespace {

constexpr int64_t kTickMicros = 1'000'000;
constexpr int64_t kRetryMicros = 5'000'000;
// A directory without a note belongs to a container that is being created, or was: f3-runc makes it
// a moment before.
constexpr int64_t kStrayMicros = 60'000'000;
// Whoever is in the container may connect; nobody else sees the socket.
constexpr mode_t kSocketMode = 0666;

int64_t Now() { return Clock::Real()->MonotonicMicros(); }

std::string VolumeField(const std::vector<MountHint>& mounts, const std::string& volume) {
  for (size_t i = 0; i < mounts.size(); ++i) {
    if (mounts[i].volume == volume) return "f3-mounts[" + std::to_string(i) + "].volume";
  }
  return "volume";
}

Status NoVolume(const std::string& field, const std::string& volume) {
  return Status::InvalidArgument(field + " is \"" + volume +
                                 "\"; there is no such volume, `f3 volume create` makes one");
}

bool NeedsRoot(const MountHint& mount, const AttachNote& note) {
  return mount.lifetime == Lifetime::kNamespace || !note.workflow.empty();
}

}  // namespace

Sandboxes::Sandboxes(Options options)
    : options_(std::move(options)),
      roots_({options_.dir + "/" + kRootsDir,
              [this](fs::MountOptions mount) {
                mount.xdt_limit_bytes = options_.xdt_limit_bytes;
                return options_.agent->Mount(mount);
              },
              [this](const std::string& dir) { return options_.agent->Unmount(dir); },
              [this](const RootSpec& spec) {
                return MakeSubtree(options_.meta, spec.volume, spec.subtree);
              }}),
      watch_([this](const std::string& container) { Ended(container); }, [this] { Tick(); },
             kTickMicros) {}

Result<std::unique_ptr<Sandboxes>> Sandboxes::Start(Options options) {
  std::unique_ptr<Sandboxes> sandboxes(new Sandboxes(std::move(options)));
  F3_RETURN_IF_ERROR(sandboxes->Open());
  return sandboxes;
}

Status Sandboxes::Open() {
  std::error_code error;
  std::filesystem::create_directories(options_.dir, error);
  if (error) return Status::FromErrno(error.value(), "make the directory " + options_.dir);
  if (::chmod(options_.dir.c_str(), 0700) != 0) {
    return Status::FromErrno(errno, "chmod " + options_.dir);
  }
  F3_RETURN_IF_ERROR(roots_.Start());
  for (const std::string& id : ListSandboxDirs(options_.dir)) {
    const std::string dir = options_.dir + "/" + id;
    auto note = ReadNote(dir);
    if (!note.ok() && note.status().Is(Code::kNotFound)) continue;  // a late root, or a stray
    const bool ended = note.ok() && note->pid != 0 && !IsAlive(note->pid, note->started);
    if (!note.ok()) spdlog::error("{}", note.status().message());
    if (!note.ok() || ended) {
      F3_RETURN_IF_ERROR(RemoveSandboxDir(dir));
      continue;
    }
    auto sandbox = std::make_shared<Sandbox>(id, dir);
    {
      MutexLock one(sandbox->mutex);
      sandbox->note = *note;
      sandbox->made_micros = Now();
    }
    MutexLock lock(mutex_);
    sandboxes_[id] = std::move(sandbox);
  }
  // The first tick attaches them.
  return watch_.Start();
}

Sandboxes::SandboxRef Sandboxes::Find(const std::string& container) {
  MutexLock lock(mutex_);
  auto at = sandboxes_.find(container);
  return at != sandboxes_.end() ? at->second : nullptr;
}

Result<Sandboxes::SandboxRef> Sandboxes::FindOrMake(const std::string& container) {
  MutexLock lock(mutex_);
  if (stopped_) return Status::Unavailable("the node agent is stopping");
  auto at = sandboxes_.find(container);
  if (at != sandboxes_.end()) return at->second;
  if (sandboxes_.size() >= kMaxSandboxes) {
    return Status::Again("this node has " + std::to_string(kMaxSandboxes) +
                         " sandboxes; detach some");
  }
  auto sandbox = std::make_shared<Sandbox>(container, options_.dir + "/" + container);
  sandboxes_[container] = sandbox;
  return sandbox;
}

std::vector<Sandboxes::SandboxRef> Sandboxes::All() {
  MutexLock lock(mutex_);
  std::vector<SandboxRef> all;
  for (const auto& [id, sandbox] : sandboxes_) all.push_back(sandbox);
  return all;
}

// ---- what is asked ----

Status Sandboxes::CheckOwner(const Sandbox& sandbox, const AttachRequest& request) {
  const AttachNote& note = sandbox.note;
  if (!note.name_space.empty() && note.name_space != request.namespace_()) {
    return Status::Exists("container " + sandbox.id + " is attached for namespace " +
                          note.name_space);
  }
  if (!note.action.empty() && !request.action().empty() && note.action != request.action()) {
    return Status::Exists("container " + sandbox.id + " is attached for action " + note.action);
  }
  return Status();
}

Status Sandboxes::CheckVolumes(const std::string& name_space, const ActionHints& hints) {
  for (size_t i = 0; i < hints.mounts.size(); ++i) {
    Status permitted = options_.policy.Check(name_space, hints.mounts[i].volume);
    if (!permitted.ok()) {
      return permitted.WithContext(VolumeField(hints.mounts, hints.mounts[i].volume));
    }
  }
  return Status();
}

Result<AttachReply> Sandboxes::Attach(const AttachRequest& request) {
  const int64_t began = Now();
  F3_RETURN_IF_ERROR(CheckContainer(request.container()));
  F3_RETURN_IF_ERROR(CheckNamespace(request.namespace_()));
  F3_RETURN_IF_ERROR(CheckAction(request.action()));
  F3_RETURN_IF_ERROR(CheckActivation("activation", request.activation()));
  F3_RETURN_IF_ERROR(CheckActivation("workflow", request.workflow()));
  F3_ASSIGN_OR_RETURN(ActionHints hints, ParseAnnotations(request.annotations()));
  F3_RETURN_IF_ERROR(CheckVolumes(request.namespace_(), hints));
  SandboxRef sandbox;
  AttachReply reply;
  for (;;) {
    F3_ASSIGN_OR_RETURN(sandbox, FindOrMake(request.container()));
    MutexLock one(sandbox->mutex);
    if (sandbox->gone) continue;  // another is in its place
    const bool known = !sandbox->note.container.empty();
    AttachNote note = sandbox->note;
    Status status = CheckOwner(*sandbox, request);
    if (status.ok()) {
      note.container = request.container();
      note.name_space = request.namespace_();
      if (!request.action().empty()) note.action = request.action();
      note.activation = request.activation();
      note.workflow = request.workflow().empty() ? request.activation() : request.workflow();
      note.annotations = request.annotations();
      note.call_hints.clear();
      status = FindProcess(sandbox.get(), request.pid());
    }
    if (status.ok() && request.running() && !sandbox->process.has_value()) {
      status = Status::NotFound("no container " + sandbox->id + " runs on this node");
    }
    if (status.ok()) status = Arrange(sandbox.get(), note, hints);
    if (!status.ok()) {
      if (!known || status.Is(Code::kNotFound)) {
        TakeAway(sandbox.get()).PermitUnchecked();
        Forget(sandbox.get());
      }
      return status;
    }
    for (const Placed& placed : sandbox->placed) {
      Mounted* mounted = reply.add_mounts();
      mounted->set_path(placed.mount.path);
      mounted->set_volume(placed.mount.volume);
      mounted->set_read_only(placed.mount.read_only);
    }
    break;
  }
  reply.set_xdt_socket(kSocketPath);
  reply.set_micros(Now() - began);
  return reply;
}

Status Sandboxes::Update(const UpdateRequest& request) {
  F3_RETURN_IF_ERROR(CheckContainer(request.container()));
  F3_RETURN_IF_ERROR(CheckActivation("activation", request.activation()));
  F3_RETURN_IF_ERROR(CheckActivation("workflow", request.workflow()));
  SandboxRef sandbox = Find(request.container());
  const Status unknown =
      Status::NotFound("container " + request.container() + " is not attached here");
  if (sandbox == nullptr) return unknown;
  MutexLock one(sandbox->mutex);
  if (sandbox->gone || sandbox->note.container.empty()) return unknown;
  F3_RETURN_IF_ERROR(FindProcess(sandbox.get(), 0));
  AttachNote note = sandbox->note;
  note.activation = request.activation();
  note.workflow = request.workflow().empty() ? request.activation() : request.workflow();
  note.call_hints = request.call_hints();
  const ActionHints hints = sandbox->hints;
  Status status = Arrange(sandbox.get(), note, hints);
  if (status.Is(Code::kNotFound)) Forget(sandbox.get());
  return status;
}

Status Sandboxes::Detach(const std::string& container) {
  F3_RETURN_IF_ERROR(CheckContainer(container));
  SandboxRef sandbox = Find(container);
  if (sandbox == nullptr) {
    // A late root that nobody attached, of a container that may live.
    if (FindContainers({container}).empty()) RemoveStray(container);
    return Status();
  }
  MutexLock one(sandbox->mutex);
  if (sandbox->gone) return Status();
  Status status = TakeAway(sandbox.get());
  Forget(sandbox.get());
  return status.Is(Code::kNotFound) ? Status() : status;
}

Status Sandboxes::EndWorkflow(const EndWorkflowRequest& request) {
  F3_RETURN_IF_ERROR(CheckNamespace(request.namespace_()));
  F3_RETURN_IF_ERROR(CheckActivation("workflow", request.workflow()));
  if (request.workflow().empty()) return Status::InvalidArgument("workflow is empty");
  for (const SandboxRef& sandbox : All()) {
    MutexLock one(sandbox->mutex);
    if (sandbox->gone || sandbox->note.name_space != request.namespace_() ||
        sandbox->note.workflow != request.workflow()) {
      continue;
    }
    AttachNote note = sandbox->note;
    note.workflow.clear();
    const ActionHints hints = sandbox->hints;
    Status left = Arrange(sandbox.get(), note, hints);
    // One that ended needs nothing; one that fails keeps a mount of a removed directory.
    if (!left.ok()) spdlog::warn("end of a workflow: {}", left.message());
  }
  const std::string subtree = WorkflowSubtree(request.namespace_(), request.workflow());
  roots_.Drop(subtree);
  for (const std::string& volume : options_.policy.VolumesOf(request.namespace_())) {
    F3_RETURN_IF_ERROR(RemoveSubtree(options_.meta, volume, subtree));
  }
  return Status();
}

ListReply Sandboxes::List() {
  ListReply reply;
  for (const SandboxRef& sandbox : All()) {
    MutexLock one(sandbox->mutex);
    if (sandbox->gone || sandbox->note.container.empty()) continue;
    Attached* out = reply.add_attached();
    out->set_container(sandbox->id);
    out->set_namespace_(sandbox->note.name_space);
    out->set_action(sandbox->note.action);
    out->set_activation(sandbox->note.activation);
    out->set_alive(sandbox->process.has_value() && IsAlive(*sandbox->process));
    for (const Placed& placed : sandbox->placed) {
      Mounted* mounted = out->add_mounts();
      mounted->set_path(placed.mount.path);
      mounted->set_volume(placed.mount.volume);
      mounted->set_read_only(placed.mount.read_only);
    }
  }
  return reply;
}

Status Sandboxes::Check(const CheckRequest& request) {
  F3_RETURN_IF_ERROR(CheckNamespace(request.namespace_()));
  F3_ASSIGN_OR_RETURN(ActionHints hints, ParseAnnotations(request.annotations()));
  F3_RETURN_IF_ERROR(ApplyCallHints(hints.hints, request.call_hints()).status());
  F3_RETURN_IF_ERROR(CheckVolumes(request.namespace_(), hints));
  for (size_t i = 0; i < hints.mounts.size(); ++i) {
    meta::Request resolve;
    resolve.mutable_resolve()->set_volume(hints.mounts[i].volume);
    meta::Reply reply;
    Status status = options_.meta->Call(std::move(resolve), &reply);
    if (status.Is(Code::kNotFound)) {
      return NoVolume(VolumeField(hints.mounts, hints.mounts[i].volume), hints.mounts[i].volume);
    }
    F3_RETURN_IF_ERROR(status);
  }
  return Status();
}

// ---- what is done for one sandbox ----

// `pid` 0: whatever process the container has by now; none is no error, it may be about to come.
Status Sandboxes::FindProcess(Sandbox* sandbox, pid_t pid) {
  if (sandbox->process.has_value() && !IsAlive(*sandbox->process)) sandbox->process.reset();
  if (sandbox->process.has_value() && (pid == 0 || pid == sandbox->process->pid)) return Status();
  if (pid == 0) {
    const auto found = FindContainers({sandbox->id});
    if (found.empty()) {
      // It had a process: then it has ended.
      return sandbox->note.pid == 0 ? Status()
                                    : Status::NotFound("container " + sandbox->id + " has ended");
    }
    pid = found.begin()->second;
  }
  F3_ASSIGN_OR_RETURN(ContainerProcess process, OpenContainer(pid));
  F3_RETURN_IF_ERROR(watch_.Add(sandbox->id, process.pidfd.get()));
  sandbox->process = std::move(process);
  sandbox->stale = true;
  sandbox->retry_micros = 0;
  return Status();
}

// Makes the sandbox what `note` says, and the note what the sandbox is.
Status Sandboxes::Arrange(Sandbox* sandbox, const AttachNote& asked, const ActionHints& hints) {
  AttachNote note = asked;
  note.pid = sandbox->process.has_value() ? sandbox->process->pid : 0;
  note.started = sandbox->process.has_value() ? sandbox->process->started : 0;
  F3_ASSIGN_OR_RETURN(Hints effective, ApplyCallHints(hints.hints, note.call_hints));
  F3_ASSIGN_OR_RETURN(std::vector<Placed> wanted, AcquireRoots(note, hints, effective));
  bool same = !sandbox->stale && wanted.size() == sandbox->placed.size() &&
              note.action == sandbox->note.action;
  note.paths.clear();
  for (size_t i = 0; i < wanted.size(); ++i) {
    same = same && wanted[i].key == sandbox->placed[i].key &&
           wanted[i].mount.path == sandbox->placed[i].mount.path;
    note.paths.push_back(wanted[i].mount.path);
  }
  note.paths.push_back(kRunPath);
  Status status;
  if (!same) {
    sandbox->stale = true;
    if (sandbox->made_micros == 0) sandbox->made_micros = Now();
    status = MakeSandboxDir(sandbox->dir);
    // Before anything is in the container: a killed agent's successor has to know.
    if (status.ok()) status = WriteNote(sandbox->dir, note);
    if (status.ok()) status = OpenSocket(sandbox, note);
    if (status.ok()) status = Place(sandbox, wanted);
  }
  if (!status.ok()) {
    // Some may be in place: whatever comes next takes them away.
    for (const Placed& placed : wanted) sandbox->note.paths.push_back(placed.mount.path);
    ReleaseRoots(wanted);
    return status;
  }
  ReleaseRoots(std::exchange(sandbox->placed, std::move(wanted)));
  sandbox->note = std::move(note);
  sandbox->hints = hints;
  sandbox->stale = false;
  Prefetch(*sandbox, effective);
  return Status();
}

Result<std::vector<Sandboxes::Placed>> Sandboxes::AcquireRoots(const AttachNote& note,
                                                               const ActionHints& action,
                                                               const Hints& hints) {
  std::vector<Placed> placed;
  for (const MountHint& mount : action.mounts) {
    if (!NeedsRoot(mount, note)) continue;
    auto key =
        roots_.Acquire(MakeRootSpec(mount, hints, note.name_space, note.action, note.workflow));
    if (!key.ok()) {
      ReleaseRoots(placed);
      // NotFound is the container's.
      if (key.status().Is(Code::kNotFound)) {
        return NoVolume(VolumeField(action.mounts, mount.volume), mount.volume);
      }
      return key.status();
    }
    placed.push_back({mount, *key});
  }
  return placed;
}

// Into the container that runs, else into the list that f3-runc reads.
Status Sandboxes::Place(Sandbox* sandbox, const std::vector<Placed>& wanted) {
  std::vector<Bind> binds;
  for (const Placed& placed : wanted)
    binds.push_back({roots_.DirOf(placed.key), placed.mount.path});
  F3_RETURN_IF_ERROR(WriteBinds(sandbox->dir, binds));
  if (!sandbox->process.has_value()) return Status();
  std::set<std::string> paths;
  for (const Placed& placed : wanted) paths.insert(placed.mount.path);
  std::vector<Placement> changes;
  for (const std::string& path : sandbox->note.paths) {
    if (path != kRunPath && !paths.contains(path)) changes.push_back({path, UniqueFd(), ""});
  }
  F3_ASSIGN_OR_RETURN(UniqueFd run, CloneReadOnly(sandbox->dir + "/" + kRunDir));
  changes.push_back({kRunPath, std::move(run), ""});
  for (const Placed& placed : wanted) {
    const std::string dir = roots_.DirOf(placed.key);
    F3_ASSIGN_OR_RETURN(UniqueFd tree, CloneMount(dir));
    changes.push_back({placed.mount.path, std::move(tree), MountIdentity(dir)});
  }
  return MountInto(*sandbox->process, sandbox->id, std::move(changes));
}

// Sockets' paths are short by the kernel's rule, and directories need not be: the broker is given
// the directory by its descriptor.
Status Sandboxes::OpenSocket(Sandbox* sandbox, const AttachNote& note) {
  if (!sandbox->socket.empty() && note.action == sandbox->socket_action) return Status();
  CloseSocket(sandbox);
  const std::string run = sandbox->dir + "/" + kRunDir;
  sandbox->run_dir.Reset(::open(run.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!sandbox->run_dir.valid()) return Status::FromErrno(errno, "open " + run);
  const std::string path =
      "/proc/self/fd/" + std::to_string(sandbox->run_dir.get()) + "/" + kSocketName;
  F3_RETURN_IF_ERROR(options_.agent->OpenXdtSocket(path, {note.name_space, note.action},
                                                   kSocketMode, options_.xdt_limit_bytes));
  sandbox->socket = path;
  sandbox->socket_action = note.action;
  return Status();
}

void Sandboxes::CloseSocket(Sandbox* sandbox) {
  if (sandbox->socket.empty()) return;
  options_.agent->CloseXdtSocket(sandbox->socket).PermitUnchecked();
  sandbox->socket.clear();
  sandbox->run_dir.Reset();
}

// Out of the container, if that lives.
Status Sandboxes::TakeAway(Sandbox* sandbox) {
  if (!sandbox->process.has_value() || !IsAlive(*sandbox->process)) return Status();
  std::set<std::string> paths(sandbox->note.paths.begin(), sandbox->note.paths.end());
  for (const Placed& placed : sandbox->placed) paths.insert(placed.mount.path);
  paths.insert(kRunPath);
  std::vector<Placement> changes;
  for (const std::string& path : paths) changes.push_back({path, UniqueFd(), ""});
  return MountInto(*sandbox->process, sandbox->id, std::move(changes));
}

void Sandboxes::ReleaseRoots(const std::vector<Placed>& placed) {
  for (const Placed& one : placed) roots_.Release(one.key);
}

void Sandboxes::Forget(Sandbox* sandbox) {
  CloseSocket(sandbox);
  ReleaseRoots(std::exchange(sandbox->placed, {}));
  if (sandbox->process.has_value() && IsAlive(*sandbox->process)) {
    // Its directories may be mounted in it, and a removed directory can never be mounted over
    // again: they go with it.
    sandbox->note = AttachNote();
    sandbox->hints = ActionHints();
    sandbox->stale = true;
    ::unlink((sandbox->dir + "/" + kAttachedFile).c_str());
    ::unlink((sandbox->dir + "/" + kBindsFile).c_str());
    return;
  }
  watch_.Remove(sandbox->id);
  sandbox->process.reset();
  Status removed = RemoveSandboxDir(sandbox->dir);
  if (!removed.ok()) spdlog::warn("{}", removed.message());
  sandbox->gone = true;
  MutexLock lock(mutex_);
  sandboxes_.erase(sandbox->id);
}

void Sandboxes::Prefetch(const Sandbox& sandbox, const Hints& hints) {
  if (hints.transfer != Transfer::kPrefetch || sandbox.note.activation.empty()) return;
  for (const std::string& input : hints.inputs) {
    auto at = FindMount(sandbox.hints.mounts, "inputs", input);
    if (!at.ok()) continue;
    for (const Placed& placed : sandbox.placed) {
      if (placed.mount.path != sandbox.hints.mounts[at->mount].path) continue;
      const RootSpec spec = MakeRootSpec(placed.mount, hints, sandbox.note.name_space,
                                         sandbox.note.action, sandbox.note.workflow);
      roots_.Retain(placed.key);
      prefetcher_.Submit(
          roots_.DirOf(placed.key),
          [meta = options_.meta, spec, glob = at->path] {
            SearchBudget budget;
            std::vector<FoundFile> found;
            FindFiles(meta, spec.volume, spec.subtree, glob, &budget, &found).PermitUnchecked();
            std::vector<std::string> paths;
            for (FoundFile& file : found) paths.push_back(std::move(file.path));
            return paths;
          },
          [this, key = placed.key] { roots_.Release(key); });
    }
  }
}

// ---- what happens by itself ----

void Sandboxes::Ended(const std::string& container) {
  SandboxRef sandbox = Find(container);
  if (sandbox == nullptr) return;
  MutexLock one(sandbox->mutex);
  const bool lives = sandbox->process.has_value() && IsAlive(*sandbox->process);
  if (sandbox->gone || lives) return;
  Forget(sandbox.get());
}

// The container came, or the agent has started: what was asked is put in place.
void Sandboxes::AttachAgain(Sandbox* sandbox) {
  Status status;
  {
    MutexLock one(sandbox->mutex);
    if (sandbox->gone || !sandbox->stale || sandbox->note.container.empty()) return;
    if (Now() < sandbox->retry_micros) return;
    sandbox->retry_micros = Now() + kRetryMicros;
    auto hints = ParseAnnotations(sandbox->note.annotations);
    status = hints.ok() ? FindProcess(sandbox, sandbox->process ? 0 : sandbox->note.pid)
                        : hints.status();
    const AttachNote note = sandbox->note;
    if (status.ok()) status = CheckVolumes(note.name_space, *hints);
    if (status.ok()) status = Arrange(sandbox, note, *hints);
    if (status.Is(Code::kNotFound)) {
      Forget(sandbox);
      return;
    }
  }
  if (!status.ok()) spdlog::warn("container {}: {}", sandbox->id, status.message());
}

bool Sandboxes::DoesNotCome(Sandbox* sandbox) {
  const std::string created = sandbox->dir + "/" + kCreatedFile;
  if (sandbox->created_micros == 0 && ::access(created.c_str(), F_OK) == 0) {
    sandbox->created_micros = Now();
  }
  return Now() - sandbox->made_micros > kPreparedMicros ||
         (sandbox->created_micros != 0 && Now() - sandbox->created_micros > kCreatedMicros);
}

void Sandboxes::Tick() {
  std::set<std::string> waiting;  // for their containers to come
  std::set<std::string> strays;
  for (const std::string& id : ListSandboxDirs(options_.dir)) {
    if (Find(id) == nullptr) strays.insert(id);
  }
  for (const SandboxRef& sandbox : All()) {
    AttachAgain(sandbox.get());
    MutexLock one(sandbox->mutex);
    if (sandbox->gone || sandbox->process.has_value() || sandbox->note.container.empty()) continue;
    if (DoesNotCome(sandbox.get())) {
      Forget(sandbox.get());
    } else {
      waiting.insert(sandbox->id);
    }
  }
  for (const auto& [id, pid] : FindContainers(waiting)) {
    SandboxRef sandbox = Find(id);
    if (sandbox == nullptr) continue;
    {
      MutexLock one(sandbox->mutex);
      if (sandbox->gone || !FindProcess(sandbox.get(), pid).ok()) continue;
    }
    AttachAgain(sandbox.get());
  }
  SweepStrays(strays);
  roots_.Sweep();
}

// f3-runc makes directories for containers that nobody may ever attach.
void Sandboxes::SweepStrays(const std::set<std::string>& strays) {
  std::erase_if(strays_, [&](const auto& entry) { return !strays.contains(entry.first); });
  std::set<std::string> due;
  for (const std::string& id : strays) {
    if (Now() - strays_.try_emplace(id, Now()).first->second >= kStrayMicros) due.insert(id);
  }
  const auto alive = FindContainers(due);
  for (const std::string& id : due) {
    strays_.erase(id);  // looked at again after as long
    if (!alive.contains(id)) RemoveStray(id);
  }
}

void Sandboxes::RemoveStray(const std::string& id) {
  MutexLock lock(mutex_);  // nobody makes it one that is attached meanwhile
  if (sandboxes_.contains(id)) return;
  RemoveSandboxDir(options_.dir + "/" + id).PermitUnchecked();
}

void Sandboxes::Stop() {
  {
    MutexLock lock(mutex_);
    if (std::exchange(stopped_, true)) return;
  }
  watch_.Stop();
  prefetcher_.Stop();
  for (const SandboxRef& sandbox : All()) {
    MutexLock one(sandbox->mutex);
    if (sandbox->gone) continue;
    Status away = TakeAway(sandbox.get());
    if (!away.ok()) spdlog::warn("leaving container {}: {}", sandbox->id, away.message());
    CloseSocket(sandbox.get());
    ReleaseRoots(std::exchange(sandbox->placed, {}));
    sandbox->process.reset();
    sandbox->gone = true;
  }
  roots_.Clear();
}

}  // namespace f3::openwhisk
