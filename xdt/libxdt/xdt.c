#define _GNU_SOURCE
#include "xdt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "channel.h"

/* After its timeout a call waits this much longer for the broker to say so. */
#define GRACE_US 900000
#define COPY_START_BYTES (1u << 20)
#define HUGE_PAGE_BYTES ((size_t)2 << 20)

struct xdt {
  struct xdt_channel channel;
};

struct xdt_buffer {
  xdt* x;
  pid_t owner;
  uint64_t generation;
  uint64_t handle;
  void* data;
  size_t bytes;
};

struct xdt_view {
  xdt* x; /* NULL: the view has the connection `socket` to itself, or none */
  int socket;
  uint64_t generation;
  uint64_t handle; /* 0: the bytes are `own` */
  void* data;
  size_t bytes;
  size_t available;
  void* own;
};

struct xdt_async {
  int socket;
  pid_t owner;
  int64_t deadline_us;
};

static int64_t micros(int timeout_ms) { return timeout_ms < 0 ? 0 : (int64_t)timeout_ms * 1000; }

static int64_t patience(int timeout_ms) { return xdt_now_us() + micros(timeout_ms) + GRACE_US; }

/* Maps a large buffer where the huge pages that the broker makes it of can be mapped as such. NULL:
 * see errno. */
static void* map_shared(int fd, size_t bytes, int protection) {
  if (bytes < HUGE_PAGE_BYTES) {
    void* small = mmap(NULL, bytes, protection, MAP_SHARED, fd, 0);
    return small == MAP_FAILED ? NULL : small;
  }
  const size_t room = bytes + HUGE_PAGE_BYTES;
  char* reserved = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return NULL;
  const size_t before = -(uintptr_t)reserved & (HUGE_PAGE_BYTES - 1);
  void* mapped = mmap(reserved + before, bytes, protection, MAP_SHARED | MAP_FIXED, fd, 0);
  if (mapped == MAP_FAILED) {
    const int error = errno;
    munmap(reserved, room);
    errno = error;
    return NULL;
  }
  /* Whole pages: those that the mapping begins and ends in are its own. */
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  const size_t used = (before + bytes + page - 1) & ~(page - 1);
  if (before > 0) munmap(reserved, before);
  if (room > used) munmap(reserved + used, room - used);
  return mapped;
}

const char* xdt_code_text(int code) {
  switch (code) {
    case XDT_OK:
      return "OK";
    case XDT_INVALID:
      return "invalid argument";
    case XDT_TIMEOUT:
      return "timed out";
    case XDT_AGAIN:
      return "try again later";
    case XDT_NO_MEMORY:
      return "no memory";
    case XDT_BUSY:
      return "all retrievals are under way";
    case XDT_TOO_BIG:
      return "too big for this node";
    case XDT_UNAVAILABLE:
      return "unavailable";
    case XDT_UNREACHABLE:
      return "the node cannot be reached";
    case XDT_REF_MALFORMED:
      return "not a reference";
    case XDT_REF_NOT_AUTHENTIC:
      return "the reference is not authentic";
    case XDT_REF_EXPIRED:
      return "the reference has expired";
    case XDT_REF_EXHAUSTED:
      return "the reference is used up or deleted";
    case XDT_REF_OUT_OF_SCOPE:
      return "the reference is not for this function";
    case XDT_REF_EARLIER_EPOCH:
      return "the node has restarted since the reference was made";
    default:
      return "failed";
  }
}

int xdt_open(const char* path, xdt** out) {
  if (path == NULL) path = getenv("F3_XDT_SOCKET");
  if (path == NULL || *path == 0) path = XDT_DEFAULT_SOCKET;
  xdt* x = calloc(1, sizeof(*x));
  if (x == NULL) return xdt_fail(XDT_NO_MEMORY, "no memory");
  int code = xdt_channel_init(&x->channel, path);
  if (code == 0) {
    struct xdt_request head;
    struct xdt_answer answer;
    memset(&head, 0, sizeof(head));
    head.op = XDT_OP_HELLO;
    code = xdt_channel_call(&x->channel, &head, NULL, NULL, patience(1000), NULL, &answer);
    if (code == 0) {
      code = xdt_answer_code(&answer);
      xdt_answer_free(&answer);
    }
  }
  if (code != 0) {
    if (x->channel.listed) xdt_channel_destroy(&x->channel);
    free(x);
    return code;
  }
  *out = x;
  return 0;
}

