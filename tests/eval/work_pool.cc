#include "tests/eval/work_pool.h"

#include <thread>
#include <utility>
#include <vector>

namespace memgate::eval {

void WorkPool::AddLast(Work work) {
  const absl::MutexLock lock(&mutex_);
  waiting_.push_back(std::move(work));
}

void WorkPool::AddFirst(Work work) {
  const absl::MutexLock lock(&mutex_);
  waiting_.push_front(std::move(work));
}

void WorkPool::Run(int threads) {
  std::vector<std::thread> pool;
  for (int i = 0; i < threads; ++i) pool.emplace_back([this] { RunOneThread(); });
  for (std::thread& thread : pool) thread.join();
}

void WorkPool::RunOneThread() {
  const auto something_to_do = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !waiting_.empty() || Idle();
  };
  while (true) {
    Work work;
    {
      const absl::MutexLock lock(&mutex_, absl::Condition(&something_to_do));
      if (waiting_.empty()) return;
      work = std::move(waiting_.front());
      waiting_.pop_front();
      ++running_;
    }
    work();
    const absl::MutexLock lock(&mutex_);
    --running_;
  }
}

}  // namespace memgate::eval
