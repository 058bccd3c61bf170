#include "engine/memory/normalised_memory.h"

#include <cmath>

#include "engine/kernels/elementwise.h"

namespace memgate {

void EluPlusOne(const float* x, int64_t n, float* phi) {
  for (int64_t i = 0; i < n; ++i) phi[i] = x[i] > 0 ? x[i] + 1.0f : std::exp(x[i]);
}

void RecallNormalised(const float* memory, MatrixShape shape, int tokens, const float* phi, float* out) {
  const float* normaliser = memory + int64_t{shape.features} * shape.columns;
  ReadMatrix(memory, shape, tokens, {phi, shape.features}, out, shape.columns);
  for (int t = 0; t < tokens; ++t, phi += shape.features, out += shape.columns) {
    const float inverse = 1.0f / (Dot(phi, normaliser, shape.features) + kNormaliserEpsilon);
    for (int d = 0; d < shape.columns; ++d) out[d] *= inverse;
  }
}

void AddNormalised(MatrixShape shape, int tokens, const float* phi, const float* values, float* memory) {
  AddAssociations(tokens, {phi, shape.features}, {values, shape.columns}, shape, memory);
  float* normaliser = memory + int64_t{shape.features} * shape.columns;
  for (int t = 0; t < tokens; ++t) AddInPlace(phi + int64_t{t} * shape.features, shape.features, normaliser);
}

}  // namespace memgate