void xdt_close(xdt* x) {
  if (x == NULL) return;
  xdt_channel_destroy(&x->channel);
  free(x);
}

/* ---- putting ---- */

/* Writes all of it at the start of a descriptor. errno, or 0. */
static int write_all(int fd, const char* data, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    const ssize_t n = pwrite(fd, data + done, bytes - done, (off_t)done);
    if (n < 0 && errno != EINTR) return errno;
    if (n > 0) done += (size_t)n;
  }
  return 0;
}

/* A buffer that is mapped, or, unless `data` is NULL, has that in it and is not: writing is quicker
 * than touching a mapping's pages for the first time. */
static int alloc_buffer(xdt* x, const void* data, size_t bytes, int timeout_ms, xdt_buffer** out) {
  struct xdt_request head;
  struct xdt_answer answer;
  memset(&head, 0, sizeof(head));
  head.op = XDT_OP_ALLOC;
  head.a = bytes;
  head.timeout_us = micros(timeout_ms);
  xdt_buffer* b = calloc(1, sizeof(*b));
  if (b == NULL) return xdt_fail(XDT_NO_MEMORY, "no memory");
  int code = xdt_channel_call(&x->channel, &head, NULL, NULL, patience(timeout_ms), &b->generation,
                              &answer);
  if (code != 0) {
    free(b);
    return code;
  }
  b->x = x;
  b->owner = getpid();
  b->handle = answer.head.handle;
  b->bytes = bytes;
  code = xdt_answer_code(&answer);
  if (code == 0 && data != NULL) {
    const int error = write_all(answer.fd, data, bytes);
    if (error != 0) code = xdt_fail(XDT_INVALID, "filling a buffer: %s", strerror(error));
  } else if (code == 0) {
    b->data = map_shared(answer.fd, bytes, PROT_READ | PROT_WRITE);
    if (b->data == NULL) {
      code = xdt_fail(XDT_NO_MEMORY, "a buffer cannot be mapped: %s", strerror(errno));
    }
  }
  xdt_answer_free(&answer);
  if (code != 0) {
    xdt_discard(b);
    return code;
  }
  *out = b;
  return 0;
}

int xdt_alloc(xdt* x, size_t bytes, int timeout_ms, xdt_buffer** out) {
  return alloc_buffer(x, NULL, bytes, timeout_ms, out);
}

void* xdt_buffer_data(xdt_buffer* b) { return b->data; }
size_t xdt_buffer_bytes(const xdt_buffer* b) { return b->bytes; }

static void unmap_buffer(xdt_buffer* b) {
  if (b->data != NULL) munmap(b->data, b->bytes);
  b->data = NULL;
}

void xdt_discard(xdt_buffer* b) {
  if (b == NULL) return;
  unmap_buffer(b);
  if (b->handle != 0) {
    struct xdt_request head;
    memset(&head, 0, sizeof(head));
    head.op = XDT_OP_DISCARD;
    head.handle = b->handle;
    xdt_channel_tell(&b->x->channel, &head, b->generation);
  }
  free(b);
}

static const char* apply_options(struct xdt_request* head, const xdt_put_options* options) {
  head->n = 1;
  if (options == NULL) return NULL;
  head->b = options->lifetime_ms * 1000;
  if (options->retrievals != 0) {
    head->n = options->retrievals == XDT_UNLIMITED ? 0 : options->retrievals;
  }
  return options->action;
}

static int finish_put(xdt* x, struct xdt_request* head, const void* data,
                      const xdt_put_options* options, int timeout_ms, uint64_t* generation,
                      char* ref) {
  const char* action = apply_options(head, options);
  struct xdt_answer answer;
  head->timeout_us = micros(timeout_ms);
  int code =
      xdt_channel_call(&x->channel, head, action, data, patience(timeout_ms), generation, &answer);
  if (code != 0) return code;
  code = xdt_answer_code(&answer);
  if (code == 0 && answer.head.text_bytes >= XDT_REF_CHARS) {
    code = xdt_fail(XDT_UNAVAILABLE, "the broker speaks oddly");
  }
  if (code == 0) {
    memcpy(ref, answer.bytes, answer.head.text_bytes);
    ref[answer.head.text_bytes] = 0;
  }
  xdt_answer_free(&answer);
  return code;
}

