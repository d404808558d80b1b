#include "metadata/node_table.h"

namespace f3::meta {

NodeId NodeTable::NodeOfSession(SessionId session) const {
  MutexLock lock(mutex_);
  auto found = by_session_.find(session);
  return found == by_session_.end() ? 0 : found->second;
}

bool NodeTable::FillHolder(NodeId node, const ObjectKey& object, SessionId session, bool write,
                           Holder* holder) const {
  {
    MutexLock lock(mutex_);
    auto found = nodes_.find(node);
    if (found == nodes_.end()) return false;
    const NodeRow& row = found->second.row;
    holder->set_node(node);
    holder->set_name(row.name());
    holder->set_epoch(row.epoch());
    holder->set_fabric_address(row.fabric_address());
    holder->set_up(row.session() != 0);
  }
  if (session == 0) return true;
  Capability capability;
  capability.session = session;
  capability.node = node;
  capability.object = object;
  capability.write = write;
  capability.expires_wall_nanos = clock_->WallNanos() + token_lifetime_micros_ * 1000;
  holder->set_token(key_->Seal(capability));
  return true;
}

void NodeTable::Set(const NodeRow& row) {
  MutexLock lock(mutex_);
  State& state = nodes_[row.id()];
  by_session_.erase(state.row.session());
  state.row = row;
  if (row.session() == 0) return;
  by_session_[row.session()] = row.id();
  state.last_seen_ns = clock_->WallNanos();
}

void NodeTable::SetUsage(NodeId node, const NodeUsage& usage) {
  MutexLock lock(mutex_);
  auto found = nodes_.find(node);
  if (found == nodes_.end()) return;
  found->second.usage = usage;
  found->second.last_seen_ns = clock_->WallNanos();
}

std::optional<NodeRow> NodeTable::ByName(const std::string& name) const {
  MutexLock lock(mutex_);
  for (const auto& [id, state] : nodes_) {
    if (state.row.name() == name) return state.row;
  }
  return std::nullopt;
}

std::optional<NodeRow> NodeTable::ById(NodeId node) const {
  MutexLock lock(mutex_);
  auto found = nodes_.find(node);
  return found == nodes_.end() ? std::nullopt : std::optional(found->second.row);
}

NodeId NodeTable::NextId() const {
  MutexLock lock(mutex_);
  return nodes_.empty() ? 1 : nodes_.rbegin()->first + 1;
}

std::vector<Node> NodeTable::List() const {
  std::vector<Node> list;
  MutexLock lock(mutex_);
  for (const auto& [id, state] : nodes_) {
    if (state.row.forgotten()) continue;
    Node& node = list.emplace_back();
    node.set_id(id);
    node.set_name(state.row.name());
    node.set_epoch(state.row.epoch());
    node.set_fabric_address(state.row.fabric_address());
    node.set_control_address(state.row.control_address());
    node.set_tier_uuid(state.row.tier_uuid());
    node.set_up(state.row.session() != 0);
    *node.mutable_usage() = state.usage;
    node.set_last_seen_ns(state.last_seen_ns);
  }
  return list;
}

StatFs NodeTable::Capacity() const {
  StatFs sum;
  MutexLock lock(mutex_);
  for (const auto& [id, state] : nodes_) {
    if (state.row.session() == 0) continue;
    const NodeUsage& usage = state.usage;
    sum.set_capacity_bytes(sum.capacity_bytes() + usage.disk_capacity());
    if (usage.disk_capacity() > usage.disk_used()) {
      sum.set_free_bytes(sum.free_bytes() + usage.disk_capacity() - usage.disk_used());
    }
  }
  return sum;
}

}  // namespace f3::meta
