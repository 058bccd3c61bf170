// Parallel loops of the kernels, on threads that belong to the thread that runs them.
#ifndef MEMGATE_ENGINE_KERNELS_PARALLEL_H_
#define MEMGATE_ENGINE_KERNELS_PARALLEL_H_

#include <cstdint>

#include "absl/functional/function_ref.h"

namespace memgate {

// Gives the calling thread a pool of `threads` threads, itself among them, or of as many as the system can
// start; 0 = one per usable core (kernels/usable_cores.h). The pool ends with the thread or when a later call
// asks for another number, which waits for its threads. A thread that waits for work spins for some 50
// microseconds, then it sleeps. REQUIRES: not called from within a ParallelFor.
void SetComputeThreads(int threads);
// Threads of the calling thread's pool; 1 where it has none.
int ComputeThreads();

// SetComputeThreads for as long as the object lives, then as before.
class ScopedComputeThreads {
 public:
  explicit ScopedComputeThreads(int threads) : before_(ComputeThreads()) { SetComputeThreads(threads); }
  ~ScopedComputeThreads() { SetComputeThreads(before_); }
  ScopedComputeThreads(const ScopedComputeThreads&) = delete;
  ScopedComputeThreads& operator=(const ScopedComputeThreads&) = delete;

 private:
  const int before_;
};

// Calls body(begin, end, worker) on disjoint ranges that cover [0, count). `worker` < ComputeThreads() is the
// number of the range: two ranges that run at the same time have different ones. Ranges depend on nothing but
// the arguments and ComputeThreads(). Each has at least `least_items` (>= 1) items, so that waking a thread
// pays; with too few items for two, and in calls from within `body`, everything runs as one range on the
// calling thread. Returns when all ranges are done. `body` must not throw.
void ParallelFor(int64_t count, int64_t least_items,
                 absl::FunctionRef<void(int64_t begin, int64_t end, int worker)> body);

// As ParallelFor, but threads share out the items while they run: each has a range of its own and takes parts
// of it, and one that is done takes parts of what others have left, so that nobody waits long for a core that
// another program uses or whose memory is slower just now. `body` is called several times by each thread, on
// ranges that differ from call to call: what it computes for an item must not depend on the range.
void ParallelForBalanced(int64_t count, int64_t least_items,
                         absl::FunctionRef<void(int64_t begin, int64_t end, int worker)> body);

// least_items for items of `operations` multiply-adds each. Handing a range to a thread that spins costs less
// than a microsecond, waking one that sleeps some microseconds more.
inline int64_t LeastItems(int64_t operations) {
  constexpr int64_t kLeastOperations = 30'000;
  return 1 + kLeastOperations / (operations + 1);
}

}  // namespace memgate

#endif  // MEMGATE_ENGINE_KERNELS_PARALLEL_H_
