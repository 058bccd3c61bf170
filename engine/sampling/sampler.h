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

struct Candidate;   // engine/sampling/score_blocks.h
class ScoreBlocks;  // engine/sampling/score_blocks.h

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

// The sampler of one turn. Not thread-safe; different samplers may be used by different threads.
//
// The random source and the way it becomes a number u in [0, 1) are fixed: one 64-bit number per token, none
// for greedy ones. It picks the token at which the running sum of weights passes u of their total: by
// ascending id over all tokens, in order of likelihood over those that top-k, top-p or min-p left. Weights
// are those of the softmax in single precision (kernels/softmax.h), summed in double precision; what is below
// e^-87 of the likeliest counts as impossible. So equal params and equal logits give equal tokens wherever
// the same build runs on the same SIMD target, whatever the threads. On another target the last bits of
// weights differ: a token changes there only where u, top-p or min-p lies that close to the border between
// two tokens. Greedy tokens and what top-k keeps are the same everywhere.
class Sampler {
 public:
  // REQUIRES: params are valid.
  Sampler(SamplingParams params, int vocab_size);
  // Tells the sampler about the turn's prompt (for the repetition penalty). May be called in parts; ids
  // outside the vocabulary are ignored.
  void ObservePrompt(absl::Span<const int32_t> ids);
  // Picks a token and records it. logits: [V]; values that are not finite are never picked. INTERNAL if none
  // is finite or the size is not V: the model is broken, not the request. Order: bias, repetition, frequency
  // and presence penalties, temperature, top-k, top-p, min-p, draw. Ties of likelihood go to the lower id.
  // `allowed`: one bit per id, bit id % 64 of word id / 64; before all of this the logits of other ids become
  // minus infinity, and stay so. Empty = all are allowed. The others are changed meanwhile, and as before
  // when a token was picked.
  // Passes over the vocabulary run on the caller's pool (kernels/parallel.h).
  absl::StatusOr<SampledToken> Sample(absl::Span<float> logits, absl::Span<const uint64_t> allowed = {});

 private:
  // A logit that bias or a penalty changed.
  struct Change {
    int32_t id;
    float before;
  };

  bool LimitsK() const { return params_.top_k > 0 && params_.top_k < vocab_size_; }
  bool LimitsP() const { return params_.top_p < 1; }
  std::vector<Change> Adjust(absl::Span<float> logits) const;  // in order; an id may be there several times
  int32_t Draw(const ScoreBlocks& scores);
  std::vector<Candidate> Filtered(const ScoreBlocks& scores) const;  // what may be drawn, in no order
  std::vector<Candidate> Nucleus(const ScoreBlocks& scores) const;
  void AddLogprobs(const ScoreBlocks& logits, SampledToken& token) const;

  const SamplingParams params_;
  const int vocab_size_;
  std::mt19937_64 random_;
  absl::flat_hash_set<int32_t> seen_;  // prompt and generated; kept only for the repetition penalty
  absl::flat_hash_map<int32_t, int> generated_counts_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_SAMPLING_SAMPLER_H_
