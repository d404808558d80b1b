/* A connection to the broker that threads share: each call sends a request and waits for the reply
 * with its id; whoever waits while nobody reads, reads for all. Private to libxdt. */
#ifndef F3_XDT_LIBXDT_CHANNEL_H_
#define F3_XDT_LIBXDT_CHANNEL_H_

#include <pthread.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol.h"

#if defined(__GNUC__)
#pragma GCC visibility push(hidden)
#endif

struct xdt_answer {
  struct xdt_reply head;
  int fd;      /* -1: none; the receiver's to close */
  char* bytes; /* text, then data; malloc'ed; may be NULL when both are empty */
};

/* A call under way. Its owner does not move it until it is waited for. */
struct xdt_slot {
  uint64_t id;
  int done;
  int code; /* when no reply can come any more */
  struct xdt_answer* answer;
  struct xdt_slot* next;
};

struct xdt_channel {
  char path[108];
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  int socket;          /* -1: not connected */
  uint64_t generation; /* grows with each connection; handles belong to one */
  uint64_t next_id;
  int reading; /* a thread is in recvmsg */
  struct xdt_slot* slots;
  struct xdt_channel *next, *previous; /* all channels, for fork */
  int listed;
};

int64_t xdt_now_us(void);
/* Leaves a message for xdt_last_message and returns code. */
int xdt_fail(int code, const char* format, ...) __attribute__((format(printf, 2, 3)));

int xdt_channel_init(struct xdt_channel* c, const char* path);
void xdt_channel_destroy(struct xdt_channel* c);

/* Sends a request (id, magic and lengths are filled in) and waits for its reply until deadline_us
 * (CLOCK_MONOTONIC). 0 and *answer, or a code. *generation (may be NULL): 0 on entry for any
 * connection, else the only one that will do; the one that was used on return. */
int xdt_channel_call(struct xdt_channel* c, struct xdt_request* head, const char* text,
                     const void* data, int64_t deadline_us, uint64_t* generation,
                     struct xdt_answer* answer);
/* The same in two steps: start sends, wait waits. A slot that was started must be waited for. */
int xdt_channel_start(struct xdt_channel* c, struct xdt_request* head, const char* text,
                      const void* data, int64_t deadline_us, uint64_t* generation,
                      struct xdt_answer* answer, struct xdt_slot* slot);
int xdt_channel_wait(struct xdt_channel* c, struct xdt_slot* slot, int64_t deadline_us);
/* Sends a request that has no reply, if the connection is still that one. */
void xdt_channel_tell(struct xdt_channel* c, struct xdt_request* head, uint64_t generation);

/* For connections that are not shared. */
int xdt_connect(const char* path, int* out);
int xdt_send(int socket, struct xdt_request* head, const char* text, const void* data,
             int64_t deadline_us);
/* Waits until deadline_us. XDT_TIMEOUT, or XDT_UNAVAILABLE when the connection is over. */
int xdt_receive(int socket, int64_t deadline_us, struct xdt_answer* answer);
void xdt_answer_free(struct xdt_answer* answer);
/* 0, or the reply's code with its message. */
int xdt_answer_code(const struct xdt_answer* answer);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#endif /* F3_XDT_LIBXDT_CHANNEL_H_ */
