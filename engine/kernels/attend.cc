#include "engine/kernels/attend.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/attend.cc"
#include "hwy/foreach_target.h"
// clang-format off: Highway needs this order.
#include "engine/kernels/activation-inl.h"
#include "engine/kernels/product-inl.h"
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
// clang-format on

#ifndef MEMGATE_ATTEND_SIZES
#define MEMGATE_ATTEND_SIZES
namespace memgate {

// Rows between two updates of the online softmax: their values [128, D] stay in the second-level cache.
constexpr int kBlockRows = 128;
// Keys that are transposed together: two AVX-512 vectors.
constexpr int kPanelKeys = 32;
// A block's scores; its last panel may reach past the block.
constexpr int kScoreStride = kBlockRows + kPanelKeys;
// The score of a row in front of a query's window: its weight is 0.
constexpr float kUnseen = -1e30f;

// One call of Attend and its scratch.
struct AttendCall {
  const AttendRun* runs = nullptr;
  size_t num_runs = 0;
  AttendQueries queries;
  float* keys = nullptr;          // [kPanelKeys, D]: a panel's keys, converted; finite from the start
  float* panel = nullptr;         // [D, kPanelKeys]: keys, transposed
  float* values = nullptr;        // [kBlockRows, D]: a block's values, converted
  const float** parts = nullptr;  // [num_runs]: the values of a block that lie in a run
  float* scores = nullptr;        // [Q, kScoreStride]
  float* largest = nullptr;       // [Q]: the largest logit so far
  float* sums = nullptr;          // [Q]: of exp(logit - largest)
  float* out = nullptr;           // [Q, D]: sums of exp(logit - largest) * value
};

}  // namespace memgate
#endif

HWY_BEFORE_NAMESPACE();
namespace memgate {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Wide = hn::CappedTag<float, 16>;

// 4 elements of one key in each 128-bit block: block b holds those of the key at `key` + 4 b `row`.
HWY_INLINE hn::Vec<Wide> LoadBlocks(Wide d, const float* key, int64_t row) {
  auto v = hn::LoadDup128(d, key);
  if constexpr (HWY_MAX_BYTES >= 32) {
    if (hn::Lanes(d) >= 8) v = hn::IfThenElse(hn::FirstN(d, 4), v, hn::LoadDup128(d, key + 4 * row));
  }
  if constexpr (HWY_MAX_BYTES >= 64) {
    if (hn::Lanes(d) >= 16) {
      const auto third = hn::LoadDup128(d, key + 8 * row), fourth = hn::LoadDup128(d, key + 12 * row);
      v = hn::IfThenElse(hn::FirstN(d, 8), v, hn::IfThenElse(hn::FirstN(d, 12), third, fourth));
    }
  }
  return v;
}

// panel(i, r) = keys(r, i) for `count` <= kPanelKeys keys, a multiple of the lanes. Keys are taken in blocks
// of four, so that transposing each block by itself leaves a vector's keys in order.
void TransposeKeys(const float* keys, int count, int head_dim, float* panel) {
  const Wide d;
  const int64_t row = head_dim;
  const int lanes = static_cast<int>(hn::Lanes(d));
  for (int r = 0; r < count; r += lanes, keys += lanes * row, panel += lanes) {
    int i = 0;
    for (; i + 4 <= head_dim; i += 4) {
      const auto k0 = LoadBlocks(d, keys + i, row), k1 = LoadBlocks(d, keys + row + i, row);
      const auto k2 = LoadBlocks(d, keys + 2 * row + i, row), k3 = LoadBlocks(d, keys + 3 * row + i, row);
      const auto low02 = hn::InterleaveLower(d, k0, k2), high02 = hn::InterleaveUpper(d, k0, k2);
      const auto low13 = hn::InterleaveLower(d, k1, k3), high13 = hn::InterleaveUpper(d, k1, k3);
      float* to = panel + int64_t{i} * kPanelKeys;
      hn::StoreU(hn::InterleaveLower(d, low02, low13), d, to);
      hn::StoreU(hn::InterleaveUpper(d, low02, low13), d, to + kPanelKeys);
      hn::StoreU(hn::InterleaveLower(d, high02, high13), d, to + 2 * kPanelKeys);
      hn::StoreU(hn::InterleaveUpper(d, high02, high13), d, to + 3 * kPanelKeys);
    }
    for (; i < head_dim; ++i) {
      for (int j = 0; j < lanes; ++j) panel[int64_t{i} * kPanelKeys + j] = keys[j * row + i];
    }
  }
}

// weights[r] = exp(scale * scores[r] - shift) for r < count, 0 up to the next full vector; returns their sum,
// NaN if a score is infinite or NaN (hn::Exp makes a 0 of those).
float Exponentiate(float scale, float shift, int count, float* scores) {
  const Wide d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  const auto scales = hn::Set(d, scale), shifts = hn::Set(d, shift);
  auto sums = hn::Zero(d), poison = hn::Zero(d);
  for (int r = 0; r < count; r += lanes) {
    const auto seen = hn::FirstN(d, count - r);
    const auto logits = hn::IfThenElseZero(seen, hn::LoadU(d, scores + r));
    const auto weights = hn::IfThenElseZero(seen, hn::Exp(d, hn::MulSub(logits, scales, shifts)));
    hn::StoreU(weights, d, scores + r);
    sums = hn::Add(sums, weights);
    poison = hn::MulAdd(logits, hn::Zero(d), poison);  // 0, or NaN
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(sums, poison)));
}

