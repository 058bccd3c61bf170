// Kernels that pass over what a session holds and over a chunk's activations.
#ifndef MEMGATE_TESTS_BENCH_PASS_BENCHMARKS_H_
#define MEMGATE_TESTS_BENCH_PASS_BENCHMARKS_H_

#include "tests/bench/peaks.h"

namespace memgate::bench {

// `peaks` must outlive the benchmarks.
void RegisterPassBenchmarks(const Peaks& peaks);

}  // namespace memgate::bench

#endif  // MEMGATE_TESTS_BENCH_PASS_BENCHMARKS_H_
