#include "fs_client/strand.h"

#include <atomic>
#include <utility>

namespace f3::fs {

void Strand::Post(Task task) {
  {
    MutexLock lock(state_->mutex);
    if (state_->busy) {
      state_->queue.push_back(std::move(task));
      return;
    }
    state_->busy = true;
  }
  Run(state_, std::move(task));
}

// A loop instead of recursion, so that a long queue of tasks that end at once needs no deep stack:
// whoever comes second, the return of the task or its call of `next`, goes on.
void Strand::Run(const std::shared_ptr<State>& state, Task task) {
  for (;;) {
    auto half_over = std::make_shared<std::atomic<bool>>(false);
    auto take_following = [state](Task* following) {
      MutexLock lock(state->mutex);
      if (state->queue.empty()) {
        state->busy = false;
        return false;
      }
      *following = std::move(state->queue.front());
      state->queue.pop_front();
      return true;
    };
    task([state, half_over, take_following] {
      if (!half_over->exchange(true)) return;
      Task following;
      if (take_following(&following)) Run(state, std::move(following));
    });
    task = nullptr;  // what it holds goes before the following starts
    if (!half_over->exchange(true)) return;
    if (!take_following(&task)) return;
  }
}

}  // namespace f3::fs
