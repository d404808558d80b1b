#include "cli/passthrough_probe.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "common/unique_fd.h"

namespace f3::cli {
namespace {

// Of kernel 6.9; the headers of the build host may be older.
struct BackingMap {
  int32_t fd;
  uint32_t flags;
  uint64_t padding;
};
constexpr unsigned long kBackingOpen = _IOW(229, 1, BackingMap);
constexpr uint32_t kInitExt = 1u << 30;
constexpr uint32_t kPassthroughFlag2 = 1u << 5;  // bit 37 of the 64-bit word

// Answers the kernel's first request, offering passthrough. NotSupported when it does not know it.
Status AnswerInit(int fuse) {
  std::vector<char> buffer(FUSE_MIN_READ_BUFFER + 65536);
  pollfd wait = {fuse, POLLIN, 0};
  if (::poll(&wait, 1, 5000) <= 0) return Status::Timeout("the kernel sent no INIT request");
  ssize_t n = ::read(fuse, buffer.data(), buffer.size());
  if (n < static_cast<ssize_t>(sizeof(fuse_in_header) + 16)) {
    return Status::FromErrno(n < 0 ? errno : EPROTO, "read the INIT request");
  }
  fuse_in_header header;
  std::memcpy(&header, buffer.data(), sizeof(header));
  // major, minor, max_readahead, flags, flags2
  uint32_t words[5] = {};
  size_t have = static_cast<size_t>(n) - sizeof(header);
  std::memcpy(words, buffer.data() + sizeof(header), std::min(have, sizeof(words)));
  if ((words[3] & kInitExt) == 0 || (words[4] & kPassthroughFlag2) == 0) {
    return Status::NotSupported("this kernel has no FUSE passthrough (6.9 brought it)");
  }
  struct {
    fuse_out_header header;
    fuse_init_out init;
  } reply = {};
  reply.header.len = sizeof(reply);
  reply.header.unique = header.unique;
  reply.init.major = FUSE_KERNEL_VERSION;
  reply.init.minor = words[1];
  reply.init.max_readahead = words[2];
  reply.init.max_write = 65536;
  reply.init.max_pages = 16;
  reply.init.flags = kInitExt;
  // flags2 and max_stack_depth, by their place in the protocol.
  char* raw = reinterpret_cast<char*>(&reply.init);
  uint32_t depth = 1;
  std::memcpy(raw + 32, &kPassthroughFlag2, 4);
  std::memcpy(raw + 36, &depth, 4);
  if (::write(fuse, &reply, sizeof(reply)) != static_cast<ssize_t>(sizeof(reply))) {
    return Status::FromErrno(errno, "answer the INIT request");
  }
  return Status();
}

Status OfferBacking(int fuse, const std::string& dir) {
  std::string path = dir + "/.f3-probe-XXXXXX";
  UniqueFd file(::mkostemp(path.data(), O_CLOEXEC));
  if (!file.valid()) return Status::FromErrno(errno, "make a file in " + dir);
  ::unlink(path.c_str());
  BackingMap map = {file.get(), 0, 0};
  // The connection counts as ready a moment after the reply was taken.
  for (int tries = 0; tries < 100; ++tries) {
    int id = ::ioctl(fuse, kBackingOpen, &map);
    if (id > 0) return Status();
    if (errno != EPERM || tries == 99) break;
    ::usleep(1000);
  }
  if (errno == ELOOP) {
    return Status::Loop(dir +
                        " is on a stacked file system (overlay), which cannot back "
                        "passthrough; put the tier on a plain one");
  }
  return Status::FromErrno(errno, "use a file of " + dir + " as backing");
}

}  // namespace

Status ProbeFuseDevice() {
  UniqueFd fuse(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  return fuse.valid() ? Status() : Status::FromErrno(errno, "open /dev/fuse");
}

Status ProbePassthrough(const std::string& dir) {
  UniqueFd fuse(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (!fuse.valid()) return Status::FromErrno(errno, "open /dev/fuse");
  char point[] = "/tmp/f3-probe-XXXXXX";
  if (::mkdtemp(point) == nullptr) return Status::FromErrno(errno, "make a directory in /tmp");
  std::string options = "fd=" + std::to_string(fuse.get()) + ",rootmode=40000,user_id=0,group_id=0";
  Status status;
  if (::mount("f3-probe", point, "fuse.f3-probe", MS_NOSUID | MS_NODEV, options.c_str()) != 0) {
    status = Status::FromErrno(errno, "mount a FUSE file system");
  } else {
    status = AnswerInit(fuse.get());
    if (status.ok()) status = OfferBacking(fuse.get(), dir);
    ::umount2(point, MNT_DETACH);
  }
  ::rmdir(point);
  return status;
}

}  // namespace f3::cli
