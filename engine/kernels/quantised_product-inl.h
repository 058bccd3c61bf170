// Integer products of the panels of kernels/quantised_layout.h. Compiled once per SIMD target: include it
// after hwy/foreach_target.h, as Highway's own -inl.h files.
//
// Sums are kept in i32 lanes, one output each, and wrap around; what remains after the correction fits.
#if defined(MEMGATE_ENGINE_KERNELS_QUANTISED_PRODUCT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MEMGATE_ENGINE_KERNELS_QUANTISED_PRODUCT_INL_H_
#undef MEMGATE_ENGINE_KERNELS_QUANTISED_PRODUCT_INL_H_
#else
#define MEMGATE_ENGINE_KERNELS_QUANTISED_PRODUCT_INL_H_
#endif

#include <cstdint>
#include <cstring>
#include <utility>

#include "engine/kernels/quantised_layout.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace memgate {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A vector of outputs; a step of a panel is one or several pairs of them.
using Sums = hn::CappedTag<int32_t, kVectorOutputs>;
using SumVec = hn::Vec<Sums>;
using Words = hn::RepartitionToNarrow<Sums>;   // i16
using Bytes = hn::RepartitionToNarrow<Words>;  // i8
using ByteVec = hn::Vec<Bytes>;

constexpr int kSumLanes = HWY_MAX_BYTES < 64 ? HWY_MAX_BYTES / 4 : kVectorOutputs;

// Rows of x that share what is loaded of a panel; their sums stay in registers.
#if HWY_TARGET == HWY_AVX3_DL
constexpr int kTileRows = 12;
constexpr int kGroupTileRows = 4;
#elif HWY_TARGET == HWY_AVX3
constexpr int kTileRows = 8;
constexpr int kGroupTileRows = 4;
#else
constexpr int kTileRows = 4;
constexpr int kGroupTileRows = 2;
#endif

// ---- Four bytes of weights times four bytes of activations, for every output of a vector.

#if HWY_TARGET == HWY_AVX3_DL

using Weights = ByteVec;
using Inputs = SumVec;

HWY_INLINE Weights SplitWeights(ByteVec weights) { return weights; }

// The four activations at x, for every output.
HWY_INLINE Inputs SpreadInputs(const uint8_t* x) {
  int32_t four;
  std::memcpy(&four, x, sizeof(four));
  return hn::Set(Sums(), four);
}

HWY_INLINE SumVec AddProducts(SumVec sums, Inputs x, Weights w) {
  // Highway 1.0 compiles this target without the flag that _mm512_dpbusd_epi32 asks for, but takes it only
  // where the CPU has the instruction.
  asm("vpdpbusd %2, %1, %0" : "+v"(sums.raw) : "v"(x.raw), "v"(w.raw));
  return sums;
}

#else

// Bytes 0 and 2 of each output as 16-bit numbers, and bytes 1 and 3.
struct Weights {
  hn::Vec<Words> even, odd;
};
using Inputs = Weights;

HWY_INLINE Weights SplitWeights(ByteVec weights) {
  const auto words = hn::BitCast(Words(), weights);
  return {hn::ShiftRight<8>(hn::ShiftLeft<8>(words)), hn::ShiftRight<8>(words)};
}

HWY_INLINE Inputs SpreadInputs(const uint8_t* x) {
  int32_t four;
  std::memcpy(&four, x, sizeof(four));
  const auto words =
      hn::BitCast(hn::RepartitionToNarrow<hn::RebindToUnsigned<Sums>>(), hn::Set(Sums(), four));  // u16
  return {hn::BitCast(Words(), hn::And(words, hn::Set(hn::RebindToUnsigned<Words>(), 0xFF))),
          hn::BitCast(Words(), hn::ShiftRight<8>(words))};
}

