// Preloaded into a program that is being recorded: passes every call of the allocator on to the
// allocator that the program would have used, and announces it (marker.h) before and after.
//
// In CPython the allocator is pymalloc, which serves small objects from arenas of its own and calls
// malloc for them only. So the shim puts itself in front of pymalloc as well, with the interface
// that CPython has for that (PyMem_SetAllocator). Only the outermost call is announced: what an
// allocator asks of another one is part of its cost.
//
// Thread-safe, like the functions it replaces. Its state is global because an allocator's must be:
// these functions have no argument that could carry it. No dependency but libc.
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "hwalloc/model/record/marker.h"

#define F3_EXPORT extern "C" __attribute__((visibility("default")))

namespace f3::hwmodel {
namespace {

void Mark(uint64_t what, uint64_t a, uint64_t b, uint64_t c) {
  int64_t result = kMarkerSyscall;
  register uint64_t r10 asm("r10") = c;  // the kernel's fourth argument
  asm volatile("syscall"
               : "+a"(result)
               : "D"(what), "S"(a), "d"(b), "r"(r10)
               : "rcx", "r11", "memory");
}

__attribute__((tls_model("initial-exec"))) thread_local int depth = 0;

// Announces the outermost call of this thread; its destructor announces the end.
class Announced {
 public:
  Announced(Op op, uint64_t bytes, uint64_t old, uint64_t alignment) : op_(op) {
    if (depth++ == 0) Mark(kMarkerEnter | static_cast<uint64_t>(op), bytes, old, alignment);
  }
  ~Announced() {
    if (--depth == 0) Mark(kMarkerExit | static_cast<uint64_t>(op_), pointer_, 0, 0);
  }
  void* Return(void* pointer) {
    pointer_ = reinterpret_cast<uint64_t>(pointer);
    return pointer;
  }

 private:
  const Op op_;
  uint64_t pointer_ = 0;
};

uint64_t Number(const void* pointer) { return reinterpret_cast<uint64_t>(pointer); }

// The allocator behind this one.
struct Real {
  void* (*malloc)(size_t);
  void* (*calloc)(size_t, size_t);
  void* (*realloc)(void*, size_t);
  void (*free)(void*);
  void* (*aligned_alloc)(size_t, size_t);
  int (*posix_memalign)(void**, size_t, size_t);
};
Real real = {};
bool resolving = false;

// dlsym may allocate before anything is known; it gets pieces of this, which are never reused.
alignas(16) char boot[16384];
size_t boot_used = 0;

void* BootAllocate(size_t bytes) {
  size_t rounded = (bytes + 15) & ~size_t{15};
  if (rounded < bytes || rounded > sizeof(boot) - boot_used) return nullptr;
  void* piece = boot + boot_used;
  boot_used += rounded;
  return piece;
}

bool IsBoot(const void* pointer) {
  return pointer >= static_cast<const void*>(boot) &&
         pointer < static_cast<const void*>(boot + sizeof(boot));
}

template <typename F>
void Find(F* function, const char* name) {
  *function = reinterpret_cast<F>(dlsym(RTLD_NEXT, name));
}

// The first call comes while the program has one thread: before its first constructor.
bool Ready() {
  if (real.malloc != nullptr) return true;
  if (resolving) return false;
  resolving = true;
  Real found = {};
  Find(&found.calloc, "calloc");
  Find(&found.realloc, "realloc");
  Find(&found.free, "free");
  Find(&found.aligned_alloc, "aligned_alloc");
  Find(&found.posix_memalign, "posix_memalign");
  Find(&found.malloc, "malloc");
  real = found;
  resolving = false;
  return true;
}

// CPython's description of an allocator (its stable interface since 3.5).
struct PyAllocator {
  void* context;
  void* (*malloc)(void*, size_t);
  void* (*calloc)(void*, size_t, size_t);
  void* (*realloc)(void*, void*, size_t);
  void (*free)(void*, void*);
};
constexpr int kPyDomainMem = 1;
constexpr int kPyDomainObject = 2;
PyAllocator python[3] = {};

void* PyMalloc(void* context, size_t bytes) {
  auto* next = static_cast<PyAllocator*>(context);
  Announced call(Op::kMalloc, bytes, 0, 0);
  return call.Return(next->malloc(next->context, bytes));
}

void* PyCalloc(void* context, size_t count, size_t each) {
  auto* next = static_cast<PyAllocator*>(context);
  Announced call(Op::kCalloc, count * each, 0, 0);
  return call.Return(next->calloc(next->context, count, each));
}

void* PyRealloc(void* context, void* old, size_t bytes) {
  auto* next = static_cast<PyAllocator*>(context);
  Announced call(Op::kRealloc, bytes, Number(old), 0);
  return call.Return(next->realloc(next->context, old, bytes));
}

void PyFree(void* context, void* old) {
  if (old == nullptr) return;
  auto* next = static_cast<PyAllocator*>(context);
  Announced call(Op::kFree, 0, Number(old), 0);
  next->free(next->context, old);
}

void HookPython() {
  using Access = void (*)(int domain, PyAllocator*);
  auto get = reinterpret_cast<Access>(dlsym(RTLD_DEFAULT, "PyMem_GetAllocator"));
  auto set = reinterpret_cast<Access>(dlsym(RTLD_DEFAULT, "PyMem_SetAllocator"));
  if (get == nullptr || set == nullptr) return;  // not CPython
  for (int domain = kPyDomainMem; domain <= kPyDomainObject; ++domain) {
    get(domain, &python[domain]);
    PyAllocator hook = {&python[domain], PyMalloc, PyCalloc, PyRealloc, PyFree};
    set(domain, &hook);
  }
}

__attribute__((noinline)) void* CallNothing(void* argument) {
  asm volatile("" : "+r"(argument));
  return argument;
}

__attribute__((constructor)) void Start() {
  if (!Ready()) return;
  for (int i = 0; i < 8; ++i) {
    Announced call(Op::kNothing, 0, 0, 0);
    call.Return(CallNothing(&real));
  }
  HookPython();
}

}  // namespace
}  // namespace f3::hwmodel

