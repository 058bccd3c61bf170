// The feature map of matrices that see both signs of a key.
#ifndef MEMGATE_ENGINE_MEMORY_SIGNED_MAP_H_
#define MEMGATE_ENGINE_MEMORY_SIGNED_MAP_H_

namespace memgate {

// phi(x) [2 dim] of x [dim]: c / max(|c|, 1e-6) with c = [relu(u); relu(-u)], u = scale * x + shift [dim].
void SignedMap(const float* x, const float* scale, const float* shift, int dim, float* phi);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_MEMORY_SIGNED_MAP_H_
