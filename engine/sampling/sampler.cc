#include "engine/sampling/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"

namespace memgate {
namespace {

constexpr size_t kMaxBiases = 1024;
constexpr int kMaxLogprobs = 20;

struct Candidate {
  float score = 0;  // after bias and penalties
  int32_t id = 0;
  double weight = 0;  // exp((score - best) / temperature), so the likeliest token has 1
};

// A total order: ties go to the lower id.
bool MoreLikely(const Candidate& a, const Candidate& b) {
  return a.score != b.score ? a.score > b.score : a.id < b.id;
}

// Maps scores to softmax weights relative to the largest score.
class Weigher {
 public:
  Weigher(float best, float temperature) : best_(best), temperature_(temperature) {}
  double operator()(float score) const { return std::exp((double{score} - best_) / temperature_); }

 private:
  const double best_;
  const double temperature_;
};

// The largest finite one of kBlock scores, minus infinity if there is none. In lanes, which a compiler turns
// into vectors.
constexpr size_t kBlock = 1024;
float LargestFinite(const float* scores) {
  constexpr size_t kLanes = 16;
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  float largest[kLanes];
  std::fill_n(largest, kLanes, kNone);
  for (size_t i = 0; i < kBlock; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const float score = scores[i + lane];
      const float finite = score <= std::numeric_limits<float>::max() ? score : kNone;  // false for a NaN
      largest[lane] = finite > largest[lane] ? finite : largest[lane];
    }
  }
  return *std::max_element(largest, largest + kLanes);
}

// The lowest id with the largest finite score: the first block that has that score, then its place there.
std::optional<int32_t> ArgMax(absl::Span<const float> scores) {
  float best = -std::numeric_limits<float>::infinity();
  size_t place = 0, i = 0;
  for (; i + kBlock <= scores.size(); i += kBlock) {
    const float largest = LargestFinite(scores.data() + i);
    if (largest > best) best = largest, place = i;
  }
  for (; i < scores.size(); ++i) {
    if (std::isfinite(scores[i]) && scores[i] > best) best = scores[i], place = i;
  }
  if (!std::isfinite(best)) return std::nullopt;
  while (scores[place] != best) ++place;
  return static_cast<int32_t>(place);
}

// The k likeliest candidates in order, fewer if fewer are finite. Holds 2k + 64 at a time instead of V:
// whenever the buffer is full, its lesser part goes and what does not beat the k-th is no longer admitted.
std::vector<Candidate> SelectTop(absl::Span<const float> scores, size_t k) {
  std::vector<Candidate> kept;
  if (k == 0) return kept;
  const size_t capacity = 2 * k + 64;
  kept.reserve(std::min(capacity, scores.size()));
  const auto trim = [&kept, k] {
    if (kept.size() <= k) return;
    std::nth_element(kept.begin(), kept.begin() + (k - 1), kept.end(), MoreLikely);
    kept.resize(k);
  };
  float bar = -std::numeric_limits<float>::infinity();
  for (size_t i = 0; i < scores.size(); ++i) {
    // An equal score comes with a higher id here, so it loses the tie.
    if (!std::isfinite(scores[i]) || scores[i] <= bar) continue;
    kept.push_back({scores[i], static_cast<int32_t>(i)});
    if (kept.size() < capacity) continue;
    trim();
    bar = kept.back().score;
  }
  trim();
  std::sort(kept.begin(), kept.end(), MoreLikely);
  return kept;
}

double TotalWeight(absl::Span<const float> scores, const Weigher& weigh) {
  double total = 0;
  for (const float score : scores) {
    if (std::isfinite(score)) total += weigh(score);
  }
  return total;
}

// All candidates of at least `floor` weight, by ascending id.
std::vector<Candidate> SelectHeavy(absl::Span<const float> scores, const Weigher& weigh, double floor) {
  std::vector<Candidate> kept;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (!std::isfinite(scores[i])) continue;
    const double weight = weigh(scores[i]);
    if (weight >= floor) kept.push_back({scores[i], static_cast<int32_t>(i), weight});
  }
  return kept;
}

