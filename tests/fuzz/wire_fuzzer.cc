// The transfer engine's messages: whatever bytes arrive, what Decode accepts is encoded to bytes
// that mean the same.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>

#include "xdt/wire.h"

namespace {

void Check(bool holds) {
  if (!holds) std::abort();
}

f3::Result<f3::xdt::Message> DecodeText(const std::string& text) {
  return f3::xdt::Decode(std::as_bytes(std::span(text.data(), text.size())));
}

void TryOne(const std::string& bytes) {
  auto first = DecodeText(bytes);
  if (!first.ok()) {
    Check(first.status().Is(f3::Code::kBadMessage));
    return;
  }
  const std::string encoded = f3::xdt::Encode(*first);
  Check(!encoded.empty() && encoded.size() <= f3::xdt::kMaxMessageBytes);
  auto second = DecodeText(encoded);
  Check(second.ok());
  Check(f3::xdt::Encode(*second) == encoded);
  // An answer's error code that this version does not know reads as another; all else is kept.
  if (!std::holds_alternative<f3::xdt::ReplyMessage>(*first)) Check(encoded == bytes);
}

}  // namespace

// The first byte chooses the kind, so that no run is spent on guessing the start of a message; the
// whole is tried as it is, too.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  TryOne(bytes);
  if (size == 0) return 0;
  static const std::string starts[] = {
      f3::xdt::Encode(f3::xdt::RequestMessage{}).substr(0, 5),
      f3::xdt::Encode(f3::xdt::ReadyMessage{}).substr(0, 5),
      f3::xdt::Encode(f3::xdt::ReplyMessage{}).substr(0, 5),
  };
  TryOne(starts[data[0] % 3] + bytes.substr(1));
  return 0;
}