// sums(o) += a(2 o) b(2 o) + a(2 o + 1) b(2 o + 1), exactly. REQUIRES: products fit into 16 bits.
HWY_INLINE SumVec AddPairs(SumVec sums, hn::Vec<Words> a, hn::Vec<Words> b) {
#if HWY_ARCH_X86
  auto unused = hn::Zero(Sums());
  return hn::ReorderWidenMulAccumulate(Sums(), a, b, sums, unused);
#else
  const auto pairs = hn::BitCast(Sums(), hn::Mul(a, b));
  return hn::Add(sums, hn::Add(hn::ShiftRight<16>(hn::ShiftLeft<16>(pairs)), hn::ShiftRight<16>(pairs)));
#endif
}

HWY_INLINE SumVec AddProducts(SumVec sums, Inputs x, Weights w) {
  return AddPairs(AddPairs(sums, x.even, w.even), x.odd, w.odd);
}

#endif

// ---- Products of a panel with a few rows of x.

// Rows of x, their sums, and the steps of a panel that are added to them.
struct PanelProduct {
  const uint8_t* x = nullptr;  // [rows, x_stride], kZeroPoint added
  int64_t x_stride = 0;
  int rows = 0;
  int32_t* sums = nullptr;  // [rows, kPanelOutputs]
};

// One step of 8-bit weights, [2, kSumLanes, 4] at w, into the sums of kRows rows.
template <int kRows>
HWY_INLINE void AddStep(const int8_t* w, const uint8_t* x, int64_t x_stride, SumVec (&sums)[kRows][2]) {
  const Bytes d8;
  const Weights w0 = SplitWeights(hn::Load(d8, w));
  const Weights w1 = SplitWeights(hn::Load(d8, w + kSumLanes * kStepInputs));
  HWY_UNROLL(16)
  for (int r = 0; r < kRows; ++r) {
    const Inputs inputs = SpreadInputs(x + r * x_stride);
    sums[r][0] = AddProducts(sums[r][0], inputs, w0);
    sums[r][1] = AddProducts(sums[r][1], inputs, w1);
  }
}

// sums += x w for kRows rows, over `steps` steps of 8-bit weights [steps, 2, 16, 4].
template <int kRows>
HWY_INLINE void AddTile(const PanelProduct& p, const int8_t* weights, int steps) {
  const Sums d;
  // Sums of a single row would be waited for from step to step: consecutive steps have sums of their own.
  constexpr int kSets = kRows == 1 ? 4 : 1;
  for (int first = 0; first < kPanelOutputs; first += 2 * kSumLanes) {
    SumVec sums[kSets][kRows][2];
    HWY_UNROLL(16)
    for (int r = 0; r < kRows; ++r) {
      sums[0][r][0] = hn::Load(d, p.sums + r * kPanelOutputs + first);
      sums[0][r][1] = hn::Load(d, p.sums + r * kPanelOutputs + first + kSumLanes);
      HWY_UNROLL(4)
      for (int s = 1; s < kSets; ++s) sums[s][r][0] = sums[s][r][1] = hn::Zero(d);
    }
    const int8_t* w = weights + first * kStepInputs;
    const uint8_t* x = p.x;
    int k = 0;
    for (; k + kSets <= steps; k += kSets) {
      HWY_UNROLL(4)
      for (int s = 0; s < kSets; ++s, w += kStepBytes, x += kStepInputs) {
        AddStep<kRows>(w, x, p.x_stride, sums[s]);
      }
    }
    for (; k < steps; ++k, w += kStepBytes, x += kStepInputs) AddStep<kRows>(w, x, p.x_stride, sums[0]);
    HWY_UNROLL(16)
    for (int r = 0; r < kRows; ++r) {
      HWY_UNROLL(4)
      for (int s = 1; s < kSets; ++s) {
        sums[0][r][0] = hn::Add(sums[0][r][0], sums[s][r][0]);
        sums[0][r][1] = hn::Add(sums[0][r][1], sums[s][r][1]);
      }
      hn::Store(sums[0][r][0], d, p.sums + r * kPanelOutputs + first);
      hn::Store(sums[0][r][1], d, p.sums + r * kPanelOutputs + first + kSumLanes);
    }
  }
}

