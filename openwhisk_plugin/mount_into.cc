#include "openwhisk_plugin/mount_into.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "common/mount_table.h"
#include "openwhisk_plugin/sandbox_dir.h"

// Of Linux 6.5; the C library's header is older.
#ifndef MOVE_MOUNT_BENEATH
#define MOVE_MOUNT_BENEATH 0x00000200
#endif

namespace f3::openwhisk {
namespace {

constexpr int64_t kDeadlineMillis = 5000;
constexpr int kMaxLayers = 16;
constexpr size_t kMaxPath = 4096;

// ---- in the child: system calls only, no memory from the heap, since the agent has threads ----

enum class Step : int { kNone, kEnter, kMakeDirs, kOpen, kForbidden, kPlace, kTakeAway };

struct Outcome {
  Step step = Step::kNone;
  int placement = 0;
  int error = 0;
};

struct Ours {
  uint64_t mount_id;
  bool same;  // it is what the placement wants there
};

struct Task {
  const char* path;
  int tree;
  const Ours* ours;
  size_t ours_count;
};

class Child {
 public:
  Child(int root, int proc) : root_(root), proc_(proc) {}

  // 0, or the errno of step().
  int Carry(const Task& task) {
    task_ = &task;
    for (int layer = 0; layer < kMaxLayers; ++layer) {
      int fd = -1;
      if (int error = OpenTarget(&fd); error != 0) {
        // Nothing can be mounted at a path that is not there.
        const bool gone = task.tree < 0 && (error == ENOENT || error == ENOTDIR || error == ELOOP);
        return gone ? 0 : error;
      }
      const Ours* ours = Find(MountId(fd));
      if (ours == nullptr) return task.tree < 0 ? 0 : Place(fd, 0);
      if (ours->same && task.tree >= 0) return 0;
      const bool replaced = task.tree >= 0 && Place(fd, MOVE_MOUNT_BENEATH) == 0;
      if (int error = TakeAway(fd); error != 0) return error;
      if (replaced) return 0;
      ::close(fd);
    }
    return Fail(Step::kTakeAway, EBUSY);
  }

  Step step() const { return step_; }

 private:
  int Fail(Step step, int error) {
    step_ = step;
    return error;
  }

  int Open(const char* path, uint64_t flags) const {
    open_how how = {};
    how.flags = flags | O_PATH | O_CLOEXEC;
    how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    return static_cast<int>(::syscall(SYS_openat2, root_, path, &how, sizeof(how)));
  }

  int OpenTarget(int* fd) {
    constexpr uint64_t kFlags = O_DIRECTORY | O_NOFOLLOW;
    *fd = Open(task_->path, kFlags);
    if (*fd < 0 && errno == ENOENT && task_->tree >= 0) {
      if (int error = MakeDirs(); error != 0) return Fail(Step::kMakeDirs, error);
      *fd = Open(task_->path, kFlags);
    }
    return *fd < 0 ? Fail(Step::kOpen, errno) : 0;
  }

  // Each directory is made in its parent, which is resolved as above.
  int MakeDirs() {
    char path[kMaxPath + 1];
    const size_t size = ::strnlen(task_->path, kMaxPath + 1);
    if (size > kMaxPath) return ENAMETOOLONG;
    std::memcpy(path, task_->path, size + 1);
    int parent = Open("/", O_DIRECTORY);
    size_t begin = 1;
    while (parent >= 0 && begin < size) {
      size_t end = begin;
      while (end < size && path[end] != '/') ++end;
      path[end] = '\0';
      int next = Open(path, O_DIRECTORY);
      if (next < 0 && errno == ENOENT) {
        if (::mkdirat(parent, path + begin, 0755) != 0 && errno != EEXIST) return errno;
        next = Open(path, O_DIRECTORY);
      }
      if (end < size) path[end] = '/';
      const int error = errno;
      ::close(parent);
      errno = error;
      parent = next;
      begin = end + 1;
    }
    if (parent < 0) return errno;
    ::close(parent);
    return 0;
  }

