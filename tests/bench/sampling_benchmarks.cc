#include "tests/bench/sampling_benchmarks.h"

#include <benchmark/benchmark.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "engine/kernels/softmax.h"
#include "engine/sampling/sampler.h"
#include "tests/bench/benchmarking.h"

namespace memgate::bench {
namespace {

// Of one exponential of softmax.h: a product or a sum is one, a multiply-add two.
constexpr double kOperationsOfExp = 26;
constexpr double kLogitBytes = 1.0 * sizeof(float) * kVocabulary;

// A bell, as of a language model: at temperature 0.6 few tokens matter, at 1.5 tens of thousands.
std::vector<float> Logits() {
  std::minstd_rand random(1);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(kVocabulary);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

struct SampleCase {
  std::string name;
  SamplingParams params;
  int prompt_tokens = 0;  // that the repetition penalty knows of
};

std::vector<SampleCase> SampleCases() {
  return {{"greedy", {}},
          {"top_k:40/top_p:0.95", {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f}},
          {"temperature:0.8", {.temperature = 0.8f}},
          {"temperature:0.6/top_p:0.9", {.temperature = 0.6f, .top_p = 0.9f}},
          {"temperature:1.5/top_p:0.95", {.temperature = 1.5f, .top_p = 0.95f}},
          {"temperature:1/min_p:0.05", {.temperature = 1, .min_p = 0.05f}},
          {"greedy/logprobs:5", {.logprobs = 5}},
          {"top_k:20/top_p:0.8/repetition_penalty:1.1",
           {.temperature = 0.7f, .top_k = 20, .top_p = 0.8f, .repetition_penalty = 1.1f},
           2000}};
}

void RunSample(benchmark::State& state, const Peaks& peaks, const SampleCase& sampled) {
  std::vector<float> logits = Logits();
  const SamplingParams& params = sampled.params;
  Sampler sampler(params, kVocabulary);
  std::vector<int32_t> prompt;
  for (int i = 0; i < sampled.prompt_tokens; ++i) prompt.push_back(i * 61 % kVocabulary);
  sampler.ObservePrompt(prompt);
  for (auto _ : state) {
    const auto token = sampler.Sample(absl::MakeSpan(logits));
    if (!token.ok()) return state.SkipWithError(token.status().ToString().c_str());
    benchmark::DoNotOptimize(token->id);
  }
  const bool weighs_all =
      params.logprobs >= 0 || (params.temperature > 0 && params.top_k == 0 && params.min_p == 0);
  Report(state, peaks,
         {.cache_bytes = kLogitBytes, .operations = weighs_all ? kOperationsOfExp * kVocabulary : 0.0});
}

// Runs pass(scores, n) on parts of the vocabulary, on all threads.
template <typename Pass>
void RunPass(benchmark::State& state, const Peaks& peaks, double operations, Pass pass) {
  constexpr int kPart = 512;
  const std::vector<float> logits = Logits();
  for (auto _ : state) {
    ForEach(kVocabulary / kPart, [&](int64_t part) { pass(&logits[part * kPart], kPart); });
  }
  Report(state, peaks, {.cache_bytes = kLogitBytes, .operations = operations});
}

}  // namespace

void RegisterSamplingBenchmarks(const Peaks& peaks) {
  using State = benchmark::State;
  Register("LargestFinite", [&](State& state) {
    RunPass(state, peaks, 0,
            [](const float* scores, int n) { benchmark::DoNotOptimize(LargestFinite(scores, n)); });
  });
  Register("PlacesAbove", [&](State& state) {
    RunPass(state, peaks, 0, [](const float* scores, int n) {
      int32_t places[512];
      benchmark::DoNotOptimize(PlacesAbove(5.0f, scores, n, places));
    });
  });
  Register("SoftmaxTotal", [&](State& state) {
    RunPass(state, peaks, kOperationsOfExp * kVocabulary, [](const float* scores, int n) {
      benchmark::DoNotOptimize(SoftmaxTotal({.largest = 20}, scores, n));
    });
  });
  Register("SoftmaxWeights", [&](State& state) {
    RunPass(state, peaks, kOperationsOfExp * kVocabulary, [](const float* scores, int n) {
      float weights[512];
      SoftmaxWeights({.largest = 20}, scores, n, weights);
      benchmark::DoNotOptimize(weights);
    });
  });
  for (const SampleCase& sampled : SampleCases()) {
    Register("Sample/" + sampled.name, [&peaks, sampled](State& state) { RunSample(state, peaks, sampled); });
  }
}

}  // namespace memgate::bench
