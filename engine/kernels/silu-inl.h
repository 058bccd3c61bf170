// silu(x) = x / (1 + e^-x) of a vector, shared by the kernels of this folder. Compiled once per SIMD target:
// include it after hwy/foreach_target.h, as Highway's own -inl.h files.
#if defined(MEMGATE_ENGINE_KERNELS_SILU_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MEMGATE_ENGINE_KERNELS_SILU_INL_H_
#undef MEMGATE_ENGINE_KERNELS_SILU_INL_H_
#else
#define MEMGATE_ENGINE_KERNELS_SILU_INL_H_
#endif

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace memgate {
namespace HWY_NAMESPACE {

template <class D, class V>
HWY_INLINE V Silu(D d, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  const auto one = hn::Set(d, 1.0f);
  // exp(-|x|), because Highway's Exp is undefined where it overflows.
  const auto e = hn::Exp(d, hn::Neg(hn::Abs(x)));
  const auto sigmoid = hn::Div(hn::IfThenElse(hn::Lt(x, hn::Zero(d)), e, one), hn::Add(one, e));
  return hn::Mul(x, sigmoid);
}

}  // namespace HWY_NAMESPACE
}  // namespace memgate
HWY_AFTER_NAMESPACE();

#endif  // MEMGATE_ENGINE_KERNELS_SILU_INL_H_