  // Asks the kernel, not the file system: that may be dead.
  uint64_t MountId(int fd) const {
    char path[40] = "self/fdinfo/";
    AppendNumber(path, fd);
    const int info = ::openat(proc_, path, O_RDONLY | O_CLOEXEC);
    char text[256] = {};
    const ssize_t n = info < 0 ? -1 : ::read(info, text, sizeof(text) - 1);
    if (info >= 0) ::close(info);
    const char* at = n > 0 ? std::strstr(text, "mnt_id:") : nullptr;
    return at != nullptr ? std::strtoull(at + std::strlen("mnt_id:"), nullptr, 10) : 0;
  }

  const Ours* Find(uint64_t mount_id) const {
    for (size_t i = 0; i < task_->ours_count; ++i) {
      if (task_->ours[i].mount_id == mount_id) return &task_->ours[i];
    }
    return nullptr;
  }

  int Place(int fd, unsigned flags) {
    if (flags == 0) {
      if (int error = CheckPlace(fd); error != 0) return Fail(Step::kForbidden, error);
    }
    const int moved = ::move_mount(task_->tree, "", fd, "",
                                   MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH | flags);
    return moved != 0 ? Fail(Step::kPlace, errno) : 0;
  }

  int CheckPlace(int fd) const {
    struct statfs system;
    struct stat target, root;
    if (::fstatfs(fd, &system) != 0 || ::fstat(fd, &target) != 0 || ::fstat(root_, &root) != 0) {
      return errno;
    }
    if (target.st_dev == root.st_dev && target.st_ino == root.st_ino) return EBUSY;
    switch (static_cast<uint64_t>(system.f_type)) {
      case PROC_SUPER_MAGIC:
      case SYSFS_MAGIC:
      case CGROUP_SUPER_MAGIC:
      case CGROUP2_SUPER_MAGIC:
        return EPERM;
      default:
        return 0;
    }
  }

  int TakeAway(int fd) {
    char path[40] = "self/fd/";
    AppendNumber(path, fd);
    if (::fchdir(proc_) != 0 || ::umount2(path, MNT_DETACH) != 0) {
      return Fail(Step::kTakeAway, errno);
    }
    return 0;
  }

  static void AppendNumber(char* text, int number) {
    char digits[16];
    int count = 0;
    do {
      digits[count++] = static_cast<char>('0' + number % 10);
      number /= 10;
    } while (number > 0);
    size_t at = std::strlen(text);
    while (count > 0) text[at++] = digits[--count];
    text[at] = '\0';
  }

