#include "storage_nodes/tier.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/statvfs.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <utility>

#include "storage_nodes/fan_out.h"

namespace f3::storage {
namespace {

constexpr size_t kMaxOwnerBytes = 64;

bool ParseKey(const char* name, ObjectKey* key) {
  unsigned long long ino = 0, incarnation = 0;
  if (sscanf(name, "%llx-%llx", &ino, &incarnation) != 2) return false;
  *key = {ino, incarnation};
  return ToString(*key) == name;
}

// A broken lease raises SIGIO, whose default is to end the process. We hold leases for moments
// only and want no notice.
void IgnoreLeaseSignals() {
  struct sigaction action;
  if (::sigaction(SIGIO, nullptr, &action) == 0 && action.sa_handler == SIG_DFL) {
    action.sa_handler = SIG_IGN;
    ::sigaction(SIGIO, &action, nullptr);
  }
}

}  // namespace

const char* TierName(TierKind kind) {
  return kind == TierKind::kMemory ? "memory tier" : "disk tier";
}

Result<UniqueFd> Reopen(int fd, int flags, const std::string& path) {
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  UniqueFd opened(::open(link.c_str(), flags | O_CLOEXEC));
  if (!opened.valid()) return Status::FromErrno(errno, "open " + path + " again");
  return opened;
}

Status TakeReadLease(int fd, const std::string& path) {
  if (::fcntl(fd, F_SETLEASE, F_RDLCK) == 0) return Status();
  if (errno == EAGAIN) {
    return Status::Busy(path + " is still open for writing or mapped writable; try again later");
  }
  return Status::FromErrno(errno, "take a read lease on " + path);
}

void DropReadLease(int fd) { ::fcntl(fd, F_SETLEASE, F_UNLCK); }

Result<std::unique_ptr<Tier>> Tier::Open(TierKind kind, const std::string& dir, Env* env) {
  IgnoreLeaseSignals();
  std::unique_ptr<Tier> tier(new Tier(kind, dir));
  Status status = tier->Prepare(env);
  if (!status.ok()) return status.WithContext(std::string(TierName(kind)) + " " + dir);
  return tier;
}

Status Tier::Prepare(Env* env) {
  F3_RETURN_IF_ERROR(env->MakeDirs(dir_ + "/objects"));
  const std::string owner_path = dir_ + "/owner";
  lock_.Reset(::open(owner_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock_.valid()) return Status::FromErrno(errno, "open " + owner_path);
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    return Status::Busy(owner_path +
                        " is locked: another node agent uses this tier; give each "
                        "node directories of its own");
  }
  char text[kMaxOwnerBytes];
  ssize_t n = ::pread(lock_.get(), text, sizeof(text), 0);
  if (n < 0) return Status::FromErrno(errno, "read " + owner_path);
  owner_.assign(text, static_cast<size_t>(n));

  const std::string objects_path = dir_ + "/objects";
  objects_.Reset(::open(objects_path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!objects_.valid()) return Status::FromErrno(errno, "open " + objects_path);
  for (int i = 0; i < kFanOut; ++i) {
    if (::mkdirat(objects_.get(), FanOutName(i).c_str(), 0700) != 0 && errno != EEXIST) {
      return Status::FromErrno(errno, "make directories in " + objects_path);
    }
  }
  return ProbeFeatures();
}

Status Tier::SetOwner(const std::string& owner) {
  const std::string path = dir_ + "/owner";
  if (::ftruncate(lock_.get(), 0) != 0 ||
      ::pwrite(lock_.get(), owner.data(), owner.size(), 0) != static_cast<ssize_t>(owner.size()) ||
      ::fsync(lock_.get()) != 0) {
    return Status::FromErrno(errno, "write " + path);
  }
  owner_ = owner;
  return Status();
}

Status Tier::ProbeFeatures() {
  const ObjectKey probe{~0ull, ~0ull};
  F3_RETURN_IF_ERROR(Unlink(probe));
  auto file = Create(probe);
  if (!file.ok()) {
    // A full tier must not keep the node from starting; what it holds can be read and removed.
    return file.status().Is(Code::kNoSpace) ? Status() : file.status();
  }
  (*file).Reset();
  auto reader = Open(probe, O_RDONLY);
  Status status = reader.ok() ? TakeReadLease(reader->get(), Path(probe)) : reader.status();
  Unlink(probe).PermitUnchecked();
  if (!status.ok()) {
    return Status::NotSupported("its file system grants no read leases (" + status.message() +
                                "); use ext4, xfs or tmpfs");
  }
  return Status();
}

std::string Tier::RelativePath(const ObjectKey& key) const {
  return FanOutName(FanOutOf(key.ino)) + "/" + ToString(key);
}

std::string Tier::Path(const ObjectKey& key) const {
  return dir_ + "/objects/" + RelativePath(key);
}

Result<UniqueFd> Tier::Create(const ObjectKey& key) {
  UniqueFd fd(::openat(objects_.get(), RelativePath(key).c_str(),
                       O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) return Status::FromErrno(errno, "create " + Path(key));
  return fd;
}

Result<UniqueFd> Tier::Open(const ObjectKey& key, int flags) {
  UniqueFd fd(::openat(objects_.get(), RelativePath(key).c_str(), flags | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.valid()) return Status::FromErrno(errno, "open " + Path(key));
  return fd;
}

Status Tier::Unlink(const ObjectKey& key) {
  if (::unlinkat(objects_.get(), RelativePath(key).c_str(), 0) != 0 && errno != ENOENT) {
    return Status::FromErrno(errno, "remove " + Path(key));
  }
  return Status();
}

Status Tier::Link(const ObjectKey& from, const ObjectKey& to) {
  if (::linkat(objects_.get(), RelativePath(from).c_str(), objects_.get(), RelativePath(to).c_str(),
               0) != 0) {
    return Status::FromErrno(errno, "link " + Path(from) + " as " + ToString(to));
  }
  return Status();
}

Result<UniqueFd> Tier::CreateNameless() {
  UniqueFd fd(::openat(objects_.get(), ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600));
  if (!fd.valid()) return Status::FromErrno(errno, "create a file in " + dir_);
  return fd;
}

Status Tier::Name(const UniqueFd& file, const ObjectKey& key) {
  std::string from = "/proc/self/fd/" + std::to_string(file.get());
  if (::linkat(AT_FDCWD, from.c_str(), objects_.get(), RelativePath(key).c_str(),
               AT_SYMLINK_FOLLOW) != 0) {
    return Status::FromErrno(errno, "name " + Path(key));
  }
  return Status();
}

Status Tier::SyncName(const ObjectKey& key) {
  std::string path = RelativePath(key);
  UniqueFd fd(::openat(objects_.get(), path.substr(0, path.find('/')).c_str(),
                       O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || ::fsync(fd.get()) != 0) return Status::FromErrno(errno, "sync " + Path(key));
  return Status();
}

Status Tier::Scan(const std::function<void(const ObjectKey&, const struct stat&)>& visit) {
  for (int i = 0; i < kFanOut; ++i) {
    const std::string name = FanOutName(i);
    int fd = ::openat(objects_.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return Status::FromErrno(errno, "open " + dir_ + "/objects/" + name);
    DIR* dir = ::fdopendir(fd);
    if (dir == nullptr) {
      int error = errno;
      ::close(fd);
      return Status::FromErrno(error, "list " + dir_ + "/objects/" + name);
    }
    Status status;
    for (;;) {
      errno = 0;
      struct dirent* entry = ::readdir(dir);
      if (entry == nullptr) {
        if (errno != 0) status = Status::FromErrno(errno, "list " + dir_ + "/objects/" + name);
        break;
      }
      if (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0) continue;
      ObjectKey key;
      struct stat st;
      if (::fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
      if (ParseKey(entry->d_name, &key) && S_ISREG(st.st_mode) &&
          RelativePath(key) == name + "/" + entry->d_name) {
        visit(key, st);
      } else {
        ::unlinkat(fd, entry->d_name, 0);
      }
    }
    ::closedir(dir);
    F3_RETURN_IF_ERROR(status);
  }
  return Status();
}

Result<Tier::Space> Tier::space() const {
  struct statvfs st;
  if (::fstatvfs(objects_.get(), &st) != 0) return Status::FromErrno(errno, "statvfs " + dir_);
  return Space{st.f_blocks * st.f_frsize, st.f_bavail * st.f_frsize};
}

}  // namespace f3::storage
