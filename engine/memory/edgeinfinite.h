// EdgeInfinite (arXiv 2503.22196): a linear memory over rotated queries and keys beside a frozen model, read
// through a small gated transform per query head.
#ifndef MEMGATE_ENGINE_MEMORY_EDGEINFINITE_H_
#define MEMGATE_ENGINE_MEMORY_EDGEINFINITE_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/memory/memory_kind.h"
#include "engine/memory/module_reading.h"

namespace memgate {

// The paper gives no equation for its gate; this is a reading within its budget of parameters:
//   attention_h += sigmoid(b_h) W2_h relu(W1_h A_mem),  A_mem = phi(q) M / (phi(q) z + eps),  phi = ELU + 1.
// W2 of zeros is the identity. I is the inner width.
struct EdgeInfiniteWeights {
  int inner = 0;            // I
  std::vector<float> w1;    // [L, H, I, D]
  std::vector<float> w2;    // [L, H, D, I]
  std::vector<float> gate;  // b: [L, H], before the sigmoid
};

// M += phi(K)^T V and z += sum phi(K) when a segment leaves the window. Queries and keys are rotated by their
// true positions; so is phi's argument.
std::unique_ptr<MemoryKind> MakeEdgeInfiniteKind(const ModelConfig& config, EdgeInfiniteWeights weights);

// Tensors layers.{i}.edgeinfinite.* (docs/formats.md).
absl::StatusOr<MemoryKinds> LoadEdgeInfinite(const ModuleContents& module);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_MEMORY_EDGEINFINITE_H_
