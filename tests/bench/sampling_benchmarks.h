// Sampling one token, and the passes over the vocabulary that it consists of.
#ifndef MEMGATE_TESTS_BENCH_SAMPLING_BENCHMARKS_H_
#define MEMGATE_TESTS_BENCH_SAMPLING_BENCHMARKS_H_

#include "tests/bench/peaks.h"

namespace memgate::bench {

// `peaks` must outlive the benchmarks.
void RegisterSamplingBenchmarks(const Peaks& peaks);

}  // namespace memgate::bench

#endif  // MEMGATE_TESTS_BENCH_SAMPLING_BENCHMARKS_H_
