// From a request to the function that does it.
#include "metadata/inode_ops.h"
#include "metadata/location_ops.h"
#include "metadata/lock_ops.h"

namespace f3::meta {

Status ExecuteOp(OpContext& context, const Request& request, Reply* reply) {
  switch (request.op_case()) {
    case Request::kLookup:
      return DoLookup(context, request.lookup(), reply);
    case Request::kGetattr:
      return DoGetAttr(context, request.getattr(), reply);
    case Request::kResolve:
      return DoResolve(context, request.resolve(), reply);
    case Request::kSetattr:
      return DoSetAttr(context, request.setattr(), reply);
    case Request::kCreate:
      return DoCreate(context, request.create(), reply);
    case Request::kMakeNode:
      return DoMakeNode(context, request.make_node(), reply);
    case Request::kLink:
      return DoLink(context, request.link(), reply);
    case Request::kUnlink:
      return DoUnlink(context, request.unlink(), reply);
    case Request::kRename:
      return DoRename(context, request.rename(), reply);
    case Request::kReadlink:
      return DoReadlink(context, request.readlink(), reply);
    case Request::kReaddir:
      return DoReadDir(context, request.readdir(), reply);
    case Request::kGetxattr:
      return DoGetXattr(context, request.getxattr(), reply);
    case Request::kListxattr:
      return DoListXattr(context, request.listxattr(), reply);
    case Request::kSetxattr:
      return DoSetXattr(context, request.setxattr(), reply);
    case Request::kRemovexattr:
      return DoRemoveXattr(context, request.removexattr(), reply);
    case Request::kStatfs:
      return DoStatFs(context, request.statfs(), reply);
    case Request::kOpen:
      return DoOpen(context, request.open(), reply);
    case Request::kClose:
      return DoClose(context, request.close(), reply);
    case Request::kLocation:
      return DoLocation(context, request.location(), reply);
    case Request::kBlockMap:
      return DoBlockMap(context, request.block_map(), reply);
    case Request::kBeginPublish:
      return DoBeginPublish(context, request.begin_publish(), reply);
    case Request::kPublish:
      return DoPublish(context, request.publish(), reply);
    case Request::kAddCopy:
      return DoAddCopy(context, request.add_copy(), reply);
    case Request::kDropCopy:
      return DoDropCopy(context, request.drop_copy(), reply);
    case Request::kGetLock:
      return DoGetLock(context, request.get_lock(), reply);
    case Request::kSetLock:
      return DoSetLock(context, request.set_lock(), reply);
    case Request::kReleaseLocks:
      return DoReleaseLocks(context, request.release_locks(), reply);
    case Request::kCreateVolume:
      return DoCreateVolume(context, request.create_volume(), reply);
    case Request::kListVolumes:
      return DoListVolumes(context, reply);
    case Request::kLocate:
      return DoLocate(context, request.locate(), reply);
    case Request::kScan:
      return DoScan(context, request.scan(), reply);
    case Request::kDropGarbage:
      return DoDropGarbage(context, request.drop_garbage(), reply);
    default:
      return Status::NotSupported("this metadata server does not know the operation");
  }
}

}  // namespace f3::meta
