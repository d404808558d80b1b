/* Scopes: memory that is dropped at once, for example when an invocation of a function ends.
 *
 * A scope holds what is allocated through these functions and nothing else: memory from malloc, in
 * particular a language runtime's, is never touched. A scope's memory must not be given to free or
 * realloc; doing so ends the process with a message.
 *
 * A scope is used by one thread at a time. Different scopes are independent. C and C++; part of
 * libhwalloc.so (link with -lhwalloc, or find the functions with dlsym when it was preloaded).
 */
#ifndef F3_HWALLOC_HWALLOC_H_
#define F3_HWALLOC_HWALLOC_H_

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hwalloc_scope hwalloc_scope;

/* A new, empty scope. NULL and ENOMEM when there is no memory. */
hwalloc_scope* hwalloc_scope_begin(void);

/* `bytes` (0 counts as 1), not zeroed, at a multiple of 8. NULL and ENOMEM when there is no memory.
 */
void* hwalloc_scope_alloc(hwalloc_scope* scope, size_t bytes);

/* The same at a multiple of `alignment`, a power of two; else NULL and EINVAL. */
void* hwalloc_scope_aligned_alloc(hwalloc_scope* scope, size_t alignment, size_t bytes);

/* Frees one object of the scope before the rest. NULL is allowed. An object of another scope, or
 * of malloc, ends the process with a message. */
void hwalloc_scope_free(hwalloc_scope* scope, void* object);

/* Drops everything in the scope, which stays usable. */
void hwalloc_scope_reset(hwalloc_scope* scope);

/* Drops everything in the scope, and the scope. NULL is allowed. */
void hwalloc_scope_end(hwalloc_scope* scope);

#ifdef __cplusplus
}
#endif

#endif /* F3_HWALLOC_HWALLOC_H_ */
