// Control sockets: any bytes get a reply line that the asking side understands, and any reply is
// read as an answer or as an error.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "cli/control.h"

namespace {

using nlohmann::json;

void Check(bool holds) {
  if (!holds) std::abort();
}

// Reads fields as the daemons' handlers do: of the types that they expect.
f3::Result<json> Handle(const json& request) {
  const std::string op = request.at("op");
  if (op == "name") return json{{"name", request.value("name", "")}};
  if (op == "number") return json{{"ino", request.value("ino", uint64_t{0})}};
  if (op == "flag") return json{{"repair", request.value("repair", false)}};
  return f3::Status::NotSupported("no request \"" + op + "\"");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::string line = f3::cli::AnswerControl(bytes, Handle);
  Check(line.find('\n') == line.size() - 1);
  Check(json::parse(line, nullptr, false).is_object());
  auto answer = f3::cli::ReadControlReply(line);
  Check(answer.ok() || !answer.status().Is(f3::Code::kInternal));
  auto reply = f3::cli::ReadControlReply(bytes);
  Check(!reply.ok() || reply->is_object());
  return 0;
}
