#include "fs_client/node_directory.h"

#include <string>
#include <utility>

namespace f3::fs {

std::optional<xdt::Peer> MetaDirectory::Known(NodeId node) {
  MutexLock lock(mutex_);
  auto at = peers_.find(node);
  if (at == peers_.end()) return std::nullopt;
  return at->second;
}

Result<xdt::Peer> MetaDirectory::Ask(NodeId node) {
  meta::Request request;
  request.mutable_list_nodes();
  meta::Reply reply;
  F3_RETURN_IF_ERROR(client_->Call(std::move(request), &reply));
  MutexLock lock(mutex_);
  peers_.clear();
  for (const meta::Node& one : reply.nodes()) {
    peers_[one.id()] = {one.fabric_address(), one.epoch()};
  }
  auto at = peers_.find(node);
  if (at == peers_.end()) {
    return Status::NotFound("the cluster has no node " + std::to_string(node) + " any more");
  }
  return at->second;
}

}  // namespace f3::fs
