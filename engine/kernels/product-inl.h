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

#include <cstddef>
#include <cstdint>

#include "hwy/cache_control.h"
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
  // Memory that will be read next. Two cache lines of it are asked for at each step, so that it arrives while
  // the product computes: what is read in another order than it lies in memory, the hardware does not
  // foresee.
  const std::byte* ahead = nullptr;
  int64_t ahead_bytes = 0;
};

// What a product still has to ask for.
class Ahead {
 public:
  explicit Ahead(const Product& p) {
    const bool any = p.ahead_bytes >= kStepBytes;  // else some line that is at hand
    at_ = any ? p.ahead : reinterpret_cast<const std::byte*>(p.b);
    last_ = any ? p.ahead + (p.ahead_bytes - kStepBytes) : at_;
  }
  HWY_INLINE void Step() {
    hwy::Prefetch(at_);
    hwy::Prefetch(at_ + kLineBytes);
    at_ = at_ < last_ ? at_ + kStepBytes : last_;
  }

 private:
  static constexpr int64_t kLineBytes = 64;
  static constexpr int64_t kStepBytes = 2 * kLineBytes;
  const std::byte* at_;
  const std::byte* last_;
};

// The part of a product at (row, column) that stays in registers: kRows x kVectors vectors.
template <int kRows, int kVectors, class D>
HWY_INLINE void MultiplyTile(D d, const Product& p, int row, int column, Ahead& ahead) {
  namespace hn = hwy::HWY_NAMESPACE;
  const int64_t lanes = hn::Lanes(d);
  float* out = p.out + row * p.out_row + column;
  hn::Vec<D> sums[kRows][kVectors];
  HWY_UNROLL(8)
  for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(8)
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = p.accumulate ? hn::LoadU(d, out + r * p.out_row + v * lanes) : hn::Zero(d);
    }
  }
  const float* a = p.a + row * p.a_row;
  const float* b = p.b + column;
  for (int k = 0; k < p.inner; ++k, a += p.a_inner, b += p.b_row) {
    ahead.Step();
    hn::Vec<D> factors[kVectors];
    HWY_UNROLL(8)
    for (int v = 0; v < kVectors; ++v) factors[v] = hn::LoadU(d, b + v * lanes);
    HWY_UNROLL(8)
    for (int r = 0; r < kRows; ++r) {
      const auto x = hn::Set(d, a[r * p.a_row]);
      HWY_UNROLL(8)
      for (int v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(x, factors[v], sums[r][v]);
    }
  }
  HWY_UNROLL(8)
  for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(8)
    for (int v = 0; v < kVectors; ++v) hn::StoreU(sums[r][v], d, out + r * p.out_row + v * lanes);
  }
}

// The last rows of a strip, fewer than a tile has.
template <int kRows, int kVectors, class D>
HWY_INLINE void MultiplyRest(D d, const Product& p, int row, int column, Ahead& ahead) {
  if constexpr (kRows > 0) {
    if (p.rows - row == kRows) return MultiplyTile<kRows, kVectors>(d, p, row, column, ahead);
    MultiplyRest<kRows - 1, kVectors>(d, p, row, column, ahead);
  }
}

// All rows of kVectors vectors of columns: this strip of B stays in the cache while the rows pass it.
template <int kVectors, class D>
HWY_INLINE void MultiplyStrip(D d, const Product& p, int column, Ahead& ahead) {
  // Sums and factors fit into the registers that there are: 32 with AVX-512, else 16.
  constexpr int kRows = HWY_MAX_BYTES >= 64 ? 8 : 4;
  int row = 0;
  for (; row + kRows <= p.rows; row += kRows) MultiplyTile<kRows, kVectors>(d, p, row, column, ahead);
  MultiplyRest<kRows - 1, kVectors>(d, p, row, column, ahead);
}

// out = A B, or out += A B.
inline HWY_ATTR void Multiply(const Product& p) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::CappedTag<float, 16> wide;
  const hn::CappedTag<float, 1> single;
  const int lanes = static_cast<int>(hn::Lanes(wide));
  Ahead ahead(p);
  int column = 0;
  for (; column + 2 * lanes <= p.columns; column += 2 * lanes) MultiplyStrip<2>(wide, p, column, ahead);
  for (; column + lanes <= p.columns; column += lanes) MultiplyStrip<1>(wide, p, column, ahead);
  for (; column < p.columns; ++column) MultiplyStrip<1>(single, p, column, ahead);
}

}  // namespace HWY_NAMESPACE
}  // namespace memgate
HWY_AFTER_NAMESPACE();

#endif  // MEMGATE_ENGINE_KERNELS_PRODUCT_INL_H_
