// Infini-attention (arXiv 2404.07143): a matrix per KV head, written by sum or by delta rule.
#ifndef MEMGATE_ENGINE_MEMORY_INFINI_H_
#define MEMGATE_ENGINE_MEMORY_INFINI_H_

#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/memory/memory_kind.h"
#include "engine/memory/module_reading.h"

namespace memgate {

// kLinear: M += phi(K)^T V (equation 4). kDelta: M += phi(K)^T (V - phi(K) M / (phi(K) z)) (equation 5), the
// whole segment recalling the memory as it was before the segment. Both: z += sum phi(K), A_mem = phi(q) M /
// (phi(q) z).
// kUnitDelta: phi is divided by its length and there is no z; tokens are written one after another,
// M += phi(k)^T (v - phi(k) M), and A_mem = phi(q) M (DeltaNet, arXiv 2406.06484). What was written once does
// not fade while z grows.
enum class InfiniRule { kLinear, kDelta, kUnitDelta };

// phi_j(x) = ELU(scale_j x_(j mod D) + shift_j) + 1 for K = features j, a multiple of D; x is not rotated.
// K = D with scale 1 and shift 0 is the paper's. K = 2D with scales of both signs keeps the sign of x.
struct InfiniMaps {
  int features = 0;                             // K
  std::vector<float> key_scale, key_shift;      // [L, G, K]
  std::vector<float> query_scale, query_shift;  // [L, H, K]
};

// Gate logits of a module that was not trained: sigmoid(-4) = 0.018 leaves local attention nearly alone.
inline constexpr float kUntrainedInfiniGate = -4.0f;

// gates: beta [L, H] of equation 6, or absent for an untrained memory. Names: "infini" (linear),
// "infini-delta" (both delta rules).
std::unique_ptr<MemoryKind> MakeInfiniKind(const ModelConfig& config, InfiniRule rule,
                                           std::optional<std::vector<float>> gates,
                                           std::optional<InfiniMaps> maps = std::nullopt);

// Tensors layers.{i}.infini.*; "normaliser" in memory.json (docs/formats.md).
absl::StatusOr<MemoryKinds> LoadInfini(const ModuleContents& module);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_MEMORY_INFINI_H_
