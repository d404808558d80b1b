// The messages of sandboxes (libxdt/protocol.h), decoded and encoded. Pure: whatever bytes come,
// they are a request or BadMessage.
#ifndef F3_XDT_CLIENT_MESSAGE_H_
#define F3_XDT_CLIENT_MESSAGE_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "common/status.h"
#include "xdt/libxdt/protocol.h"

namespace f3::xdt {

struct ClientRequest {
  xdt_request head{};
  // Into the bytes that were decoded.
  std::string_view text;
  std::span<const std::byte> data;
};

// BadMessage for anything that libxdt does not send.
Result<ClientRequest> DecodeClientRequest(std::span<const std::byte> packet);

// A packet, but for its `data_bytes` (at most XDT_INLINE_BYTES) of data, which follow. Text that is
// too long is cut.
std::string EncodeClientReply(xdt_reply head, std::string_view text, size_t data_bytes);
// The reply that tells of a failure.
std::string EncodeClientError(const xdt_request& request, const Status& status);

}  // namespace f3::xdt

#endif  // F3_XDT_CLIENT_MESSAGE_H_
