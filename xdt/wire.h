// The transfer engine's messages: small, with a fixed order of little-endian fields. Pure.
//
// A Request goes to the owner's well-known endpoint and names the endpoint that its answer goes to.
// A Ready tells the requester of a write where to send the bytes. A Reply ends a request. Bytes
// that fit travel in the message, others beside it, as one tagged transfer.
#ifndef F3_XDT_WIRE_H_
#define F3_XDT_WIRE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <variant>

#include "common/ids.h"
#include "common/status.h"
#include "xdt/transfer_engine.h"

namespace f3::xdt {

inline constexpr size_t kMaxMessageBytes = 8192;
// Of a range that travels in a message.
inline constexpr size_t kMaxInlineBytes = 4096;
inline constexpr size_t kMaxAddressBytes = 256;
inline constexpr size_t kMaxTokenBytes = 1024;
inline constexpr size_t kMaxTextBytes = 512;

enum class Operation : uint8_t { kRead = 1, kWrite = 2, kControl = 3 };

struct RequestMessage {
  uint64_t id = 0;              // of the requester; comes back in the answer
  uint64_t tag = 0;             // of the tagged transfer
  Epoch epoch = 0;              // that the requester believes the owner to have
  int64_t patience_micros = 0;  // until the requester's deadline
  Operation operation = Operation::kRead;
  ControlOp control = ControlOp::kStat;
  bool follow = false;
  bool append = false;
  bool bytes_inline = false;  // of a write: all bytes are in `bytes`
  ObjectKey object;
  Version version = 0;
  uint64_t offset = 0;
  uint32_t length = 0;
  uint32_t crc = 0;  // of the bytes of a write
  uint64_t a = 0, b = 0;
  uint32_t c = 0;
  std::string reply_to;
  std::string token;
  std::string bytes;
};

struct ReadyMessage {
  uint64_t id = 0;
  std::string address;  // where the tagged transfer goes
};

struct ReplyMessage {
  uint64_t id = 0;
  Code code = Code::kOk;
  std::string text;  // of an error
  bool bytes_inline = false;
  bool writing = false;
  uint32_t length = 0;  // of a read
  uint32_t crc = 0;     // likewise
  uint64_t value = 0;   // where a write went, what a seek found
  uint64_t object_bytes = 0;
  Version version = 0;
  int64_t mtime_ns = 0;
  uint64_t allocated_bytes = 0;
  std::string bytes;
};

using Message = std::variant<RequestMessage, ReadyMessage, ReplyMessage>;

// At most kMaxMessageBytes; fields that are too long are cut (text) or make the result empty.
std::string Encode(const Message& message);
// BadMessage for anything that Encode does not produce. Copies what it keeps.
Result<Message> Decode(std::span<const std::byte> bytes);

}  // namespace f3::xdt

#endif  // F3_XDT_WIRE_H_