// sums += x w for kRows rows, over `groups` groups of 4-bit weights: a group's sum of x q, times its scale.
// weights: from the first group's scales on.
template <int kRows>
HWY_INLINE void AddGroups(const PanelProduct& p, const int8_t* weights, int groups) {
  const Sums d;
  const Bytes d8;
  const Words d16;
  const hn::Rebind<int8_t, Sums> d_scales;
  const auto high_half = hn::Set(d8, static_cast<int8_t>(0xF0));
  for (int first = 0; first < kPanelOutputs; first += 2 * kSumLanes) {
    SumVec sums[kRows][2];
    HWY_UNROLL(16)
    for (int r = 0; r < kRows; ++r) {
      sums[r][0] = hn::Load(d, p.sums + r * kPanelOutputs + first);
      sums[r][1] = hn::Load(d, p.sums + r * kPanelOutputs + first + kSumLanes);
    }
    const uint8_t* x = p.x;
    for (int g = 0; g < groups; ++g) {
      const int8_t* scale = weights + GroupScalesOffset(g) + first;
      const int8_t* w = weights + NibblesOffset(g) + first * kStepInputs;
      SumVec of_group[kRows][2];
      HWY_UNROLL(16)
      for (int r = 0; r < kRows; ++r) of_group[r][0] = of_group[r][1] = hn::Zero(d);
      HWY_UNROLL(4)
      for (int v = 0; v < kGroupSteps / 2; ++v, w += kStepBytes, x += 2 * kStepInputs) {
        // Nibbles in the high half of a byte are 16 q.
        const auto pair0 = hn::Load(d8, w);
        const auto pair1 = hn::Load(d8, w + kSumLanes * kStepInputs);
        const auto lower = [&](ByteVec pair) HWY_ATTR {
          return hn::And(hn::BitCast(d8, hn::ShiftLeft<4>(hn::BitCast(d16, pair))), high_half);
        };
        const Weights low0 = SplitWeights(lower(pair0)), high0 = SplitWeights(hn::And(pair0, high_half));
        const Weights low1 = SplitWeights(lower(pair1)), high1 = SplitWeights(hn::And(pair1, high_half));
        HWY_UNROLL(16)
        for (int r = 0; r < kRows; ++r) {
          const Inputs low = SpreadInputs(x + r * p.x_stride);
          of_group[r][0] = AddProducts(of_group[r][0], low, low0);
          of_group[r][1] = AddProducts(of_group[r][1], low, low1);
          const Inputs high = SpreadInputs(x + r * p.x_stride + kStepInputs);
          of_group[r][0] = AddProducts(of_group[r][0], high, high0);
          of_group[r][1] = AddProducts(of_group[r][1], high, high1);
        }
      }
      const auto scale0 = hn::PromoteTo(d, hn::LoadU(d_scales, scale));
      const auto scale1 = hn::PromoteTo(d, hn::LoadU(d_scales, scale + kSumLanes));
      HWY_UNROLL(16)
      for (int r = 0; r < kRows; ++r) {
        sums[r][0] = hn::Add(sums[r][0], hn::Mul(hn::ShiftRight<4>(of_group[r][0]), scale0));
        sums[r][1] = hn::Add(sums[r][1], hn::Mul(hn::ShiftRight<4>(of_group[r][1]), scale1));
      }
    }
    HWY_UNROLL(16)
    for (int r = 0; r < kRows; ++r) {
      hn::Store(sums[r][0], d, p.sums + r * kPanelOutputs + first);
      hn::Store(sums[r][1], d, p.sums + r * kPanelOutputs + first + kSumLanes);
    }
  }
}

