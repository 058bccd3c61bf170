#include "engine/kernels/parallel.h"

#include <omp.h>

#include <algorithm>

namespace memgate {

void SetComputeThreads(int threads) { omp_set_num_threads(threads > 0 ? threads : omp_get_num_procs()); }

int ComputeThreads() { return omp_get_max_threads(); }

void ParallelFor(int64_t count, absl::FunctionRef<void(int64_t, int64_t, int)> body) {
  const int64_t workers = std::min<int64_t>(count, ComputeThreads());
  if (workers <= 1) {
    if (count > 0) body(0, count, 0);
    return;
  }
#pragma omp parallel for num_threads(static_cast <int>(workers)) schedule(static)
  for (int64_t worker = 0; worker < workers; ++worker) {
    body(count * worker / workers, count * (worker + 1) / workers, static_cast<int>(worker));
  }
}

}  // namespace memgate