int xdt_put(xdt_buffer* b, size_t bytes, const xdt_put_options* options, int timeout_ms,
            char* ref) {
  struct xdt_request head;
  memset(&head, 0, sizeof(head));
  head.op = XDT_OP_PUT;
  head.handle = b->handle;
  head.a = bytes;
  if (bytes > b->bytes || b->owner != getpid()) {
    const int mine = b->owner == getpid();
    xdt_discard(b);
    return xdt_fail(XDT_INVALID,
                    mine ? "the buffer is not that long" : "this buffer is another process's");
  }
  /* Before the broker seals it. */
  unmap_buffer(b);
  const int code = finish_put(b->x, &head, NULL, options, timeout_ms, &b->generation, ref);
  free(b);
  return code;
}

int xdt_put_bytes(xdt* x, const void* data, size_t bytes, const xdt_put_options* options,
                  int timeout_ms, char* ref) {
  if (bytes <= XDT_INLINE_BYTES) {
    struct xdt_request head;
    memset(&head, 0, sizeof(head));
    head.op = XDT_OP_PUT_INLINE;
    head.data_bytes = (uint32_t)bytes;
    return finish_put(x, &head, data, options, timeout_ms, NULL, ref);
  }
  xdt_buffer* b;
  const int code = alloc_buffer(x, data, bytes, timeout_ms, &b);
  if (code != 0) return code;
  return xdt_put(b, bytes, options, timeout_ms, ref);
}

