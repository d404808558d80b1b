#include "openwhisk_plugin/gateway/outcome.h"

#include <utility>

#include "common/utf8.h"
#include "openwhisk_plugin/gateway/json_text.h"

namespace f3::openwhisk {
namespace {

using nlohmann::json;

constexpr int kHttpOk = 200;
constexpr size_t kTruncatedBytes = 1024;  // of a result that is too large, kept for the reader

Response DeveloperError(const std::string& text) {
  return Response::Error(Outcome::kDeveloperError, text);
}

Response TimedOut(int64_t timeout_millis, const std::string& where) {
  return DeveloperError("the action exceeded its time limit of " + std::to_string(timeout_millis) +
                        " milliseconds" + where);
}

// Where the runtime named an error itself, in its words.
json ErrorOf(const RunOutcome& outcome, const std::string& otherwise) {
  if (outcome.response.is_object() && outcome.response.contains("error")) {
    return outcome.response["error"];
  }
  return otherwise;
}

Response TooLarge(const std::string& text) {
  return Response::Error(Outcome::kApplicationError,
                         "the action's result has " + std::to_string(text.size()) +
                             " bytes; at most " + std::to_string(kMaxPayloadBytes) +
                             " are allowed. It begins with: " +
                             ValidUtf8(std::string_view(text).substr(0, kTruncatedBytes)));
}

}  // namespace

std::optional<Response> InitFailure(const RunOutcome& outcome, int64_t timeout_millis) {
  if (outcome.timed_out) return TimedOut(timeout_millis, " during initialization");
  if (outcome.out_of_memory) return DeveloperError("the action ran out of memory");
  if (outcome.http_status == kHttpOk) return std::nullopt;
  if (outcome.http_status == 0) {
    return DeveloperError("the action did not initialize and exited unexpectedly");
  }
  json error = ErrorOf(outcome, "the action failed to initialize");
  return Response{Outcome::kDeveloperError, json{{"error", std::move(error)}}};
}

Response RunResponse(const RunOutcome& outcome, int64_t timeout_millis) {
  if (outcome.timed_out) return TimedOut(timeout_millis, "");
  if (outcome.out_of_memory) return DeveloperError("the action ran out of memory");
  if (outcome.http_status == 0) {
    return DeveloperError("the action gave no valid response and exited unexpectedly");
  }
  bool ok = outcome.http_status == kHttpOk;
  if (ok && !outcome.response.is_object()) {
    return DeveloperError("the action did not produce a valid JSON response");
  }
  std::string text = DumpJson(outcome.response);
  if (text.size() > kMaxPayloadBytes) return TooLarge(text);
  if (ok && !outcome.response.contains("error")) return {Outcome::kSuccess, outcome.response};
  json error = ErrorOf(outcome, "the action did not produce a valid JSON response");
  return {ok ? Outcome::kApplicationError : Outcome::kDeveloperError,
          json{{"error", std::move(error)}}};
}

void AppendLogLines(std::string_view text, uint64_t max_bytes, std::vector<std::string>* lines) {
  uint64_t used = 0;
  for (const auto& line : *lines) used += line.size() + 1;
  while (!text.empty()) {
    size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.empty()) continue;
    used += line.size() + 1;
    if (used > max_bytes) {
      // A limit of 0 asks for no logs at all.
      if (max_bytes > 0) {
        lines->push_back("logs are cut here: the action's limit is " +
                         std::to_string(max_bytes >> 20) + " MB");
      }
      return;
    }
    lines->push_back(ValidUtf8(line));
  }
}

}  // namespace f3::openwhisk
