#include "engine/kernels/elementwise.h"

#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/elementwise.cc"
#include "hwy/foreach_target.h"
// clang-format off: Highway needs this order.
#include "engine/kernels/activation-inl.h"
#include "hwy/highway.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace memgate {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Wide = hn::ScalableTag<float>;

float DotImpl(const float* x, const float* y, int64_t n) {
  const Wide d;
  const int64_t lanes = hn::Lanes(d);
  auto sum0 = hn::Zero(d), sum1 = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    sum0 = hn::MulAdd(hn::LoadU(d, x + i), hn::LoadU(d, y + i), sum0);
    sum1 = hn::MulAdd(hn::LoadU(d, x + i + lanes), hn::LoadU(d, y + i + lanes), sum1);
  }
  for (; i + lanes <= n; i += lanes) sum0 = hn::MulAdd(hn::LoadU(d, x + i), hn::LoadU(d, y + i), sum0);
  float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(sum0, sum1)));
  for (; i < n; ++i) sum += x[i] * y[i];
  return sum;
}

void RmsNormImpl(const float* x, const float* weight, float eps, int n, float* out) {
  const Wide d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  const float scale = 1.0f / std::sqrt(DotImpl(x, x, n) / static_cast<float>(n) + eps);
  const auto scales = hn::Set(d, scale);
  int i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(hn::Mul(hn::Mul(hn::LoadU(d, x + i), scales), hn::LoadU(d, weight + i)), d, out + i);
  }
  for (; i < n; ++i) out[i] = x[i] * scale * weight[i];
}

template <Activation kActivation>
void ActivateMultiply(const float* gate, const float* up, int64_t n, float* out) {
  const Wide d;
  const int64_t lanes = hn::Lanes(d);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(hn::Mul(Activate<kActivation>(d, hn::LoadU(d, gate + i)), hn::LoadU(d, up + i)), d, out + i);
  }
  const hn::CappedTag<float, 1> one;
  for (; i < n; ++i) out[i] = hn::GetLane(Activate<kActivation>(one, hn::LoadU(one, gate + i))) * up[i];
}

void ActivateMultiplyImpl(Activation activation, const float* gate, const float* up, int64_t n, float* out) {
  switch (activation) {
    case Activation::kSilu:
      return ActivateMultiply<Activation::kSilu>(gate, up, n, out);
    case Activation::kGeluTanh:
      return ActivateMultiply<Activation::kGeluTanh>(gate, up, n, out);
  }
}

void SoftCapImpl(float cap, const float* x, int64_t n, float* out) { SoftCapAll(cap, x, n, out); }

void ScaledAddImpl(float a, const float* x, int64_t n, float* y) {
  const Wide d;
  const int64_t lanes = hn::Lanes(d);
  const auto scale = hn::Set(d, a);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(hn::MulAdd(scale, hn::LoadU(d, x + i), hn::LoadU(d, y + i)), d, y + i);
  }
  for (; i < n; ++i) y[i] += a * x[i];
}

}  // namespace HWY_NAMESPACE
}  // namespace memgate
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace memgate {

HWY_EXPORT(DotImpl);
HWY_EXPORT(RmsNormImpl);
HWY_EXPORT(ActivateMultiplyImpl);
HWY_EXPORT(SoftCapImpl);
HWY_EXPORT(ScaledAddImpl);

float Dot(const float* x, const float* y, int64_t n) { return HWY_DYNAMIC_DISPATCH(DotImpl)(x, y, n); }

void RmsNorm(const float* x, const float* weight, float eps, int n, float* out) {
  HWY_DYNAMIC_DISPATCH(RmsNormImpl)(x, weight, eps, n, out);
}

void ActivateMultiply(Activation activation, const float* gate, const float* up, int64_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(ActivateMultiplyImpl)(activation, gate, up, n, out);
}

void SoftCap(float cap, const float* x, int64_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(SoftCapImpl)(cap, x, n, out);
}

void ScaledAdd(float a, const float* x, int64_t n, float* y) {
  HWY_DYNAMIC_DISPATCH(ScaledAddImpl)(a, x, n, y);
}

void Multiply(float a, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] *= a;
}

void AddInPlace(const float* x, int64_t n, float* y) { ScaledAdd(1.0f, x, n, y); }

float Sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

}  // namespace memgate
#endif  // HWY_ONCE
