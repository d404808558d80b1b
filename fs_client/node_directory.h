// MetaDirectory: where nodes are, as the metadata server says, remembered. Thread-safe.
#ifndef F3_FS_CLIENT_NODE_DIRECTORY_H_
#define F3_FS_CLIENT_NODE_DIRECTORY_H_

#include <map>
#include <optional>

#include "common/mutex.h"
#include "metadata/client.h"
#include "xdt/puller.h"

namespace f3::fs {

class MetaDirectory : public xdt::NodeDirectory {
 public:
  // `client` outlives it.
  explicit MetaDirectory(meta::MetaClient* client) : client_(client) {}

  std::optional<xdt::Peer> Known(NodeId node) override;
  // Waits for the server, at most its client's timeout.
  Result<xdt::Peer> Ask(NodeId node) override;

 private:
  meta::MetaClient* const client_;
  Mutex mutex_;  // leaf
  std::map<NodeId, xdt::Peer> peers_ F3_GUARDED_BY(mutex_);
};

}  // namespace f3::fs

#endif  // F3_FS_CLIENT_NODE_DIRECTORY_H_
