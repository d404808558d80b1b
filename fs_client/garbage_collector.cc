#include "fs_client/garbage_collector.h"

#include <utility>

namespace f3::fs {
namespace {

constexpr uint32_t kPage = 1000;

}  // namespace

Status GarbageCollector::Run() {
  std::string after;
  do {
    meta::Request request;
    request.mutable_scan()->set_kind(meta::SCAN_GARBAGE);
    request.mutable_scan()->set_max_items(kPage);
    request.mutable_scan()->set_after(after);
    meta::Reply reply;
    F3_RETURN_IF_ERROR(meta_->Call(std::move(request), &reply));
    meta::Request drop;
    for (const meta::BlockRow& row : reply.scan().blocks()) {
      const storage::BlockName name = {row.ino(), row.block().index(), row.block().generation()};
      F3_RETURN_IF_ERROR(durable_->Remove(name));
      *drop.mutable_drop_garbage()->add_blocks() = row;
    }
    after = reply.scan().next();
    if (drop.drop_garbage().blocks().empty()) continue;
    F3_RETURN_IF_ERROR(meta_->Call(std::move(drop), &reply));
  } while (!after.empty());
  return Status();
}

}  // namespace f3::fs
