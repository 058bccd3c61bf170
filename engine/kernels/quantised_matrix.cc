#include "engine/kernels/quantised_matrix.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "engine/base/strings.h"
#include "engine/kernels/parallel.h"
#include "engine/kernels/quantised_layout.h"
#include "engine/kernels/quantised_packing.h"

// The target with 8-bit dot products is opt-in in Highway 1.0.
#define HWY_WANT_AVX3_DL 1
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/quantised_matrix.cc"
#include "hwy/foreach_target.h"
// clang-format off: Highway needs this order.
#include "engine/kernels/activation-inl.h"
#include "engine/kernels/quantised_product-inl.h"
#include "hwy/highway.h"
// clang-format on

#ifndef MEMGATE_QUANTISED_SIZES
#define MEMGATE_QUANTISED_SIZES
namespace memgate {

// Rows that pass a panel together: their activations stay in the second-level cache, their sums in the first.
constexpr int kBlockRows = 128;
// Groups of inputs that all rows of a block pass before the next ones: their weights [1024, 32] are 32 KiB.
constexpr int kChunkGroups = 32;
constexpr int kChunkSteps = kChunkGroups * kGroupSteps;
// Up to so many rows, 4-bit weights are multiplied as they are; more rows pay for unpacking.
constexpr int kMostRowsOfNibbles = 32;

// What becomes of a product: y = it, y += it, or y = activation(its gate) * its up.
enum class QuantisedFinish { kStore, kAdd, kSiluGate, kGeluGate };

// Activations and what they are rounded to, in scratch memory.
struct QuantisedRows {
  const float* x = nullptr;  // [rows, in_features]
  int rows = 0;
  int in_features = 0;
  uint8_t* values = nullptr;  // [rows, stride]: x / scale, rounded, kZeroPoint added
  int64_t stride = 0;
  float* scales = nullptr;  // [rows]
};

// One product.
struct QuantisedCall {
  QuantisedShape shape;
  QuantisedLayout layout;
  const std::byte* panels = nullptr;
  QuantisedRows input;
  float* y = nullptr;  // [rows, out_features]
  QuantisedFinish finish = QuantisedFinish::kStore;
};

// Blocks of rows, as equal as can be.
inline int64_t RowBlocks(int rows) { return (int64_t{rows} + kBlockRows - 1) / kBlockRows; }

}  // namespace memgate
#endif

HWY_BEFORE_NAMESPACE();
namespace memgate {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, kVectorOutputs>;

// The largest magnitude of n numbers, as its bits: in their order, infinity and NaN lie above all numbers.
uint32_t LargestMagnitudeBits(const float* x, int n) {
  const hn::ScalableTag<int32_t> d;
  const hn::RebindToFloat<decltype(d)> df;
  const int lanes = static_cast<int>(hn::Lanes(d));
  const auto magnitude = hn::Set(d, std::numeric_limits<int32_t>::max());
  auto largest = hn::Zero(d);
  int i = 0;
  for (; i + lanes <= n; i += lanes) {
    largest = hn::Max(largest, hn::And(hn::BitCast(d, hn::LoadU(df, x + i)), magnitude));
  }
  int32_t result = hn::GetLane(hn::MaxOfLanes(d, largest));
  for (; i < n; ++i) {
    result = std::max(result, std::bit_cast<int32_t>(x[i]) & std::numeric_limits<int32_t>::max());
  }
  return static_cast<uint32_t>(result);
}

void QuantiseRow(const QuantisedRows& rows, int64_t row) {
  const int n = rows.in_features;
  const float* x = rows.x + row * n;
  uint8_t* out = rows.values + row * rows.stride;
  const float largest = std::bit_cast<float>(LargestMagnitudeBits(x, n));
  // False for a NaN, too.
  const bool usable =
      largest >= QuantisedMatrix::kLeastMagnitude && largest <= std::numeric_limits<float>::max();
  if (!usable) {
    std::fill_n(out, rows.stride, uint8_t{kZeroPoint});
    rows.scales[row] = largest < 1.0f ? 0.0f : std::numeric_limits<float>::quiet_NaN();
    return;
  }
  rows.scales[row] = largest / 127.0f;
  const float inverse = 127.0f / largest;
  const hn::ScalableTag<float> d;
  const hn::RebindToSigned<decltype(d)> d32;
  const hn::Rebind<uint8_t, decltype(d)> d8;
  const int lanes = static_cast<int>(hn::Lanes(d));
  const auto inverses = hn::Set(d, inverse);
  const auto zero_point = hn::Set(d32, kZeroPoint);
  int i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto rounded = hn::NearestInt(hn::Mul(hn::LoadU(d, x + i), inverses));
    hn::StoreU(hn::DemoteTo(d8, hn::Add(rounded, zero_point)), d8, out + i);
  }
  for (; i < n; ++i) {
    out[i] = static_cast<uint8_t>(static_cast<int>(std::nearbyint(x[i] * inverse)) + kZeroPoint);
  }
  std::fill(out + i, out + rows.stride, uint8_t{kZeroPoint});
}

