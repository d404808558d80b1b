#include "xdt/client_message.h"

#include <algorithm>
#include <cstring>

namespace f3::xdt {

Result<ClientRequest> DecodeClientRequest(std::span<const std::byte> packet) {
  const auto bad = [] { return Status::BadMessage("this is no request of libxdt"); };
  ClientRequest request;
  if (packet.size() < sizeof(request.head) || packet.size() > XDT_PACKET_BYTES) return bad();
  std::memcpy(&request.head, packet.data(), sizeof(request.head));
  const xdt_request& head = request.head;
  if (head.magic != XDT_MAGIC || head.zero != 0 || head.op < XDT_OP_HELLO ||
      head.op > XDT_OP_LAST || head.timeout_us < 0 || head.text_bytes > XDT_TEXT_BYTES ||
      head.data_bytes > XDT_INLINE_BYTES) {
    return bad();
  }
  const auto rest = packet.subspan(sizeof(head));
  if (rest.size() != size_t{head.text_bytes} + head.data_bytes) return bad();
  if (head.data_bytes > 0 && head.op != XDT_OP_PUT_INLINE) return bad();
  request.text = {reinterpret_cast<const char*>(rest.data()), head.text_bytes};
  request.data = rest.subspan(head.text_bytes);
  return request;
}

std::string EncodeClientReply(xdt_reply head, std::string_view text, size_t data_bytes) {
  text = text.substr(0, XDT_TEXT_BYTES);
  head.magic = XDT_MAGIC;
  head.text_bytes = static_cast<uint32_t>(text.size());
  head.data_bytes = static_cast<uint32_t>(data_bytes);
  std::string packet(reinterpret_cast<const char*>(&head), sizeof(head));
  packet.append(text);
  return packet;
}

std::string EncodeClientError(const xdt_request& request, const Status& status) {
  xdt_reply head{};
  head.op = request.op;
  head.id = request.id;
  head.code = static_cast<int32_t>(status.code());
  return EncodeClientReply(head, status.message(), 0);
}

}  // namespace f3::xdt
