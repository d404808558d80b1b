#include "common/executor.h"

#include <pthread.h>

#include <utility>

namespace f3 {

Executor::Executor(std::string name, int threads, size_t max_queued)
    : name_(std::move(name)), max_queued_(max_queued) {
  threads_.reserve(static_cast<size_t>(threads));
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this, i] { Run(i); });
  }
}

Executor::~Executor() { Shutdown(); }

bool Executor::TrySubmit(std::function<void()> work) {
  MutexLock lock(mutex_);
  if (stopping_ || queue_.size() >= max_queued_) return false;
  queue_.push_back(std::move(work));
  work_.Signal();
  return true;
}

bool Executor::Submit(std::function<void()> work) {
  MutexLock lock(mutex_);
  while (!stopping_ && queue_.size() >= max_queued_) room_.Wait(mutex_);
  if (stopping_) return false;
  queue_.push_back(std::move(work));
  work_.Signal();
  return true;
}

void Executor::Shutdown() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    work_.SignalAll();
    room_.SignalAll();
  }
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void Executor::Run(int index) {
  std::string name = name_.substr(0, 12) + std::to_string(index);
  pthread_setname_np(pthread_self(), name.c_str());
  for (;;) {
    std::function<void()> work;
    {
      MutexLock lock(mutex_);
      while (queue_.empty() && !stopping_) work_.Wait(mutex_);
      if (queue_.empty()) return;
      work = std::move(queue_.front());
      queue_.pop_front();
      room_.Signal();
    }
    work();
  }
}

}  // namespace f3
