// NodeTable: the registered nodes, whether they are up, and capabilities for their objects.
// Thread-safe. What lasts is in NodeRows; this is the server's copy.
#ifndef F3_METADATA_NODE_TABLE_H_
#define F3_METADATA_NODE_TABLE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/cluster_key.h"
#include "common/mutex.h"
#include "metadata/op_context.h"
#include "metadata/rows.pb.h"

namespace f3::meta {

class NodeTable : public NodeView {
 public:
  NodeTable(const ClusterKey* key, Clock* clock, int64_t token_lifetime_micros)
      : key_(key), clock_(clock), token_lifetime_micros_(token_lifetime_micros) {}

  NodeId NodeOfSession(SessionId session) const override;
  bool FillHolder(NodeId node, const ObjectKey& object, SessionId session, bool write,
                  Holder* holder) const override;

  // Adds or replaces. A row with a session is up.
  void Set(const NodeRow& row);
  void SetUsage(NodeId node, const NodeUsage& usage);
  std::optional<NodeRow> ByName(const std::string& name) const;
  std::optional<NodeRow> ById(NodeId node) const;
  NodeId NextId() const;
  std::vector<Node> List() const;
  // Sums over the nodes that are up.
  StatFs Capacity() const;

 private:
  struct State {
    NodeRow row;
    NodeUsage usage;
    int64_t last_seen_ns = 0;
  };
  const ClusterKey* const key_;
  Clock* const clock_;
  const int64_t token_lifetime_micros_;
  mutable Mutex mutex_;
  std::map<NodeId, State> nodes_ F3_GUARDED_BY(mutex_);
  std::map<SessionId, NodeId> by_session_ F3_GUARDED_BY(mutex_);
};

}  // namespace f3::meta

#endif  // F3_METADATA_NODE_TABLE_H_