  const int root_;
  const int proc_;  // the host's /proc, where "self" is this child
  const Task* task_ = nullptr;
  Step step_ = Step::kNone;
};

[[noreturn]] void RunChild(int pidfd, int root, int proc, const std::vector<Task>& tasks,
                           int report) {
  Outcome outcome;
  ::umask(022);
  // Its own root and working directory, which only threads of a sanitizer share here, are the
  // kernel's condition.
  if (::unshare(CLONE_FS) != 0 || ::setns(pidfd, CLONE_NEWNS) != 0) {
    outcome = {Step::kEnter, 0, errno};
  } else {
    Child child(root, proc);
    for (size_t i = 0; i < tasks.size(); ++i) {
      const int error = child.Carry(tasks[i]);
      if (error == 0) continue;
      outcome = {child.step(), static_cast<int>(i), error};
      break;
    }
  }
  const ssize_t n = ::write(report, &outcome, sizeof(outcome));
  ::_exit(n == sizeof(outcome) ? 0 : 1);
}

// ---- in the agent ----

Status Explain(const Outcome& outcome, const std::string& container, const std::string& path) {
  const std::string where = path + " in container " + container;
  const std::string why = std::strerror(outcome.error);
  switch (outcome.step) {
    case Step::kNone:
      return Status();
    case Step::kEnter:
      if (outcome.error == ESRCH) return Status::NotFound("container " + container + " has ended");
      return Status::NotSupported("cannot enter the mounts of container " + container + ": " + why);
    case Step::kMakeDirs:
      return Status::NotSupported(
          "cannot make the directory " + where + ": " + why +
          (outcome.error == EROFS ? " (an image that has it, or f3-runc, helps)" : ""));
    case Step::kOpen:
      return Status::NotSupported(where + " is no directory that can be mounted at: " + why);
    case Step::kForbidden:
      return Status::NotSupported(where + " must not be mounted over");
    case Step::kPlace:
      return Status::NotSupported("cannot mount at " + where + ": " + why);
    case Step::kTakeAway:
      return Status::NotSupported("cannot unmount " + where + ": " + why);
  }
  return Status::Internal("entering container " + container);
}

// Waits for the child's end; false when it had to be killed at the deadline.
bool Await(pid_t child) {
  UniqueFd pidfd = OpenPidFd(child);
  pollfd wait = {pidfd.get(), POLLIN, 0};
  int ready = 0;
  do {
    ready = ::poll(&wait, 1, kDeadlineMillis);
  } while (ready < 0 && errno == EINTR);
  if (ready != 1) ::kill(child, SIGKILL);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return ready == 1;
}

// The mounts at a placement's path that may be taken away or found to be right, whatever links the
// path has: told by what they are mounts of.
std::vector<Ours> FindOurs(const std::vector<MountEntry>& table, const std::string& container,
                           const Placement& placement) {
  const std::string run = "/" + container + "/" + kRunDir;
  std::vector<Ours> ours;
  for (const MountEntry& mount : table) {
    if (IsF3(mount)) {
      ours.push_back({mount.id, mount.device == placement.identity});
    } else if (placement.path == kRunPath) {
      // The kernel marks a directory that was removed meanwhile.
      const bool removed = mount.root.ends_with(run + "//deleted");
      if (removed || mount.root.ends_with(run)) ours.push_back({mount.id, !removed});
    }
  }
  return ours;
}

Status SetAttributes(int tree, uint64_t attributes) {
  mount_attr change = {};
  change.attr_set = attributes;
  change.propagation = MS_PRIVATE;
  if (::mount_setattr(tree, "", AT_EMPTY_PATH, &change, sizeof(change)) != 0) {
    return Status::FromErrno(errno, "set the attributes of a mount");
  }
  return Status();
}

Result<UniqueFd> Clone(const std::string& dir, uint64_t attributes) {
  UniqueFd tree(::open_tree(AT_FDCWD, dir.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!tree.valid()) return Status::FromErrno(errno, "clone the mount of " + dir);
  F3_RETURN_IF_ERROR(SetAttributes(tree.get(), attributes));
  return tree;
}

}  // namespace

Result<UniqueFd> CloneMount(const std::string& dir) { return Clone(dir, 0); }

Result<UniqueFd> CloneReadOnly(const std::string& dir) {
  return Clone(dir, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
}

std::string MountIdentity(const std::string& dir) { return MountAt(dir).device; }

Status MountInto(const ContainerProcess& process, const std::string& container,
                 std::vector<Placement> placements) {
  const std::vector<MountEntry> table = ListMountsOf(process.pid);
  std::vector<std::vector<Ours>> ours;
  std::vector<Task> tasks;
  ours.reserve(placements.size());
  for (const Placement& placement : placements) {
    ours.push_back(FindOurs(table, container, placement));
    tasks.push_back(
        {placement.path.c_str(), placement.tree.get(), ours.back().data(), ours.back().size()});
  }
  UniqueFd proc(::open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
  int ends[2];
  if (!proc.valid() || ::pipe2(ends, O_CLOEXEC) != 0) {
    return Status::FromErrno(errno, "enter container " + container);
  }
  UniqueFd from(ends[0]), to(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return Status::FromErrno(errno, "start a child to enter container " + container);
  if (child == 0) {
    RunChild(process.pidfd.get(), process.root.get(), proc.get(), tasks, to.get());
  }
  to.Reset();
  if (!Await(child)) {
    return Status::Timeout("mounting in container " + container +
                           " took longer than 5 s; a file system in it hangs");
  }
  Outcome outcome;
  if (::read(from.get(), &outcome, sizeof(outcome)) != sizeof(outcome)) {
    return Status::Internal("the child that entered container " + container + " failed");
  }
  Status status =
      Explain(outcome, container,
              placements.empty() ? "" : placements[static_cast<size_t>(outcome.placement)].path);
  // What failed because the container went is its end, whichever step it was.
  if (!status.ok() && !IsAlive(process)) {
    return Status::NotFound("container " + container + " has ended");
  }
  return status;
}

}  // namespace f3::openwhisk
