#include "storage_nodes/fetcher.h"

#include <algorithm>
#include <utility>

#include "storage_nodes/content_source.h"
#include "storage_nodes/fetch.h"

namespace f3::storage {
namespace {

constexpr size_t kMaxQueued = 4096;

class FetcherImpl : public Fetcher {
 public:
  explicit FetcherImpl(const Options& options)
      : blocking_("f3-fetch-wait", 2, kMaxQueued),
        readers_("f3-durable", options.threads, kMaxQueued) {
    parts_.options = options;
    parts_.blocking = &blocking_;
    parts_.readers = &readers_;
  }

  Result<std::shared_ptr<Fetch>> Start(FetchPlan plan, TierKind tier) override;
  void ReadThrough(const FetchPlan& plan, uint64_t offset, std::span<std::byte> into,
                   int64_t deadline_micros, Fetch::ReadDone done) override;
  Counters counters() const override {
    return {parts_.pulled_bytes, parts_.durable_read_bytes, parts_.failovers};
  }

 private:
  FetchParts parts_;
  Executor blocking_;
  Executor readers_;
};

Result<std::shared_ptr<Fetch>> FetcherImpl::Start(FetchPlan plan, TierKind tier) {
  ObjectStore* const objects = parts_.options.objects;
  const ObjectStore::Usage usage = objects->usage();
  const bool memory = tier == TierKind::kMemory;
  const uint64_t used = memory ? usage.memory_used : usage.disk_used;
  const uint64_t capacity = memory ? usage.memory_capacity : usage.disk_capacity;
  // Nothing is evicted for what would not fit anyway.
  if (plan.size > capacity - std::min(capacity, used) + usage.copies_bytes) {
    return Status::TierFull("no room for a copy of object " + ToString(plan.key));
  }
  F3_ASSIGN_OR_RETURN(auto object, objects->Create(plan.key, Role::kFilling, tier, 0));
  return std::shared_ptr<Fetch>(
      std::make_shared<FetchImpl>(&parts_, std::move(plan), std::move(object)));
}

// What ReadThrough needs of a plan, which may list very many blocks.
FetchPlan Around(const FetchPlan& plan, uint64_t offset, uint64_t length) {
  FetchPlan part;
  part.key = plan.key;
  part.version = plan.version;
  part.size = plan.size;
  part.holders = plan.holders;
  part.durable = plan.durable;
  part.refresh = plan.refresh;
  for (auto block = FirstBlock(plan.blocks, offset);
       block != plan.blocks.end() && block->index * kBlockBytes < offset + length; ++block) {
    part.blocks.push_back(*block);
  }
  return part;
}

void FetcherImpl::ReadThrough(const FetchPlan& plan, uint64_t offset, std::span<std::byte> into,
                              int64_t deadline_micros, Fetch::ReadDone done) {
  if (offset >= plan.size || into.empty()) return done(size_t{0});
  // A short answer at the boundary would look like the end of the file to some callers.
  if (into.size() > xdt::kMaxTransferBytes) {
    return done(Status::InvalidArgument("a read of more than 1 MiB"));
  }
  into = into.first(std::min<uint64_t>(into.size(), plan.size - offset));
  auto source = std::make_shared<ContentSource>(&parts_, Around(plan, offset, into.size()));
  source->Read(offset, into, deadline_micros, std::move(done));
}

}  // namespace

std::unique_ptr<Fetcher> Fetcher::Create(const Options& options) {
  return std::make_unique<FetcherImpl>(options);
}

}  // namespace f3::storage
