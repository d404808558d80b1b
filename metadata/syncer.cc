#include "metadata/syncer.h"

#include <utility>

namespace f3::meta {

Syncer::Syncer(KvStore* store, int64_t interval_micros)
    : store_(store), interval_micros_(interval_micros), thread_([this] { Run(); }) {}

void Syncer::AfterSync(std::function<void(Status)> done) {
  {
    MutexLock lock(mutex_);
    if (!stopping_) {
      waiting_.push_back(std::move(done));
      work_.Signal();
      return;
    }
  }
  done(Status::Unavailable("the metadata server is stopping"));
}

void Syncer::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    work_.Signal();
  }
  if (thread_.joinable()) thread_.join();
}

void Syncer::Run() {
  for (bool last = false; !last;) {
    std::vector<std::function<void(Status)>> batch;
    {
      MutexLock lock(mutex_);
      if (waiting_.empty() && !stopping_) work_.WaitFor(mutex_, interval_micros_);
      batch.swap(waiting_);
      last = stopping_;
    }
    auto synced = store_->Sync();
    for (auto& done : batch) done(synced.ok() ? Status() : synced.status());
  }
}

}  // namespace f3::meta