using f3::hwmodel::Announced;
using f3::hwmodel::BootAllocate;
using f3::hwmodel::IsBoot;
using f3::hwmodel::Number;
using f3::hwmodel::Op;
using f3::hwmodel::Ready;
using f3::hwmodel::real;

F3_EXPORT void* malloc(size_t bytes) {
  if (!Ready()) return BootAllocate(bytes);
  Announced call(Op::kMalloc, bytes, 0, 0);
  return call.Return(real.malloc(bytes));
}

F3_EXPORT void* calloc(size_t count, size_t each) {
  if (!Ready()) return each == 0 || count <= SIZE_MAX / each ? BootAllocate(count * each) : nullptr;
  Announced call(Op::kCalloc, count * each, 0, 0);
  return call.Return(real.calloc(count, each));
}

F3_EXPORT void* realloc(void* old, size_t bytes) {
  if (!Ready() || IsBoot(old)) {
    void* moved = malloc(bytes);
    size_t room = static_cast<size_t>(f3::hwmodel::boot + sizeof(f3::hwmodel::boot) -
                                      static_cast<char*>(old == nullptr ? moved : old));
    if (moved != nullptr && old != nullptr) memcpy(moved, old, bytes < room ? bytes : room);
    return moved;
  }
  Announced call(Op::kRealloc, bytes, Number(old), 0);
  return call.Return(real.realloc(old, bytes));
}

F3_EXPORT void free(void* old) {
  if (old == nullptr || IsBoot(old) || !Ready()) return;
  Announced call(Op::kFree, 0, Number(old), 0);
  real.free(old);
}

F3_EXPORT void* aligned_alloc(size_t alignment, size_t bytes) {
  if (!Ready()) return nullptr;
  Announced call(Op::kAligned, bytes, 0, alignment);
  return call.Return(real.aligned_alloc(alignment, bytes));
}

F3_EXPORT void* memalign(size_t alignment, size_t bytes) { return aligned_alloc(alignment, bytes); }

F3_EXPORT int posix_memalign(void** pointer, size_t alignment, size_t bytes) {
  if (!Ready()) return ENOMEM;
  Announced call(Op::kAligned, bytes, 0, alignment);
  int result = real.posix_memalign(pointer, alignment, bytes);
  if (result == 0) call.Return(*pointer);
  return result;
}
