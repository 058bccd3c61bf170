#include "engine/kernels/panel_matrix.h"

#include <algorithm>

#include "engine/kernels/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/panel_matrix.cc"
#include "hwy/foreach_target.h"
// clang-format off: Highway needs this order.
#include "hwy/highway.h"
// clang-format on

#ifndef MEMGATE_PANEL_OUTPUTS
#define MEMGATE_PANEL_OUTPUTS
namespace memgate {
// Outputs of a panel: one AVX-512 vector, two of AVX2, four of SSE4 or NEON.
constexpr int kPanelOutputs = 16;
}  // namespace memgate
#endif

HWY_BEFORE_NAMESPACE();
namespace memgate {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A run of outputs that fits one vector; several of them make a panel.
using Outputs = hn::CappedTag<float, kPanelOutputs>;

// kRows rows by one vector of a panel's outputs, for each vector of the panel. The four rows share what is
// loaded of the panel.
template <int kRows>
void MultiplyRows(const float* panel, const float* bias, const float* x, int in_features, float* sums) {
  const Outputs d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  for (int first = 0; first < kPanelOutputs; first += lanes) {
    auto sum0 = hn::LoadU(d, bias + first);
    auto sum1 = sum0, sum2 = sum0, sum3 = sum0;
    const float* weight = panel + first;
    for (int k = 0; k < in_features; ++k, weight += kPanelOutputs) {
      const auto w = hn::LoadU(d, weight);
      sum0 = hn::MulAdd(hn::Set(d, x[k]), w, sum0);
      if constexpr (kRows > 1) sum1 = hn::MulAdd(hn::Set(d, x[in_features + k]), w, sum1);
      if constexpr (kRows > 2) sum2 = hn::MulAdd(hn::Set(d, x[2 * int64_t{in_features} + k]), w, sum2);
      if constexpr (kRows > 3) sum3 = hn::MulAdd(hn::Set(d, x[3 * int64_t{in_features} + k]), w, sum3);
    }
    hn::StoreU(sum0, d, sums + first);
    if constexpr (kRows > 1) hn::StoreU(sum1, d, sums + kPanelOutputs + first);
    if constexpr (kRows > 2) hn::StoreU(sum2, d, sums + 2 * kPanelOutputs + first);
    if constexpr (kRows > 3) hn::StoreU(sum3, d, sums + 3 * kPanelOutputs + first);
  }
}

// sums: [rows, kPanelOutputs], rows in [1, 4].
void MultiplyImpl(const float* panel, const float* bias, const float* x, int rows, int in_features,
                  float* sums) {
  switch (rows) {
    case 1:
      return MultiplyRows<1>(panel, bias, x, in_features, sums);
    case 2:
      return MultiplyRows<2>(panel, bias, x, in_features, sums);
    case 3:
      return MultiplyRows<3>(panel, bias, x, in_features, sums);
    default:
      return MultiplyRows<4>(panel, bias, x, in_features, sums);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace memgate
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace memgate {

HWY_EXPORT(MultiplyImpl);

namespace {

constexpr int kRowsAtOnce = 4;

int64_t Panels(int out_features) { return (int64_t{out_features} + kPanelOutputs - 1) / kPanelOutputs; }

}  // namespace

PanelMatrix::PanelMatrix(absl::Span<const float> weight, absl::Span<const float> bias, int out_features,
                         int in_features)
    : out_features_(out_features),
      in_features_(in_features),
      panels_(Panels(out_features) * in_features * kPanelOutputs),
      bias_(Panels(out_features) * kPanelOutputs) {
  std::copy(bias.begin(), bias.end(), bias_.begin());
  for (int o = 0; o < out_features; ++o) {
    const float* row = weight.data() + int64_t{o} * in_features;
    float* to = &panels_[(o / kPanelOutputs) * int64_t{in_features} * kPanelOutputs + o % kPanelOutputs];
    for (int k = 0; k < in_features; ++k) to[int64_t{k} * kPanelOutputs] = row[k];
  }
}

int64_t PanelMatrix::Bytes(int out_features, int in_features) {
  return Panels(out_features) * kPanelOutputs * (int64_t{in_features} + 1) * int64_t{sizeof(float)};
}

template <class Finish>
void PanelMatrix::Multiply(const float* x, int rows, float* y, const Finish& finish) const {
  // A panel stays in the cache while all rows pass it.
  ParallelFor(Panels(out_features_), 1, [&](int64_t begin, int64_t end, int) {
    float sums[kRowsAtOnce * kPanelOutputs];
    for (int64_t p = begin; p < end; ++p) {
      const float* panel = &panels_[p * in_features_ * kPanelOutputs];
      const int outputs =
          static_cast<int>(std::min<int64_t>(kPanelOutputs, out_features_ - p * kPanelOutputs));
      for (int r = 0; r < rows; r += kRowsAtOnce) {
        const int count = std::min(kRowsAtOnce, rows - r);
        HWY_DYNAMIC_DISPATCH(MultiplyImpl)
        (panel, &bias_[p * kPanelOutputs], x + int64_t{r} * in_features_, count, in_features_, sums);
        for (int i = 0; i < count; ++i) {
          finish(sums + i * kPanelOutputs, outputs, y + int64_t{r + i} * out_features_ + p * kPanelOutputs);
        }
      }
    }
  });
}

void PanelMatrix::Apply(const float* x, int rows, float* y) const {
  Multiply(x, rows, y, [](const float* sums, int count, float* out) { std::copy_n(sums, count, out); });
}

void PanelMatrix::AddTo(const float* x, int rows, float* y) const {
  Multiply(x, rows, y, [](const float* sums, int count, float* out) {
    for (int i = 0; i < count; ++i) out[i] += sums[i];
  });
}

}  // namespace memgate
#endif  // HWY_ONCE
