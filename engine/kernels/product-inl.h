// out = A B and out += A B of small f32 matrices in SIMD, shared by the kernels of this folder. Compiled once
// per SIMD target: include it after hwy/foreach_target.h, as Highway's own -inl.h files.
//
// Every element of `out` is one chain of fused multiply-adds over the inner index in ascending order. Which
// rows and columns are computed together changes no bit of it.
#if defined(MEMGATE_ENGINE_KERNELS_PRODUCT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MEMGATE_ENGINE_KERNELS_PRODUCT_INL_H_
#undef MEMGATE_ENGINE_KERNELS_PRODUCT_INL_H_
#else
#define MEMGATE_ENGINE_KERNELS_PRODUCT_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace memgate {
namespace HWY_NAMESPACE {

struct Product {
  int rows = 0;
  int inner = 0;
  int columns = 0;
  const float* a = nullptr;  // A(r, k) = a[r * a_row + k * a_inner]
  int64_t a_row = 0;
  int64_t a_inner = 1;
  const float* b = nullptr;  // B(k, c) = b[k * b_row + c]
  int64_t b_row = 0;
  float* out = nullptr;  // out(r, c) = out[r * out_row + c]
  int64_t out_row = 0;
  bool accumulate = false;  // the sums start from what `out` holds instead of 0
};

// The part of a product at (row, column) that stays in registers: kRows x kVectors vectors, at most 4 x 2.
template <int kRows, int kVectors, class D>
HWY_INLINE void MultiplyTile(D d, const Product& p, int row, int column) {
  namespace hn = hwy::HWY_NAMESPACE;
  const size_t lanes = hn::Lanes(d);
  // Rows and vectors that the tile lacks alias the first ones; nothing is computed or stored for them.
  float* out0 = p.out + row * p.out_row + column;
  float* out1 = kRows > 1 ? out0 + p.out_row : out0;
  float* out2 = kRows > 2 ? out1 + p.out_row : out0;
  float* out3 = kRows > 3 ? out2 + p.out_row : out0;
  const size_t second = kVectors > 1 ? lanes : 0;

  auto sum00 = hn::Zero(d), sum01 = hn::Zero(d), sum10 = hn::Zero(d), sum11 = hn::Zero(d);
  auto sum20 = hn::Zero(d), sum21 = hn::Zero(d), sum30 = hn::Zero(d), sum31 = hn::Zero(d);
  if (p.accumulate) {
    sum00 = hn::LoadU(d, out0), sum01 = hn::LoadU(d, out0 + second);
    sum10 = hn::LoadU(d, out1), sum11 = hn::LoadU(d, out1 + second);
    sum20 = hn::LoadU(d, out2), sum21 = hn::LoadU(d, out2 + second);
    sum30 = hn::LoadU(d, out3), sum31 = hn::LoadU(d, out3 + second);
  }
  const float* a0 = p.a + row * p.a_row;
  const float* a1 = kRows > 1 ? a0 + p.a_row : a0;
  const float* a2 = kRows > 2 ? a1 + p.a_row : a0;
  const float* a3 = kRows > 3 ? a2 + p.a_row : a0;
  const float* b = p.b + column;
  int64_t at = 0;
  for (int k = 0; k < p.inner; ++k, at += p.a_inner, b += p.b_row) {
    const auto b0 = hn::LoadU(d, b), b1 = hn::LoadU(d, b + second);
    const auto x0 = hn::Set(d, a0[at]);
    sum00 = hn::MulAdd(x0, b0, sum00);
    if constexpr (kVectors > 1) sum01 = hn::MulAdd(x0, b1, sum01);
    if constexpr (kRows > 1) {
      const auto x1 = hn::Set(d, a1[at]);
      sum10 = hn::MulAdd(x1, b0, sum10);
      if constexpr (kVectors > 1) sum11 = hn::MulAdd(x1, b1, sum11);
    }
    if constexpr (kRows > 2) {
      const auto x2 = hn::Set(d, a2[at]);
      sum20 = hn::MulAdd(x2, b0, sum20);
      if constexpr (kVectors > 1) sum21 = hn::MulAdd(x2, b1, sum21);
    }
    if constexpr (kRows > 3) {
      const auto x3 = hn::Set(d, a3[at]);
      sum30 = hn::MulAdd(x3, b0, sum30);
      if constexpr (kVectors > 1) sum31 = hn::MulAdd(x3, b1, sum31);
    }
  }
  hn::StoreU(sum00, d, out0);
  if constexpr (kVectors > 1) hn::StoreU(sum01, d, out0 + second);
  if constexpr (kRows > 1) hn::StoreU(sum10, d, out1);
  if constexpr (kRows > 1 && kVectors > 1) hn::StoreU(sum11, d, out1 + second);
  if constexpr (kRows > 2) hn::StoreU(sum20, d, out2);
  if constexpr (kRows > 2 && kVectors > 1) hn::StoreU(sum21, d, out2 + second);
  if constexpr (kRows > 3) hn::StoreU(sum30, d, out3);
  if constexpr (kRows > 3 && kVectors > 1) hn::StoreU(sum31, d, out3 + second);
}

// All rows of kVectors vectors of columns: this strip of B stays in the cache while the rows pass it.
template <int kVectors, class D>
HWY_INLINE void MultiplyStrip(D d, const Product& p, int column) {
  int row = 0;
  for (; row + 4 <= p.rows; row += 4) MultiplyTile<4, kVectors>(d, p, row, column);
  switch (p.rows - row) {
    case 1:
      return MultiplyTile<1, kVectors>(d, p, row, column);
    case 2:
      return MultiplyTile<2, kVectors>(d, p, row, column);
    case 3:
      return MultiplyTile<3, kVectors>(d, p, row, column);
    default:
      return;
  }
}

// out = A B, or out += A B.
inline HWY_ATTR void Multiply(const Product& p) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::CappedTag<float, 16> wide;
  const hn::CappedTag<float, 1> single;
  const int lanes = static_cast<int>(hn::Lanes(wide));
  int column = 0;
  for (; column + 2 * lanes <= p.columns; column += 2 * lanes) MultiplyStrip<2>(wide, p, column);
  for (; column + lanes <= p.columns; column += lanes) MultiplyStrip<1>(wide, p, column);
  for (; column < p.columns; ++column) MultiplyStrip<1>(single, p, column);
}

}  // namespace HWY_NAMESPACE
}  // namespace memgate
HWY_AFTER_NAMESPACE();

#endif  // MEMGATE_ENGINE_KERNELS_PRODUCT_INL_H_
