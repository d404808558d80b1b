/* What libxdt and the node's broker say to each other over a Unix socket of type SOCK_SEQPACKET.
 *
 * One packet is one message: a fixed head, then `text_bytes` of text, then `data_bytes` of data,
 * nothing else. Both ends are processes of one host, so numbers are in its byte order. Replies
 * carry the request's `id` and may come in any order. A descriptor travels as SCM_RIGHTS of the
 * reply, at most one. The broker closes a connection that sends anything else.
 *
 * C and C++; no dependency but <stdint.h>. */
#ifndef F3_XDT_LIBXDT_PROTOCOL_H_
#define F3_XDT_LIBXDT_PROTOCOL_H_

#include <stdint.h>

#define XDT_MAGIC 0x31744458u /* "XDt1" */
/* Objects up to this size travel in the messages themselves: two copies take less time than making,
 * mapping, sealing and freeing pages for them, and a packet still fits the send buffer that Linux
 * gives a socket (net.core.wmem_default). */
#define XDT_INLINE_BYTES 131072u
#define XDT_TEXT_BYTES 1024u
#define XDT_PACKET_BYTES (XDT_INLINE_BYTES + XDT_TEXT_BYTES + 128u)
/* What both sides ask for as SO_SNDBUF; the kernel gives less where net.core.wmem_max is less. */
#define XDT_SEND_ROOM_BYTES (3 * (int)XDT_PACKET_BYTES)

enum xdt_op {
  XDT_OP_HELLO = 1,      /* -> a: bytes of the pool, text: the node's name */
  XDT_OP_ALLOC = 2,      /* a: bytes, timeout -> handle, descriptor */
  XDT_OP_DISCARD = 3,    /* handle; no reply */
  XDT_OP_PUT = 4,        /* handle, a: length, b: lifetime us, n: allowance, text: action -> text */
  XDT_OP_PUT_INLINE = 5, /* data, b: lifetime us, n: allowance, text: action -> text */
  XDT_OP_GET = 6,        /* text: reference, flags, timeout -> data, or handle and descriptor;
                            a: length, b: bytes that are here */
  XDT_OP_WAIT = 7,       /* handle, a: bytes wanted, timeout -> b: bytes that are here */
  XDT_OP_RELEASE = 8,    /* handle; no reply */
  XDT_OP_DELETE = 9,     /* text: reference, timeout */
  XDT_OP_STAT = 10,      /* text: reference, timeout -> a: length, b: retrievals left (or all ones),
                            n: milliseconds until it expires */
  XDT_OP_LAST = XDT_OP_STAT
};

/* Flags of XDT_OP_GET. */
#define XDT_FLAG_STREAM 1u /* reply when the first bytes are here */
/* Flags of a reply to XDT_OP_GET. */
#define XDT_FLAG_INLINE 1u /* the bytes are the message's data */

struct xdt_request {
  uint32_t magic;
  uint16_t op;
  uint16_t flags;
  uint64_t id;
  uint64_t handle;
  uint64_t a;
  uint64_t b;
  int64_t timeout_us; /* 0: at once or not at all */
  uint32_t n;
  uint32_t text_bytes;
  uint32_t data_bytes;
  uint32_t zero;
};

struct xdt_reply {
  uint32_t magic;
  uint16_t op;
  uint16_t flags;
  uint64_t id;
  uint64_t handle;
  uint64_t a;
  uint64_t b;
  int32_t code; /* 0, or a number of common/status.h; the text is then its message */
  uint32_t n;
  uint32_t text_bytes;
  uint32_t data_bytes;
};

#endif /* F3_XDT_LIBXDT_PROTOCOL_H_ */
