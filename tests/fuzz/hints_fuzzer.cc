// Hints: any bytes as annotations and as a call's hints give hints within their bounds, or an error
// that can be shown.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "openwhisk_plugin/hints.h"

namespace {

void Check(bool holds) {
  if (!holds) std::abort();
}

void CheckHints(const f3::openwhisk::Hints& hints) {
  Check(hints.classes.size() <= 64 && hints.inputs.size() <= 64 && hints.outputs.size() <= 64);
  if (hints.ttl_s.has_value()) Check(*hints.ttl_s >= 1 && *hints.ttl_s <= 31'536'000);
  for (const auto& glob : hints.outputs)
    Check(!glob.empty() && glob.size() <= 4096 && glob[0] != '/');
}

void CheckError(const f3::Status& status) {
  Check(status.Is(f3::Code::kInvalidArgument));
  Check(!status.message().empty() && status.message().size() < 10'000);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  auto action = f3::openwhisk::ParseAnnotations(text);
  if (action.ok()) {
    Check(action->mounts.size() <= 16);
    for (const auto& mount : action->mounts) {
      Check(mount.path.size() > 1 && mount.path[0] == '/' && mount.path.back() != '/');
      Check((mount.path + "/").find("/../") == std::string::npos);
      Check(!mount.volume.empty() && mount.volume.find('/') == std::string::npos);
    }
    CheckHints(action->hints);
  } else {
    CheckError(action.status());
  }
  auto hints = f3::openwhisk::ApplyCallHints({}, text);
  if (hints.ok()) {
    CheckHints(*hints);
  } else {
    CheckError(hints.status());
  }
  return 0;
}
