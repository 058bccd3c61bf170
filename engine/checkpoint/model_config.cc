#include "engine/checkpoint/model_config.h"

#include <algorithm>
#include <cmath>

namespace memgate {

float ModelConfig::AttentionScale(int layer_index) const {
  const double divisor = query_scalar > 0 ? query_scalar : head_dim;
  const float scale = 1.0f / std::sqrt(static_cast<float>(divisor));
  const auto& longrope = ropes[layer(layer_index).rope].longrope;
  if (!longrope) return scale;
  return scale * static_cast<float>(longrope->attention_factor * longrope->attention_factor);
}

int64_t ModelConfig::sliding_window() const {
  int64_t longest = 0;
  for (const LayerConfig& layer : layers) {
    if (layer.window == 0) return 0;
    longest = std::max(longest, layer.window);
  }
  return longest;
}

}  // namespace memgate
