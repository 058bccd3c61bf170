// The `memgate` kind: salient tokens kept exactly by a learned retention score, and a gated-delta matrix for
// the tokens that have no slot.
#ifndef MEMGATE_ENGINE_MEMORY_MEMGATE_H_
#define MEMGATE_ENGINE_MEMORY_MEMGATE_H_

#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/memory/memory_kind.h"
#include "engine/memory/module_reading.h"

namespace memgate {

// The score of a token for KV head g: s_g = u_g . h + b_g, h the layer's normalised input. It depends on
// nothing later, so keeping the best E of a stream is exact.
struct RetentionWeights {
  std::vector<float> weight;  // u: [L, G, C]
  std::vector<float> bias;    // b: [L, G]
};

// A matrix M [2D, D] per KV head, written by the gated delta rule (arXiv 2412.06464) and read additively:
//   beta  = sigmoid(w_g . h + b_g)           write strength of a token
//   alpha = exp(-exp(decay_g) beta)          so M decays only as far as something is written
//   c     = [relu(u); relu(-u)], u = scale * x + shift;  phi(x) = c / max(|c|, 1e-6)
//   write   M <- alpha M;  M <- M + phi(k) (beta (v - phi(k)^T M))^T
//   read    attention_h += gain_h phi(q_h)^T M
// Keys and queries are not rotated. A gain of zero is the identity.
struct MatrixWeights {
  std::vector<float> write_weight;  // w: [L, G, C]
  std::vector<float> write_bias;    // b: [L, G]
  std::vector<float> decay;         // [L, G]
  std::vector<float> key_scale;     // [L, G, D]
  std::vector<float> key_shift;     // [L, G, D]
  std::vector<float> query_scale;   // [L, H, D]
  std::vector<float> query_shift;   // [L, H, D]
  std::vector<float> gain;          // [L, H]
};

// Without a matrix, what drops out of the slots is forgotten.
std::unique_ptr<MemoryKind> MakeMemgateKind(const ModelConfig& config, RetentionWeights retention,
                                            std::optional<MatrixWeights> matrix = std::nullopt,
                                            std::string_view name = "memgate");

// Tensors layers.{i}.retention.* and, all or none, layers.{i}.matrix.* (docs/formats.md). A module with a
// matrix also gives the variant `memgate-slots`, the same without it.
absl::StatusOr<MemoryKinds> LoadMemgate(const ModuleContents& module);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_MEMORY_MEMGATE_H_