// The largest of scores[0, count), count > 0.
float Largest(const float* scores, int count) {
  const Wide d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  const auto lowest = hn::Set(d, -std::numeric_limits<float>::infinity());
  auto largest = lowest;
  for (int r = 0; r < count; r += lanes) {
    largest = hn::Max(largest, hn::IfThenElse(hn::FirstN(d, count - r), hn::LoadU(d, scores + r), lowest));
  }
  return hn::GetLane(hn::MaxOfLanes(d, largest));
}

// exp(x) by the same instructions as everywhere here.
float ExpOf(float x) {
  const hn::CappedTag<float, 4> d;
  return hn::GetLane(hn::Exp(d, hn::Set(d, x)));
}

// out[i] = factor * x[i].
void Scale(float factor, const float* x, int n, float* out) {
  const Wide d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  const auto factors = hn::Set(d, factor);
  int i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(hn::Mul(factors, hn::LoadU(d, x + i)), d, out + i);
  for (; i < n; ++i) out[i] = factor * x[i];
}

struct RowRange {
  int64_t begin = 0;
  int64_t end = 0;
};

// What a run that begins at row `run_begin` of the sequence holds of a block, counted from the run's begin.
RowRange InRun(RowRange block, int64_t run_begin, const AttendRun& run) {
  return {std::max(block.begin, run_begin) - run_begin,
          std::min(block.end, run_begin + run.rows) - run_begin};
}

// First query that sees `row` of the sequence.
int FirstToSee(const AttendQueries& q, int64_t row) {
  const int64_t tokens = std::max<int64_t>(0, row + 1 - q.first_limit);
  return static_cast<int>(std::min<int64_t>(tokens * q.per_token, q.count));
}

// Rows of the block that query i sees.
int Seen(const AttendQueries& q, int i, RowRange block) {
  const int64_t limit = q.first_limit + i / q.per_token;
  return static_cast<int>(std::clamp<int64_t>(limit, block.begin, block.end) - block.begin);
}

// Rows of the block in front of query i's window, or that are not there.
int Skipped(const AttendQueries& q, int i, RowRange block) {
  const int64_t window_begin = q.window > 0 ? q.first_limit + i / q.per_token - q.window : 0;
  const int64_t first = std::max(window_begin, q.first_row);
  return static_cast<int>(std::clamp<int64_t>(first, block.begin, block.end) - block.begin);
}

