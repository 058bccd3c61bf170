// Logits -> token.
#ifndef MEMGATE_ENGINE_SAMPLING_SAMPLER_H_
#define MEMGATE_ENGINE_SAMPLING_SAMPLER_H_

#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace memgate {

// Same meaning, defaults and limits as memgate.v1.SamplingOptions.
struct SamplingParams {
  float temperature = 0;  // 0 = greedy
  int top_k = 0;          // 0 = off
  float top_p = 1;        // 1 = off
  float min_p = 0;        // 0 = off
  uint64_t seed = 0;
  float repetition_penalty = 1;  // CTRL (arXiv 1909.05858), over prompt and generated tokens of the turn
  float frequency_penalty = 0;   // per occurrence among generated tokens
  float presence_penalty = 0;    // once if generated
  std::vector<std::pair<int32_t, float>> logit_bias;
  int logprobs = -1;  // -1 = none, else how many alternatives (0..20)
};

// INVALID_ARGUMENT "field: why" for the first value out of range (NaN included), for more than 1,024 biases
// and for an id that is biased twice.
absl::Status ValidateSamplingParams(const SamplingParams& params, int vocab_size);

struct ScoredToken {
  int32_t id = 0;
  float logprob =
      0;  // natural log, among the allowed tokens, before bias, penalties, temperature and filters
};

struct SampledToken {
  int32_t id = 0;
  ScoredToken chosen;            // logprob is 0 unless params.logprobs >= 0
  std::vector<ScoredToken> top;  // most likely first; ties by lower id; shorter where fewer logits are finite
};

// The sampler of one turn. Not thread-safe. Equal params and equal logits give equal tokens, on every machine
// whose exp() rounds alike: the random source and the way it becomes a number in [0, 1) are fixed.
class Sampler {
 public:
  // REQUIRES: params are valid.
  Sampler(SamplingParams params, int vocab_size);
  // Tells the sampler about the turn's prompt (for the repetition penalty). May be called in parts; ids
  // outside the vocabulary are ignored.
  void ObservePrompt(absl::Span<const int32_t> ids);
  // Picks a token and records it. logits: [V]; values that are not finite are never picked. INTERNAL if none
  // is finite or the size is not V: the model is broken, not the request. Order: bias, repetition, frequency
  // and presence penalties, temperature, top-k, top-p, min-p, draw. Greedy ties go to the lower id.
  // `allowed`: one bit per id, bit id % 64 of word id / 64; before all of this the logits of other ids become
  // minus infinity. Empty = all are allowed.
  absl::StatusOr<SampledToken> Sample(absl::Span<const float> logits,
                                      absl::Span<const uint64_t> allowed = {});

 private:
  absl::Span<const float> Masked(absl::Span<const float> logits, absl::Span<const uint64_t> allowed);
  bool Adjusts() const;                                      // whether bias or penalties change any logit now
  void Adjust(absl::Span<float> scores) const;               // [V], in place
  int32_t Draw(absl::Span<const float> scores, float best);  // `best`: the largest finite score

  const SamplingParams params_;
  const int vocab_size_;
  std::mt19937_64 random_;
  absl::flat_hash_set<int32_t> seen_;  // prompt and generated; kept only for the repetition penalty
  absl::flat_hash_map<int32_t, int> generated_counts_;
  std::vector<float> masked_;  // [V] once tokens were masked
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_SAMPLING_SAMPLER_H_
