#include "cli/network.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/process.h"

namespace f3::cli {
namespace {

constexpr const char* kInside = "eth0";  // the veth's name in the namespace

bool LinkExists(const std::string& name) {
  std::error_code error;
  return std::filesystem::exists("/sys/class/net/" + name, error);
}

bool NamespaceExists(const std::string& name) {
  std::error_code error;
  return std::filesystem::exists("/run/netns/" + name, error);
}

std::string Subnet(const std::string& address) { return address.substr(0, address.rfind('.')); }

// "10.201.7" of every address and route of this machine.
Result<std::set<std::string>> SubnetsInUse() {
  std::set<std::string> subnets;
  F3_ASSIGN_OR_RETURN(CommandResult addresses,
                      RunCommand({"ip", "-4", "-j", "addr", "show"}, 10'000'000));
  F3_ASSIGN_OR_RETURN(CommandResult routes,
                      RunCommand({"ip", "-4", "-j", "route", "show"}, 10'000'000));
  auto parsed = nlohmann::json::parse(addresses.out, nullptr, false);
  if (parsed.is_array()) {
    for (const auto& link : parsed) {
      if (!link.is_object() || !link.contains("addr_info")) continue;
      for (const auto& info : link["addr_info"]) subnets.insert(Subnet(info.value("local", "")));
    }
  }
  parsed = nlohmann::json::parse(routes.out, nullptr, false);
  if (parsed.is_array()) {
    for (const auto& route : parsed) subnets.insert(Subnet(route.value("dst", ".")));
  }
  return subnets;
}

std::string MetadataHost(const ClusterLayout& layout) {
  return layout.metadata.substr(0, layout.metadata.rfind(':'));
}

}  // namespace

Status ProbeNamespaces() {
  if (::geteuid() != 0) return Status::NotPermitted("network namespaces need root");
  std::string name = "f3-probe-" + std::to_string(::getpid());
  F3_RETURN_IF_ERROR(RunOrFail({"ip", "netns", "add", name}));
  std::string link = "f3p" + std::to_string(::getpid());
  Status made = RunOrFail({"ip", "link", "add", link, "type", "bridge"});
  if (made.ok()) made = RunOrFail({"ip", "link", "del", link});
  Status removed = RunOrFail({"ip", "netns", "del", name});
  return made.ok() ? removed : made;
}

Status ChooseAddresses(ClusterLayout* layout) {
  std::set<std::string> taken;
  if (!layout->bridge.empty()) {
    F3_ASSIGN_OR_RETURN(taken, SubnetsInUse());
  }
  return ChooseAddresses(layout, taken);
}

Status ChooseAddresses(ClusterLayout* layout, const std::set<std::string>& taken) {
  unsigned long hash = std::strtoul(layout->id.c_str(), nullptr, 16);
  std::string subnet;
  if (layout->bridge.empty()) {
    // All of 127/8 is this machine; 127.0 is left to others.
    subnet = "127." + std::to_string(1 + hash % 250) + "." + std::to_string(hash / 250 % 256);
  } else {
    for (unsigned long i = 0; i < 256 && subnet.empty(); ++i) {
      std::string candidate = "10.201." + std::to_string((hash + i) % 256);
      if (!taken.count(candidate)) subnet = candidate;
    }
    if (subnet.empty()) {
      return Status::NoSpace(
          "every subnet of 10.201.0.0/16 is in use on this machine; stop other "
          "clusters or use --no-netns");
    }
  }
  layout->metadata = subnet + ".1:" + std::to_string(kMetadataPort);
  for (size_t i = 0; i < layout->nodes.size(); ++i) {
    layout->nodes[i].address = subnet + "." + std::to_string(11 + i);
  }
  return Status();
}

Status EnsureNode(const ClusterLayout& layout, const ClusterNode& node) {
  if (node.netns.empty()) return Status();
  if (!NamespaceExists(node.netns))
    F3_RETURN_IF_ERROR(RunOrFail({"ip", "netns", "add", node.netns}));
  if (!LinkExists(node.link)) {
    F3_RETURN_IF_ERROR(RunOrFail({"ip", "link", "add", node.link, "type", "veth", "peer", "name",
                                  kInside, "netns", node.netns}));
    F3_RETURN_IF_ERROR(
        RunOrFail({"ip", "-n", node.netns, "addr", "add", node.address + "/24", "dev", kInside}));
    F3_RETURN_IF_ERROR(RunOrFail({"ip", "-n", node.netns, "link", "set", "lo", "up"}));
    F3_RETURN_IF_ERROR(RunOrFail({"ip", "-n", node.netns, "link", "set", kInside, "up"}));
    F3_RETURN_IF_ERROR(RunOrFail({"ip", "link", "set", node.link, "master", layout.bridge, "up"}));
  }
  return Status();
}

Status EnsureNetwork(const ClusterLayout& layout) {
  if (layout.bridge.empty()) return Status();
  if (!LinkExists(layout.bridge)) {
    F3_RETURN_IF_ERROR(RunOrFail({"ip", "link", "add", layout.bridge, "type", "bridge"}));
    F3_RETURN_IF_ERROR(
        RunOrFail({"ip", "addr", "add", MetadataHost(layout) + "/24", "dev", layout.bridge}));
    F3_RETURN_IF_ERROR(RunOrFail({"ip", "link", "set", layout.bridge, "up"}));
  }
  for (const auto& node : layout.nodes) F3_RETURN_IF_ERROR(EnsureNode(layout, node));
  return Status();
}

Status RemoveNetwork(const ClusterLayout& layout) {
  Status first;
  auto keep = [&first](Status status) {
    if (first.ok()) first = std::move(status);
  };
  for (const auto& node : layout.nodes) {
    if (!node.link.empty() && LinkExists(node.link)) {
      keep(RunOrFail({"ip", "link", "del", node.link}));
    }
    if (!node.netns.empty() && NamespaceExists(node.netns)) {
      keep(RunOrFail({"ip", "netns", "del", node.netns}));
    }
  }
  if (!layout.bridge.empty() && LinkExists(layout.bridge)) {
    keep(RunOrFail({"ip", "link", "del", layout.bridge}));
  }
  return first;
}

std::vector<std::string> ListNamespaces() {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/run/netns", error)) {
    std::string name = entry.path().filename();
    if (name.rfind("f3-", 0) == 0) names.push_back(name);
  }
  return names;
}

std::vector<std::string> ListBridges() {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/class/net", error)) {
    std::string name = entry.path().filename();
    if (name.size() == 9 && name.rfind("f3b", 0) == 0) names.push_back(name);
  }
  return names;
}

}  // namespace f3::cli
