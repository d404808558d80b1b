#include "cli/drain.h"

#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <deque>
#include <fstream>
#include <thread>
#include <utility>

#include "cli/call_meta.h"
#include "common/clock.h"

namespace f3::cli {
namespace {

constexpr uint32_t kPageEntries = 500;
constexpr int64_t kCopyMicros = 30'000'000;  // from the end of reading to the copy's record

class Drainer {
 public:
  Drainer(meta::MetaClient* client, NodeId node, const std::vector<DrainTarget>& targets,
          const std::function<void(const std::string&)>& say)
      : client_(client), node_(node), targets_(targets), say_(say) {}

  Status Volume(const std::string& volume);
  DrainResult result;

 private:
  Status Directory(const std::string& volume, const std::string& path, Ino ino);
  void File(const std::string& volume, const std::string& path, const meta::Attr& attr);
  Result<bool> HasCopy(const meta::Attr& attr);
  Status Pull(const std::string& volume, const std::string& path, const meta::Attr& attr);

  meta::MetaClient* const client_;
  const NodeId node_;
  const std::vector<DrainTarget>& targets_;
  const std::function<void(const std::string&)>& say_;
  std::deque<std::pair<std::string, Ino>> directories_;
  size_t next_target_ = 0;
};

Result<bool> Drainer::HasCopy(const meta::Attr& attr) {
  meta::Request request;
  request.mutable_location()->set_ino(attr.ino());
  request.mutable_location()->set_incarnation(attr.incarnation());
  F3_ASSIGN_OR_RETURN(meta::Reply reply, CallMeta(client_, request));
  for (const auto& holder : reply.open().holders()) {
    if (holder.node() != node_ && holder.up()) return true;
  }
  return false;
}

// Reading a file to its end on a node makes a copy there.
Status Drainer::Pull(const std::string& volume, const std::string& path, const meta::Attr& attr) {
  const DrainTarget* target = nullptr;
  for (size_t i = 0; i < targets_.size() && target == nullptr; ++i) {
    const DrainTarget& candidate = targets_[next_target_++ % targets_.size()];
    if (candidate.volume == volume) target = &candidate;
  }
  if (target == nullptr) return Status::Unavailable("no other node mounts this volume");
  std::ifstream in(target->mount + "/" + path, std::ios::binary);
  std::vector<char> buffer(1 << 20);
  uint64_t total = 0;
  while (in.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) || in.gcount() > 0) {
    total += static_cast<uint64_t>(in.gcount());
  }
  if (total < attr.size()) return Status::Io("cannot be read at " + target->mount);
  int64_t deadline = Clock::Real()->MonotonicMicros() + kCopyMicros;
  while (Clock::Real()->MonotonicMicros() < deadline) {
    F3_ASSIGN_OR_RETURN(bool copied, HasCopy(attr));
    if (copied) return Status();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return Status::Timeout("was read at " + target->mount + ", and no copy was kept there");
}

void Drainer::File(const std::string& volume, const std::string& path, const meta::Attr& attr) {
  if (attr.file_class() != meta::CLASS_EPHEMERAL || attr.home() != node_) return;
  ++result.files;
  if (attr.incarnation() == 0 || attr.size() == 0) return;  // has no bytes to lose
  say_(path);
  auto copied = HasCopy(attr);
  Status status = copied.status();
  if (status.ok() && !*copied) {
    status = Pull(volume, path, attr);
    if (status.ok()) {
      ++result.moved;
      result.bytes += attr.size();
    }
  }
  if (!status.ok()) result.stuck.push_back(volume + "/" + path + ": " + status.message());
}

Status Drainer::Directory(const std::string& volume, const std::string& path, Ino ino) {
  std::string after;
  while (true) {
    meta::Request request;
    auto* op = request.mutable_readdir();
    op->set_ino(ino);
    op->set_after(after);
    op->set_max_entries(kPageEntries);
    op->set_with_attrs(true);
    auto reply = CallMeta(client_, request);
    if (reply.status().Is(Code::kNotFound)) return Status();  // removed meanwhile
    if (!reply.ok()) return reply.status();
    for (const auto& entry : reply->entries()) {
      after = entry.name();
      if (entry.name() == "." || entry.name() == "..") continue;
      std::string inside = path.empty() ? entry.name() : path + "/" + entry.name();
      const meta::Attr& attr = entry.entry().attr();
      if (S_ISDIR(attr.mode())) directories_.emplace_back(inside, attr.ino());
      if (S_ISREG(attr.mode())) File(volume, inside, attr);
    }
    if (reply->last() || reply->entries().empty()) return Status();
  }
}

Status Drainer::Volume(const std::string& volume) {
  meta::Request request;
  request.mutable_resolve()->set_volume(volume);
  F3_ASSIGN_OR_RETURN(meta::Reply root, CallMeta(client_, request));
  directories_.assign(1, {"", root.entry().attr().ino()});
  while (!directories_.empty()) {
    auto [path, ino] = directories_.front();
    directories_.pop_front();
    F3_RETURN_IF_ERROR(Directory(volume, path, ino));
  }
  return Status();
}

}  // namespace

Result<DrainResult> DrainNode(meta::MetaClient* client, const std::string& node,
                              const std::vector<DrainTarget>& targets,
                              const std::function<void(const std::string&)>& say) {
  meta::Request request;
  request.mutable_list_nodes();
  F3_ASSIGN_OR_RETURN(meta::Reply nodes, CallMeta(client, request));
  NodeId id = 0;
  for (const auto& known : nodes.nodes()) {
    if (known.name() == node) id = known.id();
  }
  if (id == 0) return Status::NotFound("the metadata server knows no node \"" + node + "\"");
  request.mutable_list_volumes();
  F3_ASSIGN_OR_RETURN(meta::Reply volumes, CallMeta(client, request));
  Drainer drainer(client, id, targets, say);
  for (const auto& volume : volumes.names()) F3_RETURN_IF_ERROR(drainer.Volume(volume));
  return drainer.result;
}

}  // namespace f3::cli
