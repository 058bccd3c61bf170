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
  kInfini,     // linear sum
  kInfiniDelta,
};

struct GatedRule {
  MemoryRule rule = MemoryRule::kUnbounded;
  SessionShape shape;
  Vector retention_weight;  // [L, G, C], kSalient
  Vector retention_bias;    // [L, G], kSalient
  Vector beta;              // [L, H], the infini rules
};

// One layer's tokens as a KV head of one query head sees them; rows are tokens from position 0 on.
struct HeadHistory {
  Rows keys;      // [T, D], not rotated
  Rows values;    // [T, D]
  Vector scores;  // [T] retention scores; empty unless kSalient
};

// Tokens folded away when the token at `position` asks: the most whole segments that leave at least W tokens
// between the sinks and the query.
int64_t FoldedTokens(const SessionShape& shape, int64_t position);

// Positions of the best `count` of the tokens [begin, end) by score, in ascending order. Of equal scores the
// older wins; a score that is not a number counts as the lowest.
std::vector<int64_t> BestByScore(const Vector& scores, int64_t begin, int64_t end, int64_t count);

// Attention output [D] of the query (not rotated) at `position`. beta: this head's, for the infini rules.
Vector AttendHead(const GatedRule& rule, double beta, const HeadHistory& history, const Vector& frequencies,
                  const Vector& query, int64_t position);

}  // namespace memgate::reference

#endif  // MEMGATE_TESTS_REFERENCE_GATED_RULE_H_
