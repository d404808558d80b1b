#include "openwhisk_plugin/gateway/rest.h"

#include <sodium.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <utility>

#include "openwhisk_plugin/gateway/json_text.h"

namespace f3::openwhisk {
namespace {

using nlohmann::json;

constexpr size_t kMaxListed = 200;
// Code, which may double when it is written as a JSON string, and everything else.
constexpr size_t kMaxPutBytes = 2 * kMaxCodeBytes + 4 * kMaxPayloadBytes;
constexpr size_t kMaxTransactionBytes = 128;

std::string NewTransaction() {
  std::array<unsigned char, 12> bytes;
  randombytes_buf(bytes.data(), bytes.size());
  std::array<char, 25> text;
  sodium_bin2hex(text.data(), text.size(), bytes.data(), bytes.size());
  return text.data();
}

// The client's, where it could be one: it goes into headers and environments.
std::string TransactionOf(const RestRequest& request) {
  const std::string& text = request.transaction;
  bool good = !text.empty() && text.size() <= kMaxTransactionBytes &&
              std::all_of(text.begin(), text.end(), [](char c) {
                return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.';
              });
  return good ? text : NewTransaction();
}

std::vector<std::string> SplitPath(const std::string& path) {
  std::vector<std::string> parts;
  size_t begin = 0;
  while (begin < path.size()) {
    size_t end = std::min(path.find('/', begin), path.size());
    if (end > begin) parts.push_back(path.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

int HttpStatus(Code code) {
  switch (code) {
    case Code::kInvalidArgument:
    case Code::kBadConfig:
      return 400;
    case Code::kUnauthenticated:
      return 401;
    case Code::kAccessDenied:
    case Code::kNotPermitted:
      return 403;
    case Code::kNotFound:
      return 404;
    case Code::kNotSupported:
      return 405;
    case Code::kExists:
    case Code::kConflict:
    case Code::kNotEmpty:
      return 409;
    case Code::kFileTooBig:
      return 413;
    case Code::kAgain:
      return 429;
    case Code::kUnavailable:
    case Code::kTimeout:
      return 503;
    default:
      return 500;
  }
}

}  // namespace

RestReply JsonReply(int status, const json& body) {
  RestReply reply;
  reply.status = status;
  reply.body = DumpJson(body);
  return reply;
}

RestReply ErrorReply(const Status& status, const std::string& transaction) {
  RestReply reply =
      JsonReply(HttpStatus(status.code()), {{"error", status.message()}, {"code", transaction}});
  reply.headers["X-Request-Id"] = transaction;
  if (reply.status == 401) reply.headers["WWW-Authenticate"] = "Basic realm=\"F3\"";
  return reply;
}

Status MethodNotAllowed(const std::string& method) {
  return Status::NotSupported(method + " is not supported here");
}

Result<int64_t> ParseNumber(const std::map<std::string, std::string>& query, const std::string& key,
                            int64_t absent) {
  auto it = query.find(key);
  if (it == query.end()) return absent;
  const std::string& text = it->second;
  if (text.empty() || text.size() > 17 ||
      text.find_first_not_of("0123456789") != std::string::npos) {
    return Status::InvalidArgument("\"" + key + "\" must be a number that is not negative");
  }
  return static_cast<int64_t>(std::stoull(text));
}

Result<Window> ParseWindow(const std::map<std::string, std::string>& query) {
  F3_ASSIGN_OR_RETURN(int64_t limit, ParseNumber(query, "limit", 30));
  F3_ASSIGN_OR_RETURN(int64_t skip, ParseNumber(query, "skip", 0));
  if (limit > static_cast<int64_t>(kMaxListed)) {
    return Status::InvalidArgument("\"limit\" is " + std::to_string(limit) + "; allowed are 0 to " +
                                   std::to_string(kMaxListed));
  }
  return Window{static_cast<size_t>(skip), limit == 0 ? kMaxListed : static_cast<size_t>(limit)};
}

RestApi::RestApi(Store* store, Engine* engine, AuthKeys* keys, Clock* clock)
    : store_(store), engine_(engine), keys_(keys), clock_(clock) {}

std::string RestApi::Context::Query(const std::string& key) const {
  auto it = request->query.find(key);
  return it == request->query.end() ? "" : it->second;
}

RestReply RestApi::Admit(const RestRequest& request, size_t* max_body_bytes) {
  *max_body_bytes = request.method == "PUT" ? kMaxPutBytes : kMaxPayloadBytes;
  auto user = keys_->Check(request.authorization);
  return user.ok() ? RestReply() : ErrorReply(user.status(), TransactionOf(request));
}

RestReply RestApi::TooLarge(const RestRequest& request, size_t max_body_bytes) {
  return ErrorReply(Status::FileTooBig("the request's body is too large; at most " +
                                       std::to_string(max_body_bytes) + " bytes are allowed"),
                    TransactionOf(request));
}

RestReply RestApi::Handle(const RestRequest& request) {
  std::string transaction = TransactionOf(request);
  // A last resort: the JSON library throws where a field is not what was checked.
  try {
    Answer answer = Route(request, transaction);
    if (!answer.ok()) return ErrorReply(answer.status(), transaction);
    answer->headers["X-Request-Id"] = transaction;
    return *std::move(answer);
  } catch (const std::exception& error) {
    spdlog::error("request {} {}: {}", request.method, request.path, error.what());
    return ErrorReply(Status::Internal("the gateway failed to handle the request"), transaction);
  }
}

RestApi::Answer RestApi::Route(const RestRequest& request, const std::string& transaction) {
  std::vector<std::string> parts = SplitPath(request.path);
  if (request.method == "GET" && request.path == "/ping") {
    RestReply pong;
    pong.body = "pong";
    pong.content_type = "text/plain";
    return pong;
  }
  bool is_api = parts.size() >= 2 && parts[0] == "api" && parts[1] == "v1";
  if (request.method == "GET" && parts.empty()) return Info(false);
  if (request.method == "GET" && is_api && parts.size() == 2) return Info(true);
  if (!is_api || parts.size() < 3 || parts[2] != "namespaces") {
    return Status::NotFound("the requested resource does not exist");
  }
  Context context;
  context.request = &request;
  context.transaction = transaction;
  F3_ASSIGN_OR_RETURN(context.user, keys_->Check(request.authorization));
  if (parts.size() == 3) {
    if (request.method != "GET") return MethodNotAllowed(request.method);
    return JsonReply(200, json::array({context.user.name_space}));
  }
  context.name_space = parts[3] == "_" ? context.user.name_space : parts[3];
  F3_RETURN_IF_ERROR(CheckName("namespace", context.name_space));
  if (parts.size() == 4) return Status::NotFound("the requested resource does not exist");
  context.parts.assign(parts.begin() + 5, parts.end());
  return RouteCollection(parts[4], context);
}

RestApi::Answer RestApi::RouteCollection(const std::string& collection, const Context& context) {
  if (collection == "actions") return Actions(context);
  if (collection == "packages") return Packages(context);
  const Status denied =
      Status::AccessDenied("the authentication does not allow access to /" + context.name_space);
  if (!context.own()) return denied;
  if (collection == "activations") return Activations(context);
  if (collection == "limits" && context.parts.empty()) return GetLimits(context);
  // Clients list them together with what there is.
  bool absent = collection == "triggers" || collection == "rules";
  if (absent && context.parts.empty() && context.request->method == "GET") {
    return JsonReply(200, json::array());
  }
  if (absent) return Status::NotSupported("this gateway has no " + collection);
  return Status::NotFound("the requested resource does not exist");
}

RestApi::Answer RestApi::Info(bool of_version) const {
  if (of_version) {
    return JsonReply(200, {{"description", "OpenWhisk API, served by F3's gateway"},
                           {"api_version", "1.0.0"},
                           {"api_version_path", "v1"},
                           {"build", "f3"},
                           {"buildno", "f3"}});
  }
  json runtimes = json::object();
  for (const auto& kind : Kinds()) {
    std::string family = kind.substr(0, kind.find(':'));
    runtimes[family].push_back({{"kind", kind},
                                {"default", true},
                                {"deprecated", false},
                                {"attached", true},
                                {"image", "f3/" + family},
                                {"requireMain", false}});
  }
  json limits = {{"actions_per_minute", engine_->limits().per_minute},
                 {"concurrent_actions", engine_->limits().concurrent},
                 {"triggers_per_minute", 0},
                 {"sequence_length", kMaxSequenceSteps},
                 {"min_action_duration", kMinTimeoutMillis},
                 {"max_action_duration", kMaxTimeoutMillis},
                 {"min_action_memory", kMinMemoryMb << 20},
                 {"max_action_memory", kMaxMemoryMb << 20},
                 {"min_action_logs", 0},
                 {"max_action_logs", kMaxLogsMb << 20}};
  return JsonReply(200, {{"description", "OpenWhisk, served by F3's gateway"},
                         {"api_paths", {"/api/v1"}},
                         {"runtimes", runtimes},
                         {"limits", limits}});
}

RestApi::Answer RestApi::GetLimits(const Context& context) const {
  if (context.request->method != "GET") return MethodNotAllowed(context.request->method);
  json kinds = Kinds();
  kinds.push_back("sequence");
  return JsonReply(200, {{"invocationsPerMinute", engine_->limits().per_minute},
                         {"concurrentInvocations", engine_->limits().concurrent},
                         {"firesPerMinute", 0},
                         {"allowedKinds", kinds},
                         {"maxParameterSize", std::to_string(kMaxPayloadBytes) + " B"},
                         {"minActionMemory", std::to_string(kMinMemoryMb) + " MB"},
                         {"maxActionMemory", std::to_string(kMaxMemoryMb) + " MB"},
                         {"minActionTimeout", kMinTimeoutMillis},
                         {"maxActionTimeout", kMaxTimeoutMillis},
                         {"maxActionLogs", std::to_string(kMaxLogsMb) + " MB"},
                         {"maxActionConcurrency", 1}});
}

}  // namespace f3::openwhisk
