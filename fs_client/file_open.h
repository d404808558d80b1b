// The state of one open on its way through the strand. Private to the file layer.
#ifndef F3_FS_CLIENT_FILE_OPEN_H_
#define F3_FS_CLIENT_FILE_OPEN_H_

#include <functional>
#include <vector>

#include "fs_client/file_manager_impl.h"

namespace f3::fs {

struct FileManagerImpl::OpenTask {
  OpenRequest request;
  bool internal = false;  // no kernel handle
  bool writes = false;
  InodeRef inode;
  Next next;
  std::function<void(Result<HandleRef>, const OpenOutcome&)> done;

  meta::Attr attr;
  meta::OpenReply open;
  bool counted = false;  // the metadata server counts this open
  std::vector<storage::DurableBlock> rows;
  ContentRef content;
  bool follows = false;              // reads of this handle wait for the writer
  Mounts stale_pages;                // of these the pages go before the reply
  std::shared_ptr<void> sizes_kept;  // until then
};

}  // namespace f3::fs

#endif  // F3_FS_CLIENT_FILE_OPEN_H_
