// Activations and caps of a vector, shared by the kernels of this folder. Compiled once per SIMD target:
// include it after hwy/foreach_target.h, as Highway's own -inl.h files.
#if defined(MEMGATE_ENGINE_KERNELS_ACTIVATION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MEMGATE_ENGINE_KERNELS_ACTIVATION_INL_H_
#undef MEMGATE_ENGINE_KERNELS_ACTIVATION_INL_H_
#else
#define MEMGATE_ENGINE_KERNELS_ACTIVATION_INL_H_
#endif

#include <cstdint>

#include "engine/base/activation.h"
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace memgate {
namespace HWY_NAMESPACE {

// x / (1 + e^-y).
template <class D, class V>
HWY_INLINE V TimesSigmoid(D d, V x, V y) {
  namespace hn = hwy::HWY_NAMESPACE;
  const auto one = hn::Set(d, 1.0f);
  // exp(-|y|), because Highway's Exp is undefined where it overflows.
  const auto e = hn::Exp(d, hn::Neg(hn::Abs(y)));
  const auto sigmoid = hn::Div(hn::IfThenElse(hn::Lt(y, hn::Zero(d)), e, one), hn::Add(one, e));
  return hn::Mul(x, sigmoid);
}

template <Activation kActivation, class D, class V>
HWY_INLINE V Activate(D d, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  if constexpr (kActivation == Activation::kSilu) {
    return TimesSigmoid(d, x, x);
  } else {
    // (1 + tanh(u)) / 2 = 1 / (1 + e^-2u).
    const auto cubic = hn::Mul(hn::Set(d, 2 * 0.7978845608f * 0.044715f), hn::Mul(x, x));
    return TimesSigmoid(d, x, hn::Mul(x, hn::Add(cubic, hn::Set(d, 2 * 0.7978845608f))));
  }
}

// cap tanh(x / cap); NaN where x is infinite or NaN.
template <class D, class V>
HWY_INLINE V SoftCapped(D d, float cap, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  const auto bounded = hn::Tanh(d, hn::Mul(x, hn::Set(d, 1.0f / cap)));
  return hn::MulAdd(bounded, hn::Set(d, cap), hn::Mul(x, hn::Zero(d)));
}

// Of n numbers; out may be x.
HWY_INLINE void SoftCapAll(float cap, const float* x, int64_t n, float* out) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::CappedTag<float, 16> d;
  const hn::CappedTag<float, 1> one;
  const int64_t lanes = hn::Lanes(d);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(SoftCapped(d, cap, hn::LoadU(d, x + i)), d, out + i);
  for (; i < n; ++i) out[i] = hn::GetLane(SoftCapped(one, cap, hn::LoadU(one, x + i)));
}

}  // namespace HWY_NAMESPACE
}  // namespace memgate
HWY_AFTER_NAMESPACE();

#endif  // MEMGATE_ENGINE_KERNELS_ACTIVATION_INL_H_
