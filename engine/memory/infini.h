// Infini-attention (arXiv 2404.07143): a matrix per KV head, written by sum or by delta rule.
#ifndef MEMGATE_ENGINE_MEMORY_INFINI_H_
#define MEMGATE_ENGINE_MEMORY_INFINI_H_

#include <memory>
#include <optional>
#include <vector>

#include "engine/memory/memory_kind.h"

namespace memgate {

// Linear: M += phi(K)^T V (equation 4). Delta: M += phi(K)^T (V - phi(K) M / (phi(K) z)) (equation 5).
enum class InfiniRule { kLinear, kDelta };

// Gate logits of a module that was not trained: sigmoid(-4) = 0.018 leaves local attention nearly alone.
inline constexpr float kUntrainedInfiniGate = -4.0f;

// gates: beta [L, H] of equation 6, or absent for an untrained memory. Names: "infini" (linear),
// "infini-delta".
std::unique_ptr<MemoryKind> MakeInfiniKind(const ModelConfig& config, InfiniRule rule,
                                           std::optional<std::vector<float>> gates);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_MEMORY_INFINI_H_
