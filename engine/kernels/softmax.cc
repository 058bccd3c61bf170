#include "engine/kernels/softmax.h"

#include <algorithm>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/softmax.cc"
#include "hwy/foreach_target.h"
// clang-format off: Highway needs this order.
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace memgate {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Wide = hn::CappedTag<float, 16>;
using Single = hn::CappedTag<float, 1>;

constexpr float kMost = std::numeric_limits<float>::max();
constexpr float kNone = -std::numeric_limits<float>::infinity();

// The scores at `from`, minus infinity for those that are not finite.
template <class D>
HWY_INLINE hn::Vec<D> LoadFinite(D d, const float* from) {
  const auto scores = hn::LoadU(d, from);
  return hn::IfThenElse(hn::Le(scores, hn::Set(d, kMost)), scores, hn::Set(d, kNone));  // false for a NaN
}

float LargestFiniteImpl(const float* scores, int64_t n) {
  const Wide d;
  const int64_t lanes = hn::Lanes(d);
  auto largest0 = hn::Set(d, kNone), largest1 = largest0;
  int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    largest0 = hn::Max(largest0, LoadFinite(d, scores + i));
    largest1 = hn::Max(largest1, LoadFinite(d, scores + i + lanes));
  }
  for (; i + lanes <= n; i += lanes) largest0 = hn::Max(largest0, LoadFinite(d, scores + i));
  float largest = hn::GetLane(hn::MaxOfLanes(d, hn::Max(largest0, largest1)));
  for (; i < n; ++i) largest = std::max(largest, hn::GetLane(LoadFinite(Single(), scores + i)));
  return largest;
}

// SoftmaxScale with a factor instead of a divisor; kept finite, so that it times 0 is 0.
struct Factors {
  explicit Factors(const SoftmaxScale& scale)
      : largest(scale.largest), inverse(std::min(1.0f / scale.temperature, kMost)) {}
  float largest, inverse;
};

template <class D>
HWY_INLINE hn::Vec<D> Weights(D d, const Factors& factors, const float* from) {
  const auto above = hn::Sub(hn::LoadU(d, from), hn::Set(d, factors.largest));
  const auto exponents = hn::Mul(above, hn::Set(d, factors.inverse));
  const auto least = hn::Set(d, kLeastSoftmaxExponent);
  // Of finite scores no exponent is above 0; a NaN is on neither side of anything.
  const auto counts = hn::And(hn::Ge(exponents, least), hn::Le(exponents, hn::Zero(d)));
  return hn::IfThenElseZero(counts, hn::Exp(d, hn::IfThenElse(counts, exponents, least)));
}

void SoftmaxWeightsImpl(const SoftmaxScale& scale, const float* scores, int64_t n, float* weights) {
  const Factors factors(scale);
  const Wide d;
  const int64_t lanes = hn::Lanes(d);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(Weights(d, factors, scores + i), d, weights + i);
  for (; i < n; ++i) hn::StoreU(Weights(Single(), factors, scores + i), Single(), weights + i);
}

double SoftmaxTotalImpl(const SoftmaxScale& scale, const float* scores, int64_t n) {
  const Factors factors(scale);
  const Wide d;
  const hn::Half<Wide> half;
  const hn::Rebind<double, decltype(half)> doubles;
  const int64_t lanes = hn::Lanes(d);
  auto lower = hn::Zero(doubles), upper = hn::Zero(doubles);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto weights = Weights(d, factors, scores + i);
    lower = hn::Add(lower, hn::PromoteTo(doubles, hn::LowerHalf(half, weights)));
    upper = hn::Add(upper, hn::PromoteTo(doubles, hn::UpperHalf(half, weights)));
  }
  double total = hn::GetLane(hn::SumOfLanes(doubles, hn::Add(lower, upper)));
  for (; i < n; ++i) total += hn::GetLane(Weights(Single(), factors, scores + i));
  return total;
}

int64_t PlacesAboveImpl(float bar, const float* scores, int64_t n, int32_t* places) {
  const Wide d;
  const hn::RebindToSigned<Wide> d32;
  const int32_t lanes = static_cast<int32_t>(hn::Lanes(d));
  const auto bars = hn::Set(d, bar), most = hn::Set(d, kMost);
  const auto step = hn::Set(d32, lanes);
  auto here = hn::Iota(d32, 0);  // the places of the vector
  int64_t count = 0;
  int32_t i = 0;
  for (; i + lanes <= n; i += lanes, here = hn::Add(here, step)) {
    const auto loaded = hn::LoadU(d, scores + i);
    const auto found = hn::And(hn::Gt(loaded, bars), hn::Le(loaded, most));
    // Whole vectors are written, found or not, and end within the first i + lanes places: no branch that
    // cannot be foreseen, and none of the stores of single lanes that some processors are slow at.
    hn::StoreU(hn::Compress(here, hn::RebindMask(d32, found)), d32, places + count);
    count += static_cast<int64_t>(hn::CountTrue(d, found));
  }
  for (; i < n; ++i) {
    if (scores[i] > bar && scores[i] <= kMost) places[count++] = i;
  }
  return count;
}

}  // namespace HWY_NAMESPACE
}  // namespace memgate
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace memgate {

HWY_EXPORT(LargestFiniteImpl);
HWY_EXPORT(SoftmaxWeightsImpl);
HWY_EXPORT(SoftmaxTotalImpl);
HWY_EXPORT(PlacesAboveImpl);

float LargestFinite(const float* scores, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(LargestFiniteImpl)(scores, n);
}

void SoftmaxWeights(const SoftmaxScale& scale, const float* scores, int64_t n, float* weights) {
  HWY_DYNAMIC_DISPATCH(SoftmaxWeightsImpl)(scale, scores, n, weights);
}

double SoftmaxTotal(const SoftmaxScale& scale, const float* scores, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(SoftmaxTotalImpl)(scale, scores, n);
}

int64_t PlacesAbove(float bar, const float* scores, int64_t n, int32_t* places) {
  return HWY_DYNAMIC_DISPATCH(PlacesAboveImpl)(bar, scores, n, places);
}

}  // namespace memgate
#endif  // HWY_ONCE
