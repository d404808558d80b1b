#include "openwhisk_plugin/subtree.h"

#include <fnmatch.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

namespace f3::openwhisk {
namespace {

constexpr uint32_t kPageEntries = 1024;
constexpr uint32_t kOpenMode = S_IFDIR | 0777;
constexpr uint32_t kRootMode = S_IFDIR | 0755;
// Of "openwhisk/NAMESPACE".
constexpr size_t kNamespaceDepth = 2;

std::vector<std::string> Split(const std::string& path) {
  std::vector<std::string> parts;
  size_t at = 0;
  while (at < path.size()) {
    const size_t slash = std::min(path.find('/', at), path.size());
    if (slash > at) parts.push_back(path.substr(at, slash - at));
    at = slash + 1;
  }
  return parts;
}

Result<meta::Attr> Resolve(meta::MetaClient* client, const std::string& volume,
                           const std::string& path) {
  meta::Request request;
  request.mutable_resolve()->set_volume(volume);
  request.mutable_resolve()->set_path(path);
  meta::Reply reply;
  F3_RETURN_IF_ERROR(client->Call(std::move(request), &reply));
  return reply.entry().attr();
}

Result<meta::Attr> Lookup(meta::MetaClient* client, Ino parent, const std::string& name) {
  meta::Request request;
  request.mutable_lookup()->set_parent(parent);
  request.mutable_lookup()->set_name(name);
  meta::Reply reply;
  F3_RETURN_IF_ERROR(client->Call(std::move(request), &reply));
  return reply.entry().attr();
}

// The directory `name` of `parent`, made when it is missing.
Result<meta::Attr> MakeDirectory(meta::MetaClient* client, Ino parent, const std::string& name,
                                 uint32_t mode) {
  auto there = Lookup(client, parent, name);
  if (there.ok() || !there.status().Is(Code::kNotFound)) return there;
  meta::Request request;
  auto* op = request.mutable_make_node();
  op->set_parent(parent);
  op->set_name(name);
  op->set_mode(mode);
  meta::Reply reply;
  Status made = client->Call(std::move(request), &reply);
  // Another node was faster.
  if (made.Is(Code::kExists)) return Lookup(client, parent, name);
  F3_RETURN_IF_ERROR(made);
  return reply.entry().attr();
}

// One page of a directory; `after` moves on.
Result<bool> ReadPage(meta::MetaClient* client, Ino ino, std::string* after,
                      std::vector<meta::DirEntry>* entries) {
  meta::Request request;
  auto* op = request.mutable_readdir();
  op->set_ino(ino);
  op->set_after(*after);
  op->set_max_entries(kPageEntries);
  op->set_with_attrs(true);
  meta::Reply reply;
  F3_RETURN_IF_ERROR(client->Call(std::move(request), &reply));
  entries->assign(reply.entries().begin(), reply.entries().end());
  if (!entries->empty()) *after = entries->back().name();
  return reply.last() || entries->empty();
}

Status Unlink(meta::MetaClient* client, Ino parent, const std::string& name, bool directory) {
  meta::Request request;
  auto* op = request.mutable_unlink();
  op->set_parent(parent);
  op->set_name(name);
  op->set_directory(directory);
  meta::Reply reply;
  Status status = client->Call(std::move(request), &reply);
  return status.Is(Code::kNotFound) ? Status() : status;
}

struct Level {
  Ino parent = 0;
  std::string name;
  Ino ino = 0;
};

// Depth first without recursion: names may be nested deeper than a stack is.
Status RemoveTree(meta::MetaClient* client, Level top) {
  std::vector<Level> levels = {std::move(top)};
  while (!levels.empty()) {
    const Ino ino = levels.back().ino;
    std::string after;
    std::vector<meta::DirEntry> entries;
    F3_RETURN_IF_ERROR(ReadPage(client, ino, &after, &entries).status());
    Ino deeper = 0;
    std::string deeper_name;
    for (const meta::DirEntry& entry : entries) {
      if (S_ISDIR(entry.mode())) {
        deeper = entry.ino();
        deeper_name = entry.name();
        continue;
      }
      F3_RETURN_IF_ERROR(Unlink(client, ino, entry.name(), false));
    }
    if (deeper != 0) {
      levels.push_back({ino, deeper_name, deeper});
    } else if (entries.empty()) {
      F3_RETURN_IF_ERROR(Unlink(client, levels.back().parent, levels.back().name, true));
      levels.pop_back();
    }
  }
  return Status();
}

class Finder {
 public:
  Finder(meta::MetaClient* client, std::vector<std::string> parts, SearchBudget* budget,
         std::vector<FoundFile>* found)
      : client_(client), parts_(std::move(parts)), budget_(budget), found_(found) {}

