// Messages of sandboxes: whatever bytes a function sends, the broker's decoder takes them or says
// BadMessage, and what it took is within what was sent. References and tickets likewise.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>

#include "xdt/client_message.h"
#include "xdt/reference.h"

namespace {

using f3::xdt::ClientRequest;

void Check(bool holds) {
  if (!holds) std::abort();
}

void TryRequest(std::span<const std::byte> packet) {
  auto request = f3::xdt::DecodeClientRequest(packet);
  if (!request.ok()) {
    Check(request.status().Is(f3::Code::kBadMessage));
    return;
  }
  Check(request->text.size() <= XDT_TEXT_BYTES && request->data.size() <= XDT_INLINE_BYTES);
  Check(request->head.op >= XDT_OP_HELLO && request->head.op <= XDT_OP_LAST);
  Check(sizeof(xdt_request) + request->text.size() + request->data.size() == packet.size());
  // Encoded again it is the same.
  std::string again(reinterpret_cast<const char*>(&request->head), sizeof(request->head));
  again.append(request->text);
  again.append(reinterpret_cast<const char*>(request->data.data()), request->data.size());
  Check(std::memcmp(again.data(), packet.data(), packet.size()) == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  TryRequest(bytes);
  // With a head that fits the length, so that no run is spent on guessing it.
  if (size >= 8) {
    xdt_request head{};
    head.magic = XDT_MAGIC;
    head.op = static_cast<uint16_t>(data[0] % 12);
    head.flags = data[1];
    head.text_bytes = static_cast<uint32_t>((data[2] * 256u + data[3]) % (size - 3));
    head.data_bytes = static_cast<uint32_t>(size - 4) - head.text_bytes;
    std::string packet(reinterpret_cast<const char*>(&head), sizeof(head));
    packet.append(reinterpret_cast<const char*>(data) + 4, size - 4);
    TryRequest(std::as_bytes(std::span(packet.data(), packet.size())));
  }
  static const f3::xdt::ReferenceKeys keys({1, 2, 3}, {});
  const std::string text(reinterpret_cast<const char*>(data), size);
  Check(!keys.Open(text).ok());
  Check(!keys.OpenTicket(text).ok());
  return 0;
}
