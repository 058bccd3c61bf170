// One thread pool for everything: the OpenMP pool that oneDNN uses too, so that the two never compete.
#ifndef MEMGATE_ENGINE_KERNELS_PARALLEL_H_
#define MEMGATE_ENGINE_KERNELS_PARALLEL_H_

#include <cstdint>

#include "absl/functional/function_ref.h"

namespace memgate {

// Threads of the calling thread's pool; 0 = one per core. Call it on the thread that runs the kernels.
void SetComputeThreads(int threads);
int ComputeThreads();

// Lowers the pool to what OpenMP will really give (OMP_THREAD_LIMIT). oneDNN splits a product by the number
// of threads it is promised; where fewer come, parts of the result are silently missing.
void RespectThreadLimit();

// Calls body(begin, end, worker) on disjoint ranges that cover [0, count); worker < ComputeThreads() names
// the thread. Every worker gets at least `least_items` (>= 1) of them, so that waking a thread pays; with too
// few items for two, body runs inline. `body` must not throw.
void ParallelFor(int64_t count, int64_t least_items,
                 absl::FunctionRef<void(int64_t begin, int64_t end, int worker)> body);

// least_items for items of `operations` multiply-adds each: waking a thread costs some 10 microseconds.
inline int64_t LeastItems(int64_t operations) {
  constexpr int64_t kLeastOperations = 250'000;
  return 1 + kLeastOperations / (operations + 1);
}

}  // namespace memgate

#endif  // MEMGATE_ENGINE_KERNELS_PARALLEL_H_