void QuantiseRowsImpl(const QuantisedRows& rows, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) QuantiseRow(rows, row);
}

// sums(r, o) = the products of one panel with p.rows rows.
void MultiplyPanel(const QuantisedLayout& layout, const std::byte* panel, const PanelProduct& p) {
  const auto& outputs = *reinterpret_cast<const PanelOutputs*>(panel);
  const Sums d;
  for (int r = 0; r < p.rows; ++r) {
    for (int o = 0; o < kPanelOutputs; o += kSumLanes) {
      hn::Store(hn::Neg(hn::LoadU(d, outputs.correction + o)), d, p.sums + r * kPanelOutputs + o);
    }
  }
  const auto* weights = reinterpret_cast<const int8_t*>(panel + sizeof(PanelOutputs));
  if (layout.int4 && p.rows <= kMostRowsOfNibbles) return AddInt4(p, weights, layout.groups);
  HWY_ALIGN int8_t unpacked[kChunkSteps * kStepBytes];
  PanelProduct chunk = p;
  for (int begin = 0; begin < layout.steps; begin += kChunkSteps, chunk.x += kChunkSteps * kStepInputs) {
    const int steps = std::min(kChunkSteps, layout.steps - begin);
    const int8_t* from = unpacked;
    if (!layout.int4) {
      from = weights + int64_t{begin} * kStepBytes;
    } else {
      const int first = begin / kGroupSteps;
      const int groups = std::min(kChunkGroups, layout.groups - first);
      for (int g = 0; g < groups; ++g) {
        UnpackGroup(weights, first + g, unpacked + g * kGroupSteps * kStepBytes);
      }
    }
    AddInt8(chunk, from, steps);
  }
}

// Sums as numbers: (sum * output's scale) * row's scale + bias, in this order whatever the target or row.
template <class D>
HWY_INLINE hn::Vec<D> ToFloats(D d, const int32_t* sums, const PanelOutputs& outputs, int o,
                               float row_scale) {
  const auto scaled = hn::Mul(hn::ConvertTo(d, hn::Load(Sums(), sums + o)), hn::LoadU(d, outputs.scale + o));
  return hn::MulAdd(scaled, hn::Set(d, row_scale), hn::LoadU(d, outputs.bias + o));
}

// A row of a panel's sums into y: [layout.outputs].
template <QuantisedFinish kFinish>
HWY_INLINE void FinishRow(const int32_t* sums, const PanelOutputs& outputs, float row_scale, float* y) {
  const Floats d;
  if constexpr (kFinish == QuantisedFinish::kSiluGate || kFinish == QuantisedFinish::kGeluGate) {
    constexpr Activation kActivation =
        kFinish == QuantisedFinish::kSiluGate ? Activation::kSilu : Activation::kGeluTanh;
    for (int o = 0; o < kVectorOutputs; o += kSumLanes) {
      const auto gate = ToFloats(d, sums, outputs, o, row_scale);
      const auto up = ToFloats(d, sums, outputs, kVectorOutputs + o, row_scale);
      hn::StoreU(hn::Mul(Activate<kActivation>(d, gate), up), d, y + o);
    }
  } else {
    for (int o = 0; o < kPanelOutputs; o += kSumLanes) {
      const auto result = ToFloats(d, sums, outputs, o, row_scale);
      constexpr bool kAdds = kFinish == QuantisedFinish::kAdd;
      hn::StoreU(kAdds ? hn::Add(hn::LoadU(d, y + o), result) : result, d, y + o);
    }
  }
}

// Sums of one panel and `rows` rows from first_row on, into y.
template <QuantisedFinish kFinish>
void FinishPanel(const QuantisedCall& call, int64_t panel, const PanelOutputs& outputs, int64_t first_row,
                 int rows, const int32_t* sums) {
  const int64_t first = panel * call.layout.outputs;
  const int64_t count = std::min<int64_t>(call.layout.outputs, call.shape.out_features - first);
  for (int r = 0; r < rows; ++r, sums += kPanelOutputs) {
    float* y = call.y + (first_row + r) * call.shape.out_features + first;
    const float scale = call.input.scales[first_row + r];
    if (count == call.layout.outputs) {
      FinishRow<kFinish>(sums, outputs, scale, y);
    } else {
      float whole[kPanelOutputs] = {};
      std::copy_n(y, kFinish == QuantisedFinish::kAdd ? count : 0, whole);
      FinishRow<kFinish>(sums, outputs, scale, whole);
      std::copy_n(whole, count, y);
    }
  }
}

