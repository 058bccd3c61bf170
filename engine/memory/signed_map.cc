#include "engine/memory/signed_map.h"

#include <algorithm>
#include <cmath>

#include "engine/kernels/elementwise.h"

namespace memgate {
namespace {

constexpr float kEpsilon = 1e-6f;  // keeps the norm of a feature vector of zeros away from zero

}  // namespace

void SignedMap(const float* x, const float* scale, const float* shift, int dim, float* phi) {
  for (int d = 0; d < dim; ++d) {
    const float u = scale[d] * x[d] + shift[d];
    phi[d] = std::max(u, 0.0f);
    phi[dim + d] = std::max(-u, 0.0f);
  }
  const float inverse = 1.0f / std::max(std::sqrt(Dot(phi, phi, 2 * dim)), kEpsilon);
  for (int i = 0; i < 2 * dim; ++i) phi[i] *= inverse;
}

}  // namespace memgate
