// What a bounded session lets a query see, by definition instead of by streaming: every query looks at the
// whole history and works out from scratch what a session would still hold.
#ifndef MEMGATE_TESTS_REFERENCE_GATED_RULE_H_
#define MEMGATE_TESTS_REFERENCE_GATED_RULE_H_

#include <cstdint>
#include <vector>

#include "engine/session/shape.h"
#include "tests/reference/operators.h"

namespace memgate::reference {

enum class MemoryRule {
  kUnbounded,  // plain causal attention, no session
  kForget,     // tokens that leave the window are gone
  kSalient,    // the best E by retention score stay
  kMatrix,     // as kSalient; what is not kept goes into a gated-delta matrix
  kInfini,     // linear sum
  kInfiniDelta,
};

// Names and shapes as layers.{i}.matrix.* in docs/formats.md, all layers one after the other.
struct MatrixTensors {
  Vector write_weight, write_bias, decay;
  Vector key_scale, key_shift, query_scale, query_shift;
  Vector gain;
};

struct GatedRule {
  MemoryRule rule = MemoryRule::kUnbounded;
  SessionShape shape;
  Vector retention_weight;  // [L, G, C], kSalient and kMatrix
  Vector retention_bias;    // [L, G], kSalient and kMatrix
  MatrixTensors matrix;     // kMatrix
  Vector beta;              // [L, H], the infini rules
};

// One layer's tokens as a KV head of one query head sees them; rows are tokens from position 0 on.
struct HeadHistory {
  Rows keys;      // [T, D], not rotated
  Rows values;    // [T, D]
  Vector scores;  // [T] retention scores; empty unless kSalient or kMatrix
  // kMatrix only:
  Vector strengths;   // [T] write strength
  Rows key_features;  // [T, 2D]
  double decay = 0;   // of this KV head
};

// The map of a key or query before the matrix, [2D]: both signs of scale * x + shift, rectified, of length 1.
Vector MatrixFeatures(const Vector& x, absl::Span<const double> scale, absl::Span<const double> shift);

// What the layer of a query does with scores, and how far it sees.
struct LayerRule {
  int64_t window = 0;  // the last tokens that a query sees, its own included; 0 = all
  double scale = 0;    // of a query times a key; 0 = 1 / sqrt(D)
  double cap = 0;      // cap tanh(score / cap); 0 = none
};

// What one query head brings.
struct QueryHead {
  LayerRule layer;
  double beta = 0;  // infini rules
  // kMatrix:
  Vector features;  // [2D]
  double gain = 0;
};

// Tokens folded away when the token at `position` asks: the most whole segments that leave at least W tokens
// between the sinks and the query.
int64_t FoldedTokens(const SessionShape& shape, int64_t position);

// Positions of the best `count` of the tokens [begin, end) by score, in ascending order. Of equal scores the
// older wins; a score that is not a number counts as the lowest.
std::vector<int64_t> BestByScore(const Vector& scores, int64_t begin, int64_t end, int64_t count);

// Attention output [D] of the query (not rotated) at `position`.
Vector AttendHead(const GatedRule& rule, const QueryHead& head, const HeadHistory& history,
                  const Vector& frequencies, const Vector& query, int64_t position);

}  // namespace memgate::reference

#endif  // MEMGATE_TESTS_REFERENCE_GATED_RULE_H_
