// Softmax attention of a block of queries over keys and values that may lie in several places.
#ifndef MEMGATE_ENGINE_KERNELS_ATTEND_H_
#define MEMGATE_ENGINE_KERNELS_ATTEND_H_

#include <cstdint>

#include "absl/types/span.h"
#include "engine/kernels/kv_rows.h"

namespace memgate {

// A run of keys and values, with the queries as rotated for it: far keys see a query at another rotation.
struct AttendRun {
  const float* queries = nullptr;  // [Q, D]
  KvRows keys;                     // [rows] of D
  KvRows values;                   // [rows] of D
  int64_t rows = 0;
};

// The Q queries of consecutive tokens that read the same KV head. The rows of all runs count as one sequence,
// numbered from `first_row` on; query i sees the rows below limit_i = `first_limit` + i / per_token, or only
// those of the last `window` numbers below it.
struct AttendQueries {
  int count = 0;      // Q
  int per_token = 1;  // R
  int64_t first_row = 0;
  int64_t first_limit = 0;
  int64_t window = 0;  // 0: all
  int head_dim = 0;    // D
  float scale = 1.0f;  // > 0
  float cap = 0.0f;    // bounds the scaled scores: cap tanh(score / cap); 0: no bound
};

// out_i = softmax(scale * [q_i K_1^T, q_i K_2^T, ...]) [V_1; V_2; ...] over the rows that query i sees: one
// softmax over all runs, made block by block of rows (online softmax, arXiv 1805.02867). Blocks begin at
// fixed row numbers and every sum has a fixed order, so neither the other queries, nor how the rows are cut
// into runs, nor rows in front that no query sees and whether they are there, changes any bit of out_i.
// Memory beside the arguments: proportional to Q and D. Arithmetic is f32; rows of another format are
// converted while they are read. out: [Q, D]; zeros where a query sees no row, NaNs where a score is infinite
// or NaN. REQUIRES: the runs hold the rows that any query sees.
void Attend(absl::Span<const AttendRun> runs, const AttendQueries& queries, float* out);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_KERNELS_ATTEND_H_
