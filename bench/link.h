// What the link between two nodes can do without F3, measured by processes in the nodes' network
// namespaces: iperf3, and messages of libfabric alone. Used by one thread.
#ifndef F3_BENCH_LINK_H_
#define F3_BENCH_LINK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "cli/cluster.h"
#include "common/status.h"

namespace f3::bench {

// Bytes per second that iperf3 moves from the cluster's first node to its second over TCP. `run`
// differs between calls: it chooses the port.
Result<double> Iperf(const cli::ClusterLayout& layout, uint64_t bytes, int run);

// Microseconds from a small request of the second node until `bytes` from the first have arrived
// there, for each of `runs`: with the provider of F3's transfer engine, and with nothing of the
// engine but its wrapper of libfabric (xdt/fabric.h). Both sides poll and nobody sleeps, so this is
// a floor; their processes are gone when it returns.
Result<std::vector<double>> FabricPing(const cli::ClusterLayout& layout, uint64_t bytes, int runs);

// What they run: prints its address to standard output and answers, until it is ended or nothing
// was asked for 20 s; asks the one at `peer`, and prints a JSON array. `bind`: an IP of this node.
Status EchoOverFabric(const std::string& bind);
Status PingOverFabric(const std::string& bind, const std::string& peer, uint64_t bytes, int runs);

}  // namespace f3::bench

#endif  // F3_BENCH_LINK_H_
