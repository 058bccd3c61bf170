// What the benchmarks of kernels share: the sizes they run at, their inputs, and how their share of what the
// machine reaches is worked out.
#ifndef MEMGATE_TESTS_BENCH_BENCHMARKING_H_
#define MEMGATE_TESTS_BENCH_BENCHMARKING_H_

#include <benchmark/benchmark.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/string_view.h"
#include "engine/kernels/parallel.h"
#include "tests/bench/peaks.h"

namespace memgate::bench {

// The shape of Qwen2.5-0.5B.
inline constexpr int kHidden = 896, kFfn = 4864, kHeads = 14, kKvHeads = 2, kHeadDim = 64, kLayers = 24;
inline constexpr int kVocabulary = 151'936;
inline constexpr int kSegment = 256;  // tokens of a chunk

// What one iteration must move and compute.
struct Cost {
  double memory_bytes = 0;  // from memory
  double cache_bytes = 0;   // read or written where it already is
  double operations = 0;
  double Peaks::*operations_per_s = &Peaks::f32_operations_per_s;
};

// Counters "bytes/s", "op/s" and "roofline", the share: the time that bytes or operations would take at the
// peaks, whichever is longer, over the time it took.
void Report(benchmark::State& state, const Peaks& peaks, const Cost& cost);

// Uniform in [-scale, scale), always the same.
std::vector<float> RandomFloats(int64_t count, float scale = 1.0f);

// Runs `body` on every item of [0, count) on all threads.
template <typename Body>
void ForEach(int64_t count, Body body) {
  ParallelFor(count, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) body(i);
  });
}

// Debian's Abseil has a string_view of its own.
inline absl::string_view Text(std::string_view text) { return {text.data(), text.size()}; }

void Register(const std::string& name, std::function<void(benchmark::State&)> body);

}  // namespace memgate::bench

#endif  // MEMGATE_TESTS_BENCH_BENCHMARKING_H_
