// The private network of a cluster: one bridge with the metadata server's address, and a network
// namespace per node on a veth of it. Made and removed with `ip` (iproute2). Not thread-safe.
//
// Names carry the cluster's id, so that several clusters coexist and removal touches nothing else.
// Only *network* namespaces are used: the mounts must stay visible to the caller.
#ifndef F3_CLI_NETWORK_H_
#define F3_CLI_NETWORK_H_

#include <set>
#include <string>
#include <vector>

#include "cli/cluster.h"
#include "common/status.h"

namespace f3::cli {

// OK when this process may make namespaces, veths and bridges; else says what stands in the way.
Status ProbeNamespaces();

// Fills in addresses: 10.201.X.0/24 with X from the cluster's id, moved on past subnets in use; or
// 127.X.Y.* when the layout has no bridge. NoSpace when every candidate is taken.
Status ChooseAddresses(ClusterLayout* layout);
// As above, with the subnets ("10.201.7") that are taken.
Status ChooseAddresses(ClusterLayout* layout, const std::set<std::string>& taken);

// Makes what is missing; OK when all is there already.
Status EnsureNetwork(const ClusterLayout& layout);
// Makes one node's namespace and link when they are missing.
Status EnsureNode(const ClusterLayout& layout, const ClusterNode& node);
// Removes what is there. Returns the first failure after trying everything.
Status RemoveNetwork(const ClusterLayout& layout);

// Names of F3's namespaces and bridges on this machine ("f3-ID-nK", "f3bID").
std::vector<std::string> ListNamespaces();
std::vector<std::string> ListBridges();

}  // namespace f3::cli

#endif  // F3_CLI_NETWORK_H_
