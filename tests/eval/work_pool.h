// A pool of threads for work that brings more work.
#ifndef MEMGATE_TESTS_EVAL_WORK_POOL_H_
#define MEMGATE_TESTS_EVAL_WORK_POOL_H_

#include <deque>
#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace memgate::eval {

// Thread-safe.
class WorkPool {
 public:
  using Work = std::function<void()>;

  // Behind all that waits.
  void AddLast(Work work);
  // Before all that waits: what was begun ends first.
  void AddFirst(Work work);

  // Runs everything on `threads` threads and returns when nothing waits or runs any more.
  void Run(int threads);

 private:
  void RunOneThread();
  bool Idle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return waiting_.empty() && running_ == 0; }

  absl::Mutex mutex_;
  std::deque<Work> waiting_ ABSL_GUARDED_BY(mutex_);
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace memgate::eval

#endif  // MEMGATE_TESTS_EVAL_WORK_POOL_H_
