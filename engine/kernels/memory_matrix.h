// What memory kinds do with their matrices of associations M [K, N], f32, row-major: read them with many
// feature vectors at once and write many tokens. SIMD with run-time dispatch; plain-loop twins:
// tests/kernels/memory_matrix_test.cc.
//
// Every sum runs in a fixed order, over features or tokens in ascending order: which rows, tokens or threads
// are at work together changes no bit of a row. All run on the calling thread; different matrices may be
// used by different threads. Nothing that is written may overlap what is read.
#ifndef MEMGATE_ENGINE_KERNELS_MEMORY_MATRIX_H_
#define MEMGATE_ENGINE_KERNELS_MEMORY_MATRIX_H_

#include <cstdint>

namespace memgate {

struct MatrixShape {
  int features = 0;  // K
  int columns = 0;   // N
};

// Vectors that need not lie end to end: vector i begins at data + i * stride.
struct VectorRun {
  const float* data = nullptr;
  int64_t stride = 0;  // floats
};

// out_i = phi_i^T M for `count` feature vectors phi_i [K]. out_i [N] begins at out + i * out_stride.
void ReadMatrix(const float* matrix, MatrixShape shape, int count, VectorRun features, float* out,
                int64_t out_stride);

// M += sum_t phi_t v_t^T over `tokens` tokens (linear attention, arXiv 2006.16236). phi_t: [K], v_t: [N].
void AddAssociations(int tokens, VectorRun features, VectorRun values, MatrixShape shape, float* matrix);

// Tokens t = 0 .. tokens - 1 for the gated delta rule (arXiv 2412.06464), written one after another:
//     M <- decay_t M;   M <- M + phi_t (strength_t (v_t - phi_t^T M))^T
struct DeltaWrites {
  int tokens = 0;
  VectorRun features;                // phi_t [K]
  VectorRun values;                  // v_t [N]
  const float* decays = nullptr;     // [tokens]; null: 1
  const float* strengths = nullptr;  // [tokens]; null: 1
};
void WriteDeltas(const DeltaWrites& writes, MatrixShape shape, float* matrix);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_KERNELS_MEMORY_MATRIX_H_
