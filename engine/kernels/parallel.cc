#include "engine/kernels/parallel.h"

#include <omp.h>

#include <algorithm>

namespace memgate {

void SetComputeThreads(int threads) {
  omp_set_num_threads(threads > 0 ? threads : omp_get_num_procs());
  RespectThreadLimit();
}

void RespectThreadLimit() {
  omp_set_dynamic(0);
  omp_set_num_threads(std::min(omp_get_max_threads(), omp_get_thread_limit()));
}

int ComputeThreads() { return omp_get_max_threads(); }

void ParallelFor(int64_t count, int64_t least_items, absl::FunctionRef<void(int64_t, int64_t, int)> body) {
  const int workers = static_cast<int>(std::min<int64_t>(count / least_items, ComputeThreads()));
  if (workers <= 1) {
    if (count > 0) body(0, count, 0);
    return;
  }
#pragma omp parallel for num_threads(workers) schedule(static)
  for (int worker = 0; worker < workers; ++worker) {
    body(count * worker / workers, count * (worker + 1) / workers, worker);
  }
}

}  // namespace memgate