// Cuts `candidates` to the shortest prefix, in order of likelihood, whose weight reaches `target`. Orders
// only as many as that takes.
void KeepUntil(std::vector<Candidate>& candidates, double target) {
  constexpr size_t kFirstPrefix = 256;
  const auto begin = candidates.begin();
  const size_t count = candidates.size();
  double mass = 0;
  for (size_t ordered = 0; ordered < count;) {
    const size_t next = std::min(count, std::max(kFirstPrefix, 4 * ordered));
    if (next < count) std::nth_element(begin + ordered, begin + next, candidates.end(), MoreLikely);
    std::sort(begin + ordered, begin + next, MoreLikely);
    for (; ordered < next; ++ordered) {
      mass += candidates[ordered].weight;
      if (mass >= target) {
        candidates.resize(ordered + 1);
        return;
      }
    }
  }
}

// Uniform in [0, 1). The standard distributions differ between libraries; the top 53 bits do not.
double Uniform(std::mt19937_64& random) { return static_cast<double>(random() >> 11) * 0x1p-53; }

// Draws an id with probability proportional to its weight. Scores that are not finite are never drawn.
int32_t DrawFromAll(absl::Span<const float> scores, const Weigher& weigh, double u) {
  const double target = u * TotalWeight(scores, weigh);
  double mass = 0;
  int32_t last = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (!std::isfinite(scores[i])) continue;
    const double weight = weigh(scores[i]);
    if (weight == 0) continue;
    last = static_cast<int32_t>(i);
    mass += weight;
    if (mass > target) return last;
  }
  return last;  // u * total was rounded up to the total
}

int32_t DrawFromCandidates(const std::vector<Candidate>& candidates, double u) {
  double total = 0;
  for (const Candidate& candidate : candidates) total += candidate.weight;
  const double target = u * total;
  double mass = 0;
  int32_t last = candidates.front().id;
  for (const Candidate& candidate : candidates) {
    if (candidate.weight == 0) continue;
    last = candidate.id;
    mass += candidate.weight;
    if (mass > target) return last;
  }
  return last;
}

absl::Status CheckRange(const std::string& field, double value, double min, double max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": must be within ", min, "..", max, ", got ", value));
}

absl::Status CheckAboveZero(const std::string& field, double value, double max) {
  if (value > 0 && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": must be above 0 and at most ", max, ", got ", value));
}

