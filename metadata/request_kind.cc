#include "metadata/request_kind.h"

namespace f3::meta {

bool IsMutation(const Request& request) {
  switch (request.op_case()) {
    case Request::kSetattr:
    case Request::kCreate:
    case Request::kMakeNode:
    case Request::kLink:
    case Request::kUnlink:
    case Request::kRename:
    case Request::kSetxattr:
    case Request::kRemovexattr:
    case Request::kOpen:
    case Request::kClose:
    case Request::kBeginPublish:
    case Request::kPublish:
    case Request::kAddCopy:
    case Request::kDropCopy:
    case Request::kSetLock:
    case Request::kReleaseLocks:
    case Request::kCreateVolume:
    case Request::kDropGarbage:
      return true;
    default:
      return false;
  }
}

void WithdrawGrants(Reply* reply) {
  reply->set_directory_cacheable(false);
  if (reply->has_parent()) reply->mutable_parent()->set_cacheable(false);
  if (reply->has_attr()) reply->mutable_attr()->set_cacheable(false);
  if (reply->has_entry()) {
    reply->mutable_entry()->set_cacheable(false);
    reply->mutable_entry()->mutable_attr()->set_cacheable(false);
  }
  for (DirEntry& entry : *reply->mutable_entries()) {
    if (!entry.has_entry()) continue;
    entry.mutable_entry()->set_cacheable(false);
    entry.mutable_entry()->mutable_attr()->set_cacheable(false);
  }
}

}  // namespace f3::meta
