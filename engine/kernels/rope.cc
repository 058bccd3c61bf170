#include "engine/kernels/rope.h"

#include <utility>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/rope.cc"
#include "hwy/foreach_target.h"
// clang-format off: Highway needs this order.
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace memgate {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One vector of angles from `position`: cosines to `cos`, sines to `sin`.
template <class D>
HWY_INLINE void CosSin(D d, double position, const double* inverse_frequencies, float* cos, float* sin) {
  // 2 pi in three parts. Products of the first two with whole numbers below 2^27 are exact, so the angle is
  // reduced to one turn without loss up to some 10^8 radians.
  const auto turn_high = hn::Set(d, 0x1.921fb5p+2);
  const auto turn_middle = hn::Set(d, 0x1.110b46p-24);
  const auto turn_low = hn::Set(d, 0x1.1a62633145c07p-52);
  const auto angle = hn::Mul(hn::Set(d, position), hn::LoadU(d, inverse_frequencies));
  const auto turns = hn::Round(hn::Mul(angle, hn::Set(d, 0x1.45f306dc9c883p-3)));
  auto rest = hn::NegMulAdd(turns, turn_high, angle);
  rest = hn::NegMulAdd(turns, turn_middle, rest);
  rest = hn::NegMulAdd(turns, turn_low, rest);
  const hn::Rebind<float, D> single;
  hn::StoreU(hn::DemoteTo(single, hn::Cos(d, rest)), single, cos);
  hn::StoreU(hn::DemoteTo(single, hn::Sin(d, rest)), single, sin);
}

// out = x rotated by the angles, backwards where `sign` is -1.
template <class D>
HWY_INLINE void RotatePairs(D d, const float* cos_sin, int half, float sign, const float* x, int i,
                            float* out) {
  const auto cos = hn::LoadU(d, cos_sin + i);
  const auto sin = hn::Mul(hn::Set(d, sign), hn::LoadU(d, cos_sin + half + i));
  const auto a = hn::LoadU(d, x + i), b = hn::LoadU(d, x + half + i);
  hn::StoreU(hn::NegMulAdd(b, sin, hn::Mul(a, cos)), d, out + i);
  hn::StoreU(hn::MulAdd(a, sin, hn::Mul(b, cos)), d, out + half + i);
}

void AnglesImpl(double position, const double* inverse_frequencies, int half, float* cos_sin) {
  const hn::ScalableTag<double> wide;
  const hn::CappedTag<double, 1> single;
  const int lanes = static_cast<int>(hn::Lanes(wide));
  float* sin = cos_sin + half;
  int i = 0;
  for (; i + lanes <= half; i += lanes) {
    CosSin(wide, position, inverse_frequencies + i, cos_sin + i, sin + i);
  }
  for (; i < half; ++i) CosSin(single, position, inverse_frequencies + i, cos_sin + i, sin + i);
}

void RotateImpl(const float* cos_sin, int head_dim, float sign, const float* x, float* out) {
  const hn::ScalableTag<float> wide;
  const hn::CappedTag<float, 1> single;
  const int lanes = static_cast<int>(hn::Lanes(wide));
  const int half = head_dim / 2;
  int i = 0;
  for (; i + lanes <= half; i += lanes) RotatePairs(wide, cos_sin, half, sign, x, i, out);
  for (; i < half; ++i) RotatePairs(single, cos_sin, half, sign, x, i, out);
}

}  // namespace HWY_NAMESPACE
}  // namespace memgate
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace memgate {

HWY_EXPORT(AnglesImpl);
HWY_EXPORT(RotateImpl);

Rope::Rope(std::vector<double> inverse_frequencies) : inverse_frequencies_(std::move(inverse_frequencies)) {}

void Rope::Angles(int64_t position, float* cos_sin) const {
  HWY_DYNAMIC_DISPATCH(AnglesImpl)
  (static_cast<double>(position), inverse_frequencies_.data(), head_dim() / 2, cos_sin);
}

void Rotate(const float* cos_sin, int head_dim, const float* x, float* out) {
  HWY_DYNAMIC_DISPATCH(RotateImpl)(cos_sin, head_dim, 1.0f, x, out);
}

void RotateBack(const float* cos_sin, int head_dim, const float* x, float* out) {
  HWY_DYNAMIC_DISPATCH(RotateImpl)(cos_sin, head_dim, -1.0f, x, out);
}

}  // namespace memgate
#endif  // HWY_ONCE
