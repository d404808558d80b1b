/* libxdt: hand large values from function to function by reference.
 *
 *   xdt *x;                       xdt_open(NULL, &x);
 *   char ref[XDT_REF_CHARS];      xdt_put_bytes(x, data, bytes, NULL, ref);
 *   ... send ref to another function, as text ...
 *   xdt_view *v;                  xdt_get(x, ref, 5000, &v);
 *   use(xdt_view_data(v), xdt_view_bytes(v));
 *   xdt_release(v);
 *
 * It talks to the node's broker over a Unix socket and depends on libc alone. A value that was put
 * cannot be changed by anybody, and outlives the process that put it, until it was retrieved as
 * often as allowed, expires, is deleted, or the node agent dies.
 *
 * Every function that can fail returns 0 or an xdt_code, and leaves a sentence for
 * xdt_last_message() of the same thread. Timeouts are in milliseconds: 0 means at once or not at
 * all; a call returns within its timeout and a second even if the broker does not answer.
 *
 * Threads: an xdt is used by any number of threads at once. A buffer, a view, an async is used by
 * one thread at a time. fork: the child may go on using the xdt, which connects anew, and the views
 * that its parent had; buffers that were not put and asyncs are the parent's alone (XDT_INVALID in
 * the child). Signals: calls go on after handlers; no function may be called from a handler.
 * exec: nothing is inherited.
 */
#ifndef F3_XDT_LIBXDT_XDT_H_
#define F3_XDT_LIBXDT_XDT_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Room for any reference and its final zero. */
#define XDT_REF_CHARS 257
/* Where xdt_open looks when $F3_XDT_SOCKET is not set. */
#define XDT_DEFAULT_SOCKET "/run/f3/xdt.sock"

/* The numbers are those of F3's status codes. Others may come; treat them as failures. */
enum xdt_code {
  XDT_OK = 0,
  XDT_INVALID = 101, /* an argument, or a buffer of another process */
  XDT_TIMEOUT = 103, /* not in time: no room, no bytes, no answer */
  XDT_AGAIN = 105,   /* not now: limits of this connection or of the node */
  XDT_NO_MEMORY = 106,
  XDT_BUSY = 112,        /* all retrievals left are under way elsewhere */
  XDT_TOO_BIG = 213,     /* the node's pool can never hold it */
  XDT_UNAVAILABLE = 302, /* no broker, or the buffer's node does not answer */
  XDT_UNREACHABLE = 401, /* likewise */
  /* What a reference can be refused for. */
  XDT_REF_MALFORMED = 408,
  XDT_REF_NOT_AUTHENTIC = 409,
  XDT_REF_EXPIRED = 410,
  XDT_REF_EXHAUSTED = 411,
  XDT_REF_OUT_OF_SCOPE = 412,
  XDT_REF_EARLIER_EPOCH = 413
};

typedef struct xdt xdt;
typedef struct xdt_buffer xdt_buffer; /* written, then put */
typedef struct xdt_view xdt_view;     /* read */
typedef struct xdt_async xdt_async;   /* a get under way */

/* How a value may be used. All zeros, or NULL: once, for the node's default lifetime (10 minutes),
 * by any action of the namespace. */
typedef struct xdt_put_options {
  uint64_t lifetime_ms; /* 0: the node's default */
  uint32_t retrievals;  /* 0: once; XDT_UNLIMITED: any number until it expires */
  const char* action;   /* NULL: any action of the namespace */
} xdt_put_options;
#define XDT_UNLIMITED 0xffffffffu

typedef struct xdt_info {
  uint64_t bytes;
  uint64_t retrievals_left; /* UINT64_MAX: any number */
  uint64_t expires_in_ms;
} xdt_info;

/* socket_path NULL: $F3_XDT_SOCKET, else XDT_DEFAULT_SOCKET. Connects at once. */
int xdt_open(const char* socket_path, xdt** out);
/* Its buffers, views and asyncs must be gone. NULL is allowed. */
void xdt_close(xdt* x);

/* Shared memory of `bytes` (more than 0) to write a value into. Waits for room. */
int xdt_alloc(xdt* x, size_t bytes, int timeout_ms, xdt_buffer** out);
void* xdt_buffer_data(xdt_buffer* b);
size_t xdt_buffer_bytes(const xdt_buffer* b);
/* Hands the first `bytes` over; the buffer and its memory are gone, also on failure. */
int xdt_put(xdt_buffer* b, size_t bytes, const xdt_put_options* options, int timeout_ms, char* ref);
void xdt_discard(xdt_buffer* b);

/* A copy of existing bytes. */
int xdt_put_bytes(xdt* x, const void* data, size_t bytes, const xdt_put_options* options,
                  int timeout_ms, char* ref);
/* What a descriptor has from its position on (files: pipes and sockets too, up to their end, at
 * most max_bytes; XDT_TOO_BIG when there is more). */
int xdt_put_fd(xdt* x, int fd, size_t max_bytes, const xdt_put_options* options, int timeout_ms,
               char* ref);

/* The whole value. */
int xdt_get(xdt* x, const char* ref, int timeout_ms, xdt_view** out);
/* Returns with the first bytes; xdt_wait waits for more. */
int xdt_get_stream(xdt* x, const char* ref, int timeout_ms, xdt_view** out);
/* Several at once: views[i] or codes[i] for each; returns the first failure. */
int xdt_get_many(xdt* x, const char* const* refs, size_t count, int timeout_ms, xdt_view** views,
                 int* codes);
/* The pointer is valid until release; NULL for a value of 0 bytes. */
const void* xdt_view_data(const xdt_view* v);
size_t xdt_view_bytes(const xdt_view* v);     /* of the whole value */
size_t xdt_view_available(const xdt_view* v); /* readable now: all, unless it is a stream */
/* Waits until at least `bytes` (or all) are readable. After a failure no more will come. */
int xdt_wait(xdt_view* v, size_t bytes, int timeout_ms);
void xdt_release(xdt_view* v);

/* A get without waiting: xdt_async_fd becomes readable when xdt_async_finish will not wait.
 * finish: XDT_AGAIN while it would; otherwise the async is gone. */
int xdt_get_async(xdt* x, const char* ref, int timeout_ms, xdt_async** out);
int xdt_async_fd(const xdt_async* a);
int xdt_async_finish(xdt_async* a, xdt_view** out);
void xdt_async_cancel(xdt_async* a);

/* No retrieval any more. */
int xdt_delete(xdt* x, const char* ref, int timeout_ms);
int xdt_stat(xdt* x, const char* ref, int timeout_ms, xdt_info* info);

/* "the reference has expired", and so on. */
const char* xdt_code_text(int code);
/* What the last failure in this thread was about. */
const char* xdt_last_message(void);

#ifdef __cplusplus
}
#endif

#endif /* F3_XDT_LIBXDT_XDT_H_ */
