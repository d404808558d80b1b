// From what a runtime answered to what an activation's record says. Pure functions.
#ifndef F3_OPENWHISK_PLUGIN_GATEWAY_OUTCOME_H_
#define F3_OPENWHISK_PLUGIN_GATEWAY_OUTCOME_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "openwhisk_plugin/gateway/container.h"
#include "openwhisk_plugin/gateway/entities.h"

namespace f3::openwhisk {

// The response of an activation whose /init failed; nothing when it worked.
std::optional<Response> InitFailure(const RunOutcome& outcome, int64_t timeout_millis);
// The response of an activation after /run. A result larger than kMaxPayloadBytes is an application
// error that holds the result's beginning.
Response RunResponse(const RunOutcome& outcome, int64_t timeout_millis);
// Adds the lines of `text`, at most `max_bytes` in `lines` altogether; then one that says so.
void AppendLogLines(std::string_view text, uint64_t max_bytes, std::vector<std::string>* lines);

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_GATEWAY_OUTCOME_H_
