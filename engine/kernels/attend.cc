#include "engine/kernels/attend.h"

#include <algorithm>
#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/attend.cc"
#include "hwy/foreach_target.h"
// clang-format off: Highway needs this order.
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace memgate {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Wide = hn::ScalableTag<float>;

// scores[r] = scale * q . k_r; returns the largest.
float Scores(const AttendPart& part, int head_dim, float scale, float* scores) {
  const Wide d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  float largest = -std::numeric_limits<float>::infinity();
  for (int r = 0; r < part.rows; ++r) {
    const float* key = part.keys + static_cast<size_t>(r) * head_dim;
    auto sums = hn::Zero(d);
    int i = 0;
    for (; i + lanes <= head_dim; i += lanes) {
      sums = hn::MulAdd(hn::LoadU(d, part.query + i), hn::LoadU(d, key + i), sums);
    }
    float sum = hn::GetLane(hn::SumOfLanes(d, sums));
    for (; i < head_dim; ++i) sum += part.query[i] * key[i];
    scores[r] = scale * sum;
    largest = std::max(largest, scores[r]);
  }
  return largest;
}

// scores[r] = exp(scores[r] - largest); returns the sum.
float Exponentiate(float largest, int rows, float* scores) {
  const Wide d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  const auto shift = hn::Set(d, largest);
  auto sums = hn::Zero(d);
  int r = 0;
  for (; r + lanes <= rows; r += lanes) {
    const auto e = hn::Exp(d, hn::Sub(hn::LoadU(d, scores + r), shift));
    hn::StoreU(e, d, scores + r);
    sums = hn::Add(sums, e);
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, sums));
  for (; r < rows; ++r) {
    scores[r] = std::exp(scores[r] - largest);
    sum += scores[r];
  }
  return sum;
}

void AttendImpl(const AttendPart* parts, size_t num_parts, int head_dim, float scale, float* scores,
                float* out) {
  const Wide d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  float largest = -std::numeric_limits<float>::infinity();
  int rows = 0;
  for (size_t p = 0; p < num_parts; ++p) {
    largest = std::max(largest, Scores(parts[p], head_dim, scale, scores + rows));
    rows += parts[p].rows;
  }
  std::fill(out, out + head_dim, 0.0f);
  if (rows == 0) return;
  const float inverse_sum = 1.0f / Exponentiate(largest, rows, scores);

  const float* weight = scores;
  for (size_t p = 0; p < num_parts; ++p) {
    for (int r = 0; r < parts[p].rows; ++r, ++weight) {
      const float* value = parts[p].values + static_cast<size_t>(r) * head_dim;
      const float w = *weight * inverse_sum;
      const auto weights = hn::Set(d, w);
      int i = 0;
      for (; i + lanes <= head_dim; i += lanes) {
        hn::StoreU(hn::MulAdd(weights, hn::LoadU(d, value + i), hn::LoadU(d, out + i)), d, out + i);
      }
      for (; i < head_dim; ++i) out[i] += w * value[i];
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace memgate
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace memgate {

HWY_EXPORT(AttendImpl);

void Attend(absl::Span<const AttendPart> parts, int head_dim, float scale, float* scores, float* out) {
  HWY_DYNAMIC_DISPATCH(AttendImpl)(parts.data(), parts.size(), head_dim, scale, scores, out);
}

}  // namespace memgate
#endif  // HWY_ONCE
