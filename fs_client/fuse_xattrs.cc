// Extended attributes.
#include <linux/xattr.h>
#include <sys/xattr.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "fs_client/fuse_session_impl.h"

namespace f3::fs {

// The size when `size` is 0, else the value.
void FuseImpl::ReplyXattr(const ReqRef& req, const std::string& value, size_t size) {
  if (size == 0) {
    fuse_getxattr_out out = {};
    out.size = static_cast<uint32_t>(value.size());
    req->Send(&out, sizeof(out));
  } else if (value.size() > size) {
    req->Error(ERANGE);
  } else {
    req->Send(value.data(), value.size());
  }
}

void FuseImpl::GetXattr(const ReqRef& req, uint64_t node, const char* name, size_t size) {
  const Ino ino = nodes_->ToIno(node);
  if (std::strcmp(name, XATTR_NAME_CAPS) == 0 && fresh_.Made(ino)) return req->Error(ENODATA);
  meta::Request request;
  request.mutable_getxattr()->set_ino(ino);
  request.mutable_getxattr()->set_name(name);
  CallMeta(req, std::move(request),
           [this, req, size](const Status& status, const meta::Reply& reply) {
             if (!status.ok()) return req->Error(status);
             ReplyXattr(req, reply.data(), size);
           });
}

void FuseImpl::ListXattr(const ReqRef& req, uint64_t node, size_t size) {
  meta::Request request;
  request.mutable_listxattr()->set_ino(nodes_->ToIno(node));
  CallMeta(req, std::move(request),
           [this, req, size](const Status& status, const meta::Reply& reply) {
             if (!status.ok()) return req->Error(status);
             std::string names;
             for (const std::string& name : reply.names()) names.append(name).push_back('\0');
             ReplyXattr(req, names, size);
           });
}

void FuseImpl::SetXattr(const ReqRef& req, uint64_t node, const char* name, std::string value,
                        int flags) {
  meta::Request request;
  meta::SetXattrOp* op = request.mutable_setxattr();
  const Ino ino = nodes_->ToIno(node);
  op->set_ino(ino);
  op->set_name(name);
  op->set_value(value);
  op->set_create((flags & XATTR_CREATE) != 0);
  op->set_replace((flags & XATTR_REPLACE) != 0);
  const auto to = value == "durable" ? meta::CLASS_DURABLE : meta::CLASS_EPHEMERAL;
  CallMeta(req, std::move(request), [this, req, ino, to](const Status& status, const meta::Reply&) {
    if (!status.Is(Code::kNeedsConversion)) return req->Error(status);
    options_.files->Convert(ino, to, [req](const Status& converted) { req->Error(converted); });
  });
}

void FuseImpl::RemoveXattr(const ReqRef& req, uint64_t node, const char* name) {
  meta::Request request;
  request.mutable_removexattr()->set_ino(nodes_->ToIno(node));
  request.mutable_removexattr()->set_name(name);
  CallMeta(req, std::move(request),
           [req](const Status& status, const meta::Reply&) { req->Error(status); });
}

}  // namespace f3::fs