// Dot products of the queries with the block's keys. Queries that see none of a panel's keys are left out.
// Scores behind a run's last key mean nothing; the next run's replace them, or no query sees them.
void ScoreBlock(const AttendCall& call, RowRange block) {
  const AttendQueries& q = call.queries;
  const int lanes = static_cast<int>(hn::Lanes(Wide()));
  int64_t run_begin = q.first_row;
  for (size_t i = 0; i < call.num_runs; run_begin += call.runs[i].rows, ++i) {
    const AttendRun& run = call.runs[i];
    const RowRange rows = InRun(block, run_begin, run);
    for (int64_t r = rows.begin; r < rows.end; r += kPanelKeys) {
      const int first = FirstToSee(q, run_begin + r);
      const int count = static_cast<int>(std::min<int64_t>(kPanelKeys, rows.end - r));
      const int columns = (count + lanes - 1) / lanes * lanes;
      const float* keys = call.keys;
      if (columns == count) {
        keys = run.keys.Floats(r, count, call.keys);
      } else {
        run.keys.Load(r, count, call.keys);  // what lies behind them may not be read
      }
      TransposeKeys(keys, columns, q.head_dim, call.panel);
      Multiply({.rows = q.count - first,
                .inner = q.head_dim,
                .columns = columns,
                .a = run.queries + int64_t{first} * q.head_dim,
                .a_row = q.head_dim,
                .b = call.panel,
                .b_row = kPanelKeys,
                .out = call.scores + int64_t{first} * kScoreStride + run_begin + r - block.begin,
                .out_row = kScoreStride,
                .ahead = run.values.at(r),
                .ahead_bytes = count * run.values.row_bytes()});
    }
  }
}

// Turns scores into weights relative to the largest logit so far, and what was summed before with them.
void WeighBlock(const AttendCall& call, RowRange block) {
  const AttendQueries& q = call.queries;
  for (int i = FirstToSee(q, block.begin); i < q.count; ++i) {
    float* scores = call.scores + int64_t{i} * kScoreStride;
    float* out = call.out + int64_t{i} * q.head_dim;
    const int seen = Seen(q, i, block);
    const int skipped = Skipped(q, i, block);
    if (q.cap > 0) SoftCapAll(q.cap / q.scale, scores + skipped, seen - skipped, scores + skipped);
    std::fill_n(scores, skipped, skipped < seen ? kUnseen : 0.0f);
    if (skipped == seen) continue;
    const float before = call.largest[i];
    const float largest = std::max(before, q.scale * Largest(scores, seen));
    if (call.sums[i] != 0.0f && largest != before) {
      const float shrink = ExpOf(before - largest);
      call.sums[i] *= shrink;
      Scale(shrink, out, q.head_dim, out);
    }
    call.largest[i] = largest;
    call.sums[i] += Exponentiate(q.scale, largest, seen, scores);
  }
}

// Makes the block's values floats.
void LoadValues(const AttendCall& call, RowRange block) {
  int64_t run_begin = call.queries.first_row;
  for (size_t i = 0; i < call.num_runs; run_begin += call.runs[i].rows, ++i) {
    const RowRange rows = InRun(block, run_begin, call.runs[i]);
    if (rows.begin >= rows.end) continue;
    float* scratch = call.values + (run_begin + rows.begin - block.begin) * call.queries.head_dim;
    call.parts[i] = call.runs[i].values.Floats(rows.begin, rows.end - rows.begin, scratch);
  }
}

