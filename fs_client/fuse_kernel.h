// What the FUSE client needs of the kernel's protocol beyond the headers of Debian 12 (Linux 6.1):
// values of <linux/fuse.h> of later kernels.
#ifndef F3_FS_CLIENT_FUSE_KERNEL_H_
#define F3_FS_CLIENT_FUSE_KERNEL_H_

#include <linux/fuse.h>
#include <sys/ioctl.h>

#include <cstdint>

namespace f3::fs::kernel {

// Kernel 6.9: reads, writes and mappings of a file go to a backing file.
inline constexpr uint32_t kInitFlag2Passthrough = 1u << 5;  // bit 37 of all flags
inline constexpr uint32_t kOpenPassthrough = 1u << 7;
struct BackingMap {
  int32_t fd = 0;
  uint32_t flags = 0;
  uint64_t padding = 0;
};
inline constexpr unsigned long kBackingOpen = _IOW(229, 1, BackingMap);
inline constexpr unsigned long kBackingClose = _IOW(229, 2, uint32_t);
// As fuse_open_out, whose padding became the backing id.
struct OpenOut {
  uint64_t fh = 0;
  uint32_t open_flags = 0;
  int32_t backing_id = 0;
};
// As fuse_init_out, whose unused part begins with it.
struct InitOut {
  uint32_t major, minor, max_readahead, flags;
  uint16_t max_background, congestion_threshold;
  uint32_t max_write, time_gran;
  uint16_t max_pages, map_alignment;
  uint32_t flags2, max_stack_depth;
  uint32_t unused[6];
};
static_assert(sizeof(InitOut) == sizeof(fuse_init_out));
static_assert(sizeof(OpenOut) == sizeof(fuse_open_out));

// Kernel 6.16: every cached name of the mount is looked up again.
inline constexpr int kNotifyIncEpoch = 8;
// Kernel 6.2: writes of one direct handle may run side by side.
inline constexpr uint32_t kOpenParallelDirectWrites = 1u << 6;

// Requests of the kernel, by opcode; null for one that has no name here.
inline constexpr uint32_t kMaxOpcode = 52;
constexpr const char* RequestName(uint32_t opcode) {
  constexpr const char* kNames[kMaxOpcode + 1] = {
      nullptr,        "lookup",        "forget",      "getattr",  "setattr",  "readlink",
      "symlink",      nullptr,         "mknod",       "mkdir",    "unlink",   "rmdir",
      "rename",       "link",          "open",        "read",     "write",    "statfs",
      "release",      nullptr,         "fsync",       "setxattr", "getxattr", "listxattr",
      "removexattr",  "flush",         "init",        "opendir",  "readdir",  "releasedir",
      "fsyncdir",     "getlk",         "setlk",       "setlkw",   "access",   "create",
      "interrupt",    "bmap",          "destroy",     "ioctl",    "poll",     "notify_reply",
      "batch_forget", "fallocate",     "readdirplus", "rename2",  "lseek",    "copy_file_range",
      "setupmapping", "removemapping", "syncfs",      "tmpfile",  "statx"};
  return opcode <= kMaxOpcode ? kNames[opcode] : nullptr;
}

}  // namespace f3::fs::kernel

#endif  // F3_FS_CLIENT_FUSE_KERNEL_H_
