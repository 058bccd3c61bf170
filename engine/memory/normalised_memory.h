// The memory of linear attention (arXiv 2006.16236) as Infini-attention and EdgeInfinite use it: a matrix
// M [K, D] of associations and the sum z [K] of its keys' features, one pair per KV head. K features stand
// for a key, D numbers are its value.
#ifndef MEMGATE_ENGINE_MEMORY_NORMALISED_MEMORY_H_
#define MEMGATE_ENGINE_MEMORY_NORMALISED_MEMORY_H_

#include <cstdint>

#include "engine/kernels/memory_matrix.h"

namespace memgate {

// Keeps phi(k) z away from zero; phi is positive, so only an empty memory comes near it.
inline constexpr float kNormaliserEpsilon = 1e-6f;

// phi(x) = ELU(x) + 1, elementwise over [n]. phi may be x.
void EluPlusOne(const float* x, int64_t n, float* phi);

// Floats of one KV head: M [K, D], row k belongs to feature k; then z [K].
inline int64_t NormalisedMemoryFloats(MatrixShape shape) {
  return int64_t{shape.features} * (shape.columns + 1);
}

// out_t = phi_t M / (phi_t z + eps) for `tokens` feature vectors. phi: [tokens, K], out: [tokens, D].
void RecallNormalised(const float* memory, MatrixShape shape, int tokens, const float* phi, float* out);

// M += sum phi_t^T v_t; z += sum phi_t. phi: [tokens, K], values: [tokens, D].
void AddNormalised(MatrixShape shape, int tokens, const float* phi, const float* values, float* memory);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_MEMORY_NORMALISED_MEMORY_H_
