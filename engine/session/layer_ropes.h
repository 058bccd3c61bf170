// The rotations of a model's layers, scaling included.
#ifndef MEMGATE_ENGINE_SESSION_LAYER_ROPES_H_
#define MEMGATE_ENGINE_SESSION_LAYER_ROPES_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/checkpoint/model_config.h"
#include "engine/kernels/rope.h"

namespace memgate {

// [D/2]: theta^(-i/p) for the p = rope.Pairs(head_dim) pairs that are rotated, 0 for the others. Divided by
// linear_factor, then stretched per frequency as Llama 3.1 does (long wavelengths by `factor`, short ones not
// at all, a linear blend between), then divided by `divisors`, then by the short or long factors of longrope,
// whichever are meant for a context of `context_tokens`; each where it is set. All 0 where a layer does not
// rotate. Unit: radians per position. REQUIRES: `divisors` and factors are empty or [p].
std::vector<double> RopeFrequencies(const RopeConfig& rope, int head_dim, int64_t context_tokens);

// Constant after construction: thread-safe.
class LayerRopes {
 public:
  explicit LayerRopes(const ModelConfig& config);

  // Of ModelConfig::ropes[index], in a session that holds up to `context_tokens` tokens side by side: its
  // exact capacity, so that what it holds keeps one rotation.
  const Rope& At(int index, int64_t context_tokens) const;

 private:
  struct Entry {
    std::optional<LongRopeScaling> longrope;
    Rope rope;
    Rope stretched;  // by longrope's long factors
  };
  std::vector<Entry> entries_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_SESSION_LAYER_ROPES_H_
