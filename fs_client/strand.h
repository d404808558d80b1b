// Strand: runs asynchronous tasks one at a time, in the order in which they were posted.
//
// A task is given `next` and calls it exactly once, from any thread, when it is over; only then
// does the following task start, on that thread. A task posted to an idle strand starts at once on
// the caller's thread. Thread-safe. Tasks keep alive what they need; the strand may be destroyed
// while one runs. The queue is bounded by its users: each queued task is a request of the kernel,
// of a peer or a timer.
#ifndef F3_FS_CLIENT_STRAND_H_
#define F3_FS_CLIENT_STRAND_H_

#include <deque>
#include <functional>
#include <memory>

#include "common/mutex.h"

namespace f3::fs {

class Strand {
 public:
  using Next = std::function<void()>;
  using Task = std::function<void(Next next)>;

  Strand() : state_(std::make_shared<State>()) {}
  Strand(const Strand&) = delete;
  Strand& operator=(const Strand&) = delete;

  void Post(Task task);

 private:
  struct State {
    Mutex mutex;
    bool busy F3_GUARDED_BY(mutex) = false;
    std::deque<Task> queue F3_GUARDED_BY(mutex);
  };
  static void Run(const std::shared_ptr<State>& state, Task task);

  const std::shared_ptr<State> state_;
};

}  // namespace f3::fs

#endif  // F3_FS_CLIENT_STRAND_H_
