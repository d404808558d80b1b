// A plugin of qemu-x86_64 that writes what the emulated program does as records (record_format.h)
// to a socket: references to memory that pass the filter, announced calls of the allocator
// (marker.h), and the system calls that map and unmap memory. QEMU calls it on the thread that
// emulates; one mutex keeps the records in one order. State is global because QEMU's callbacks for
// system calls have no argument that could carry it. After a fork the child records nothing.
//
// Arguments: fd=N (the socket), limit=N (references to record at most).
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>

#include "hwalloc/model/record/marker.h"
#include "hwalloc/model/record/qemu_plugin_abi.h"
#include "hwalloc/model/record/record_format.h"
#include "hwalloc/model/record/reference_filter.h"

#define F3_EXPORT extern "C" __attribute__((visibility("default")))

F3_EXPORT int qemu_plugin_version;
int qemu_plugin_version = 1;

namespace f3::hwmodel {
namespace {

constexpr unsigned kMaxThreads = 1024;
constexpr size_t kBufferBytes = 1 << 16;

// What is known of one emulated thread; touched by that thread alone, except at the end.
struct Thread {
  ReferenceFilter filter;
  uint64_t instructions = 0;  // since they were last written
  bool in_call = false;
  uint64_t call_bytes = 0;
  uint64_t arguments[4] = {};  // of the system call in progress
};

struct Writer {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  // Under the mutex:
  int fd = -1;
  uint8_t buffer[kBufferBytes];
  size_t used = 0;
  unsigned thread = UINT32_MAX;
  uint64_t granule = 0;
  uint64_t references_left = 0;
  uint64_t program_break = 0;
  bool ended = false;
};

Thread* threads[kMaxThreads];
Writer writer;
std::atomic<bool> off{false};            // in a child, after the end, after a failure
std::atomic<bool> no_references{false};  // the limit was reached

class Lock {
 public:
  Lock() { pthread_mutex_lock(&writer.mutex); }
  ~Lock() { pthread_mutex_unlock(&writer.mutex); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
};

void Flush() {
  size_t sent = 0;
  while (sent < writer.used) {
    ssize_t n = send(writer.fd, writer.buffer + sent, writer.used - sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      off = true;  // the recorder is gone, or the program closed the socket: no end will be written
      break;
    }
    sent += static_cast<size_t>(n);
  }
  writer.used = 0;
}

// Room for one record of this thread. Under the mutex.
uint8_t* Begin(unsigned thread) {
  if (writer.used + 2 * kMaxRecordBytes > kBufferBytes) Flush();
  uint8_t* at = writer.buffer + writer.used;
  if (writer.thread != thread) {
    writer.thread = thread;
    *at++ = static_cast<uint8_t>(Tag::kThread);
    at = PutNumber(at, thread);
  }
  return at;
}

void Commit(const uint8_t* end) { writer.used = static_cast<size_t>(end - writer.buffer); }

template <typename... Numbers>
void PutRecord(unsigned thread, Tag tag, Numbers... numbers) {
  uint8_t* at = Begin(thread);
  *at++ = static_cast<uint8_t>(tag);
  ((at = PutNumber(at, numbers)), ...);
  Commit(at);
}

Thread* Get(unsigned vcpu) {
  if (vcpu >= kMaxThreads) {
    // Without this thread the order would be a lie; no end is written, so the recorder refuses it.
    if (!off.exchange(true)) fprintf(stderr, "f3: more than %u threads\n", kMaxThreads);
    return nullptr;
  }
  // Only the thread itself sets its entry.
  if (threads[vcpu] == nullptr) threads[vcpu] = new Thread;
  return threads[vcpu];
}

void OnExecuted(unsigned vcpu, void* instructions) {
  if (off) return;
  if (Thread* thread = Get(vcpu)) thread->instructions += reinterpret_cast<uintptr_t>(instructions);
}

void Record(unsigned vcpu, uint64_t granule, bool store, bool in_call) {
  Lock lock;
  if (writer.ended || no_references) return;
  if (writer.references_left == 0) {
    no_references = true;
    PutRecord(vcpu, Tag::kReferencesEnd);
    return;
  }
  --writer.references_left;
  uint8_t* at = Begin(vcpu);
  int64_t distance = static_cast<int64_t>(granule - writer.granule);
  writer.granule = granule;
  Commit(PutReference(at, distance, store, in_call));
}

void OnAccess(unsigned vcpu, QemuMemInfo info, uint64_t address, void*) {
  if (off || no_references) return;
  Thread* thread = Get(vcpu);
  if (thread == nullptr) return;
  bool store = qemu_plugin_mem_is_store(info);
  uint64_t last = address + (uint64_t{1} << qemu_plugin_mem_size_shift(info)) - 1;
  for (uint64_t g = address >> kGranuleShift; g <= last >> kGranuleShift; ++g) {
    if (thread->filter.Passes(g, store, thread->in_call)) Record(vcpu, g, store, thread->in_call);
  }
}

void OnMarker(unsigned vcpu, Thread* thread, const uint64_t* a) {
  Lock lock;
  if (writer.ended) return;
  uint64_t op = a[0] & 0xff;
  if ((a[0] & kMarkerEnter) != 0) {
    PutRecord(vcpu, Tag::kEnter, op, thread->instructions, a[1], a[2], a[3]);
    thread->in_call = true;
    thread->call_bytes = a[1];
  } else {
    PutRecord(vcpu, Tag::kExit, op, thread->instructions, a[1]);
    thread->in_call = false;
    if (a[1] != 0) thread->filter.Forget(a[1], thread->call_bytes);
  }
  thread->instructions = 0;
}

void OnSyscall(QemuPluginId, unsigned vcpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
               uint64_t a4, uint64_t, uint64_t, uint64_t, uint64_t) {
  if (off) return;
  Thread* thread = Get(vcpu);
  if (thread == nullptr) return;
  thread->arguments[0] = a1;
  thread->arguments[1] = a2;
  thread->arguments[2] = a3;
  thread->arguments[3] = a4;
  if (number == kMarkerSyscall) OnMarker(vcpu, thread, thread->arguments);
}

void OnBreak(unsigned vcpu, uint64_t now, uint64_t flags) {
  uint64_t before = writer.program_break;
  writer.program_break = now;
  if (before == 0 || now == before) return;
  if (now > before) {
    PutRecord(vcpu, Tag::kMap, before, now - before, flags | kMapAnonymous);
  } else {
    PutRecord(vcpu, Tag::kUnmap, now, before - now);
  }
}

void OnSyscallReturned(QemuPluginId, unsigned vcpu, int64_t number, int64_t result) {
  if (off || (result < 0 && result > -4096)) return;
  Thread* thread = Get(vcpu);
  if (thread == nullptr) return;
  const uint64_t* a = thread->arguments;
  uint64_t at = static_cast<uint64_t>(result);
  uint64_t flags = thread->in_call ? kMapByAllocator : 0;
  Lock lock;
  if (writer.ended) return;
  switch (number) {
    case SYS_mmap:
      PutRecord(vcpu, Tag::kMap, at, a[1],
                flags | ((a[3] & MAP_ANONYMOUS) != 0 ? kMapAnonymous : 0));
      break;
    case SYS_munmap:
      PutRecord(vcpu, Tag::kUnmap, a[0], a[1]);
      break;
    case SYS_brk:
      OnBreak(vcpu, at, flags);
      break;
    case SYS_mremap:
      PutRecord(vcpu, Tag::kMove, a[0], a[1], at, a[2]);
      break;
    case SYS_madvise:
      if (a[2] == MADV_DONTNEED) PutRecord(vcpu, Tag::kDiscard, a[0], a[1]);
      break;
    default:
      break;
  }
}

void OnTranslated(QemuPluginId, qemu_plugin_tb* block) {
  size_t n = qemu_plugin_tb_n_insns(block);
  qemu_plugin_register_vcpu_tb_exec_cb(block, OnExecuted, kQemuNoRegisters,
                                       reinterpret_cast<void*>(n));
  for (size_t i = 0; i < n; ++i) {
    qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(block, i), OnAccess, kQemuNoRegisters,
                                     kQemuReadsAndWrites, nullptr);
  }
}

void OnExit(QemuPluginId, void*) {
  if (off) return;
  Lock lock;
  if (writer.ended) return;
  uint64_t instructions = 0;
  for (const Thread* thread : threads) {
    if (thread != nullptr && !thread->in_call) instructions += thread->instructions;
  }
  PutRecord(0, Tag::kEnd, instructions);
  Flush();
  writer.ended = true;
  off = true;
  close(writer.fd);
}

}  // namespace
}  // namespace f3::hwmodel

