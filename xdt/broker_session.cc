#include "xdt/broker_session.h"

#include <utility>

namespace f3::xdt {
namespace {

Status Over() { return Status::Unavailable("the function is gone"); }
Status TooMany() {
  return Status::Again("this connection holds too many buffers; release some first");
}

}  // namespace

Result<uint64_t> Session::Add(Filling filling) {
  MutexLock lock(mutex_);
  if (over_) return Over();
  if (fillings_.size() >= kMaxHandles) return TooMany();
  const uint64_t handle = next_++;
  fillings_.emplace(handle, std::move(filling));
  return handle;
}

Result<uint64_t> Session::Add(ViewRef view) {
  MutexLock lock(mutex_);
  if (over_) return Over();
  if (views_.size() >= kMaxHandles || viewed_bytes_ + view->bytes() > most_viewed_bytes_) {
    return TooMany();
  }
  viewed_bytes_ += view->bytes();
  const uint64_t handle = next_++;
  views_.emplace(handle, std::move(view));
  return handle;
}

Status Session::CheckRoomForView(uint64_t bytes) {
  MutexLock lock(mutex_);
  if (views_.size() >= kMaxHandles || viewed_bytes_ + bytes > most_viewed_bytes_) return TooMany();
  return Status();
}

Result<Filling> Session::TakeFilling(uint64_t handle) {
  MutexLock lock(mutex_);
  auto at = fillings_.find(handle);
  if (at == fillings_.end()) return Status::NotFound("there is no such buffer to be filled");
  Filling filling = std::move(at->second);
  fillings_.erase(at);
  return filling;
}

ViewRef Session::FindView(uint64_t handle) {
  MutexLock lock(mutex_);
  auto at = views_.find(handle);
  return at == views_.end() ? nullptr : at->second;
}

void Session::Release(uint64_t handle) {
  ViewRef view;  // goes without the lock
  Filling filling;
  MutexLock lock(mutex_);
  if (auto at = views_.find(handle); at != views_.end()) {
    view = std::move(at->second);
    viewed_bytes_ -= view->bytes();
    views_.erase(at);
  } else if (auto found = fillings_.find(handle); found != fillings_.end()) {
    filling = std::move(found->second);
    fillings_.erase(found);
  }
}

void Session::End() {
  std::map<uint64_t, Filling> fillings;
  std::map<uint64_t, ViewRef> views;
  MutexLock lock(mutex_);
  over_ = true;
  fillings.swap(fillings_);
  views.swap(views_);
}

}  // namespace f3::xdt
