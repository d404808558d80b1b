#include "bench/link.h"

#include <unistd.h>

#include <nlohmann/json.hpp>
#include <string>

#include "cli/process.h"
#include "common/small_file.h"

namespace f3::bench {
namespace {

using nlohmann::json;

constexpr int64_t kPatienceMicros = 120'000'000;
constexpr int64_t kStopMicros = 5'000'000;
constexpr int kStartTries = 200;
constexpr useconds_t kStartPauseMicros = 25'000;

std::vector<std::string> Inside(const cli::ClusterNode& node, std::vector<std::string> argv) {
  if (node.netns.empty()) return argv;
  std::vector<std::string> full = {"ip", "netns", "exec", node.netns};
  full.insert(full.end(), argv.begin(), argv.end());
  return full;
}

}  // namespace

Result<double> Iperf(const cli::ClusterLayout& layout, uint64_t bytes, int run) {
  const auto& sender = layout.nodes[0];
  const auto& receiver = layout.nodes[1];
  // A port of its own for each run: the one before may linger.
  std::string port = std::to_string(5201 + run);
  cli::SpawnOptions server;
  server.argv = {"iperf3", "-s", "-1", "-B", receiver.address, "-p", port};
  server.log_file = "/dev/null";
  server.netns = receiver.netns;
  server.ends_with_parent = true;
  F3_ASSIGN_OR_RETURN(pid_t pid, cli::Spawn(server));
  Status status;
  json sum;
  // The server needs a moment before it listens. With -J the exit code says nothing.
  for (int tries = 0; tries < 100 && status.ok() && !sum.is_object(); ++tries) {
    if (tries > 0) ::usleep(30'000);
    auto client = cli::RunCommand(Inside(sender, {"iperf3", "-c", receiver.address, "-p", port,
                                                  "-n", std::to_string(bytes), "-J"}),
                                  kPatienceMicros);
    status = client.status();
    json parsed = client.ok() ? json::parse(client->out, nullptr, false) : json();
    if (parsed.is_object()) sum = parsed.value("end", json::object()).value("sum_received", json());
  }
  cli::StopChild(pid, kStopMicros);
  if (!status.ok()) return status;
  if (!sum.is_object()) return Status::Io("iperf3 did not connect to " + receiver.address);
  return sum.value("bits_per_second", 0.0) / 8;
}

Result<std::vector<double>> FabricPing(const cli::ClusterLayout& layout, uint64_t bytes, int runs) {
  const auto& first = layout.nodes[0];
  const auto& second = layout.nodes[1];
  const std::string out = layout.run("fabric-echo.out");
  ::unlink(out.c_str());
  cli::SpawnOptions echo;
  echo.argv = {cli::SelfPath(), "bench", "fabric-echo", first.address};
  echo.log_file = out;
  echo.netns = first.netns;
  echo.ends_with_parent = true;
  F3_ASSIGN_OR_RETURN(pid_t pid, cli::Spawn(echo));
  Result<std::string> text = std::string();
  for (int i = 0; i < kStartTries; ++i) {
    text = ReadFile(out);
    if (text.ok() && text->ends_with("\n")) break;
    ::usleep(kStartPauseMicros);  // it tells nobody when it is ready
  }
  ::unlink(out.c_str());
  Result<cli::CommandResult> ping = Status::Timeout("the fabric's process did not start");
  if (text.ok() && !text->empty()) {
    const std::string peer = text->substr(0, text->find('\n'));
    ping = cli::RunCommand(Inside(second, {cli::SelfPath(), "bench", "fabric-ping", second.address,
                                           peer, std::to_string(bytes), std::to_string(runs)}),
                           kPatienceMicros);
  }
  cli::StopChild(pid, kStopMicros);
  if (!ping.ok()) return ping.status();
  const json values = json::parse(ping->out, nullptr, false);
  if (ping->exit_code != 0 || !values.is_array()) return Status::Io("fabric ping: " + ping->err);
  return values.get<std::vector<double>>();
}

}  // namespace f3::bench
