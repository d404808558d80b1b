// Where data is: which nodes hold how much of the files and XDT values that a call names.
// Thread-safe; asks the metadata server, never a mount. Bounds: 256 paths, 256 references, 10,000
// names looked at.
#ifndef F3_OPENWHISK_PLUGIN_DATA_LOCATOR_H_
#define F3_OPENWHISK_PLUGIN_DATA_LOCATOR_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/cluster_key.h"
#include "common/mutex.h"
#include "common/status.h"
#include "metadata/client.h"
#include "openwhisk_plugin/agent.pb.h"
#include "openwhisk_plugin/hints.h"
#include "openwhisk_plugin/names.h"
#include "xdt/reference.h"

namespace f3::openwhisk {

// A path as the function names it, absolute or relative to the first mount: which mount it is in,
// and its path (or glob) there.
struct PathInMount {
  size_t mount = 0;
  std::string path;
};
// InvalidArgument when it is in none; `field` is what the message calls it.
Result<PathInMount> FindMount(const std::vector<MountHint>& mounts, const std::string& field,
                              const std::string& path);

class DataLocator {
 public:
  DataLocator(meta::MetaClient* meta, const ClusterKey& key, VolumePolicy policy)
      : meta_(meta), policy_(std::move(policy)), references_(key.reference_root(), {}) {}

  // InvalidArgument: paths[i] is in no mount, references[i] is none of this cluster's.
  // NotPermitted: a volume, or a reference of another namespace. What does not exist counts
  // nothing.
  Result<LocateReply> Locate(const LocateRequest& request);

 private:
  struct Sum {
    uint64_t bytes = 0, files = 0, durable_bytes = 0;
    std::vector<Ino> inos;
    std::map<std::string, uint64_t> held;  // by node
  };
  Status AddPaths(const LocateRequest& request, Sum* sum);
  Status AddReferences(const LocateRequest& request, Sum* sum);
  Status AddHolders(Sum* sum);
  Status LearnNodes();

  static constexpr int64_t kNodesMicros = 2'000'000;  // how long the list of nodes is believed

  meta::MetaClient* const meta_;
  const VolumePolicy policy_;
  const xdt::ReferenceKeys references_;
  Mutex mutex_;
  int64_t nodes_known_micros_ F3_GUARDED_BY(mutex_) = 0;
  std::map<NodeId, meta::Node> nodes_ F3_GUARDED_BY(mutex_);
};

}  // namespace f3::openwhisk

#endif  // F3_OPENWHISK_PLUGIN_DATA_LOCATOR_H_
