#define _GNU_SOURCE
#include "channel.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "xdt.h"

static __thread char last_message[512];

/* Every channel of the process: a child made by fork must close the sockets that it inherited, or
 * the broker would not see its parent end. The only state that is not in an xdt. */
static pthread_mutex_t all_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct xdt_channel* all;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

int64_t xdt_now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int xdt_fail(int code, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(last_message, sizeof(last_message), format, arguments);
  va_end(arguments);
  return code;
}

const char* xdt_last_message(void) { return last_message; }

/* ---- packets ---- */

int xdt_connect(const char* path, int* out) {
  struct sockaddr_un address;
  memset(&address, 0, sizeof(address));
  address.sun_family = AF_UNIX;
  snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0) return xdt_fail(XDT_UNAVAILABLE, "no socket: %s", strerror(errno));
  /* A broker that was stopped takes no more connections once its backlog is full. */
  struct timeval patience = {1, 0};
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  const int room = XDT_SEND_ROOM_BYTES;
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
  int result;
  do {
    result = connect(fd, (struct sockaddr*)&address, sizeof(address));
  } while (result != 0 && errno == EINTR);
  if (result != 0) {
    const int error = errno;
    close(fd);
    return xdt_fail(XDT_UNAVAILABLE, "no F3 broker at %s: %s; is the node agent running?", path,
                    strerror(error));
  }
  *out = fd;
  return 0;
}

static int wait_writable(int fd, int64_t deadline_us) {
  struct pollfd poll_fd = {fd, POLLOUT, 0};
  const int64_t left = deadline_us - xdt_now_us();
  if (left <= 0) return xdt_fail(XDT_TIMEOUT, "the broker takes no requests");
  poll(&poll_fd, 1, (int)(left / 1000) + 1);
  return 0;
}

int xdt_send(int fd, struct xdt_request* head, const char* text, const void* data,
             int64_t deadline_us) {
  head->magic = XDT_MAGIC;
  head->text_bytes = text == NULL ? 0 : (uint32_t)strlen(text);
  if (head->text_bytes > XDT_TEXT_BYTES) return xdt_fail(XDT_INVALID, "a text is too long");
  struct iovec parts[3] = {{head, sizeof(*head)},
                           {(void*)(uintptr_t)text, head->text_bytes},
                           {(void*)(uintptr_t)data, head->data_bytes}};
  struct msghdr message;
  memset(&message, 0, sizeof(message));
  message.msg_iov = parts;
  message.msg_iovlen = 3;
  while (sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
    if (errno == EINTR) continue;
    if (errno == EMSGSIZE) {
      return xdt_fail(XDT_INVALID, "a message does not fit; net.core.wmem_max is too small");
    }
    if (errno != EAGAIN) return xdt_fail(XDT_UNAVAILABLE, "the broker is gone");
    const int code = wait_writable(fd, deadline_us);
    if (code != 0) return code;
  }
  return 0;
}

static int take_fd(struct msghdr* message) {
  for (struct cmsghdr* c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
    if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
      int fd;
      memcpy(&fd, CMSG_DATA(c), sizeof(fd));
      return fd;
    }
  }
  return -1;
}

static int wait_readable(int fd, int64_t deadline_us) {
  struct pollfd poll_fd = {fd, POLLIN, 0};
  const int64_t left = deadline_us - xdt_now_us();
  if (left <= 0) return xdt_fail(XDT_TIMEOUT, "the broker did not answer in time");
  poll(&poll_fd, 1, (int)(left / 1000) + 1);
  return 0;
}

