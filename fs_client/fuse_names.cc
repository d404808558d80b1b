// Names: lookup, creation, removal, renaming, links.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "fs_client/fuse_session_impl.h"

namespace f3::fs {
namespace {

constexpr size_t kForgetsAtOnce = 256;
// A rename may find the file changed again after its conversion.
constexpr int kMaxConversions = 4;
// Values of <linux/fs.h>, which does not go with <fcntl.h>.
constexpr unsigned kRenameNoReplace = 1;
constexpr unsigned kRenameExchange = 2;

// The one name that is not the metadata server's.
bool IsReferences(uint64_t parent, const std::string& name) {
  return parent == InodeTable::kRootNode && name == ReferenceDir::kTopName;
}

}  // namespace

void FuseImpl::Lookup(const ReqRef& req, uint64_t parent, const char* name) {
  if (IsReferences(parent, name)) {
    return ReplyEntry(req, ReferenceDir::Node{ReferenceDir::kTopNode, true, 0});
  }
  const Ino ino = nodes_->ToIno(parent);
  meta::Request request;
  // By these two names the kernel finds an inode again that it had forgotten.
  const bool self = std::strcmp(name, ".") == 0;
  if (self || std::strcmp(name, "..") == 0) {
    if (!self && (ino == root_ || !nodes_->Known(ino))) return req->Error(ESTALE);
  }
  if (self) {
    request.mutable_getattr()->set_ino(ino);
    // A handle may be of another volume, or of a place outside of the mounted tree.
    if (!nodes_->Known(ino)) request.mutable_getattr()->set_within(root_);
  } else {
    request.mutable_lookup()->set_parent(ino);
    request.mutable_lookup()->set_name(name);
  }
  CallMeta(
      req, std::move(request),
      [this, req, ino, self, name = std::string(name)](const Status& status, meta::Reply reply) {
        if (self && status.ok()) *reply.mutable_entry()->mutable_attr() = reply.attr();
        if (!self && status.ok()) Placed(reply.entry(), ino, name);
        if (status.ok()) return ReplyEntry(req, ino, std::move(*reply.mutable_entry()));
        if (status.Is(Code::kNotFound)) return ReplyAbsent(req, ino, reply.directory_cacheable());
        req->Error(status);
      });
}

void FuseImpl::Placed(const meta::Entry& entry, Ino parent, const std::string& name) {
  if (S_ISDIR(entry.attr().mode())) rules_->Placed(entry.attr().ino(), parent, name);
}

void FuseImpl::Forget(uint64_t node, uint64_t lookups) {
  if (ReferenceDir::Owns(node)) return references_->Forget(node, lookups);
  if (!nodes_->Forget(node, lookups)) return;
  fresh_.Drop(nodes_->ToIno(node));
  rules_->Forgotten(nodes_->ToIno(node));
  std::vector<Ino> batch;
  {
    MutexLock lock(mutex_);
    forgotten_.push_back(nodes_->ToIno(node));
    if (forgotten_.size() < kForgetsAtOnce) return;
    batch.swap(forgotten_);
  }
  SendForgets(std::move(batch));
}

// A lookup that is under way may bring an inode back: see GrantGuard.
void FuseImpl::SendForgets(std::vector<Ino> inos) {
  meta::Request request;
  std::vector<Ino> sent;
  for (Ino ino : inos) {
    guard_.BeginForget(ino);
    if (nodes_->Known(ino)) {
      guard_.EndForget(ino);
      continue;
    }
    request.mutable_forget()->add_inos(ino);
    sent.push_back(ino);
  }
  if (sent.empty()) return;
  request.set_mount(options_.number);
  options_.meta->CallAsync(std::move(request),
                           [this, sent = std::move(sent)](const Status&, const meta::Reply&) {
                             for (Ino ino : sent) guard_.EndForget(ino);
                           });
}

void FuseImpl::GiveBackLeases() {
  std::vector<Ino> inos;
  {
    MutexLock lock(mutex_);
    inos.swap(forgotten_);
  }
  for (uint64_t node : nodes_->All()) inos.push_back(nodes_->ToIno(node));
  for (size_t first = 0; first < inos.size(); first += kForgetsAtOnce) {
    meta::Request request;
    request.set_mount(options_.number);
    const size_t end = std::min(inos.size(), first + kForgetsAtOnce);
    for (size_t i = first; i < end; ++i) request.mutable_forget()->add_inos(inos[i]);
    options_.meta->CallAsync(std::move(request), [](const Status&, const meta::Reply&) {});
  }
}

void FuseImpl::KeepDirectory(const ReqRef& req, const Changing& changing,
                             const meta::Reply& reply) {
  const meta::Attr& attr = reply.parent();
  GrantGuard::Writing writing(&guard_);
  if (May(attr.ino(), attr.cacheable(), req->since())) fresh_.AddChanged(attr, changing.since());
}

void FuseImpl::MakeNode(const ReqRef& req, uint64_t parent, const char* name, uint32_t mode,
                        uint32_t rdev, const char* target) {
  const Ino ino = nodes_->ToIno(parent);
  meta::Request request;
  meta::MakeNodeOp* op = request.mutable_make_node();
  op->set_parent(ino);
  op->set_name(name);
  op->set_mode(mode);
  op->set_rdev(rdev);
  op->set_target(target);
  op->set_hint_class(rules_->Of(ino, name));
  op->set_hint_tier(options_.mount.tier);
  auto changing = std::make_shared<Changing>(this, ino);
  CallMeta(req, std::move(request),
           [this, req, ino, changing, name = std::string(name)](const Status& status,
                                                                meta::Reply reply) {
             if (!status.ok()) return req->Error(status);
             KeepDirectory(req, *changing, reply);
             Placed(reply.entry(), ino, name);
             ReplyEntry(req, ino, std::move(*reply.mutable_entry()));
           });
}

void FuseImpl::Remove(const ReqRef& req, uint64_t parent, const char* name, bool directory) {
  if (IsReferences(parent, name)) return req->Error(EBUSY);
  const Ino ino = nodes_->ToIno(parent);
  meta::Request request;
  request.mutable_unlink()->set_parent(ino);
  request.mutable_unlink()->set_name(name);
  request.mutable_unlink()->set_directory(directory);
  auto changing = std::make_shared<Changing>(this, ino);
  CallMeta(req, std::move(request),
           [this, req, changing](const Status& status, const meta::Reply& reply) {
             if (status.ok()) KeepDirectory(req, *changing, reply);
             req->Error(status);
           });
}

void FuseImpl::Rename(const ReqRef& req, uint64_t parent, std::string name, uint64_t new_parent,
                      std::string new_name, unsigned flags, int attempt) {
  if ((flags & ~(kRenameNoReplace | kRenameExchange)) != 0) return req->Error(EINVAL);
  if (ReferenceDir::Owns(new_parent)) return req->Error(EROFS);
  if (IsReferences(parent, name) || IsReferences(new_parent, new_name)) return req->Error(EBUSY);
  meta::Request request;
  meta::RenameOp* op = request.mutable_rename();
  op->set_parent(nodes_->ToIno(parent));
  op->set_name(name);
  op->set_new_parent(nodes_->ToIno(new_parent));
  op->set_new_name(new_name);
  op->set_no_replace((flags & kRenameNoReplace) != 0);
  op->set_exchange((flags & kRenameExchange) != 0);
  op->set_hint_class(rules_->Of(op->new_parent(), new_name));
  if (op->exchange()) op->set_hint_class_back(rules_->Of(op->parent(), name));
  auto from = std::make_shared<Changing>(this, op->parent());
  auto to = std::make_shared<Changing>(this, op->new_parent());
  CallMeta(req, std::move(request), [=, this](const Status& status, const meta::Reply& reply) {
    if (!status.Is(Code::kNeedsConversion) || attempt >= kMaxConversions) {
      if (!status.ok()) return req->Error(status);
      const Ino old_ino = nodes_->ToIno(parent), new_ino = nodes_->ToIno(new_parent);
      if ((flags & kRenameExchange) != 0) rules_->Moved(new_ino, new_name, old_ino, name);
      Placed(reply.entry(), new_ino, new_name);
      return req->Ok();
    }
    // Of two files that change places, either may be the one.
    const bool other = (flags & kRenameExchange) != 0 && attempt % 2 == 1;
    meta::Request lookup;
    lookup.mutable_lookup()->set_parent(nodes_->ToIno(other ? new_parent : parent));
    lookup.mutable_lookup()->set_name(other ? new_name : name);
    CallMeta(req, std::move(lookup), [=, this](const Status& found, const meta::Reply& looked) {
      (void)from, (void)to;
      if (!found.ok()) return req->Error(found);
      options_.files->Convert(looked.entry().attr().ino(), meta::CLASS_DURABLE,
                              [=, this](const Status& converted) {
                                (void)from, (void)to;
                                if (!converted.ok()) return req->Error(converted);
                                Rename(req, parent, name, new_parent, new_name, flags, attempt + 1);
                              });
    });
  });
}

void FuseImpl::Link(const ReqRef& req, uint64_t node, uint64_t new_parent, const char* new_name) {
  if (ReferenceDir::Owns(node)) return req->Error(EXDEV);
  const Ino ino = nodes_->ToIno(new_parent);
  meta::Request request;
  meta::LinkOp* op = request.mutable_link();
  op->set_ino(nodes_->ToIno(node));
  op->set_new_parent(ino);
  op->set_new_name(new_name);
  op->set_hint_class(rules_->Of(ino, new_name));
  auto changing = std::make_shared<Changing>(this, ino);
  CallMeta(req, std::move(request),
           [this, req, ino, changing](const Status& status, meta::Reply reply) {
             if (!status.ok()) return req->Error(status);
             KeepDirectory(req, *changing, reply);
             ReplyEntry(req, ino, std::move(*reply.mutable_entry()));
           });
}

void FuseImpl::Readlink(const ReqRef& req, uint64_t node) {
  meta::Request request;
  request.mutable_readlink()->set_ino(nodes_->ToIno(node));
  CallMeta(req, std::move(request), [req](const Status& status, const meta::Reply& reply) {
    if (!status.ok()) return req->Error(status);
    req->Send(reply.data().data(), reply.data().size());
  });
}

void FuseImpl::Create(const ReqRef& req, uint64_t parent, std::string name, uint32_t mode,
                      int flags, bool tmpfile) {
  const Ino ino = nodes_->ToIno(parent);
  const MountOptions& mount = options_.mount;
  meta::Request request;
  meta::CreateOp* op = request.mutable_create();
  op->set_parent(ino);
  op->set_name(std::move(name));
  op->set_mode(S_IFREG | (mode & 07777));
  const int access = flags & O_ACCMODE;
  op->mutable_flags()->set_read(access != O_WRONLY);
  op->mutable_flags()->set_write(access != O_RDONLY);
  op->mutable_flags()->set_truncate((flags & O_TRUNC) != 0);
  // An existing file has to be opened as such, with its permissions: never by the back door here.
  op->set_exclusive(true);
  op->set_hint_class(rules_->Of(ino, op->name()));
  op->set_hint_tier(mount.tier);
  if (mount.follow) op->set_hint_follow(true);
  op->set_hint_ttl_s(mount.ttl_s);
  op->set_tmpfile(tmpfile);
  std::shared_ptr<Changing> changing;
  if (!tmpfile) changing = std::make_shared<Changing>(this, ino);
  CallMeta(req, std::move(request), [=, this](const Status& status, meta::Reply reply) {
    if (status.Is(Code::kExists) && (flags & O_EXCL) == 0) {
      // Another node was first: the kernel looks the name up again and opens it.
      return req->Error(ESTALE);
    }
    if (!status.ok()) return req->Error(status);
    if (changing != nullptr) KeepDirectory(req, *changing, reply);
    // The new inode's node id: aliases come from opens that went wrong, and this is the first.
    auto entry = std::make_shared<meta::Entry>(std::move(*reply.mutable_entry()));
    OpenRequest opener = Opener(req, entry->attr().ino(), flags);
    options_.files->OpenCreated(opener, entry->attr(), reply.open(),
                                [this, req, ino, entry](const Result<OpenOutcome>& outcome) {
                                  ReplyCreate(req, ino, *entry, outcome);
                                });
  });
}

// libfuse 3.14 does not know the request.
void FuseImpl::CreateTmpfile(const fuse_in_header& header, const std::byte* body, size_t size) {
  fuse_create_in in = {};
  if (size < sizeof(in)) return;
  std::memcpy(&in, body, sizeof(in));
  auto req = std::make_shared<FuseRequest>(this, nullptr, header, in.umask, /*kill_suid=*/false);
  Create(req, header.nodeid, "", in.mode, static_cast<int>(in.flags), true);
}

}  // namespace f3::fs