// out_i += the weighted values of rows [from, to) of the block, for the queries [first, end).
void AddValues(const AttendCall& call, RowRange block, int first, int end, int from, int to) {
  const int head_dim = call.queries.head_dim;
  int64_t run_begin = call.queries.first_row;
  for (size_t i = 0; i < call.num_runs; run_begin += call.runs[i].rows, ++i) {
    const AttendRun& run = call.runs[i];
    const RowRange rows = InRun({block.begin + from, block.begin + to}, run_begin, run);
    if (rows.begin >= rows.end) continue;
    const RowRange part = InRun(block, run_begin, run);
    const int64_t next_end = std::min(part.end + kBlockRows, run.rows);
    Multiply({.rows = end - first,
              .inner = static_cast<int>(rows.end - rows.begin),
              .columns = head_dim,
              .a = call.scores + int64_t{first} * kScoreStride + run_begin + rows.begin - block.begin,
              .a_row = kScoreStride,
              .b = call.parts[i] + (rows.begin - part.begin) * head_dim,
              .b_row = head_dim,
              .out = call.out + int64_t{first} * head_dim,
              .out_row = head_dim,
              .accumulate = true,
              .ahead = run.keys.at(part.end),
              .ahead_bytes = (next_end - part.end) * run.keys.row_bytes()});
  }
}

void AttendImpl(const AttendCall& call) {
  // Queries of a block's causal edge that are worked on together before each goes on alone.
  constexpr int kTogether = 4;
  const AttendQueries& q = call.queries;
  const int64_t rows = q.first_limit + (q.count - 1) / q.per_token;
  const int64_t first_seen = q.window > 0 ? std::max(q.first_row, q.first_limit - q.window) : q.first_row;
  for (int64_t begin = first_seen / kBlockRows * kBlockRows; begin < rows; begin += kBlockRows) {
    const RowRange block{begin, std::min(begin + kBlockRows, rows)};
    ScoreBlock(call, block);
    WeighBlock(call, block);
    LoadValues(call, block);
    const int whole = FirstToSee(q, block.end - 1);
    for (int first = FirstToSee(q, block.begin); first < whole; first += kTogether) {
      const int end = std::min(first + kTogether, whole);
      const int shared = Seen(q, first, block);
      AddValues(call, block, first, end, Skipped(q, first, block), shared);
      for (int i = first; i < end; ++i) AddValues(call, block, i, i + 1, shared, Seen(q, i, block));
    }
    if (whole == q.count) continue;
    AddValues(call, block, whole, q.count, Skipped(q, whole, block),
              static_cast<int>(block.end - block.begin));
  }
  for (int i = 0; i < q.count; ++i) {
    float* out = call.out + int64_t{i} * q.head_dim;
    if (call.sums[i] != 0.0f) Scale(1.0f / call.sums[i], out, q.head_dim, out);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace memgate
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace memgate {

HWY_EXPORT(AttendImpl);

void Attend(absl::Span<const AttendRun> runs, const AttendQueries& queries, float* out) {
  const int64_t count = queries.count;
  std::fill_n(out, count * queries.head_dim, 0.0f);
  if (count == 0) return;
  const auto keys = std::make_unique<float[]>(int64_t{queries.head_dim} * kPanelKeys);
  const auto panel = std::make_unique_for_overwrite<float[]>(int64_t{queries.head_dim} * kPanelKeys);
  const auto values = std::make_unique_for_overwrite<float[]>(int64_t{queries.head_dim} * kBlockRows);
  const auto scores = std::make_unique_for_overwrite<float[]>(count * kScoreStride);
  std::vector<const float*> parts(runs.size());
  std::vector<float> largest(count, -std::numeric_limits<float>::infinity());
  std::vector<float> sums(count, 0.0f);
  HWY_DYNAMIC_DISPATCH(AttendImpl)
  ({.runs = runs.data(),
    .num_runs = runs.size(),
    .queries = queries,
    .keys = keys.get(),
    .panel = panel.get(),
    .values = values.get(),
    .parts = parts.data(),
    .scores = scores.get(),
    .largest = largest.data(),
    .sums = sums.data(),
    .out = out});
}

}  // namespace memgate
#endif  // HWY_ONCE
