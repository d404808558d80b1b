// A mount's life: mounting, the threads that read requests, unmounting.
#include "fs_client/fuse_session.h"

#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "fs_client/fuse_ops.h"
#include "fs_client/fuse_session_impl.h"

namespace f3::fs {
namespace {

constexpr size_t kMaxWriteBytes = 1u << 20;
// The largest request: a write, its header, and what libfuse puts before it.
constexpr size_t kBufferBytes = kMaxWriteBytes + 4096;
// Buffers of writes under way, beyond those of the reading threads.
constexpr size_t kMaxKeptBuffers = 24;
constexpr int kNotifiers = 4;
constexpr size_t kMaxNotices = 1u << 20;
constexpr int64_t kInitMicros = 10'000'000;
constexpr int64_t kPendingMicros = 15'000'000;  // for requests that wait for other nodes

// The request that this thread is handling, for what libfuse does not tell its handlers.
struct Current {
  std::unique_ptr<RequestBuffer>* buffer = nullptr;
  std::shared_ptr<RequestBuffer> kept;
  fuse_in_header header = {};
  bool kill_suid = false;
};
thread_local Current current;

// Flags that libfuse does not pass on: whether setuid and setgid go with this change.
bool KillsSuid(uint32_t opcode, const std::byte* body, size_t size) {
  auto word = [body, size](size_t at) {
    uint32_t value = 0;
    if (at + sizeof(value) <= size) std::memcpy(&value, body + at, sizeof(value));
    return value;
  };
  switch (opcode) {
    case FUSE_WRITE:
      return (word(offsetof(fuse_write_in, write_flags)) & FUSE_WRITE_KILL_SUIDGID) != 0;
    case FUSE_SETATTR:
      return (word(offsetof(fuse_setattr_in, valid)) & FATTR_KILL_SUIDGID) != 0;
    case FUSE_OPEN:
      return (word(offsetof(fuse_open_in, open_flags)) & FUSE_OPEN_KILL_SUIDGID) != 0;
    default:
      return false;
  }
}

bool IsMountPoint(const std::string& dir) {
  struct stat own, parent;
  if (::stat(dir.c_str(), &own) != 0 || ::stat((dir + "/..").c_str(), &parent) != 0) return false;
  return own.st_dev != parent.st_dev;
}

}  // namespace

Result<std::unique_ptr<FuseSession>> FuseSession::Mount(const Options& options) {
  auto session = std::make_unique<FuseImpl>(options);
  F3_RETURN_IF_ERROR(session->Start());
  return std::unique_ptr<FuseSession>(std::move(session));
}

FuseImpl::FuseImpl(const Options& options)
    : options_(options),
      mounted_wall_ns_(options.clock->WallNanos()),
      references_(std::make_unique<ReferenceDir>(options.references, this)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

Status FuseImpl::Start() {
  F3_RETURN_IF_ERROR(CheckMountPoint());
  F3_RETURN_IF_ERROR(FindRoot());
  F3_RETURN_IF_ERROR(MountKernel());
  notifiers_ = std::make_unique<Executor>("f3-notify", kNotifiers, kMaxNotices);
  const int readers = std::clamp(2 * static_cast<int>(std::thread::hardware_concurrency()), 4, 16);
  {
    MutexLock lock(mutex_);
    serving_ = static_cast<size_t>(readers);
  }
  for (int i = 0; i < readers; ++i) threads_.emplace_back([this, i] { Serve(i); });
  MutexLock lock(mutex_);
  const int64_t give_up = options_.clock->MonotonicMicros() + kInitMicros;
  while (!initialized_ && !ended_) {
    const int64_t left = give_up - options_.clock->MonotonicMicros();
    if (left <= 0) return Status::Timeout("the kernel did not begin to use the mount " + dir());
    idle_.WaitFor(mutex_, left);
  }
  return Status();
}

Status FuseImpl::CheckMountPoint() const {
  struct stat info;
  if (::stat(dir().c_str(), &info) != 0) {
    if (errno == ENOTCONN) {
      return Status::Busy(dir() + " holds a mount whose process is gone; `umount -l " + dir() +
                          "` removes it");
    }
    return Status::FromErrno(errno, "the mount point " + dir());
  }
  if (!S_ISDIR(info.st_mode)) {
    return Status::NotDirectory("the mount point " + dir() + " is not a directory");
  }
  if (IsMountPoint(dir())) {
    return Status::Busy(dir() + " is in use: something is mounted there; `umount " + dir() +
                        "` first, or choose another directory");
  }
  if (::access("/dev/fuse", R_OK | W_OK) != 0) {
    return Status::NoDevice(
        "cannot use /dev/fuse; load the module (`modprobe fuse`), or start the container with "
        "--device /dev/fuse --cap-add SYS_ADMIN");
  }
  return Status();
}

Status FuseImpl::FindRoot() {
  meta::Request request;
  request.mutable_resolve()->set_volume(options_.mount.volume);
  request.mutable_resolve()->set_path(options_.mount.subtree);
  meta::Reply reply;
  F3_RETURN_IF_ERROR(
      options_.meta->Call(std::move(request), &reply).WithContext("mounting " + options_.source));
  const meta::Attr& attr = reply.entry().attr();
  if (!S_ISDIR(attr.mode())) {
    return Status::NotDirectory(options_.source + " is not a directory and cannot be mounted");
  }
  root_ = attr.ino();
  nodes_ = std::make_unique<InodeTable>(root_);
  rules_ = std::make_unique<ClassRules>(options_.mount, root_);
  return Status();
}

Status FuseImpl::MountKernel() {
  const MountOptions& mount = options_.mount;
  std::string text = "default_permissions,subtype=f3,fsname=" + options_.source +
                     ",max_read=" + std::to_string(kMaxWriteBytes);
  if (mount.allow_other) text += ",allow_other";
  text += mount.read_only ? ",ro" : ",rw";
  text += mount.dev ? ",dev" : ",nodev";
  text += mount.suid ? ",suid" : ",nosuid";
  fuse_args args = FUSE_ARGS_INIT(0, nullptr);
  if (fuse_opt_add_arg(&args, "f3") != 0 || fuse_opt_add_arg(&args, "-o") != 0 ||
      fuse_opt_add_arg(&args, text.c_str()) != 0) {
    return Status::NoMemory("mount options");
  }
  const fuse_lowlevel_ops ops = FuseOps::Table();
  session_ = fuse_session_new(&args, &ops, sizeof(ops), this);
  fuse_opt_free_args(&args);
  if (session_ == nullptr) return Status::InvalidArgument("libfuse refuses the options " + text);
  errno = 0;
  if (fuse_session_mount(session_, dir().c_str()) != 0) {
    Status status = Status::FromErrno(errno != 0 ? errno : EPERM, "cannot mount at " + dir() +
                                                                      " (root, or a set-uid "
                                                                      "fusermount3, is needed)");
    fuse_session_destroy(session_);
    session_ = nullptr;
    return status;
  }
  fd_ = fuse_session_fd(session_);
  fuse_custom_io io = {};
  io.writev = WriteHook;
  io.read = ReadHook;
  if (fuse_session_custom_io(session_, &io, fd_) != 0) {
    return Status::Internal("libfuse refuses to let its replies pass through F3");
  }
  ::fcntl(fd_, F_SETFL, ::fcntl(fd_, F_GETFL) | O_NONBLOCK);
  // Edge-triggered, each request wakes one thread, which then reads until there are no more; the
  // end of all is level-triggered.
  waiter_.Reset(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event requests = {EPOLLIN | EPOLLET, {.fd = fd_}};
  epoll_event end = {EPOLLIN, {.fd = wake_.get()}};
  if (!waiter_.valid() || ::epoll_ctl(waiter_.get(), EPOLL_CTL_ADD, fd_, &requests) != 0 ||
      ::epoll_ctl(waiter_.get(), EPOLL_CTL_ADD, wake_.get(), &end) != 0) {
    return Status::FromErrno(errno, "wait for requests of " + dir());
  }
  return Status();
}

std::unique_ptr<RequestBuffer> FuseImpl::NewBuffer() {
  {
    MutexLock lock(buffers_mutex_);
    if (!free_buffers_.empty()) {
      auto buffer = std::move(free_buffers_.back());
      free_buffers_.pop_back();
      return buffer;
    }
  }
  auto buffer = std::make_unique<RequestBuffer>();
  buffer->bytes = std::make_unique_for_overwrite<std::byte[]>(kBufferBytes);
  return buffer;
}

void FuseImpl::GiveBack(std::unique_ptr<RequestBuffer> buffer) {
  MutexLock lock(buffers_mutex_);
  --kept_buffers_;
  free_buffers_.push_back(std::move(buffer));
}

std::shared_ptr<RequestBuffer> FuseImpl::KeepBuffer() {
  if (current.kept != nullptr) return current.kept;
  {
    MutexLock lock(buffers_mutex_);
    if (kept_buffers_ >= kMaxKeptBuffers) return nullptr;
    ++kept_buffers_;
  }
  RequestBuffer* buffer = current.buffer->release();
  current.kept = std::shared_ptr<RequestBuffer>(
      buffer, [this](RequestBuffer* b) { GiveBack(std::unique_ptr<RequestBuffer>(b)); });
  return current.kept;
}

ReqRef FuseImpl::Begin(fuse_req_t req) {
  return std::make_shared<FuseRequest>(this, req, current.header, fuse_req_ctx(req)->umask,
                                       current.kill_suid);
}

void FuseImpl::CallMeta(const ReqRef& req, meta::Request request, MetaDone done) {
  *request.mutable_caller() = req->caller();
  request.set_mount(options_.number);
  options_.meta->CallAsync(std::move(request), std::move(done));
}

OpenRequest FuseImpl::Opener(const ReqRef& req, uint64_t node, int flags) {
  OpenRequest request;
  request.ino = nodes_->ToIno(node);
  request.node_id = node;
  request.kernel = this;
  request.flags = flags;
  request.pid = req->pid();
  request.caller = req->caller();
  return request;
}

void FuseImpl::WakeAll() {
  const uint64_t one = 1;
  if (::write(wake_.get(), &one, sizeof(one)) < 0) spdlog::error("waking the mount's threads");
}

void FuseImpl::Serve(int index) {
  const std::string name = "f3-fuse-" + std::to_string(index);
  ::pthread_setname_np(::pthread_self(), name.c_str());
  std::unique_ptr<RequestBuffer> buffer;
  bool gone = false;
  for (;;) {
    if (buffer == nullptr) buffer = NewBuffer();
    const ssize_t n = ::read(fd_, buffer->bytes.get(), kBufferBytes);
    if (n > 0) {
      ServeOne(&buffer, static_cast<size_t>(n));
      continue;
    }
    if (n < 0 && (errno == EINTR || errno == ENOENT)) continue;
    if (n < 0 && errno == EAGAIN) {
      epoll_event event;
      if (::epoll_wait(waiter_.get(), &event, 1, -1) == 1 && event.data.fd == wake_.get()) break;
      continue;
    }
    gone = true;  // ENODEV: unmounted
    WakeAll();    // the kernel told this thread alone
    break;
  }
  bool last = false;
  {
    MutexLock lock(mutex_);
    last = --serving_ == 0;
    if (gone) ended_ = true;
    idle_.SignalAll();
  }
  if (last) Ended();
}

// Other threads may still be between a read and their exit; this one is the last.
void FuseImpl::Ended() {
  MutexLock lock(mutex_);
  if (!ended_ || unmounted_ || !options_.on_ended) return;
  ender_ = std::thread(options_.on_ended);
}

void FuseImpl::ServeOne(std::unique_ptr<RequestBuffer>* buffer, size_t size) {
  std::byte* bytes = (*buffer)->bytes.get();
  if (size < sizeof(fuse_in_header)) return;
  std::memcpy(&current.header, bytes, sizeof(current.header));
  current.buffer = buffer;
  if (current.header.opcode <= kernel::kMaxOpcode) ++requests_[current.header.opcode];
  if (!FreshFiles::Keeps(current.header.opcode)) fresh_.Drop(nodes_->ToIno(current.header.nodeid));
  if (FreshFiles::ChangesOthers(current.header.opcode)) fresh_.Clear();
  const std::byte* body = bytes + sizeof(fuse_in_header);
  const size_t body_size = size - sizeof(fuse_in_header);
  current.kill_suid = KillsSuid(current.header.opcode, body, body_size);
  if (current.header.opcode == FUSE_INIT) {
    // major, minor, max_readahead, flags, flags2
    uint32_t words[5] = {};
    std::memcpy(words, body, std::min(body_size, sizeof(words)));
    init_flags2_ = (words[3] & FUSE_INIT_EXT) != 0 ? words[4] : 0;
    init_unique_ = current.header.unique;
  }
  if (ServeReference(current.header, body, body_size)) {
    // It was for none of ours.
  } else if (current.header.opcode == FUSE_TMPFILE) {
    CreateTmpfile(current.header, body, body_size);
  } else {
    fuse_buf request = {};
    request.mem = bytes;
    request.size = size;
    fuse_session_process_buf(session_, &request);
  }
  if (current.header.opcode == FUSE_INIT) {
    names_droppable_ = DropAllNames();
    MutexLock lock(mutex_);
    initialized_ = true;
    idle_.SignalAll();
  }
  current.kept = nullptr;
  current.buffer = nullptr;
}

std::map<std::string, uint64_t> FuseImpl::Requests() const {
  std::map<std::string, uint64_t> counts;
  for (uint32_t opcode = 0; opcode < requests_.size(); ++opcode) {
    const char* name = kernel::RequestName(opcode);
    const uint64_t count = requests_[opcode];
    if (name != nullptr && count > 0) counts[name] = count;
  }
  return counts;
}

void FuseImpl::ReleaseAll() {
  std::unordered_map<HandleId, bool> handles;
  {
    MutexLock lock(mutex_);
    handles.swap(handles_);
    dirs_.clear();
  }
  for (const auto& [handle, direct] : handles) options_.files->Release(handle);
  references_->ReleaseAll();
}

void FuseImpl::Unmount() {
  {
    MutexLock lock(mutex_);
    if (unmounted_) return;
    unmounted_ = true;
  }
  if (session_ == nullptr) return;
  bool ended = false;
  {
    MutexLock lock(mutex_);
    ended = ended_;
  }
  // With requests still served: open files are flushed by their processes until then.
  if (!ended && ::umount2(dir().c_str(), UMOUNT_NOFOLLOW) != 0 &&
      ::umount2(dir().c_str(), UMOUNT_NOFOLLOW | MNT_DETACH) == 0) {
    spdlog::warn("{} is in use: its mount is removed once the last file is closed", dir());
  }
  RetryAllLocks();
  WakeAll();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  if (ender_.joinable()) ender_.join();
  ReleaseAll();
  if (notifiers_ != nullptr) notifiers_->Shutdown();
  {
    // What still waits for other nodes ends by its own deadline.
    MutexLock lock(mutex_);
    const int64_t give_up = options_.clock->MonotonicMicros() + kPendingMicros;
    while (in_flight_ > 0 && options_.clock->MonotonicMicros() < give_up) {
      idle_.WaitFor(mutex_, 100'000);
    }
    while (in_flight_ > 0) idle_.Wait(mutex_);
  }
  GiveBackLeases();
  fd_ = -1;
  fuse_session_destroy(session_);
  session_ = nullptr;
}

}  // namespace f3::fs
