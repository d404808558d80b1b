// Executor: a fixed number of threads behind a bounded queue. Thread-safe.
//
// Shutdown (and the destructor) refuses new work, runs what is queued, and joins the threads.
#ifndef F3_COMMON_EXECUTOR_H_
#define F3_COMMON_EXECUTOR_H_

#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "common/mutex.h"

namespace f3 {

class Executor {
 public:
  // `name`: at most 15 bytes, shown by ps and gdb.
  Executor(std::string name, int threads, size_t max_queued);
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // False, without running `work`, when the queue is full or the executor is shutting down.
  [[nodiscard]] bool TrySubmit(std::function<void()> work);
  // Waits for room. False when the executor is shutting down.
  // Must not be called from one of the executor's own threads.
  bool Submit(std::function<void()> work);
  void Shutdown();

 private:
  void Run(int index);

  const std::string name_;
  const size_t max_queued_;
  Mutex mutex_;
  CondVar work_;
  CondVar room_;
  std::deque<std::function<void()>> queue_ F3_GUARDED_BY(mutex_);
  bool stopping_ F3_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;  // constant between construction and Shutdown
};

}  // namespace f3

#endif  // F3_COMMON_EXECUTOR_H_
