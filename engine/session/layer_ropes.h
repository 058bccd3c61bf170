// The rotations of a model's layers, scaling included.
#ifndef MEMGATE_ENGINE_SESSION_LAYER_ROPES_H_
#define MEMGATE_ENGINE_SESSION_LAYER_ROPES_H_

#include <cstdint>
#include <vector>

#include "engine/checkpoint/model_config.h"
#include "engine/kernels/rope.h"

namespace memgate {

// theta^(-2i/D) for i in [0, D/2), divided by linear_factor; or stretched per frequency as Llama 3.1 does:
// long wavelengths by `factor`, short ones not at all, a linear blend between; or divided by `divisors`,
// or by the short or long factors of longrope, whichever are meant for a context of `context_tokens`. All 0
// where a layer does not rotate. Unit: radians per position. REQUIRES: `divisors` is empty or [D/2].
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
    Rope rope;
    int64_t original_max_position;  // from here on `stretched`
    Rope stretched;
  };
  std::vector<Entry> entries_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_SESSION_LAYER_ROPES_H_
