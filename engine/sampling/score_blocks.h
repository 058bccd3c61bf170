// The scores of a vocabulary, searched and weighed block by block. Internal to engine/sampling.
#ifndef MEMGATE_ENGINE_SAMPLING_SCORE_BLOCKS_H_
#define MEMGATE_ENGINE_SAMPLING_SCORE_BLOCKS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "engine/kernels/softmax.h"

namespace memgate {

// A token that may be drawn.
struct Candidate {
  float score = 0;
  int32_t id = 0;
  float weight = 0;  // of the softmax, once it was asked for
};

// A total order: ties go to the lower id.
inline bool MoreLikely(const Candidate& a, const Candidate& b) {
  return a.score != b.score ? a.score > b.score : a.id < b.id;
}

// What the weights of scores refer to is the largest of them, at a temperature > 0. Scores that are not
// finite are nobody's: they are never found and weigh nothing. Constant after construction, which passes over
// all scores once; from then on searches leave out the blocks whose largest score tells that nothing is
// there. Passes run on the caller's pool (kernels/parallel.h), and what they find does not depend on it.
class ScoreBlocks {
 public:
  // Borrows scores [V], which must outlive the object and stay as they are.
  explicit ScoreBlocks(absl::Span<const float> scores);

  float score(int32_t id) const { return scores_[id]; }
  // The largest score; minus infinity if there is none.
  float largest() const { return largest_; }
  // The lowest id that has it. REQUIRES: there is one.
  int32_t ArgMax() const;

  // The k likeliest candidates, fewer if there are fewer, in no order and without weights. Holds little more
  // than 2k candidates at a time.
  std::vector<Candidate> Top(size_t k) const;
  // All candidates of at least `floor` weight, 0 < floor <= 1, and few of a little less, by ascending id,
  // with weights.
  std::vector<Candidate> Heavy(float temperature, double floor) const;
  // Gives candidates their weights.
  void Weigh(float temperature, absl::Span<Candidate> candidates) const;

  // The sum of all weights.
  double TotalWeight(float temperature) const;
  // The id at which the sum of the weights, by ascending id, passes u of all, 0 <= u < 1.
  int32_t Draw(float temperature, double u) const;

 private:
  absl::Span<const float> Block(size_t block) const;
  std::vector<double> BlockWeights(float temperature) const;
  // What the k-th likeliest candidate is certain to be above; minus infinity where nothing is certain.
  float BarOfTop(size_t k) const;
  // Adds the block's candidates above `bar`, by ascending id.
  void AppendAbove(float bar, size_t block, std::vector<Candidate>& candidates) const;
  SoftmaxScale ScaleAt(float temperature) const { return {largest_, temperature}; }

  absl::Span<const float> scores_;
  std::vector<float> block_largest_;  // minus infinity where a block has none
  float largest_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_SAMPLING_SCORE_BLOCKS_H_