absl::Status CheckBiases(const SamplingParams& params, int vocab_size) {
  if (params.logit_bias.size() > kMaxBiases) {
    return absl::InvalidArgumentError(
        absl::StrCat("logit_bias: ", params.logit_bias.size(), " entries, at most ", kMaxBiases));
  }
  absl::flat_hash_set<int32_t> ids;
  for (const auto& [id, bias] : params.logit_bias) {
    if (id < 0 || id >= vocab_size) {
      return absl::InvalidArgumentError(
          absl::StrCat("logit_bias: token id ", id, " is outside the vocabulary of ", vocab_size));
    }
    if (!ids.insert(id).second) {
      return absl::InvalidArgumentError(absl::StrCat("logit_bias: token id ", id, " appears twice"));
    }
    const absl::Status status = CheckRange(absl::StrCat("logit_bias: token id ", id), bias, -100, 100);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateSamplingParams(const SamplingParams& params, int vocab_size) {
  absl::Status status = CheckRange("temperature", params.temperature, 0, 100);
  status.Update(CheckRange("top_k", params.top_k, 0, vocab_size));
  status.Update(CheckAboveZero("top_p", params.top_p, 1));
  status.Update(CheckRange("min_p", params.min_p, 0, 1));
  status.Update(CheckAboveZero("repetition_penalty", params.repetition_penalty, 100));
  status.Update(CheckRange("frequency_penalty", params.frequency_penalty, -100, 100));
  status.Update(CheckRange("presence_penalty", params.presence_penalty, -100, 100));
  status.Update(CheckBiases(params, vocab_size));
  status.Update(CheckRange("logprobs", params.logprobs, -1, kMaxLogprobs));
  return status;
}

Sampler::Sampler(SamplingParams params, int vocab_size)
    : params_(std::move(params)), vocab_size_(vocab_size), random_(params_.seed) {}

void Sampler::ObservePrompt(absl::Span<const int32_t> ids) {
  if (params_.repetition_penalty == 1) return;
  for (const int32_t id : ids) {
    if (id >= 0 && id < vocab_size_) seen_.insert(id);
  }
}

bool Sampler::Adjusts() const {
  if (!params_.logit_bias.empty() || !seen_.empty()) return true;
  return !generated_counts_.empty() && (params_.frequency_penalty != 0 || params_.presence_penalty != 0);
}

void Sampler::Adjust(absl::Span<float> scores) const {
  // A finite logit stays finite, so that an extreme penalty cannot take a token out of the game.
  const auto store = [](float& score, double value) {
    constexpr double kMax = std::numeric_limits<float>::max();
    if (std::isfinite(score)) score = static_cast<float>(std::clamp(value, -kMax, kMax));
  };
  for (const auto& [id, bias] : params_.logit_bias) store(scores[id], double{scores[id]} + bias);
  for (const int32_t id : seen_) {
    const double score = scores[id];
    store(scores[id], score > 0 ? score / params_.repetition_penalty : score * params_.repetition_penalty);
  }
  for (const auto& [id, count] : generated_counts_) {
    store(scores[id], scores[id] - double{params_.frequency_penalty} * count - params_.presence_penalty);
  }
}

int32_t Sampler::Draw(absl::Span<const float> scores, float best) {
  const Weigher weigh(best, params_.temperature);
  const double u = Uniform(random_);
  const bool limit_k = params_.top_k > 0 && params_.top_k < vocab_size_;
  const bool limit_p = params_.top_p < 1;
  if (!limit_k && !limit_p && params_.min_p == 0) return DrawFromAll(scores, weigh, u);

  std::vector<Candidate> candidates;
  double total = 0;
  if (limit_k) {
    candidates = SelectTop(scores, params_.top_k);
    for (Candidate& candidate : candidates) {
      candidate.weight = weigh(candidate.score);
      total += candidate.weight;
    }
  } else {
    double floor = params_.min_p;
    if (limit_p) {
      // Tokens below this floor weigh at most (1 - top_p) * total together, so the set that reaches top_p
      // lies above it. The factor leaves room for rounding.
      total = TotalWeight(scores, weigh);
      floor = std::max(floor, 0.5 * (1 - double{params_.top_p}) * total / vocab_size_);
    }
    candidates = SelectHeavy(scores, weigh, floor);
  }
  if (limit_p) KeepUntil(candidates, params_.top_p * total);
  std::erase_if(candidates, [this](const Candidate& c) { return c.weight < params_.min_p; });
  return DrawFromCandidates(candidates, u);
}

absl::Span<const float> Sampler::Masked(absl::Span<const float> logits, absl::Span<const uint64_t> allowed) {
  masked_.assign(logits.size(), -std::numeric_limits<float>::infinity());
  for (size_t word = 0; word < allowed.size(); ++word) {
    for (uint64_t bits = allowed[word]; bits != 0; bits &= bits - 1) {
      const size_t id = 64 * word + static_cast<size_t>(std::countr_zero(bits));
      masked_[id] = logits[id];
    }
  }
  return masked_;
}

absl::StatusOr<SampledToken> Sampler::Sample(absl::Span<const float> logits,
                                             absl::Span<const uint64_t> allowed) {
  if (static_cast<int64_t>(logits.size()) != vocab_size_) {
    return absl::InternalError(absl::StrCat(logits.size(), " logits for a vocabulary of ", vocab_size_));
  }
  if (!allowed.empty()) logits = Masked(logits, allowed);
  std::vector<float> adjusted;
  absl::Span<const float> scores = logits;
  if (Adjusts()) {
    adjusted.assign(logits.begin(), logits.end());
    Adjust(absl::MakeSpan(adjusted));
    scores = adjusted;
  }
  const std::optional<int32_t> best = ArgMax(scores);
  if (!best.has_value()) return absl::InternalError("no logit is finite");

  SampledToken token;
  token.id = params_.temperature == 0 ? *best : Draw(scores, scores[*best]);
  token.chosen.id = token.id;
  if (params_.logprobs >= 0) {
    const float largest = logits[*ArgMax(logits)];
    const double log_total = std::log(TotalWeight(logits, Weigher(largest, 1)));
    // Two steps: beside a huge logit the logarithm would be lost to rounding.
    const auto logprob = [&](int32_t id) {
      return static_cast<float>((double{logits[id]} - largest) - log_total);
    };
    token.chosen.logprob = logprob(token.id);
    for (const Candidate& candidate : SelectTop(logits, params_.logprobs)) {
      token.top.push_back({candidate.id, logprob(candidate.id)});
    }
  }
  ++generated_counts_[token.id];
  if (params_.repetition_penalty != 1) seen_.insert(token.id);
  return token;
}

}  // namespace memgate