// Items [begin, end) of all pairs of a block of rows and a panel, panels running faster.
void MultiplyImpl(const QuantisedCall& call, int64_t begin, int64_t end) {
  HWY_ALIGN int32_t sums[kBlockRows * kPanelOutputs];
  const QuantisedRows& input = call.input;
  const int64_t blocks = RowBlocks(input.rows);
  for (int64_t item = begin; item < end; ++item) {
    const int64_t block = item / call.layout.panels;
    const int64_t panel = item % call.layout.panels;
    const int64_t first_row = input.rows * block / blocks;
    const int rows = static_cast<int>(input.rows * (block + 1) / blocks - first_row);
    const std::byte* bytes = call.panels + panel * call.layout.panel_bytes();
    MultiplyPanel(call.layout, bytes, {input.values + first_row * input.stride, input.stride, rows, sums});
    const auto& outputs = *reinterpret_cast<const PanelOutputs*>(bytes);
    switch (call.finish) {
      case QuantisedFinish::kStore:
        FinishPanel<QuantisedFinish::kStore>(call, panel, outputs, first_row, rows, sums);
        break;
      case QuantisedFinish::kAdd:
        FinishPanel<QuantisedFinish::kAdd>(call, panel, outputs, first_row, rows, sums);
        break;
      case QuantisedFinish::kSiluGate:
        FinishPanel<QuantisedFinish::kSiluGate>(call, panel, outputs, first_row, rows, sums);
        break;
      case QuantisedFinish::kGeluGate:
        FinishPanel<QuantisedFinish::kGeluGate>(call, panel, outputs, first_row, rows, sums);
        break;
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace memgate
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace memgate {

HWY_EXPORT(QuantiseRowsImpl);
HWY_EXPORT(MultiplyImpl);

namespace {

static_assert(std::endian::native == std::endian::little, "packed weights are little-endian");

// The first bytes of a block.
struct Header {
  char magic[8] = {'m', 'g', 'q', 'u', 'a', 'n', 't', '\0'};
  uint32_t layout_version = QuantisedMatrix::kLayoutVersion;
  uint32_t bits = 0;
  int32_t out_features = 0;
  int32_t in_features = 0;
  uint32_t gated = 0;
  uint8_t zeros[36] = {};
};
static_assert(sizeof(Header) == kCacheLineBytes);

Header HeaderOf(const QuantisedShape& shape) {
  Header header;
  header.bits = shape.format == WeightFormat::kInt4 ? 4 : 8;
  header.out_features = shape.out_features;
  header.in_features = shape.in_features;
  header.gated = shape.gated;
  return header;
}

absl::Status CheckShape(const QuantisedShape& shape) {
  const bool quantised = shape.format == WeightFormat::kInt8 || shape.format == WeightFormat::kInt4;
  if (!quantised || shape.out_features < 1 || shape.in_features < 1 ||
      shape.in_features > QuantisedMatrix::kMaxInFeatures) {
    return absl::InvalidArgumentError(Concat("no quantised matrix of ", shape.in_features, " -> ",
                                             shape.out_features, " in ", WeightFormatName(shape.format)));
  }
  return absl::OkStatus();
}

// Bytes between two rows of activations: whole groups, and not a multiple of what would put the rows of a
// tile into few sets of the cache.
int64_t RowStride(int in_features) {
  const int64_t stride = RoundUp(in_features, kCacheLineBytes);
  return stride % (8 * kCacheLineBytes) == 0 ? stride + kCacheLineBytes : stride;
}

int64_t ValueBytes(int rows, int in_features) { return rows * RowStride(in_features); }

QuantisedRows RoundRows(const float* x, int rows, int in_features, absl::Span<std::byte> scratch) {
  const QuantisedRows rounded{
      .x = x,
      .rows = rows,
      .in_features = in_features,
      .values = reinterpret_cast<uint8_t*>(scratch.data()),
      .stride = RowStride(in_features),
      .scales = reinterpret_cast<float*>(scratch.data() + ValueBytes(rows, in_features))};
  ParallelFor(rows, LeastItems(4 * int64_t{in_features}), [&](int64_t begin, int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(QuantiseRowsImpl)(rounded, begin, end);
  });
  return rounded;
}

void Multiply(const QuantisedMatrix& matrix, QuantisedFinish finish, const float* x, int rows, float* y,
              absl::Span<std::byte> scratch) {
  if (rows == 0) return;
  const QuantisedShape& shape = matrix.shape();
  const QuantisedCall call{.shape = shape,
                           .layout = QuantisedLayout(shape),
                           .panels = matrix.bytes().data() + sizeof(Header),
                           .input = RoundRows(x, rows, shape.in_features, scratch),
                           .y = y,
                           .finish = finish};
  const int64_t item_operations = std::min<int64_t>(rows, kBlockRows) * shape.in_features * kPanelOutputs;
  ParallelForBalanced(RowBlocks(rows) * call.layout.panels, LeastItems(item_operations),
                      [&](int64_t begin, int64_t end, int) {
                        HWY_DYNAMIC_DISPATCH(MultiplyImpl)
                        (call, begin, end);
                      });
}

}  // namespace

int64_t QuantisedMatrix::Bytes(const QuantisedShape& shape) { return QuantisedLayout(shape).bytes(); }

int64_t QuantisedMatrix::ScratchBytes(int rows, int in_features) {
  return ValueBytes(rows, in_features) + rows * int64_t{sizeof(float)};
}

absl::StatusOr<QuantisedMatrix> QuantisedMatrix::Quantise(const QuantisedShape& shape,
                                                          absl::Span<const float> weight,
                                                          absl::Span<const float> bias) {
  if (auto s = CheckShape(shape); !s.ok()) return s;
  const int64_t outputs = int64_t{shape.out_features} * (shape.gated ? 2 : 1);
  if (static_cast<int64_t>(weight.size()) != outputs * shape.in_features ||
      (!bias.empty() && (shape.gated || static_cast<int64_t>(bias.size()) != outputs))) {
    return absl::InvalidArgumentError("quantised matrix: weight or bias of the wrong size");
  }
  QuantisedMatrix matrix;
  matrix.shape_ = shape;
  matrix.owned_ = AlignedBytes(Bytes(shape));
  const absl::Span<std::byte> bytes = matrix.owned_.span();
  const Header header = HeaderOf(shape);
  std::memcpy(bytes.data(), &header, sizeof(header));
  if (auto s = PackPanels(shape, weight, bias, bytes.subspan(sizeof(header))); !s.ok()) return s;
  matrix.bytes_ = bytes;
  return matrix;
}

absl::StatusOr<QuantisedMatrix> QuantisedMatrix::View(const QuantisedShape& shape,
                                                      absl::Span<const std::byte> packed) {
  if (auto s = CheckShape(shape); !s.ok()) return s;
  if (static_cast<int64_t>(packed.size()) != Bytes(shape)) {
    return absl::InvalidArgumentError(
        Concat("packed weights: ", packed.size(), " bytes instead of ", Bytes(shape)));
  }
  if (reinterpret_cast<uintptr_t>(packed.data()) % kCacheLineBytes != 0) {
    return absl::InvalidArgumentError("packed weights: not at a multiple of 64 bytes");
  }
  const Header header = HeaderOf(shape);
  if (std::memcmp(packed.data(), &header, sizeof(header)) != 0) {
    return absl::InvalidArgumentError("packed weights: header of another matrix or layout");
  }
  QuantisedMatrix matrix;
  matrix.shape_ = shape;
  matrix.bytes_ = packed;
  return matrix;
}

void QuantisedMatrix::QuantiseRows(const float* x, int rows, int in_features, absl::Span<std::byte> scratch) {
  RoundRows(x, rows, in_features, scratch);
}

void QuantisedMatrix::Apply(const float* x, int rows, float* y, absl::Span<std::byte> scratch) const {
  Multiply(*this, QuantisedFinish::kStore, x, rows, y, scratch);
}

void QuantisedMatrix::AddTo(const float* x, int rows, float* y, absl::Span<std::byte> scratch) const {
  Multiply(*this, QuantisedFinish::kAdd, x, rows, y, scratch);
}

void QuantisedMatrix::ApplyGated(Activation activation, const float* x, int rows, float* y,
                                 absl::Span<std::byte> scratch) const {
  const bool silu = activation == Activation::kSilu;
  Multiply(*this, silu ? QuantisedFinish::kSiluGate : QuantisedFinish::kGeluGate, x, rows, y, scratch);
}

}  // namespace memgate
#endif  // HWY_ONCE
