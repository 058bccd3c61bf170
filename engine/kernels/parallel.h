// One thread pool for everything: the OpenMP pool that oneDNN uses too, so that the two never compete.
#ifndef MEMGATE_ENGINE_KERNELS_PARALLEL_H_
#define MEMGATE_ENGINE_KERNELS_PARALLEL_H_

#include <cstdint>

#include "absl/functional/function_ref.h"

namespace memgate {

// Threads of the calling thread's pool; 0 = one per core. Call it on the thread that runs the kernels.
void SetComputeThreads(int threads);
int ComputeThreads();

// Calls body(begin, end, worker) on disjoint ranges that cover [0, count); worker < ComputeThreads() names
// the thread. Runs inline when there is one thread or one item. `body` must not throw.
void ParallelFor(int64_t count, absl::FunctionRef<void(int64_t begin, int64_t end, int worker)> body);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_KERNELS_PARALLEL_H_