  // What fits parts_[depth…] in a directory.
  Status Search(Ino directory, const std::string& path, size_t depth) {
    const std::string& part = parts_[depth];
    if (part.find_first_of("*?[\\") == std::string::npos) {
      F3_RETURN_IF_ERROR(Spend());
      auto attr = Lookup(client_, directory, part);
      if (attr.status().Is(Code::kNotFound) || attr.status().Is(Code::kNotDirectory)) {
        return Status();
      }
      F3_RETURN_IF_ERROR(attr.status());
      return Visit(*attr, path + part, depth);
    }
    std::string after;
    for (bool last = false; !last;) {
      std::vector<meta::DirEntry> entries;
      F3_ASSIGN_OR_RETURN(last, ReadPage(client_, directory, &after, &entries));
      for (const meta::DirEntry& entry : entries) {
        F3_RETURN_IF_ERROR(Spend());
        if (::fnmatch(part.c_str(), entry.name().c_str(), FNM_PATHNAME | FNM_PERIOD) != 0) continue;
        F3_RETURN_IF_ERROR(Visit(entry.entry().attr(), path + entry.name(), depth));
      }
    }
    return Status();
  }

 private:
  Status Spend() {
    if (budget_->names == 0) {
      return Status::InvalidArgument("paths lead to more than 10,000 names; narrow the globs");
    }
    --budget_->names;
    return Status();
  }

  Status Visit(const meta::Attr& attr, const std::string& path, size_t depth) {
    if (depth + 1 < parts_.size()) {
      return S_ISDIR(attr.mode()) ? Search(attr.ino(), path + "/", depth + 1) : Status();
    }
    if (S_ISREG(attr.mode())) found_->push_back({path, attr});
    return Status();
  }

  meta::MetaClient* const client_;
  const std::vector<std::string> parts_;
  SearchBudget* const budget_;
  std::vector<FoundFile>* const found_;
};

}  // namespace

Status MakeSubtree(meta::MetaClient* client, const std::string& volume, const std::string& path) {
  auto there = Resolve(client, volume, path);
  if (there.ok() && S_ISDIR(there->mode())) return Status();
  if (!there.ok() && !there.status().Is(Code::kNotFound)) return there.status();
  F3_ASSIGN_OR_RETURN(meta::Attr at, Resolve(client, volume, ""));
  const std::vector<std::string> parts = Split(path);
  for (size_t i = 0; i < parts.size(); ++i) {
    const bool open = i + 1 == parts.size() || i + 1 == kNamespaceDepth;
    F3_ASSIGN_OR_RETURN(at,
                        MakeDirectory(client, at.ino(), parts[i], open ? kOpenMode : kRootMode));
    if (!S_ISDIR(at.mode())) {
      return Status::NotDirectory("\"" + parts[i] + "\" of " + path + " in volume " + volume +
                                  " is not a directory");
    }
  }
  return Status();
}

Status RemoveSubtree(meta::MetaClient* client, const std::string& volume, const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return Status::InvalidArgument(path + " is no subtree");
  auto parent = Resolve(client, volume, path.substr(0, slash));
  if (parent.status().Is(Code::kNotFound)) return Status();
  F3_RETURN_IF_ERROR(parent.status());
  const std::string name = path.substr(slash + 1);
  auto attr = Lookup(client, parent->ino(), name);
  if (attr.status().Is(Code::kNotFound)) return Status();
  F3_RETURN_IF_ERROR(attr.status());
  if (!S_ISDIR(attr->mode())) return Unlink(client, parent->ino(), name, false);
  return RemoveTree(client, {parent->ino(), name, attr->ino()});
}

Status FindFiles(meta::MetaClient* client, const std::string& volume, const std::string& subtree,
                 const std::string& glob, SearchBudget* budget, std::vector<FoundFile>* found) {
  std::vector<std::string> parts = Split(glob);
  if (parts.empty()) return Status();
  auto root = Resolve(client, volume, subtree);
  if (root.status().Is(Code::kNotFound)) return Status();
  F3_RETURN_IF_ERROR(root.status());
  return Finder(client, std::move(parts), budget, found).Search(root->ino(), "", 0);
}

}  // namespace f3::openwhisk
