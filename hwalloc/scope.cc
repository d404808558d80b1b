// Scopes: a heap of their own each, whose arenas and large blocks are all given back at once.
#include <cerrno>
#include <cstdint>
#include <new>

#include "hwalloc/allocator.h"
#include "hwalloc/fatal.h"
#include "hwalloc/heap.h"
#include "hwalloc/hwalloc.h"
#include "hwalloc/large.h"

using f3::hwalloc::Heap;
using f3::hwalloc::LargeHeader;
using f3::hwalloc::Unit;
using f3::hwalloc::UnitKind;

struct hwalloc_scope {
  Heap heap;
  LargeHeader* large = nullptr;
};

namespace {

void* AllocateLargeIn(hwalloc_scope* scope, size_t alignment, size_t bytes) {
  bool zero = false;
  void* p = f3::hwalloc::AllocateLarge(bytes, alignment, &zero);
  if (p == nullptr) return nullptr;
  LargeHeader* header = f3::hwalloc::LargeOf(p);
  f3::hwalloc::UnitOf(p)->owner = &scope->heap;
  header->previous = nullptr;
  header->next = scope->large;
  if (header->next != nullptr) header->next->previous = header;
  scope->large = header;
  return p;
}

void FreeLargeIn(hwalloc_scope* scope, LargeHeader* header) {
  if (header->next != nullptr) header->next->previous = header->previous;
  (header->previous == nullptr ? scope->large : header->previous->next) = header->next;
  f3::hwalloc::FreeLarge(header);
}

void* AllocateIn(hwalloc_scope* scope, size_t alignment, size_t bytes) {
  uint32_t index = f3::hwalloc::AlignedClassOf(bytes, alignment);
  void* p = nullptr;
  if (index == f3::hwalloc::kClasses) {
    p = AllocateLargeIn(scope, alignment, bytes);
  } else {
    p = scope->heap.TryAllocate(index);
    if (p == nullptr) p = scope->heap.AllocateSlow(index);
  }
  if (p == nullptr) errno = ENOMEM;
  return p;
}

}  // namespace

#pragma GCC visibility push(default)

hwalloc_scope* hwalloc_scope_begin(void) {
  void* memory = f3::hwalloc::Allocate(sizeof(hwalloc_scope));
  if (memory == nullptr) return nullptr;
  auto* scope = new (memory) hwalloc_scope;
  scope->heap.is_scope = true;
  return scope;
}

void* hwalloc_scope_alloc(hwalloc_scope* scope, size_t bytes) {
  return AllocateIn(scope, f3::hwalloc::kClassStep, bytes);
}

void* hwalloc_scope_aligned_alloc(hwalloc_scope* scope, size_t alignment, size_t bytes) {
  if (alignment == 0 || (alignment & (alignment - 1)) != 0) {
    errno = EINVAL;
    return nullptr;
  }
  return AllocateIn(scope, alignment < 8 ? 8 : alignment, bytes);
}

void hwalloc_scope_free(hwalloc_scope* scope, void* object) {
  if (object == nullptr) return;
  const Unit* unit = f3::hwalloc::UnitOf(object);
  if (unit == nullptr || unit->owner != &scope->heap) {
    f3::hwalloc::Fatal("hwalloc_scope_free of an address that is not of this scope", object);
  }
  if (unit->kind == UnitKind::kArena) {
    scope->heap.FreeLocal(unit, object);
  } else {
    FreeLargeIn(scope, f3::hwalloc::LargeOf(object));
  }
}

void hwalloc_scope_reset(hwalloc_scope* scope) {
  while (scope->large != nullptr) FreeLargeIn(scope, scope->large);
  scope->heap.DropAll();
}

void hwalloc_scope_end(hwalloc_scope* scope) {
  if (scope == nullptr) return;
  hwalloc_scope_reset(scope);
  f3::hwalloc::Free(scope);
}

#pragma GCC visibility pop
