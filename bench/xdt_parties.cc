#include "bench/xdt_parties.h"

#include <utility>

#include "cli/xdt_socket.h"

namespace f3::bench {
namespace {

constexpr size_t kPage = 4096;

}  // namespace

Status Xdt::Open(const cli::ClusterLayout& layout, size_t node) {
  return Open(cli::XdtSocketBeside(layout.run(layout.nodes[node].name + ".sock")));
}

Status Xdt::From(int code) {
  if (code == 0) return Status();
  return Status(CodeFromNumber(code), xdt_last_message());
}

unsigned TouchPages(const void* data, size_t bytes) {
  const auto* at = static_cast<const volatile unsigned char*>(data);
  unsigned sum = 0;
  for (size_t i = 0; i < bytes; i += kPage) sum += at[i];
  return sum;
}

Result<std::string> PutXdt(const Xdt& sender, const std::vector<char>& value, uint32_t times) {
  char reference[XDT_REF_CHARS];
  const xdt_put_options options{0, times, nullptr};
  F3_RETURN_IF_ERROR(Xdt::From(xdt_put_bytes(sender.handle, value.data(), value.size(), &options,
                                             kXdtTimeoutMs, reference)));
  return std::string(reference);
}

Status GetXdt(const Xdt& receiver, const std::string& reference, size_t bytes) {
  xdt_view* view = nullptr;
  F3_RETURN_IF_ERROR(Xdt::From(xdt_get(receiver.handle, reference.c_str(), kXdtTimeoutMs, &view)));
  TouchPages(xdt_view_data(view), xdt_view_bytes(view));
  const bool whole = xdt_view_bytes(view) == bytes;
  xdt_release(view);
  return whole ? Status() : Status::Corruption("a value is not as long as it was");
}

Result<double> MicrosOf(const std::function<Status()>& body) {
  F3_ASSIGN_OR_RETURN(double seconds, Time(body));
  return seconds * 1e6;
}

Status Parties::Open(const cli::ClusterLayout& layout) {
  F3_RETURN_IF_ERROR(one.Open(layout, 0));
  F3_RETURN_IF_ERROR(two.Open(layout, 1));
  const auto& first = layout.nodes[0];
  F3_ASSIGN_OR_RETURN(RedisServer started,
                      RedisServer::Start(first.netns, first.address, layout.dir + "/run"));
  server = std::make_unique<RedisServer>(std::move(started));
  F3_ASSIGN_OR_RETURN(RedisClient local, RedisClient::ConnectUnix(server->unix_path()));
  by_unix = std::make_unique<RedisClient>(std::move(local));
  F3_ASSIGN_OR_RETURN(by_tcp, RedisFrom(first));
  F3_ASSIGN_OR_RETURN(from_two, RedisFrom(layout.nodes[1]));
  return Status();
}

Result<std::unique_ptr<RedisClient>> Parties::RedisFrom(const cli::ClusterNode& node) const {
  F3_ASSIGN_OR_RETURN(RedisClient client,
                      RedisClient::ConnectTcp(node.netns, server->address(), server->port()));
  return std::make_unique<RedisClient>(std::move(client));
}

}  // namespace f3::bench
