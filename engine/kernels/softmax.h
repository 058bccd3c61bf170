// Passes over the scores of a vocabulary, for drawing from their softmax. SIMD with run-time dispatch;
// plain-loop twins: tests/kernels/softmax_test.cc.
//
// A score that is not finite counts as absent: it weighs nothing and is never found.
#ifndef MEMGATE_ENGINE_KERNELS_SOFTMAX_H_
#define MEMGATE_ENGINE_KERNELS_SOFTMAX_H_

#include <cstdint>

namespace memgate {

// A score x weighs e^((x - largest) / temperature): the softmax but for its sum, and exactly 1 for the
// largest.
struct SoftmaxScale {
  float largest = 0;      // finite; no finite score is larger
  float temperature = 1;  // > 0
};

// Weights below e^-87 are 0, so that none is subnormal: slow on many processors, and nothing beside 1.
inline constexpr float kLeastSoftmaxExponent = -87;

// The largest finite of scores [n]; minus infinity if there is none.
float LargestFinite(const float* scores, int64_t n);

// The weights of scores, both [n]. The relative error is at most 2^-22 (1 + |exponent|); the last bits depend
// on the SIMD target, because not all of them round a product before it is added.
void SoftmaxWeights(const SoftmaxScale& scale, const float* scores, int64_t n, float* weights);

// The sum of the same weights of scores [n], in double precision: but for its rounding, that of the weights
// as SoftmaxWeights gives them on the same SIMD target.
double SoftmaxTotal(const SoftmaxScale& scale, const float* scores, int64_t n);

// Writes the places of the finite of scores [n] that are larger than `bar`, in ascending order, and returns
// how many there are. places: [n], of which those behind the result are overwritten, too.
int64_t PlacesAbove(float bar, const float* scores, int64_t n, int32_t* places);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_KERNELS_SOFTMAX_H_