F3_EXPORT int qemu_plugin_install(QemuPluginId id, const void*, int argc, char** argv) {
  using namespace f3::hwmodel;  // NOLINT: this function is what the namespace is for
  int fd = -1;
  for (int i = 0; i < argc; ++i) {
    if (strncmp(argv[i], "fd=", 3) == 0) fd = atoi(argv[i] + 3);
    if (strncmp(argv[i], "limit=", 6) == 0)
      writer.references_left = strtoull(argv[i] + 6, nullptr, 10);
  }
  // Away from the small numbers, which the program may close; gone when it runs another program.
  writer.fd = fcntl(fd, F_DUPFD_CLOEXEC, 1000);
  if (writer.fd < 0) writer.fd = fcntl(fd, F_DUPFD_CLOEXEC, 100);
  if (writer.fd < 0) {
    fprintf(stderr, "f3: the recording plugin was given no socket\n");
    return 1;
  }
  close(fd);
  pthread_atfork(nullptr, nullptr, [] { off = true; });
  qemu_plugin_register_vcpu_tb_trans_cb(id, OnTranslated);
  qemu_plugin_register_vcpu_syscall_cb(id, OnSyscall);
  qemu_plugin_register_vcpu_syscall_ret_cb(id, OnSyscallReturned);
  qemu_plugin_register_atexit_cb(id, OnExit, nullptr);
  return 0;
}
