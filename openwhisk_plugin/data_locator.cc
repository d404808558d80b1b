#include "openwhisk_plugin/data_locator.h"

#include <algorithm>
#include <set>
#include <utility>

#include "common/utf8.h"
#include "openwhisk_plugin/subtree.h"

namespace f3::openwhisk {
namespace {

constexpr int kMaxPaths = 256;
constexpr int kMaxReferences = 256;
constexpr size_t kMaxPathBytes = 4096;

std::string Field(const char* name, int index) {
  return std::string(name) + "[" + std::to_string(index) + "]";
}

bool HasDotDot(const std::string& path) {
  return ("/" + path + "/").find("/../") != std::string::npos;
}

}  // namespace

Result<PathInMount> FindMount(const std::vector<MountHint>& mounts, const std::string& field,
                              const std::string& path) {
  if (path.empty() || path.size() > kMaxPathBytes || HasDotDot(path)) {
    return Status::InvalidArgument(field + " is \"" + ValidUtf8(path.substr(0, 64)) +
                                   "\"; allowed are paths of 1 to 4096 bytes without \"..\"");
  }
  if (mounts.empty()) return Status::InvalidArgument(field + " is given, and there is no mount");
  if (path[0] != '/') return PathInMount{0, path};
  for (size_t i = 0; i < mounts.size(); ++i) {
    const std::string below = mounts[i].path + "/";
    if (path.starts_with(below)) return PathInMount{i, path.substr(below.size())};
  }
  return Status::InvalidArgument(field + " is \"" + ValidUtf8(path.substr(0, 64)) +
                                 "\", which is in none of the action's mounts");
}

Status DataLocator::AddPaths(const LocateRequest& request, Sum* sum) {
  if (request.paths().empty()) return Status();
  if (request.paths_size() > kMaxPaths) {
    return Status::InvalidArgument("paths has " + std::to_string(request.paths_size()) +
                                   " elements; allowed are 256");
  }
  F3_ASSIGN_OR_RETURN(ActionHints action, ParseAnnotations(request.annotations()));
  SearchBudget budget;
  std::set<Ino> seen;
  for (int i = 0; i < request.paths_size(); ++i) {
    F3_ASSIGN_OR_RETURN(PathInMount at,
                        FindMount(action.mounts, Field("paths", i), request.paths(i)));
    const MountHint& mount = action.mounts[at.mount];
    F3_RETURN_IF_ERROR(policy_.Check(request.namespace_(), mount.volume));
    if (mount.lifetime == Lifetime::kWorkflow && request.workflow().empty()) continue;
    const std::string subtree = mount.lifetime == Lifetime::kNamespace
                                    ? NamespaceSubtree(request.namespace_())
                                    : WorkflowSubtree(request.namespace_(), request.workflow());
    std::vector<FoundFile> found;
    F3_RETURN_IF_ERROR(FindFiles(meta_, mount.volume, subtree, at.path, &budget, &found));
    for (const FoundFile& file : found) {
      if (!seen.insert(file.attr.ino()).second) continue;
      sum->inos.push_back(file.attr.ino());
      sum->bytes += file.attr.size();
      ++sum->files;
      if (file.attr.file_class() == meta::CLASS_DURABLE) sum->durable_bytes += file.attr.size();
    }
  }
  return Status();
}

Status DataLocator::AddReferences(const LocateRequest& request, Sum* sum) {
  if (request.references_size() > kMaxReferences) {
    return Status::InvalidArgument("references has " + std::to_string(request.references_size()) +
                                   " elements; allowed are 256");
  }
  const xdt::ScopeTag own = references_.NamespaceTag({request.namespace_(), ""});
  for (int i = 0; i < request.references_size(); ++i) {
    auto reference = references_.Open(request.references(i));
    if (!reference.ok()) {
      return Status::InvalidArgument(Field("references", i) + ": " + reference.status().message());
    }
    Status scope = xdt::CheckScope(*reference, own, reference->action);
    if (!scope.ok()) {
      return Status::NotPermitted(Field("references", i) + " belongs to another namespace");
    }
    sum->bytes += reference->length;
    F3_RETURN_IF_ERROR(LearnNodes());
    MutexLock lock(mutex_);
    auto node = nodes_.find(reference->owner);
    if (node != nodes_.end() && node->second.up()) {
      sum->held[node->second.name()] += reference->length;
    }
  }
  return Status();
}

Status DataLocator::AddHolders(Sum* sum) {
  if (sum->inos.empty()) return Status();
  meta::Request request;
  request.mutable_locate()->mutable_inos()->Add(sum->inos.begin(), sum->inos.end());
  meta::Reply reply;
  F3_RETURN_IF_ERROR(meta_->Call(std::move(request), &reply));
  for (const auto& score : reply.located().scores()) {
    if (score.up()) sum->held[score.node()] += score.bytes();
  }
  return Status();
}

Status DataLocator::LearnNodes() {
  const int64_t now = Clock::Real()->MonotonicMicros();
  {
    MutexLock lock(mutex_);
    if (nodes_known_micros_ != 0 && now - nodes_known_micros_ < kNodesMicros) return Status();
  }
  meta::Request request;
  request.mutable_list_nodes();
  meta::Reply reply;
  F3_RETURN_IF_ERROR(meta_->Call(std::move(request), &reply));
  MutexLock lock(mutex_);
  nodes_.clear();
  for (const auto& node : reply.nodes()) nodes_[node.id()] = node;
  nodes_known_micros_ = now;
  return Status();
}

Result<LocateReply> DataLocator::Locate(const LocateRequest& request) {
  F3_RETURN_IF_ERROR(CheckNamespace(request.namespace_()));
  F3_RETURN_IF_ERROR(CheckActivation("workflow", request.workflow()));
  Sum sum;
  F3_RETURN_IF_ERROR(AddPaths(request, &sum));
  F3_RETURN_IF_ERROR(AddReferences(request, &sum));
  F3_RETURN_IF_ERROR(AddHolders(&sum));
  F3_RETURN_IF_ERROR(LearnNodes());
  LocateReply reply;
  reply.set_bytes(sum.bytes);
  reply.set_files(sum.files);
  reply.set_durable_bytes(sum.durable_bytes);
  std::vector<std::pair<std::string, uint64_t>> held(sum.held.begin(), sum.held.end());
  std::stable_sort(held.begin(), held.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  MutexLock lock(mutex_);
  for (const auto& [name, bytes] : held) {
    Held* out = reply.add_nodes();
    out->set_node(name);
    out->set_bytes(bytes);
    for (const auto& [id, node] : nodes_) {
      if (node.name() == name) out->set_address(node.fabric_address());
    }
  }
  return reply;
}

}  // namespace f3::openwhisk
