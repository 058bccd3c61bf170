#include "engine/sampling/sampler.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <iterator>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/sampling/score_blocks.h"

namespace memgate {
namespace {

constexpr size_t kMaxBiases = 1024;
constexpr int kMaxLogprobs = 20;

double MassOf(absl::Span<const Candidate> candidates) {
  double mass = 0;
  for (const Candidate& candidate : candidates) mass += candidate.weight;
  return mass;
}

// Ranges of scores of equal width, likelier ones first.
class ScoreRanges {
 public:
  static constexpr int kCount = 256;

  // REQUIRES: low < high.
  ScoreRanges(float low, float high) : high_(high), factor_((kCount - 0.5) / (high_ - low)) {}
  // The range of a score within [low, high]; 0 for `high`, the last for `low`.
  int Of(float score) const { return static_cast<int>((high_ - score) * factor_); }

 private:
  const double high_, factor_;
};

// The candidate at which the sum of weights, in order of likelihood, is `enough`; the least likely one where
// it never is. Looks for it in ever narrower ranges of scores, so that few candidates are sorted. REQUIRES:
// there are candidates.
template <typename Enough>
Candidate Border(absl::Span<const Candidate> among, Enough enough) {
  constexpr size_t kSorted = 64;
  const auto by_score = [](const Candidate& a, const Candidate& b) { return a.score < b.score; };
  std::vector<Candidate> held;
  double mass = 0;  // of all that are likelier than `among`
  while (among.size() > kSorted) {
    const auto [least, most] = std::minmax_element(among.begin(), among.end(), by_score);
    if (least->score == most->score) break;
    const ScoreRanges ranges(least->score, most->score);
    std::array<double, ScoreRanges::kCount> masses = {};
    for (const Candidate& candidate : among) masses[ranges.Of(candidate.score)] += candidate.weight;
    int range = 0;
    while (range + 1 < ScoreRanges::kCount && !enough(mass + masses[range])) mass += masses[range++];
    std::vector<Candidate> inside;
    std::copy_if(among.begin(), among.end(), std::back_inserter(inside),
                 [&](const Candidate& candidate) { return ranges.Of(candidate.score) == range; });
    held = std::move(inside);
    among = held;
  }
  std::vector<Candidate> sorted(among.begin(), among.end());
  std::sort(sorted.begin(), sorted.end(), MoreLikely);
  for (const Candidate& candidate : sorted) {
    mass += candidate.weight;
    if (enough(mass)) return candidate;
  }
  return sorted.back();
}

// Cuts `candidates` to the shortest prefix, in order of likelihood, whose mass reaches `target`.
void KeepUntil(double target, std::vector<Candidate>& candidates) {
  const Candidate last = Border(candidates, [target](double mass) { return mass >= target; });
  std::erase_if(candidates, [&](const Candidate& candidate) { return MoreLikely(last, candidate); });
}

// Uniform in [0, 1). The standard distributions differ between libraries; the top 53 bits do not.
double Uniform(std::mt19937_64& random) { return static_cast<double>(random() >> 11) * 0x1p-53; }

// Logits of ids that are not allowed become minus infinity.
void Mask(absl::Span<const uint64_t> allowed, absl::Span<float> logits) {
  constexpr size_t kBits = 64;
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  for (size_t word = 0; word * kBits < logits.size(); ++word) {
    const absl::Span<float> part = logits.subspan(word * kBits, kBits);
    if (allowed[word] == 0) {
      std::fill(part.begin(), part.end(), kNone);
      continue;
    }
    uint64_t barred = ~allowed[word];
    if (part.size() < kBits) barred &= (uint64_t{1} << part.size()) - 1;
    for (; barred != 0; barred &= barred - 1) part[std::countr_zero(barred)] = kNone;
  }
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

std::vector<Sampler::Change> Sampler::Adjust(absl::Span<float> logits) const {
  std::vector<Change> changes;
  // A finite logit stays finite, so that an extreme penalty cannot take a token out of the game.
  const auto store = [&](int32_t id, double value) {
    constexpr double kMax = std::numeric_limits<float>::max();
    if (!std::isfinite(logits[id])) return;
    changes.push_back({id, logits[id]});
    logits[id] = static_cast<float>(std::clamp(value, -kMax, kMax));
  };
  for (const auto& [id, bias] : params_.logit_bias) store(id, double{logits[id]} + bias);
  for (const int32_t id : seen_) {
    const double logit = logits[id];
    store(id, logit > 0 ? logit / params_.repetition_penalty : logit * params_.repetition_penalty);
  }
  if (params_.frequency_penalty != 0 || params_.presence_penalty != 0) {
    for (const auto& [id, count] : generated_counts_) {
      store(id, logits[id] - double{params_.frequency_penalty} * count - params_.presence_penalty);
    }
  }
  return changes;
}

// The smallest set of the likeliest candidates that has top_p of all weight. Of those below min_p, which will
// be dropped, some may be missing.
std::vector<Candidate> Sampler::Nucleus(const ScoreBlocks& scores) const {
  const double beyond = 1 - double{params_.top_p};
  const double total = scores.TotalWeight(params_.temperature);
  // Candidates below `lowest` weigh at most `beyond` of all together, so the set lies above it; the factor
  // leaves room for rounding. It mostly lies above a far higher floor, too, which fewer candidates reach.
  const double lowest = std::max<double>(params_.min_p, 0.5 * beyond * total / vocab_size_);
  constexpr double kStep = 16;
  for (double floor = std::min(1.0, beyond * total / kStep);; floor /= kStep) {
    floor = std::max(floor, lowest);
    std::vector<Candidate> candidates = scores.Heavy(params_.temperature, floor);
    if (floor > lowest && MassOf(candidates) < params_.top_p * total) continue;
    KeepUntil(params_.top_p * total, candidates);
    return candidates;
  }
}

std::vector<Candidate> Sampler::Filtered(const ScoreBlocks& scores) const {
  std::vector<Candidate> candidates;
  if (LimitsK()) {
    candidates = scores.Top(params_.top_k);
    scores.Weigh(params_.temperature, absl::MakeSpan(candidates));
    if (LimitsP()) KeepUntil(params_.top_p * MassOf(candidates), candidates);
  } else if (LimitsP()) {
    candidates = Nucleus(scores);
  } else {
    candidates = scores.Heavy(params_.temperature, params_.min_p);
  }
  // What weighs nothing is never drawn.
  const float least = std::max(params_.min_p, std::numeric_limits<float>::min());
  std::erase_if(candidates, [least](const Candidate& candidate) { return candidate.weight < least; });
  return candidates;
}

int32_t Sampler::Draw(const ScoreBlocks& scores) {
  const double u = Uniform(random_);
  if (!LimitsK() && !LimitsP() && params_.min_p == 0) return scores.Draw(params_.temperature, u);
  const std::vector<Candidate> candidates = Filtered(scores);
  const double target = u * MassOf(candidates);
  return Border(candidates, [target](double mass) { return mass > target; }).id;
}

void Sampler::AddLogprobs(const ScoreBlocks& logits, SampledToken& token) const {
  const double log_total = std::log(logits.TotalWeight(/*temperature=*/1));
  // Two steps: beside a huge logit the logarithm would be lost to rounding.
  const auto logprob = [&](float logit) {
    return static_cast<float>((double{logit} - logits.largest()) - log_total);
  };
  token.chosen.logprob = logprob(logits.score(token.id));
  std::vector<Candidate> top = logits.Top(params_.logprobs);
  std::sort(top.begin(), top.end(), MoreLikely);
  for (const Candidate& candidate : top) token.top.push_back({candidate.id, logprob(candidate.score)});
}

absl::StatusOr<SampledToken> Sampler::Sample(absl::Span<float> logits, absl::Span<const uint64_t> allowed) {
  if (static_cast<int64_t>(logits.size()) != vocab_size_) {
    return absl::InternalError(absl::StrCat(logits.size(), " logits for a vocabulary of ", vocab_size_));
  }
  if (!allowed.empty()) Mask(allowed, logits);
  const std::vector<Change> changes = Adjust(logits);
  ScoreBlocks scores(logits);
  if (!std::isfinite(scores.largest())) return absl::InternalError("no logit is finite");

  SampledToken token;
  token.id = params_.temperature == 0 ? scores.ArgMax() : Draw(scores);
  token.chosen.id = token.id;
  for (auto change = changes.rbegin(); change != changes.rend(); ++change) {
    logits[change->id] = change->before;
  }
  if (params_.logprobs >= 0) {
    if (!changes.empty()) scores = ScoreBlocks(logits);
    AddLogprobs(scores, token);
  }
  ++generated_counts_[token.id];
  if (params_.repetition_penalty != 1) seen_.insert(token.id);
  return token;
}

}  // namespace memgate