// Calls body(first_row, std::integral_constant<int, rows>) on tiles of at most kMost rows, as equal as can
// be: a last tile of one row would load as much as a whole one.
template <int kMost, class Body>
HWY_INLINE void ForTiles(int rows, const Body& body) {
  const int tiles = (rows + kMost - 1) / kMost;
  for (int t = 0; t < tiles; ++t) {
    const int begin = rows * t / tiles;
    const int count = rows * (t + 1) / tiles - begin;
    [&]<int... kRows>(std::integer_sequence<int, kRows...>) HWY_ATTR {
      ((count == kRows + 1 ? body(begin, std::integral_constant<int, kRows + 1>()) : void()), ...);
    }
    (std::make_integer_sequence<int, kMost>());
  }
}

inline PanelProduct RowsFrom(const PanelProduct& p, int begin) {
  return {p.x + begin * p.x_stride, p.x_stride, p.rows - begin, p.sums + int64_t{begin} * kPanelOutputs};
}

inline HWY_ATTR void AddInt8(const PanelProduct& p, const int8_t* weights, int steps) {
  ForTiles<kTileRows>(p.rows, [&](int begin, auto rows) HWY_ATTR {
    AddTile<decltype(rows)::value>(RowsFrom(p, begin), weights, steps);
  });
}

inline HWY_ATTR void AddInt4(const PanelProduct& p, const int8_t* weights, int groups) {
  ForTiles<kGroupTileRows>(p.rows, [&](int begin, auto rows) HWY_ATTR {
    AddGroups<decltype(rows)::value>(RowsFrom(p, begin), weights, groups);
  });
}

// A group of 4-bit weights times its scales, as 8-bit weights. weights: from the first group's scales on,
// unpacked: [8, 2, 16, 4].
inline HWY_ATTR void UnpackGroup(const int8_t* weights, int group, int8_t* unpacked) {
  const Sums d;
  const hn::RebindToUnsigned<Words> d16;
  const hn::RebindToUnsigned<Bytes> d8;
  const hn::Rebind<int8_t, Sums> d_scales;
  const auto even_byte = hn::Set(d16, 0x00FF);
  const int8_t* scales = weights + GroupScalesOffset(group);
  const auto* nibbles = reinterpret_cast<const uint8_t*>(weights + NibblesOffset(group));
  for (int first = 0; first < kPanelOutputs; first += kSumLanes) {
    const auto scale = hn::PromoteTo(d, hn::LoadU(d_scales, scales + first));
    const auto scale_words =
        hn::BitCast(d16, hn::Or(hn::And(scale, hn::Set(d, 0xFFFF)), hn::ShiftLeft<16>(scale)));
    const auto eight_scales =
        hn::BitCast(d8, hn::Mul(hn::And(hn::ShiftLeft<3>(scale), hn::Set(d, 0xFF)), hn::Set(d, 0x01010101)));
    // (q + 8) s - 8 s, modulo 256, for q + 8 in the low halves of the bytes.
    const auto scaled = [&](hn::Vec<decltype(d16)> nibbles) HWY_ATTR {
      const auto even = hn::Mul(hn::And(nibbles, hn::Set(d16, 0x000F)), scale_words);
      const auto odd = hn::Mul(hn::And(nibbles, hn::Set(d16, 0x0F00)), scale_words);
      return hn::Sub(hn::BitCast(d8, hn::IfVecThenElse(even_byte, even, odd)), eight_scales);
    };
    const uint8_t* from = nibbles + first * kStepInputs;
    uint8_t* to = reinterpret_cast<uint8_t*>(unpacked) + first * kStepInputs;
    for (int v = 0; v < kGroupSteps / 2; ++v, from += kStepBytes, to += 2 * kStepBytes) {
      const auto pairs = hn::Xor(hn::BitCast(d16, hn::Load(d8, from)), hn::Set(d16, 0x8888));
      hn::Store(scaled(pairs), d8, to);
      hn::Store(scaled(hn::ShiftRight<4>(pairs)), d8, to + kStepBytes);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace memgate
HWY_AFTER_NAMESPACE();

#endif  // MEMGATE_ENGINE_KERNELS_QUANTISED_PRODUCT_INL_H_
