#include "engine/kernels/memory_matrix.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/memory_matrix.cc"
#include "hwy/foreach_target.h"
// clang-format off: Highway needs this order.
#include "engine/kernels/product-inl.h"
#include "hwy/highway.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace memgate {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void ReadMatrixImpl(const float* matrix, MatrixShape shape, int count, VectorRun features, float* out,
                    int64_t out_stride) {
  Multiply({.rows = count,
            .inner = shape.features,
            .columns = shape.columns,
            .a = features.data,
            .a_row = features.stride,
            .a_inner = 1,
            .b = matrix,
            .b_row = shape.columns,
            .out = out,
            .out_row = out_stride});
}

void AddAssociationsImpl(int tokens, VectorRun features, VectorRun values, MatrixShape shape, float* matrix) {
  Multiply({.rows = shape.features,
            .inner = tokens,
            .columns = shape.columns,
            .a = features.data,
            .a_row = 1,
            .a_inner = features.stride,
            .b = values.data,
            .b_row = values.stride,
            .out = matrix,
            .out_row = shape.columns,
            .accumulate = true});
}

// All writes to kVectors vectors of the matrix's columns, which do not depend on the other columns. The
// matrix is passed once per token: each element is decayed and written, and at once read for what the next
// token recalls.
template <int kVectors, class D>
HWY_INLINE void WriteStrip(D d, const DeltaWrites& w, MatrixShape shape, float* matrix, int column) {
  const size_t second = kVectors > 1 ? hn::Lanes(d) : 0;
  const int64_t row_floats = shape.columns;
  const float* phi = w.features.data;
  auto stored0 = hn::Zero(d), stored1 = hn::Zero(d);  // phi^T M before this token's decay
  float* row = matrix + column;
  for (int k = 0; k < shape.features; ++k, row += row_floats) {
    stored0 = hn::MulAdd(hn::Set(d, phi[k]), hn::LoadU(d, row), stored0);
    stored1 = hn::MulAdd(hn::Set(d, phi[k]), hn::LoadU(d, row + second), stored1);
  }
  for (int t = 0; t < w.tokens; ++t) {
    const auto strength = hn::Set(d, w.strengths != nullptr ? w.strengths[t] : 1.0f);
    const auto decays = hn::Set(d, w.decays != nullptr ? w.decays[t] : 1.0f);
    const float* value = w.values.data + t * w.values.stride + column;
    const auto update0 = hn::Mul(strength, hn::NegMulAdd(decays, stored0, hn::LoadU(d, value)));
    const auto update1 = hn::Mul(strength, hn::NegMulAdd(decays, stored1, hn::LoadU(d, value + second)));

    const float* next = t + 1 < w.tokens ? phi + w.features.stride : phi;
    stored0 = stored1 = hn::Zero(d);
    row = matrix + column;
    for (int k = 0; k < shape.features; ++k, row += row_floats) {
      const auto feature = hn::Set(d, phi[k]);
      const auto m0 = hn::MulAdd(feature, update0, hn::Mul(decays, hn::LoadU(d, row)));
      hn::StoreU(m0, d, row);
      stored0 = hn::MulAdd(hn::Set(d, next[k]), m0, stored0);
      if constexpr (kVectors > 1) {
        const auto m1 = hn::MulAdd(feature, update1, hn::Mul(decays, hn::LoadU(d, row + second)));
        hn::StoreU(m1, d, row + second);
        stored1 = hn::MulAdd(hn::Set(d, next[k]), m1, stored1);
      }
    }
    phi = next;
  }
}

void WriteDeltasImpl(const DeltaWrites& w, MatrixShape shape, float* matrix) {
  const hn::CappedTag<float, 16> wide;
  const hn::CappedTag<float, 1> single;
  const int lanes = static_cast<int>(hn::Lanes(wide));
  int column = 0;
  for (; column + 2 * lanes <= shape.columns; column += 2 * lanes) {
    WriteStrip<2>(wide, w, shape, matrix, column);
  }
  for (; column + lanes <= shape.columns; column += lanes) {
    WriteStrip<1>(wide, w, shape, matrix, column);
  }
  for (; column < shape.columns; ++column) WriteStrip<1>(single, w, shape, matrix, column);
}

}  // namespace HWY_NAMESPACE
}  // namespace memgate
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace memgate {

HWY_EXPORT(ReadMatrixImpl);
HWY_EXPORT(AddAssociationsImpl);
HWY_EXPORT(WriteDeltasImpl);

void ReadMatrix(const float* matrix, MatrixShape shape, int count, VectorRun features, float* out,
                int64_t out_stride) {
  HWY_DYNAMIC_DISPATCH(ReadMatrixImpl)(matrix, shape, count, features, out, out_stride);
}

void AddAssociations(int tokens, VectorRun features, VectorRun values, MatrixShape shape, float* matrix) {
  HWY_DYNAMIC_DISPATCH(AddAssociationsImpl)(tokens, features, values, shape, matrix);
}

void WriteDeltas(const DeltaWrites& writes, MatrixShape shape, float* matrix) {
  if (writes.tokens > 0) HWY_DYNAMIC_DISPATCH(WriteDeltasImpl)(writes, shape, matrix);
}

}  // namespace memgate
#endif  // HWY_ONCE
