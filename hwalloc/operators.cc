// The C++ operators of libhwalloc.so. It is linked without libstdc++: what is needed of it to fail
// is found in the program at run time, if the program has it.
#include <cstddef>
#include <cstdlib>
#include <new>

#include "hwalloc/allocator.h"

namespace std {
// Both are libstdc++'s, and null in a program without it.
__attribute__((weak, noreturn)) void __throw_bad_alloc();
__attribute__((weak)) new_handler get_new_handler() noexcept;
}  // namespace std

namespace {

using f3::hwalloc::Allocate;
using f3::hwalloc::AllocateAligned;
using f3::hwalloc::Free;

void* AllocateFor(std::size_t bytes, std::size_t alignment) {
  return alignment <= 16 ? Allocate(bytes) : AllocateAligned(alignment, bytes);
}

// As the standard wants it: calls the new handler until there is memory; without one, throws.
__attribute__((noinline)) void* AllocateOrThrow(std::size_t bytes, std::size_t alignment) {
  for (;;) {
    if (void* p = AllocateFor(bytes, alignment)) return p;
    std::new_handler handler = std::get_new_handler ? std::get_new_handler() : nullptr;
    if (handler != nullptr) {
      handler();
      continue;
    }
    if (std::__throw_bad_alloc) std::__throw_bad_alloc();
    std::abort();
  }
}

inline void* New(std::size_t bytes) {
  void* p = Allocate(bytes);
  return p != nullptr ? p : AllocateOrThrow(bytes, 16);
}

inline void* NewAligned(std::size_t bytes, std::align_val_t alignment) {
  return AllocateOrThrow(bytes, static_cast<std::size_t>(alignment));
}

}  // namespace

#pragma GCC visibility push(default)

void* operator new(std::size_t bytes) { return New(bytes); }
void* operator new[](std::size_t bytes) { return New(bytes); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return NewAligned(bytes, alignment);
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return NewAligned(bytes, alignment);
}

// A new handler is not called: what it threw could not be caught here.
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return Allocate(bytes); }
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept { return Allocate(bytes); }
void* operator new(std::size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return AllocateFor(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment,
                     const std::nothrow_t&) noexcept {
  return AllocateFor(bytes, static_cast<std::size_t>(alignment));
}

// An object's header tells its size and alignment: none of these needs to be told.
void operator delete(void* p) noexcept { Free(p); }
void operator delete[](void* p) noexcept { Free(p); }
void operator delete(void* p, std::size_t) noexcept { Free(p); }
void operator delete[](void* p, std::size_t) noexcept { Free(p); }
void operator delete(void* p, std::align_val_t) noexcept { Free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { Free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { Free(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { Free(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { Free(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { Free(p); }
void operator delete(void* p, std::align_val_t, const std::nothrow_t&) noexcept { Free(p); }
void operator delete[](void* p, std::align_val_t, const std::nothrow_t&) noexcept { Free(p); }

#pragma GCC visibility pop
