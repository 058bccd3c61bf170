// Small vector kernels with run-time SIMD dispatch. Plain-loop twins: tests/reference/.
#ifndef MEMGATE_ENGINE_KERNELS_ELEMENTWISE_H_
#define MEMGATE_ENGINE_KERNELS_ELEMENTWISE_H_

#include <cstdint>

#include "engine/base/activation.h"

namespace memgate {

// out = x / sqrt(mean(x^2) + eps) * weight (RMSNorm, arXiv 1910.07467). x, weight, out: [n]; out may be x.
void RmsNorm(const float* x, const float* weight, float eps, int n, float* out);

// out = activation(gate) * up. All [n]; out may be gate.
void ActivateMultiply(Activation activation, const float* gate, const float* up, int64_t n, float* out);

// out = cap tanh(x / cap), which keeps small numbers and bounds large ones; NaN where x is infinite or NaN.
// Both [n]; out may be x. REQUIRES: cap > 0.
void SoftCap(float cap, const float* x, int64_t n, float* out);

// y += x. Both [n].
void AddInPlace(const float* x, int64_t n, float* y);

// y += a * x. Both [n].
void ScaledAdd(float a, const float* x, int64_t n, float* y);

// y *= a. [n].
void Multiply(float a, int64_t n, float* y);

// Sum of x[i] * y[i].
float Dot(const float* x, const float* y, int64_t n);

// The logistic function 1 / (1 + e^-x), of one number.
float Sigmoid(float x);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_KERNELS_ELEMENTWISE_H_
