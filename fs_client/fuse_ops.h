// FuseOps: libfuse's table of handlers. Each hands its request to FuseImpl.
#ifndef F3_FS_CLIENT_FUSE_OPS_H_
#define F3_FS_CLIENT_FUSE_OPS_H_

#include "fs_client/fuse_session_impl.h"

namespace f3::fs {

struct FuseOps {
  static fuse_lowlevel_ops Table();
};

}  // namespace f3::fs

#endif  // F3_FS_CLIENT_FUSE_OPS_H_
