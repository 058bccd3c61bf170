#include "tests/bench/benchmarking.h"

#include <algorithm>
#include <random>
#include <utility>

namespace memgate::bench {

void Report(benchmark::State& state, const Peaks& peaks, const Cost& cost) {
  const double seconds =
      std::max({cost.memory_bytes / peaks.read_bytes_per_s, cost.cache_bytes / peaks.cache_bytes_per_s,
                cost.operations / (peaks.*cost.operations_per_s)});
  const auto rate = benchmark::Counter::kIsIterationInvariantRate;
  state.counters["bytes/s"] = benchmark::Counter(cost.memory_bytes + cost.cache_bytes, rate);
  state.counters["op/s"] = benchmark::Counter(cost.operations, rate);
  state.counters["roofline"] = benchmark::Counter(seconds, rate);
}

std::vector<float> RandomFloats(int64_t count, float scale) {
  std::minstd_rand random(1);
  std::uniform_real_distribution<float> distribution(-scale, scale);
  std::vector<float> numbers(count);
  for (float& number : numbers) number = distribution(random);
  return numbers;
}

void Register(const std::string& name, std::function<void(benchmark::State&)> body) {
  benchmark::RegisterBenchmark(name.c_str(), [body = std::move(body)](benchmark::State& state) {
    body(state);
  })->UseRealTime();
}

}  // namespace memgate::bench
