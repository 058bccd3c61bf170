// Softmax attention of one query over rows that may lie in several places.
#ifndef MEMGATE_ENGINE_KERNELS_ATTEND_H_
#define MEMGATE_ENGINE_KERNELS_ATTEND_H_

#include "absl/types/span.h"

namespace memgate {

// A run of keys and values with the query that applies to them: far tokens see the query at another rotation.
struct AttendPart {
  const float* query = nullptr;   // [D]
  const float* keys = nullptr;    // [rows, D]
  const float* values = nullptr;  // [rows, D]
  int rows = 0;
};

// out = softmax(scale * [q_1 K_1^T, q_2 K_2^T, ...]) [V_1; V_2; ...]: one softmax over all parts.
// scores: scratch, at least the sum of rows. out: [D]; zeros if there are no rows. Plain-loop twin:
// tests/reference/.
void Attend(absl::Span<const AttendPart> parts, int head_dim, float scale, float* scores, float* out);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_KERNELS_ATTEND_H_
