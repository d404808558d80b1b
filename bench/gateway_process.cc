#include "bench/gateway_process.h"

#include <arpa/inet.h>
#include <httplib.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "cli/process.h"
#include "common/clock.h"
#include "common/small_file.h"
#include "common/unique_fd.h"

namespace f3::bench {
namespace {

using nlohmann::json;

constexpr int64_t kStartMicros = 30'000'000;
constexpr int64_t kStopMicros = 60'000'000;
constexpr int64_t kPollMicros = 20'000;
constexpr int kAnswerSeconds = 90;  // the gateway lets a blocking call wait for 60
constexpr char kApi[] = "/api/v1/namespaces/_/";

Result<int> FreePort() {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  auto* plain = reinterpret_cast<sockaddr*>(&address);
  if (!fd.valid() || ::bind(fd.get(), plain, length) != 0 ||
      ::getsockname(fd.get(), plain, &length) != 0) {
    return Status::FromErrno(errno, "find a free port");
  }
  return static_cast<int>(ntohs(address.sin_port));
}

std::string LastLines(const std::string& file) {
  constexpr size_t kChars = 1000;
  auto text = ReadFile(file);
  if (!text.ok()) return "";
  return text->size() > kChars ? text->substr(text->size() - kChars) : *text;
}

// What the gateway or the action said, in few words.
std::string Complaint(const json& answer) {
  constexpr size_t kChars = 500;
  json error = answer.value("error", json());
  if (error.is_null() && answer.contains("response")) {
    error = answer["response"].value("result", json::object()).value("error", json());
  }
  std::string text = error.is_string() ? error.get<std::string>() : answer.dump();
  return text.substr(0, kChars);
}

json AnnotationOf(const json& activation, const char* key) {
  for (const auto& annotation : activation.value("annotations", json::array())) {
    if (annotation.value("key", "") == key) return annotation.value("value", json());
  }
  return json();
}

}  // namespace

Status CheckSandboxes(const Options& options, size_t nodes) {
  if (::geteuid() != 0) {
    return Status::NotPermitted("sandboxes need root; run this command as root");
  }
  if (options.layout.nodes.size() < nodes) {
    return Status::InvalidArgument("this needs " + std::to_string(nodes) +
                                   " nodes: `f3 up --nodes " + std::to_string(nodes) + "`");
  }
  if (!std::filesystem::is_directory(options.rootfs + "/usr/lib/f3")) {
    return Status::NotFound("there is no root file system of actions at " + options.rootfs +
                            "; `scripts/make_rootfs.sh " + options.rootfs +
                            "` makes it, --rootfs names another");
  }
  return cli::RunOrFail({"runc", "--version"});
}

Result<std::unique_ptr<GatewayProcess>> GatewayProcess::Start(
    const Options& options, const std::string& name, const std::vector<std::string>& flags) {
  std::unique_ptr<GatewayProcess> gateway(new GatewayProcess(options.layout));
  gateway->name_space_ = "f3-bench-" + std::to_string(::getpid()) + "-" + name;
  gateway->dir_ = options.layout.dir + "/" + gateway->name_space_;
  F3_RETURN_IF_ERROR(gateway->Launch(options, flags));
  F3_RETURN_IF_ERROR(gateway->AwaitReady());
  return gateway;
}

Status GatewayProcess::Launch(const Options& options, const std::vector<std::string>& flags) {
  std::error_code error;
  std::filesystem::create_directories(dir_, error);
  if (error) return Status::FromErrno(error.value(), "make " + dir_);
  const std::string keys = dir_ + "/keys";
  F3_ASSIGN_OR_RETURN(auto added, cli::RunCommand({cli::SelfPath(), "gateway", "--auth", keys,
                                                   "--add-namespace", name_space_},
                                                  kStartMicros));
  const size_t colon = added.out.find(':');
  if (added.exit_code != 0 || colon == std::string::npos) {
    return Status::Io("f3 gateway --add-namespace: " + added.err);
  }
  user_ = added.out.substr(0, colon);
  password_ = added.out.substr(colon + 1, added.out.find_last_not_of('\n') - colon);
  F3_ASSIGN_OR_RETURN(port_, FreePort());
  cli::SpawnOptions spawn;
  spawn.argv = {cli::SelfPath(),
                "gateway",
                "--dir",
                layout_.dir,
                "--data",
                dir_,
                "--auth",
                keys,
                "--listen",
                "127.0.0.1:" + std::to_string(port_),
                "--rootfs",
                options.rootfs,
                "--pause-grace",
                "1h",
                "--idle",
                "2h",
                "--invocations-per-minute",
                "1000000"};
  spawn.argv.insert(spawn.argv.end(), flags.begin(), flags.end());
  spawn.log_file = dir_ + "/log";
  spawn.new_session = false;  // so that Ctrl-C stops it as well
  spawn.ends_with_parent = true;
  F3_ASSIGN_OR_RETURN(pid_, cli::Spawn(spawn));
  return Status();
}

Status GatewayProcess::AwaitReady() const {
  const UniqueFd process = cli::OpenPidFd(pid_);
  const int64_t deadline = Clock::Real()->MonotonicMicros() + kStartMicros;
  while (Clock::Real()->MonotonicMicros() < deadline) {
    httplib::Client client("127.0.0.1", port_);
    auto answer = client.Get("/ping");
    if (answer && answer->status == 200) return Status();
    if (cli::WaitForEnd(process, kPollMicros)) break;
  }
  return Status::Unavailable("f3 gateway did not start: " + LastLines(dir_ + "/log"));
}

GatewayProcess::~GatewayProcess() {
  if (pid_ > 0) cli::StopChild(pid_, kStopMicros);
  std::error_code error;
  std::filesystem::remove_all(dir_, error);
  std::filesystem::remove_all(OnHost(kMountPath), error);
}

std::string GatewayProcess::OnHost(const std::string& path) const {
  return layout_.mount(layout_.nodes[0]) + "/openwhisk/" + name_space_ +
         path.substr(sizeof(kMountPath) - 1);
}

Result<json> GatewayProcess::Call(const char* method, const std::string& path,
                                  const json& body) const {
  httplib::Client client("127.0.0.1", port_);
  client.set_tcp_nodelay(true);
  client.set_basic_auth(user_.c_str(), password_.c_str());
  client.set_read_timeout(kAnswerSeconds);
  const std::string target = kApi + path;
  const std::string text = body.is_null() ? "" : body.dump();
  const std::string verb = method;
  auto answer = verb == "GET"   ? client.Get(target.c_str())
                : verb == "PUT" ? client.Put(target.c_str(), text, "application/json")
                                : client.Post(target.c_str(), text, "application/json");
  const std::string what = verb + " " + path;
  if (!answer) return Status::Io(what + ": " + httplib::to_string(answer.error()));
  json parsed = json::parse(answer->body, nullptr, false);
  if (!parsed.is_object()) return Status::Io(what + " answered with no JSON object");
  if (answer->status != 200) {
    return Status::Io(what + ": " + std::to_string(answer->status) + ": " + Complaint(parsed));
  }
  return parsed;
}

Status GatewayProcess::PutAction(const ActionSpec& action) {
  const json body = {
      {"exec", {{"kind", "python:3"}, {"code", action.code}}},
      {"annotations",
       json::array({{{"key", "f3-mounts"}, {"value", json::array({{{"path", kMountPath}}})}},
                    {{"key", "f3-hints"}, {"value", action.hints}}})},
      {"limits", {{"memory", action.memory_mb}, {"timeout", 60'000}}}};
  return Call("PUT", "actions/" + action.name + "?overwrite=true", body).status();
}

Status GatewayProcess::PutSequence(const std::string& name, const std::vector<std::string>& steps) {
  json components = json::array();
  for (const auto& step : steps) components.push_back("/_/" + step);
  const json body = {{"exec", {{"kind", "sequence"}, {"components", components}}}};
  return Call("PUT", "actions/" + name + "?overwrite=true", body).status();
}

Result<GatewayProcess::Answer> GatewayProcess::Invoke(const std::string& action,
                                                      const json& arguments) const {
  Answer answer;
  const int64_t begin = Clock::Real()->MonotonicMicros();
  F3_ASSIGN_OR_RETURN(answer.activation,
                      Call("POST", "actions/" + action + "?blocking=true", arguments));
  answer.micros = static_cast<double>(Clock::Real()->MonotonicMicros() - begin);
  if (!answer.activation.contains("response")) {
    return Status::Io(action + " answered with no record: " + Complaint(answer.activation));
  }
  if (!answer.activation["response"].value("success", false)) {
    return Status::Io(action + ": " + Complaint(answer.activation));
  }
  const json locality = AnnotationOf(answer.activation, "f3-locality");
  if (locality.is_object()) answer.node = locality.value("node", "");
  return answer;
}

Result<json> GatewayProcess::LocalityOf(const std::string& activation) const {
  F3_ASSIGN_OR_RETURN(json record, Call("GET", "activations/" + activation, json()));
  json locality = AnnotationOf(record, "f3-locality");
  if (!locality.is_object()) return Status::NotFound(activation + " has no f3-locality");
  return locality;
}

}  // namespace f3::bench
