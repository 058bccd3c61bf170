#include "engine/sampling/score_blocks.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "engine/kernels/parallel.h"

namespace memgate {
namespace {

// Few enough that a search skips much, many enough that what is kept of them costs nothing.
constexpr size_t kBlock = 512;
constexpr int kOperationsOfExp = 20;

constexpr float kNone = -std::numeric_limits<float>::infinity();

// The first place where the sum of weights, begun with `mass`, passes `target`; where it never does, for
// rounding, the last that weighs anything. Leaves in `mass` the sum before that place.
template <typename Weight>
size_t PlacePast(double target, absl::Span<const Weight> weights, double& mass) {
  size_t place = 0;
  double before = mass, sum = mass;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] == 0) continue;
    place = i;
    before = sum;
    sum += weights[i];
    if (sum > target) break;
  }
  mass = before;
  return place;
}

}  // namespace

ScoreBlocks::ScoreBlocks(absl::Span<const float> scores)
    : scores_(scores), block_largest_((scores.size() + kBlock - 1) / kBlock), largest_(kNone) {
  const int64_t blocks = static_cast<int64_t>(block_largest_.size());
  ParallelFor(blocks, LeastItems(kBlock), [&](int64_t begin, int64_t end, int) {
    for (int64_t b = begin; b < end; ++b) {
      const absl::Span<const float> block = Block(b);
      block_largest_[b] = LargestFinite(block.data(), static_cast<int64_t>(block.size()));
    }
  });
  for (const float largest : block_largest_) largest_ = std::max(largest_, largest);
}

absl::Span<const float> ScoreBlocks::Block(size_t block) const {
  return scores_.subspan(block * kBlock, kBlock);
}

int32_t ScoreBlocks::ArgMax() const {
  const auto block = std::find(block_largest_.begin(), block_largest_.end(), largest_);
  const size_t first = static_cast<size_t>(block - block_largest_.begin()) * kBlock;
  return static_cast<int32_t>(std::find(scores_.begin() + first, scores_.end(), largest_) - scores_.begin());
}

void ScoreBlocks::AppendAbove(float bar, size_t block, std::vector<Candidate>& candidates) const {
  const absl::Span<const float> scores = Block(block);
  std::array<int32_t, kBlock> places;
  const size_t found = PlacesAbove(bar, scores.data(), static_cast<int64_t>(scores.size()), places.data());
  const size_t before = candidates.size();
  candidates.resize(before + found);
  for (size_t i = 0; i < found; ++i) {
    const int32_t id = static_cast<int32_t>(block * kBlock) + places[i];
    candidates[before + i] = {.score = scores[places[i]], .id = id};
  }
}

// k blocks have a largest score of at least the k-th of these, so as many scores are no less.
float ScoreBlocks::BarOfTop(size_t k) const {
  if (k > block_largest_.size()) return kNone;
  std::vector<float> largest = block_largest_;
  std::nth_element(largest.begin(), largest.begin() + (k - 1), largest.end(), std::greater<>());
  return std::nextafter(largest[k - 1], kNone);
}

std::vector<Candidate> ScoreBlocks::Top(size_t k) const {
  std::vector<Candidate> kept;
  if (k == 0) return kept;
  const auto trim = [&kept, k] {
    if (kept.size() <= k) return;
    std::nth_element(kept.begin(), kept.begin() + (k - 1), kept.end(), MoreLikely);
    kept.resize(k);
  };
  float bar = BarOfTop(k);
  for (size_t block = 0; block < block_largest_.size(); ++block) {
    if (block_largest_[block] <= bar) continue;
    AppendAbove(bar, block, kept);
    if (kept.size() < 2 * k + kBlock) continue;
    trim();
    bar = kept[k - 1].score;  // an equal score comes with a higher id from here on, so it loses the tie
  }
  trim();
  return kept;
}

std::vector<Candidate> ScoreBlocks::Heavy(float temperature, double floor) const {
  // Room for the rounding of scores and weights: candidates just below the floor do no harm.
  constexpr double kRoom = 1e-5;
  const double bar = largest_ + temperature * ((1 + kRoom) * std::log(floor) - kRoom);
  const double lowest = std::numeric_limits<float>::lowest();
  const float below = std::nextafter(static_cast<float>(std::max(bar, lowest)), kNone);
  std::vector<Candidate> candidates;
  for (size_t block = 0; block < block_largest_.size(); ++block) {
    if (block_largest_[block] > below) AppendAbove(below, block, candidates);
  }
  Weigh(temperature, absl::MakeSpan(candidates));
  return candidates;
}

void ScoreBlocks::Weigh(float temperature, absl::Span<Candidate> candidates) const {
  std::array<float, kBlock> scores, weights;
  for (; !candidates.empty(); candidates.remove_prefix(std::min(kBlock, candidates.size()))) {
    const absl::Span<Candidate> part = candidates.subspan(0, kBlock);
    for (size_t i = 0; i < part.size(); ++i) scores[i] = part[i].score;
    SoftmaxWeights(ScaleAt(temperature), scores.data(), static_cast<int64_t>(part.size()), weights.data());
    for (size_t i = 0; i < part.size(); ++i) part[i].weight = weights[i];
  }
}

std::vector<double> ScoreBlocks::BlockWeights(float temperature) const {
  std::vector<double> totals(block_largest_.size(), 0.0);
  const int64_t blocks = static_cast<int64_t>(totals.size());
  ParallelFor(blocks, LeastItems(kOperationsOfExp * kBlock), [&](int64_t begin, int64_t end, int) {
    for (int64_t b = begin; b < end; ++b) {
      if (block_largest_[b] == kNone) continue;
      const absl::Span<const float> block = Block(b);
      totals[b] = SoftmaxTotal(ScaleAt(temperature), block.data(), static_cast<int64_t>(block.size()));
    }
  });
  return totals;
}

double ScoreBlocks::TotalWeight(float temperature) const {
  const std::vector<double> totals = BlockWeights(temperature);
  return std::accumulate(totals.begin(), totals.end(), 0.0);
}

int32_t ScoreBlocks::Draw(float temperature, double u) const {
  const std::vector<double> totals = BlockWeights(temperature);
  const double target = u * std::accumulate(totals.begin(), totals.end(), 0.0);
  double mass = 0;
  const size_t block = PlacePast<double>(target, totals, mass);
  const absl::Span<const float> scores = Block(block);
  std::array<float, kBlock> weights;
  SoftmaxWeights(ScaleAt(temperature), scores.data(), static_cast<int64_t>(scores.size()), weights.data());
  const size_t place = PlacePast<float>(target, absl::MakeConstSpan(weights.data(), scores.size()), mass);
  return static_cast<int32_t>(block * kBlock + place);
}

}  // namespace memgate
