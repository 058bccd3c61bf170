// Where the parts of a quantised matrix lie in its block of bytes (kernels/quantised_matrix.h).
//
//   block   = header (64 bytes), panels
//   panel   = scale f32[32], correction i32[32], bias f32[32], then of its 32 outputs
//     int8:   weights i8[ceil(in / 4)][2][16][4]
//     int4:   for every two groups of 32 inputs, group scales i8[2][32], nibbles u8[2][4][2][16][4]; the
//             nibbles of the last, if it lacks a partner, are half as many
// The innermost [16][4] are one 64-byte vector: 16 outputs by 4 consecutive inputs, as a product that adds
// four bytes to a 32-bit lane wants them; the [2] are the two halves of a panel. A byte of nibbles holds, as
// two's complement, input i of the 8 that a pair of vectors covers in its low and input i + 4 in its high
// half. A panel of a plain matrix has outputs 32 p + i; of a gated one 16 p + i of gate and the same of up.
// Outputs and inputs that fill a panel up are zeros. `correction` is 128 times the sum of an output's
// weights: activations are stored with 128 added.
#ifndef MEMGATE_ENGINE_KERNELS_QUANTISED_LAYOUT_H_
#define MEMGATE_ENGINE_KERNELS_QUANTISED_LAYOUT_H_

#include <cstddef>
#include <cstdint>

#include "engine/kernels/aligned_bytes.h"
#include "engine/kernels/quantised_matrix.h"

namespace memgate {

inline constexpr int kVectorOutputs = 16;
inline constexpr int kPanelOutputs = 2 * kVectorOutputs;
inline constexpr int kStepInputs = 4;
inline constexpr int kStepBytes = kPanelOutputs * kStepInputs;  // of a panel's weights in 8 bits
inline constexpr int kGroupInputs = 32;
inline constexpr int kGroupSteps = kGroupInputs / kStepInputs;
inline constexpr int kGroupBytes = kGroupSteps * kStepBytes / 2;  // of a group's nibbles
inline constexpr int kGroupPairBytes = kCacheLineBytes + 2 * kGroupBytes;
inline constexpr int kZeroPoint = 128;  // added to activations

// The first bytes of a panel.
struct PanelOutputs {
  float scale[kPanelOutputs];
  int32_t correction[kPanelOutputs];
  float bias[kPanelOutputs];
};
static_assert(sizeof(PanelOutputs) % kCacheLineBytes == 0);

// Where the scales and the nibbles of a group begin, from the end of PanelOutputs. What is read together lies
// together: a processor that sees one stream fetches ahead, with the scales elsewhere it did so too late.
static_assert(2 * kPanelOutputs == kCacheLineBytes);
constexpr int64_t GroupScalesOffset(int group) {
  return int64_t{group / 2} * kGroupPairBytes + group % 2 * kPanelOutputs;
}
constexpr int64_t NibblesOffset(int group) {
  return int64_t{group / 2} * kGroupPairBytes + kCacheLineBytes + group % 2 * kGroupBytes;
}

constexpr int64_t RoundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Sizes that follow from a shape.
struct QuantisedLayout {
  explicit constexpr QuantisedLayout(const QuantisedShape& shape)
      : outputs(shape.gated ? kVectorOutputs : kPanelOutputs),
        panels((int64_t{shape.out_features} + outputs - 1) / outputs),
        steps((shape.in_features + kStepInputs - 1) / kStepInputs),
        groups((shape.in_features + kGroupInputs - 1) / kGroupInputs),
        int4(shape.format == WeightFormat::kInt4) {}

  constexpr int64_t panel_bytes() const {
    return sizeof(PanelOutputs) +
           (int4 ? NibblesOffset(groups - 1) + kGroupBytes : int64_t{steps} * kStepBytes);
  }
  constexpr int64_t bytes() const { return kCacheLineBytes + panels * panel_bytes(); }

  int outputs;  // of the matrix, that a panel gives
  int64_t panels;
  int steps;   // of kStepInputs inputs
  int groups;  // of kGroupInputs inputs
  bool int4;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_KERNELS_QUANTISED_LAYOUT_H_