/* Reads up to `size` bytes. The number, less only at the end; -1: errno. */
static ssize_t read_full(int fd, char* into, size_t size) {
  size_t done = 0;
  while (done < size) {
    const ssize_t n = read(fd, into + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    if (n == 0) break;
    done += (size_t)n;
  }
  return (ssize_t)done;
}

/* Replaces *b by one of twice its size with the same beginning. */
static int grow(xdt* x, xdt_buffer** b, size_t used, size_t most, int timeout_ms) {
  size_t bytes = (*b)->bytes * 2 < most ? (*b)->bytes * 2 : most;
  xdt_buffer* bigger;
  const int code = xdt_alloc(x, bytes, timeout_ms, &bigger);
  if (code != 0) return code;
  memcpy(bigger->data, (*b)->data, used);
  xdt_discard(*b);
  *b = bigger;
  return 0;
}

int xdt_put_fd(xdt* x, int fd, size_t max_bytes, const xdt_put_options* options, int timeout_ms,
               char* ref) {
  /* What is left of a file; a guess for everything else. */
  const off_t at = lseek(fd, 0, SEEK_CUR);
  const off_t end = at < 0 ? -1 : lseek(fd, 0, SEEK_END);
  if (at >= 0) lseek(fd, at, SEEK_SET);
  size_t first = end > at ? (size_t)(end - at) : COPY_START_BYTES;
  if (first > max_bytes) first = max_bytes;
  if (first == 0) first = 1;
  xdt_buffer* b = NULL;
  int code = xdt_alloc(x, first, timeout_ms, &b);
  size_t used = 0;
  while (code == 0) {
    const ssize_t n = read_full(fd, (char*)b->data + used, b->bytes - used);
    if (n < 0) {
      code = xdt_fail(XDT_INVALID, "reading the descriptor: %s", strerror(errno));
      break;
    }
    used += (size_t)n;
    char more;
    if (used < b->bytes || read_full(fd, &more, 1) != 1) break;
    if (used >= max_bytes) {
      code = xdt_fail(XDT_TOO_BIG, "the descriptor has more than %zu bytes", max_bytes);
      break;
    }
    code = grow(x, &b, used, max_bytes, timeout_ms);
    if (code == 0) ((char*)b->data)[used++] = more;
  }
  if (code == 0) return xdt_put(b, used, options, timeout_ms, ref);
  xdt_discard(b);
  return code;
}

/* ---- getting ---- */

static void fill_get(struct xdt_request* head, int timeout_ms, int stream) {
  memset(head, 0, sizeof(*head));
  head->op = XDT_OP_GET;
  head->flags = stream ? XDT_FLAG_STREAM : 0;
  head->timeout_us = micros(timeout_ms);
}

/* Makes a view of an answer, and frees that. */
static int view_of(struct xdt_answer* answer, xdt_view** out) {
  int code = xdt_answer_code(answer);
  xdt_view* v = code == 0 ? calloc(1, sizeof(*v)) : NULL;
  if (code == 0 && v == NULL) code = xdt_fail(XDT_NO_MEMORY, "no memory");
  if (code == 0) {
    v->socket = -1;
    v->bytes = answer->head.a;
    v->available = answer->head.b;
    v->handle = answer->head.handle;
    if ((answer->head.flags & XDT_FLAG_INLINE) != 0) {
      v->own = answer->bytes;
      v->data = v->bytes == 0 ? NULL : answer->bytes;
      answer->bytes = NULL;
    } else if (v->bytes > 0) {
      v->data = map_shared(answer->fd, v->bytes, PROT_READ);
      if (v->data == NULL) {
        code = xdt_fail(XDT_NO_MEMORY, "a value cannot be mapped: %s", strerror(errno));
      }
    }
  }
  xdt_answer_free(answer);
  *out = v;
  return code;
}

static int get(xdt* x, const char* ref, int timeout_ms, int stream, xdt_view** out) {
  struct xdt_request head;
  struct xdt_answer answer;
  uint64_t generation = 0;
  fill_get(&head, timeout_ms, stream);
  *out = NULL;
  int code =
      xdt_channel_call(&x->channel, &head, ref, NULL, patience(timeout_ms), &generation, &answer);
  if (code != 0) return code;
  xdt_view* v = NULL;
  code = view_of(&answer, &v);
  if (v != NULL) {
    v->x = x;
    v->generation = generation;
  }
  if (code != 0) {
    xdt_release(v);
    return code;
  }
  *out = v;
  return 0;
}

int xdt_get(xdt* x, const char* ref, int timeout_ms, xdt_view** out) {
  return get(x, ref, timeout_ms, 0, out);
}

int xdt_get_stream(xdt* x, const char* ref, int timeout_ms, xdt_view** out) {
  return get(x, ref, timeout_ms, 1, out);
}

/* One of several gets under way. */
struct batch_item {
  struct xdt_slot slot;
  struct xdt_answer answer;
  uint64_t generation;
};

static int finish_item(xdt* x, struct batch_item* item, int64_t deadline_us, xdt_view** out) {
  int code = xdt_channel_wait(&x->channel, &item->slot, deadline_us);
  if (code != 0) return code;
  xdt_view* v = NULL;
  code = view_of(&item->answer, &v);
  if (v != NULL) {
    v->x = x;
    v->generation = item->generation;
  }
  if (code != 0) {
    xdt_release(v);
    return code;
  }
  *out = v;
  return 0;
}

int xdt_get_many(xdt* x, const char* const* refs, size_t count, int timeout_ms, xdt_view** views,
                 int* codes) {
  enum { WINDOW = 32 };
  struct batch_item items[WINDOW];
  int first = 0;
  const int64_t end_us = xdt_now_us() + micros(timeout_ms);
  for (size_t begin = 0; begin < count; begin += WINDOW) {
    const size_t n = count - begin < WINDOW ? count - begin : WINDOW;
    const int64_t left_us = end_us - xdt_now_us();
    for (size_t i = 0; i < n; ++i) {
      struct xdt_request head;
      fill_get(&head, left_us < 0 ? 0 : (int)(left_us / 1000), 0);
      views[begin + i] = NULL;
      items[i].generation = 0;
      codes[begin + i] =
          xdt_channel_start(&x->channel, &head, refs[begin + i], NULL, end_us + GRACE_US,
                            &items[i].generation, &items[i].answer, &items[i].slot);
    }
    for (size_t i = 0; i < n; ++i) {
      int* code = &codes[begin + i];
      if (*code == 0) *code = finish_item(x, &items[i], end_us + GRACE_US, &views[begin + i]);
      if (*code != 0 && first == 0) first = *code;
    }
  }
  return first;
}

const void* xdt_view_data(const xdt_view* v) { return v->data; }
size_t xdt_view_bytes(const xdt_view* v) { return v->bytes; }
size_t xdt_view_available(const xdt_view* v) { return v->available; }

int xdt_wait(xdt_view* v, size_t bytes, int timeout_ms) {
  if (bytes > v->bytes) bytes = v->bytes;
  if (v->available >= bytes) return 0;
  struct xdt_request head;
  struct xdt_answer answer;
  memset(&head, 0, sizeof(head));
  head.op = XDT_OP_WAIT;
  head.handle = v->handle;
  head.a = bytes;
  head.timeout_us = micros(timeout_ms);
  const int64_t deadline_us = patience(timeout_ms);
  int code;
  if (v->x != NULL) {
    code =
        xdt_channel_call(&v->x->channel, &head, NULL, NULL, deadline_us, &v->generation, &answer);
  } else {
    code = xdt_send(v->socket, &head, NULL, NULL, deadline_us);
    if (code == 0) code = xdt_receive(v->socket, deadline_us, &answer);
  }
  if (code != 0) return code;
  code = xdt_answer_code(&answer);
  if (code == 0) v->available = answer.head.b < v->bytes ? answer.head.b : v->bytes;
  xdt_answer_free(&answer);
  return code;
}

void xdt_release(xdt_view* v) {
  if (v == NULL) return;
  if (v->own == NULL && v->data != NULL) munmap(v->data, v->bytes);
  if (v->handle != 0 && v->x != NULL) {
    struct xdt_request head;
    memset(&head, 0, sizeof(head));
    head.op = XDT_OP_RELEASE;
    head.handle = v->handle;
    xdt_channel_tell(&v->x->channel, &head, v->generation);
  }
  if (v->socket >= 0) close(v->socket);
  free(v->own);
  free(v);
}

int xdt_get_async(xdt* x, const char* ref, int timeout_ms, xdt_async** out) {
  xdt_async* a = calloc(1, sizeof(*a));
  if (a == NULL) return xdt_fail(XDT_NO_MEMORY, "no memory");
  struct xdt_request head;
  fill_get(&head, timeout_ms, 0);
  a->owner = getpid();
  a->deadline_us = patience(timeout_ms);
  int code = xdt_connect(x->channel.path, &a->socket);
  if (code == 0) {
    code = xdt_send(a->socket, &head, ref, NULL, a->deadline_us);
    if (code != 0) close(a->socket);
  }
  if (code != 0) {
    free(a);
    return code;
  }
  *out = a;
  return 0;
}

int xdt_async_fd(const xdt_async* a) { return a->socket; }

int xdt_async_finish(xdt_async* a, xdt_view** out) {
  *out = NULL;
  if (a->owner != getpid()) return xdt_fail(XDT_INVALID, "this get is another process's");
  struct xdt_answer answer;
  int code = xdt_receive(a->socket, 0, &answer);
  if (code == XDT_TIMEOUT) {
    if (xdt_now_us() < a->deadline_us) return xdt_fail(XDT_AGAIN, "the value is not here yet");
  }
  xdt_view* v = NULL;
  if (code == 0) code = view_of(&answer, &v);
  if (v != NULL) v->socket = a->socket;
  if (v == NULL) close(a->socket);
  free(a);
  if (code != 0) {
    xdt_release(v);
    return code;
  }
  *out = v;
  return 0;
}

void xdt_async_cancel(xdt_async* a) {
  if (a == NULL) return;
  close(a->socket);
  free(a);
}

/* ---- the rest ---- */

static int ask(xdt* x, uint16_t op, const char* ref, int timeout_ms, struct xdt_answer* answer) {
  struct xdt_request head;
  memset(&head, 0, sizeof(head));
  head.op = op;
  head.timeout_us = micros(timeout_ms);
  int code = xdt_channel_call(&x->channel, &head, ref, NULL, patience(timeout_ms), NULL, answer);
  if (code != 0) return code;
  code = xdt_answer_code(answer);
  xdt_answer_free(answer);
  return code;
}

int xdt_delete(xdt* x, const char* ref, int timeout_ms) {
  struct xdt_answer answer;
  return ask(x, XDT_OP_DELETE, ref, timeout_ms, &answer);
}

int xdt_stat(xdt* x, const char* ref, int timeout_ms, xdt_info* info) {
  struct xdt_answer answer;
  const int code = ask(x, XDT_OP_STAT, ref, timeout_ms, &answer);
  if (code != 0) return code;
  info->bytes = answer.head.a;
  info->retrievals_left = answer.head.b;
  info->expires_in_ms = answer.head.n;
  return 0;
}
