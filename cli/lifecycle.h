// The steps that bring a cluster of `f3 up` into being and take it away again. Each can be
// repeated: it does what is missing. Not thread-safe; OperationLock keeps two commands apart.
#ifndef F3_CLI_LIFECYCLE_H_
#define F3_CLI_LIFECYCLE_H_

#include <functional>
#include <string>
#include <vector>

#include "cli/cluster.h"
#include "common/status.h"
#include "common/unique_fd.h"

namespace f3::cli {

// Held by up, down and destroy while they work. Busy when another of them does.
class OperationLock {
 public:
  static Result<OperationLock> Take(const std::string& dir);
  // Of the whole machine, waited for: from choosing a cluster's addresses until its links have
  // them, so that two clusters that start at once do not choose the same. Taken after the other
  // one.
  static Result<OperationLock> AwaitNetwork();

 private:
  UniqueFd fd_;
};

// Told of each step as a short phrase.
using Say = std::function<void(const std::string&)>;

// Directories, secret, daemon configurations, network, memory tiers (with what they held before the
// last `f3 down`).
Status PrepareCluster(const ClusterLayout& layout, const Say& say);
// Starts the supervisor unless it runs; tells a running one to start what has failed.
Status StartSupervisor(const ClusterLayout& layout);
// Returns when metadata server and agents answer and every mount is usable. The failure names the
// daemon and quotes the end of its log.
Status AwaitCluster(const ClusterLayout& layout, int64_t timeout_micros, const Say& say);
// Usable right now?
bool IsUsable(const ClusterLayout& layout, const ClusterNode& node);

// Ends supervisor, agents and metadata server: cleanly when they live, whatever is left of them
// else.
// When `keep_data`, agents get the time that publishing and spilling takes.
Status StopDaemons(const ClusterLayout& layout, bool keep_data, const Say& say);
// Unmounts, keeps the memory tiers' content on disk when `keep_data`, removes the network. Goes on
// after a failure and returns the first.
Status ReleaseSystem(const ClusterLayout& layout, bool keep_data, const Say& say);
// Removes what PrepareCluster made, and the directory if nothing else is in it. Busy when something
// is still mounted below it.
Status RemoveFiles(const ClusterLayout& layout);

// The last lines of a log.
std::string LogTail(const std::string& path, int lines);

}  // namespace f3::cli

#endif  // F3_CLI_LIFECYCLE_H_