/* Bytes of the packet that is there; 0 at the connection's end. -1: errno. */
static ssize_t next_packet(int fd) {
  ssize_t n;
  do {
    n = recv(fd, NULL, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
  } while (n < 0 && errno == EINTR);
  return n;
}

static ssize_t take_packet(int fd, struct xdt_answer* answer, size_t rest) {
  union {
    char space[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
  } control;
  struct iovec parts[2] = {{&answer->head, sizeof(answer->head)}, {answer->bytes, rest}};
  struct msghdr message;
  memset(&message, 0, sizeof(message));
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  message.msg_control = control.space;
  message.msg_controllen = sizeof(control.space);
  ssize_t n;
  do {
    n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  } while (n < 0 && errno == EINTR);
  if (n >= 0) answer->fd = take_fd(&message);
  return n;
}

int xdt_receive(int fd, int64_t deadline_us, struct xdt_answer* answer) {
  ssize_t n;
  answer->fd = -1;
  answer->bytes = NULL;
  while ((n = next_packet(fd)) < 0) {
    if (errno != EAGAIN) return xdt_fail(XDT_UNAVAILABLE, "the broker is gone");
    const int code = wait_readable(fd, deadline_us);
    if (code != 0) return code;
  }
  const size_t rest = (size_t)n < sizeof(answer->head) ? 0 : (size_t)n - sizeof(answer->head);
  answer->bytes = malloc(rest + 1);
  if (answer->bytes == NULL) return xdt_fail(XDT_NO_MEMORY, "no memory for a reply");
  n = take_packet(fd, answer, rest);
  if (n != (ssize_t)(sizeof(answer->head) + rest) || answer->head.magic != XDT_MAGIC ||
      (size_t)answer->head.text_bytes + answer->head.data_bytes != rest) {
    xdt_answer_free(answer);
    return xdt_fail(XDT_UNAVAILABLE, n <= 0 ? "the broker is gone" : "the broker speaks oddly");
  }
  return 0;
}

void xdt_answer_free(struct xdt_answer* answer) {
  if (answer->fd >= 0) close(answer->fd);
  free(answer->bytes);
  answer->fd = -1;
  answer->bytes = NULL;
}

int xdt_answer_code(const struct xdt_answer* answer) {
  if (answer->head.code == 0) return 0;
  return xdt_fail(answer->head.code, "%.*s", (int)answer->head.text_bytes, answer->bytes);
}

/* ---- fork ---- */

static void before_fork(void) {
  pthread_mutex_lock(&all_mutex);
  for (struct xdt_channel* c = all; c != NULL; c = c->next) pthread_mutex_lock(&c->mutex);
}

static void after_fork_in_parent(void) {
  for (struct xdt_channel* c = all; c != NULL; c = c->next) pthread_mutex_unlock(&c->mutex);
  pthread_mutex_unlock(&all_mutex);
}

static void init_locks(struct xdt_channel* c) {
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&c->changed, &attributes);
  pthread_condattr_destroy(&attributes);
  pthread_mutex_init(&c->mutex, NULL);
}

static void after_fork_in_child(void) {
  for (struct xdt_channel* c = all; c != NULL; c = c->next) {
    init_locks(c);
    if (c->socket >= 0) close(c->socket);
    c->socket = -1;
    ++c->generation;
    c->reading = 0;
    c->slots = NULL; /* on the stacks of threads that are not here */
  }
  pthread_mutex_init(&all_mutex, NULL);
}

static void register_fork(void) {
  pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* ---- the shared connection ---- */

int xdt_channel_init(struct xdt_channel* c, const char* path) {
  memset(c, 0, sizeof(*c));
  c->socket = -1;
  c->generation = 1;
  c->next_id = 1;
  if (strlen(path) >= sizeof(c->path))
    return xdt_fail(XDT_INVALID, "the socket's path is too long");
  snprintf(c->path, sizeof(c->path), "%s", path);
  init_locks(c);
  pthread_once(&fork_once, register_fork);
  pthread_mutex_lock(&all_mutex);
  c->next = all;
  if (all != NULL) all->previous = c;
  all = c;
  c->listed = 1;
  pthread_mutex_unlock(&all_mutex);
  return 0;
}

void xdt_channel_destroy(struct xdt_channel* c) {
  if (c->listed) {
    pthread_mutex_lock(&all_mutex);
    if (c->previous != NULL) c->previous->next = c->next;
    if (c->next != NULL) c->next->previous = c->previous;
    if (all == c) all = c->next;
    pthread_mutex_unlock(&all_mutex);
  }
  if (c->socket >= 0) close(c->socket);
  pthread_cond_destroy(&c->changed);
  pthread_mutex_destroy(&c->mutex);
}

/* With the mutex held: the connection is over, and with it every call that waits. */
static void disconnect(struct xdt_channel* c) {
  if (c->socket >= 0) {
    /* A thread that reads from it closes it when it has noticed. */
    shutdown(c->socket, SHUT_RDWR);
    if (!c->reading) close(c->socket);
  }
  c->socket = -1;
  c->reading = 0;
  ++c->generation;
  for (struct xdt_slot* s = c->slots; s != NULL; s = s->next) {
    s->done = 1;
    s->code = XDT_UNAVAILABLE;
  }
  c->slots = NULL;
  pthread_cond_broadcast(&c->changed);
}

static void remove_slot(struct xdt_channel* c, struct xdt_slot* slot) {
  for (struct xdt_slot** s = &c->slots; *s != NULL; s = &(*s)->next) {
    if (*s == slot) {
      *s = slot->next;
      return;
    }
  }
}

/* With the mutex held: gives an answer to whom it is for. Nobody: its call gave up; a handle that
 * it brings is given back. */
static void deliver(struct xdt_channel* c, struct xdt_answer* answer) {
  for (struct xdt_slot* s = c->slots; s != NULL; s = s->next) {
    if (s->id != answer->head.id) continue;
    *s->answer = *answer;
    s->done = 1;
    remove_slot(c, s);
    pthread_cond_broadcast(&c->changed);
    return;
  }
  if (answer->head.handle != 0) {
    struct xdt_request release;
    memset(&release, 0, sizeof(release));
    release.op = XDT_OP_RELEASE;
    release.handle = answer->head.handle;
    xdt_send(c->socket, &release, NULL, NULL, xdt_now_us());
  }
  xdt_answer_free(answer);
}

/* With the mutex held: reads one packet, without it. */
static void read_one(struct xdt_channel* c, int64_t deadline_us) {
  const int socket = c->socket;
  const uint64_t generation = c->generation;
  struct xdt_answer answer;
  c->reading = 1;
  pthread_mutex_unlock(&c->mutex);
  const int code = xdt_receive(socket, deadline_us, &answer);
  pthread_mutex_lock(&c->mutex);
  if (c->generation != generation) {
    if (code == 0) xdt_answer_free(&answer);
    close(socket);
    return;
  }
  c->reading = 0;
  if (code == 0) {
    deliver(c, &answer);
  } else if (code != XDT_TIMEOUT) {
    disconnect(c);
  }
  /* Another thread may have to read now. */
  pthread_cond_broadcast(&c->changed);
}

static void wait_change(struct xdt_channel* c, int64_t deadline_us) {
  struct timespec until = {deadline_us / 1000000, deadline_us % 1000000 * 1000};
  pthread_cond_timedwait(&c->changed, &c->mutex, &until);
}

/* With the mutex held. */
static int ensure_connected(struct xdt_channel* c, uint64_t* generation) {
  if (generation != NULL && *generation != 0 && (*generation != c->generation || c->socket < 0)) {
    return xdt_fail(XDT_UNAVAILABLE, "the broker that this belongs to is gone");
  }
  if (c->socket < 0) {
    const int code = xdt_connect(c->path, &c->socket);
    if (code != 0) return code;
  }
  if (generation != NULL) *generation = c->generation;
  return 0;
}

/* With the mutex held, but not while it waits: adds the slot and sends. A connection that turns out
 * to be over, since the broker has restarted, is made anew: nothing of the call came there. */
static int start_call(struct xdt_channel* c, struct xdt_request* head, const char* text,
                      const void* data, int64_t deadline_us, uint64_t* generation,
                      struct xdt_slot* slot) {
  const uint64_t wanted = generation == NULL ? 0 : *generation;
  int anew = 0;
  for (;;) {
    if (generation != NULL) *generation = wanted;
    int code = ensure_connected(c, generation);
    if (code != 0) return code;
    head->id = slot->id = c->next_id++;
    slot->next = c->slots;
    c->slots = slot;
    code = xdt_send(c->socket, head, text, data, 0);
    if (code == 0) return 0;
    remove_slot(c, slot);
    if (code == XDT_UNAVAILABLE) {
      disconnect(c);
      if (wanted == 0 && anew++ == 0) continue;
    }
    if (code != XDT_TIMEOUT || xdt_now_us() >= deadline_us) return code;
    /* The broker is slow to take requests. Another thread may close the socket meanwhile. */
    struct pollfd poll_fd = {c->socket, POLLOUT, 0};
    pthread_mutex_unlock(&c->mutex);
    poll(&poll_fd, 1, 5);
    pthread_mutex_lock(&c->mutex);
  }
}

int xdt_channel_start(struct xdt_channel* c, struct xdt_request* head, const char* text,
                      const void* data, int64_t deadline_us, uint64_t* generation,
                      struct xdt_answer* answer, struct xdt_slot* slot) {
  memset(slot, 0, sizeof(*slot));
  slot->answer = answer;
  pthread_mutex_lock(&c->mutex);
  const int code = start_call(c, head, text, data, deadline_us, generation, slot);
  pthread_mutex_unlock(&c->mutex);
  return code;
}

int xdt_channel_wait(struct xdt_channel* c, struct xdt_slot* slot, int64_t deadline_us) {
  int code = 0;
  pthread_mutex_lock(&c->mutex);
  while (code == 0 && !slot->done) {
    if (xdt_now_us() >= deadline_us) {
      remove_slot(c, slot);
      code = xdt_fail(XDT_TIMEOUT, "the broker did not answer in time");
    } else if (c->reading) {
      wait_change(c, deadline_us);
    } else {
      read_one(c, deadline_us);
    }
  }
  if (code == 0 && slot->code != 0) code = xdt_fail(slot->code, "the broker is gone");
  pthread_mutex_unlock(&c->mutex);
  return code;
}

int xdt_channel_call(struct xdt_channel* c, struct xdt_request* head, const char* text,
                     const void* data, int64_t deadline_us, uint64_t* generation,
                     struct xdt_answer* answer) {
  struct xdt_slot slot;
  const int code = xdt_channel_start(c, head, text, data, deadline_us, generation, answer, &slot);
  return code != 0 ? code : xdt_channel_wait(c, &slot, deadline_us);
}

void xdt_channel_tell(struct xdt_channel* c, struct xdt_request* head, uint64_t generation) {
  pthread_mutex_lock(&c->mutex);
  if (c->socket >= 0 && c->generation == generation) {
    /* Not waited for long: if the broker takes nothing, the connection's end tells it the same. */
    if (xdt_send(c->socket, head, NULL, NULL, xdt_now_us() + 100000) != 0) disconnect(c);
  }
  pthread_mutex_unlock(&c->mutex);
}
